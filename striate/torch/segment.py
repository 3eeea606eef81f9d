"""Consecutive nodes of an FX graph that are compiled together.

The nodes are compiled once for each combination of the numbers among the inputs, the gradients that are needed, and the
precision.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import fx

from striate.codegen import target
from striate.dtypes import Precision
from striate.errors import EngineError
from striate.graph.graph import Input
from striate.graph.value import N, Value
from striate.torch.aliases import Aliases, example
from striate.torch.compiled import Compiled, Form
from striate.torch.function import run_part
from striate.torch.table import Unsupported
from striate.torch.translate import Translator, is_batch, leaves_of, mapped, order_of, shares_memory, sizes_of, type_of


class Batching:
    """The places where an FX graph has the batch size, the symbolic N: axis 0 of some tensors, and some numbers.

    samples  the batch size with which PyTorch captured the graph; None: all sizes are fixed
    tensors  the nodes whose results are tensors with N on axis 0
    symbols  the names of PyTorch's symbolic sizes that are N
    """

    def __init__(self, samples: int | None, tensors: set[fx.Node], symbols: set[str]) -> None:
        self.samples = samples
        self.tensors = tensors
        self.symbols = symbols

    def is_number(self, node: fx.Node) -> bool:
        """Return whether the result of a node is the number N, the batch size."""
        value = example(node)
        return self.samples is not None and isinstance(value, torch.SymInt) and str(value) in self.symbols


class Segment:
    """Consecutive nodes of an FX graph that are compiled together; a call runs them.

    A call takes the results of the nodes in the attribute ``inputs``, and returns the results of the nodes in the
    attribute ``outputs``. ``inputs`` are the earlier nodes that the segment reads. The argument ``outputs`` lists the
    nodes of the segment that are read outside of it. Of these, the attribute ``outputs`` leaves out the views of an
    input: PyTorch makes them itself, by running the nodes in the attribute ``views``.
    """

    def __init__(
        self, nodes: Sequence[fx.Node], outputs: Sequence[fx.Node], aliases: Aliases, batching: Batching
    ) -> None:
        self.nodes = list(nodes)
        inside = set(nodes)
        read: dict[fx.Node, None] = {}
        for node in nodes:
            read.update(dict.fromkeys(one for one in node.all_input_nodes if one not in inside))
        self.inputs = list(read)
        self.outputs = [node for node in outputs if not shares_memory(node, self.inputs)]
        self.views = self._views([node for node in outputs if shares_memory(node, self.inputs)])
        self._aliases, self._batching = aliases, batching
        self._tensors = [i for i, node in enumerate(self.inputs) if isinstance(example(node), torch.Tensor)]
        self._numbers = [i for i in range(len(self.inputs)) if i not in self._tensors]
        self._counted = [i for i in self._numbers if not batching.is_number(self.inputs[i])]
        batched = [p for p, i in enumerate(self._tensors) if self.inputs[i] in batching.tensors]
        self._batch = batched[0] if batched and batching.samples is not None else None
        self._programs: dict[object, tuple[Compiled, Any]] = {}

    def _views(self, wanted: list[fx.Node]) -> list[fx.Node]:
        """Return the nodes of the segment that must run in PyTorch, because their results are views of an input."""
        found = set(wanted)
        for node in reversed(self.nodes):
            if node in found:
                found.update(one for one in node.all_input_nodes if one in self.nodes)
        return [node for node in self.nodes if node in found]

    def __call__(self, arguments: Sequence[Any]) -> list[Any]:
        """Run the segment on the results of ``inputs``, and return the results of ``outputs``.

        Raises ``Unsupported`` for an empty batch, and for arguments with which the nodes cannot be translated.
        """
        tensors = [arguments[i] for i in self._tensors]
        n = 1 if self._batch is None else tensors[self._batch].shape[0]
        if n == 0:
            raise Unsupported("an empty batch")
        grad = torch.is_grad_enabled()
        needed = tuple([tensor.requires_grad for tensor in tensors]) if grad else ()
        numbers = tuple([arguments[i] for i in self._counted])
        precision = precision_of_autocast()
        key = needed, numbers, precision
        found = self._programs.get(key)
        if found is None:
            found = self._programs[key] = self._compiled(arguments, needed or (False,) * len(tensors), precision, n)
        compiled, shape = found
        results = iter(run_part(compiled, tensors))
        return mapped(shape, lambda leaf: next(results) if leaf is _TENSOR else n if is_batch(leaf) else leaf)

    def _compiled(
        self, arguments: Sequence[Any], needed: Sequence[bool], precision: Precision, n: int
    ) -> tuple[Compiled, Any]:
        same = all(
            sizes_of([example(self.inputs[i])]) == (arguments[i],) for i in self._counted if is_size(arguments[i])
        )
        translator = Translator(self._aliases, None if self._batch is None else self._batching.samples, same)
        inputs: list[Value] = []
        for position, (node, argument) in enumerate(zip(self.inputs, arguments, strict=True)):
            if isinstance(argument, torch.Tensor):
                batched = self._batch is not None and node in self._batching.tensors
                inputs.append(Input(f"x{len(inputs)}", type_of(argument, batched))())
                translator.give(node, inputs[-1])
            else:
                is_n = self._batch is not None and position not in self._counted
                translator.give(node, N if is_n else argument)
        for node in self.nodes:
            translator.node(node)
        made = translator.translated
        results = [made.results[node] for node in self.outputs]
        values = [leaf for leaf in leaves_of(results) if isinstance(leaf, Value)]
        shown = leaves_of([example(node) for node in self.outputs])
        forms = [Form(one.dtype, order_of(one)) for one in shown if isinstance(one, torch.Tensor)]
        places = {node: place for place, node in enumerate(self.inputs[i] for i in self._tensors)}
        updates = {places[node]: value for node, value in made.updates.items()}
        compiled = Compiled(
            inputs, values, updates, made.fixed, made.captured, made.key, needed, forms, precision, self._batch, n
        )  # fmt: skip
        return compiled, mapped(results, lambda leaf: _TENSOR if isinstance(leaf, Value) else leaf)


def is_size(argument: object) -> bool:
    """Return whether an argument of a segment is an int, such as a size; bools do not count."""
    return isinstance(argument, int) and not isinstance(argument, bool)


_TENSOR = object()
"""Stands for a tensor in the nesting of a segment's results."""


def precision_of_autocast() -> Precision:
    """Return the precision in which PyTorch's present autocast mode lets programs compute.

    It is ``bfloat16`` within ``torch.autocast("cpu", torch.bfloat16)`` if the processor has instructions for products
    of bfloat16, and ``full`` otherwise.
    """
    if not torch.is_autocast_enabled("cpu") or torch.get_autocast_dtype("cpu") is not torch.bfloat16:
        return Precision.full
    try:
        target.require_bfloat16(target.current())
    except EngineError:
        return Precision.full
    return Precision.bfloat16
