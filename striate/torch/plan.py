"""Divides an FX graph into *segments*, which striate compiles, and single nodes, which PyTorch runs.

Segments and nodes run in the order of the program. So a node that changes a tensor, the gradient mode or autocast has
the same effect as in PyTorch. A segment is one node of PyTorch's autograd graph, so gradients pass through segments and
nodes alike.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from typing import Any

import torch
from torch import fx

from striate.graph.graph import Input
from striate.graph.op import Kind
from striate.graph.value import N, Value
from striate.torch.aliases import Aliases, example, name_of, overwritten, writes_operand
from striate.torch.segment import Batching, Segment
from striate.torch.table import Unsupported
from striate.torch.translate import Translator, leaves_of, sets_gradient_mode, sizes_of, type_of

_SILENT = {"_set_grad_enabled", "_enter_autocast", "_exit_autocast", "add_", "size", "sym_size", "getattr", "_assert"}
"""What PyTorch runs without a notice, since it computes no array."""
_FACTORIES = {"zeros", "ones", "full", "arange", "linspace", "eye", "tensor", "scalar_tensor", "empty"}
"""Functions that make a tensor of numbers alone. They run first, so that they do not divide a segment."""
_RANDOM = {
    "bernoulli", "cauchy", "exponential", "geometric", "gumbel_softmax", "log_normal", "multinomial", "normal",
    "poisson", "rand", "rand_like", "randint", "randint_like", "randn", "randn_like", "random", "randperm", "rrelu",
    "uniform",
}  # fmt: skip
"""Functions that draw from PyTorch's generator, without the ``_`` of those that overwrite their operand."""
_CHEAP = (Kind.VIEW, Kind.SOURCE, Kind.SIZE)


def batching_of(nodes: Sequence[fx.Node]) -> Batching | None:
    """Return which inputs of a graph have the batch size N on axis 0, judged by their sizes; None if there are none.

    Parameters and buffers do not count as inputs. N is the size of axis 0 of the first input tensor, and all input
    tensors with this size on axis 0 belong to the batch.
    """
    given = [
        node for node in nodes
        if node.op == "placeholder" and isinstance(example(node), torch.Tensor) and not _of_module(node)
    ]  # fmt: skip
    first = next((node for node in given if example(node).ndim >= 1), None)
    if first is None:
        return None
    try:
        samples = sizes_of(example(first).shape[:1])[0]
        tensors = {node for node in given if example(node).ndim and sizes_of(example(node).shape[:1]) == (samples,)}
    except Unsupported:
        return None
    sizes = [example(node).shape[0] for node in tensors]
    return Batching(samples, tensors, {str(size) for size in sizes if isinstance(size, torch.SymInt)})


def _of_module(node: fx.Node) -> bool:
    """Return whether a placeholder is a parameter or a buffer of a module."""
    return isinstance(example(node), torch.nn.Parameter) or "_parameters_" in node.name or "_buffers_" in node.name


class Capability:
    """The nodes of a graph that striate can compile, found by trying to translate each one.

    ``batching`` says which inputs have the symbolic batch size N on axis 0. Other sizes are those with which PyTorch
    captured the graph.

    reasons     why a node cannot be translated, by node
    counters    nodes that only increase a counter, such as the number of batches of a batch normalization
    made_first  nodes that make a tensor from numbers alone, such as the noise of stochastic depth, and so can run first
    """

    def __init__(self, nodes: Sequence[fx.Node], aliases: Aliases, batching: Batching) -> None:
        self.reasons: dict[fx.Node, str] = {}
        self.batching = Batching(batching.samples, set(batching.tensors), batching.symbols)
        self.counters: list[fx.Node] = []
        self.made_first: list[fx.Node] = []
        nested = _nested([bool(node.args[0]) for node in nodes if sets_gradient_mode(node)])
        translator = Translator(aliases, batching.samples)
        results = translator.translated.results
        self._computes: set[fx.Node] = set()
        seen: set[fx.Node] = set()
        for node in nodes:
            seen.add(node)
            if node.op in ("placeholder", "get_attr"):
                self._give(translator, node)
            elif _counts(node, aliases):
                self.counters.append(node)
            elif _makes_constant(node):
                self.made_first.append(node)
                self._give(translator, node)
            elif node.op != "output":
                try:
                    if sets_gradient_mode(node) and not nested:
                        raise Unsupported("a gradient mode that outlasts the graph")
                    translator.node(node)
                except Unsupported as reason:
                    if self._can_run_first(node, aliases, seen):
                        self.made_first.append(node)
                    else:
                        self.reasons[node] = str(reason)
                    self._give(translator, node)
                else:
                    made = [value for value in leaves_of(results[node]) if isinstance(value, Value)]
                    if any(value.type.batched for value in made):
                        self.batching.tensors.add(node)
                    if any(value.node.op.kind not in _CHEAP for value in made):
                        self._computes.add(node)
        self._leave_overwritten(nodes, aliases)

    def _can_run_first(self, node: fx.Node, aliases: Aliases, seen: set[fx.Node]) -> bool:
        """Return whether a node only overwrites what is made first, and nothing else has read that before.

        ``seen`` are the nodes up to this one. Random numbers are not drawn before others that PyTorch draws earlier.
        """
        made = set(self.made_first)
        read = [one for one in node.all_input_nodes if isinstance(example(one), torch.Tensor)]
        numbers = [one for one in node.all_input_nodes if one not in read]
        if not (read and made.issuperset(read) and writes_operand(node)) or any(n.op != "placeholder" for n in numbers):
            return False
        if _is_random(node) and any(map(_is_random, self.reasons)):
            return False
        before = {user for place in overwritten(node) for one in aliases.sharing(place) for user in one.users} & seen
        return before <= {*made, node}

    def _leave_overwritten(self, nodes: Sequence[fx.Node], aliases: Aliases) -> None:
        """Leave to PyTorch every node whose memory a node of PyTorch overwrites: a program's results have no views."""
        for node in nodes:
            if node in self.reasons and node.op.startswith("call"):
                for place in overwritten(node):
                    for one in aliases.sharing(place):
                        if one.op.startswith("call"):
                            self.reasons.setdefault(one, f"{name_of(node)} overwrites it")

    def computes(self, node: fx.Node) -> bool:
        """Return whether a node can be translated and computes a new array, rather than a view or a number."""
        return node in self._computes

    def _give(self, translator: Translator, node: fx.Node) -> None:
        """Set the result of a node that is not translated, as far as a program could read it."""
        tensor = example(node)
        samples = self.batching.samples
        if isinstance(tensor, torch.Tensor):
            try:
                sizes = sizes_of(tensor.shape)
                likely = samples is not None and node.op != "placeholder" and sizes[:1] == (samples,)
                if likely:
                    self.batching.tensors.add(node)
                translator.give(node, Input(node.name, type_of(tensor, node in self.batching.tensors))())
            except Unsupported as reason:
                self.reasons.setdefault(node, str(reason))
        elif isinstance(tensor, torch.SymInt):
            hint = tensor.node.hint
            translator.give(node, N if self.batching.is_number(node) else hint)
        elif isinstance(tensor, int | float | bool):
            translator.give(node, tensor)


def _nested(modes: list[bool]) -> bool:
    """Return whether gradients are recorded outside the modes that nodes switch to, which alternate."""
    return torch.is_grad_enabled() and modes == [False, True] * (len(modes) // 2)


def _counts(node: fx.Node, aliases: Aliases) -> bool:
    """Return whether a node only increases a counter, such as ``num_batches_tracked``, that no other node reads."""
    if name_of(node) != "add_" or node.users or not isinstance(node.args[0], fx.Node):
        return False
    counter = node.args[0]
    tensor = example(counter)
    whole = isinstance(tensor, torch.Tensor) and tensor.ndim == 0 and tensor.dtype is torch.int64
    return (
        whole and counter.op == "placeholder" and set(counter.users) == {node} and not isinstance(node.args[1], fx.Node)
    )


def _is_random(node: fx.Node) -> bool:
    return name_of(node).removesuffix("_") in _RANDOM


def _makes_constant(node: fx.Node) -> bool:
    """Return whether a node makes a tensor from numbers that are known at the start of the program."""
    return name_of(node) in _FACTORIES and all(one.op == "placeholder" for one in node.all_input_nodes)


def capability_of(nodes: Sequence[fx.Node], aliases: Aliases) -> Capability:
    """Return the nodes of a graph that striate can compile, as a ``Capability``.

    The batch size is the symbolic N, unless more nodes can be translated with fixed sizes.
    """
    fixed = Batching(None, set(), set())
    batching = batching_of(nodes)
    if batching is None:
        return Capability(nodes, aliases, fixed)
    found = Capability(nodes, aliases, batching)
    if not found.reasons:
        return found
    other = Capability(nodes, aliases, fixed)
    return other if len(other.reasons) < len(found.reasons) else found


def segments_of(nodes: Sequence[fx.Node], aliases: Aliases, capability: Capability) -> list[Segment | fx.Node]:
    """Return the program of ``nodes`` as a list of segments to compile and single nodes for PyTorch, in order.

    A segment has as many consecutive nodes as possible that can be translated. If all of these nodes make views or
    numbers, PyTorch runs them instead. The nodes in ``counters`` and ``made_first`` of ``capability`` are left out;
    they run before all segments.
    """
    before = {*capability.counters, *capability.made_first}
    runs: list[list[fx.Node]] = [[]]
    steps: list[list[fx.Node] | fx.Node] = [runs[0]]
    for node in nodes:
        if node.op in ("placeholder", "get_attr", "output") or node in before:
            continue
        if node in capability.reasons:
            runs.append([])
            steps += [node, runs[-1]]
        else:
            runs[-1].append(node)
    found: list[Segment | fx.Node] = []
    for step in steps:
        if isinstance(step, fx.Node):
            found.append(step)
        elif any(map(capability.computes, step)):
            inside = set(step)
            outputs = [node for node in step if any(user not in inside for user in node.users)]
            found.append(Segment(step, outputs, aliases, capability.batching))
        else:
            found.extend(step)
    return found


class Plan:
    """The program of an FX graph, divided into compiled segments and nodes that PyTorch runs.

    Calling a ``Plan`` runs the program. ``module`` is the FX graph. If PyTorch must run some functions, ``notice`` is
    called once with a dictionary of their names and the reasons; functions that compute no array are left out.
    """

    def __init__(self, module: fx.GraphModule, notice: Callable[[dict[str, str]], None]) -> None:
        self._module = module
        nodes = list(module.graph.nodes)
        self._placeholders = [node for node in nodes if node.op == "placeholder"]
        self._attributes = [node for node in nodes if node.op == "get_attr"]
        self._output = nodes[-1]
        aliases = Aliases(nodes)
        capability = capability_of(nodes, aliases)
        self._made_first = capability.made_first
        self._counters: dict[Any, list[Any]] = {}  # the counters of batches, by what is added to each
        for node in capability.counters:
            self._counters.setdefault(node.args[1], []).append(node.args[0])
        self.steps = segments_of(nodes, aliases, capability)
        self._dead = self._last_uses()
        self._notice = notice
        missing = {
            name_of(node): reason for node, reason in capability.reasons.items()
            if node.op.startswith("call") and name_of(node) not in _SILENT and not _selects(node, capability.reasons)
        }  # fmt: skip
        if missing:
            notice(missing)

    @property
    def segments(self) -> list[Segment]:
        """The segments, which striate compiles, in the order in which they run."""
        return [step for step in self.steps if isinstance(step, Segment)]

    def _last_uses(self) -> list[list[fx.Node]]:
        """Return for each step the nodes whose results no later step reads."""
        kept = set(self._output.all_input_nodes)
        dead: list[list[fx.Node]] = []
        seen = set(kept)
        for step in reversed(self.steps):
            used = (
                [*step.inputs, *step.outputs, *step.views]
                if isinstance(step, Segment)
                else [step, *step.all_input_nodes]
            )
            dead.append([node for node in dict.fromkeys(used) if node not in seen])
            seen.update(used)
        return dead[::-1]

    def __call__(self, *arguments: Any) -> Any:
        results: dict[fx.Node, Any] = dict(zip(self._placeholders, arguments, strict=True))
        for node in self._attributes:
            results[node] = _attribute(self._module, str(node.target))
        for node in self._made_first:
            self._run_node(node, results)
        for amount, counters in self._counters.items():
            torch._foreach_add_([results[counter] for counter in counters], amount)
        records = torch.is_grad_enabled()
        try:
            for step, dead in zip(self.steps, self._dead, strict=True):
                if isinstance(step, Segment):
                    self._run(step, results)
                else:
                    self._run_node(step, results)
                for node in dead:
                    results.pop(node, None)
        except BaseException:
            torch.set_grad_enabled(records)  # a node may have changed it
            raise
        output: Any = self._output.args[0]
        return fx.map_arg(output, results.__getitem__)

    def _run(self, segment: Segment, results: dict[fx.Node, Any]) -> None:
        try:
            found = segment([results[node] for node in segment.inputs])
        except Unsupported as reason:
            if str(reason) != "an empty batch":
                self._notice({name_of(segment.nodes[0]): str(reason)})
            for node in segment.nodes:
                self._run_node(node, results)
            return
        results.update(zip(segment.outputs, found, strict=True))
        for node in segment.views:
            self._run_node(node, results)

    def _run_node(self, node: fx.Node, results: dict[fx.Node, Any]) -> None:
        arguments: Any = fx.map_arg(node.args, results.__getitem__)
        options: Any = fx.map_arg(node.kwargs, results.__getitem__)
        if node.op == "call_method":
            results[node] = getattr(arguments[0], str(node.target))(*arguments[1:], **options)
        elif node.op == "call_module":
            results[node] = self._module.get_submodule(str(node.target))(*arguments, **options)
        else:
            assert callable(node.target)
            results[node] = node.target(*arguments, **options)


def _selects(node: fx.Node, left: Container[fx.Node]) -> bool:
    """Return whether a node takes one result of several of a node in ``left``."""
    source = node.args[0] if name_of(node) == "getitem" else None
    return isinstance(source, fx.Node) and source in left and isinstance(example(source), tuple | list)


def _attribute(module: Any, path: str) -> Any:
    for name in path.split("."):
        module = getattr(module, name)
    return module
