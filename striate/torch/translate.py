"""Translates the nodes of an FX graph into a graph of striate."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx

from striate.graph.graph import Input
from striate.graph.op import at_path
from striate.graph.operand import capture
from striate.graph.reshape import Reshape
from striate.graph.value import Array, Batch, DType, N, Shape, TensorType, Value, dtype_of
from striate.torch.aliases import Aliases, example, memory, translation_of, writes_operand
from striate.torch.operations.arithmetic import DTYPES
from striate.torch.table import STATEFUL, Unsupported

_OF_NUMBERS = ("_operator", "builtins", "math")
"""The modules of functions that may be called with sizes alone."""
_WITHOUT_EFFECT = ("_log_api_usage_once",)
"""The names of functions that need not be called."""
KEY = "key"
"""The name of the int64 input that seeds dropout."""


def sizes_of(shape: Sequence[Any]) -> tuple[int, ...]:
    """Return a shape of PyTorch as a tuple of ints.

    Symbolic sizes become the sizes with which PyTorch captured the graph. Raises ``Unsupported`` for a size that
    depends on data.
    """
    found: list[int] = []
    for size in shape:
        if isinstance(size, torch.SymInt):
            hint = size.node.hint
            if hint is None:
                raise Unsupported("a size that depends on data")
            size = hint
        found.append(int(size))
    return tuple(found)


def type_of(tensor: torch.Tensor, batched: bool) -> TensorType:
    """Return the dtype and shape of a tensor as the type of a graph input; ``batched`` makes axis 0 the symbolic N.

    Raises ``Unsupported`` for a dtype, a device or a layout that striate does not support.
    """
    if tensor.dtype not in DTYPES or tensor.device.type != "cpu" or tensor.layout is not torch.strided:
        raise Unsupported(f"a tensor of {tensor.dtype} on {tensor.device.type}")
    sizes = sizes_of(tensor.shape)
    shape: Shape = (N, *sizes[1:]) if batched and sizes else sizes
    return TensorType(DTYPES[tensor.dtype], shape)


@dataclass
class Translated:
    """The translation of FX nodes to values of a graph of striate.

    results   the result of each node: a value, a tuple of values, a number or a shape
    fixed     values through which no gradient passes
    updates   the new contents of tensors that the nodes overwrite, by the node of the tensor
    captured  graph inputs with their contents, such as the weights of an interpolation
    key       the input that seeds dropout, or None
    """

    results: dict[fx.Node, Any] = field(default_factory=dict[fx.Node, Any])
    fixed: list[Value] = field(default_factory=list[Value])
    updates: dict[fx.Node, Value] = field(default_factory=dict[fx.Node, Value])
    captured: list[tuple[Value, Array]] = field(default_factory=list[tuple[Value, Array]])
    key: Value | None = None


class Translator:
    """Translates the nodes of an FX graph one by one into operations of striate; ``translated`` has the results.

    ``samples`` is the batch size with which PyTorch captured the graph, or None if no axis has the symbolic N.
    ``compares`` says whether each result must have the shape that PyTorch found when it captured the graph. It is False
    if the nodes are translated for other sizes.
    """

    def __init__(self, aliases: Aliases, samples: int | None, compares: bool = True) -> None:
        self._compares = compares
        self.translated = Translated()
        self._aliases = aliases
        self._samples = samples
        self._streams = 0
        self._given: dict[Value, fx.Node] = {}
        self._inside: set[fx.Node] = set()
        self._records = True

    # The context of translations

    def key(self) -> tuple[Value, int]:
        key = self.translated.key
        if key is None:
            key = self.translated.key = Input(KEY, TensorType(DType.int64, ()))()
        self._streams += 1
        return key, self._streams - 1

    def detach(self, x: Value) -> Value:
        y = Reshape(x.shape)(x)
        self.translated.fixed.append(y)
        return y

    def _capture(self, array: Array, dtype: DType | None) -> Value:
        """Return a graph input that always has the contents of ``array``, converted to ``dtype`` if given."""
        contents = array.astype(array.dtype if dtype is None else dtype.numpy, order="C")
        name = f"constant{len(self.translated.captured)}"
        value = Input(name, TensorType(dtype_of(contents.dtype), contents.shape))()
        self.translated.captured.append((value, contents))
        return value

    def update(self, old: Value, new: Value) -> None:
        node = self._given.get(old)
        if node is None or len(self._aliases.sharing(node)) > 1:
            raise Unsupported("a tensor that is overwritten and has other views")
        self._given[new] = node
        self.translated.updates[node] = self.translated.results[node] = new

    # Nodes

    def give(self, node: fx.Node, result: Any) -> None:
        """Set the result of a node that needs no translation: a graph input or a number."""
        self.translated.results[node] = result
        if isinstance(result, Value):
            self._given[result] = node

    def node(self, node: fx.Node) -> None:
        """Translate one node; raises ``Unsupported``, whose message says why, if this is not possible."""
        before = dict(self.translated.results), dict(self.translated.updates)
        token = capture.set(self._capture)
        try:
            with at_path(_layer(node)):
                result = self._result(node)
            self._require_type(result, example(node))
        except Exception as error:  # whatever a translation did not expect, PyTorch computes
            for changed, old in zip((self.translated.results, self.translated.updates), before, strict=True):
                changed.clear()
                changed.update(old)
            raise Unsupported(str(error).splitlines()[0] if str(error) else type(error).__name__) from error
        finally:
            capture.reset(token)
        self._inside.add(node)
        self.translated.results[node] = result

    def _result(self, node: fx.Node) -> Any:
        if node.op not in ("call_function", "call_method"):
            raise Unsupported(f"{node.op} {node.target}")
        if sets_gradient_mode(node):
            self._records = bool(node.args[0])
            return None
        if getattr(node.target, "__name__", "") in _WITHOUT_EFFECT:
            return None
        arguments = fx.map_arg(node.args, self._argument)
        options = fx.map_arg(node.kwargs, self._argument)
        if not _has_value((arguments, options)):
            if not callable(node.target) or node.target.__module__ not in _OF_NUMBERS:
                raise Unsupported("it reads no tensor")
            return node.target(*arguments, **options)
        name, translation = translation_of(node)
        if translation is None:
            raise Unsupported("striate has no such function")
        renamed: list[fx.Node] | None = []
        if writes_operand(node):
            renamed = self._aliases.renamed_by(node)
            if renamed is None or not set(renamed) <= self._inside:
                raise Unsupported("it overwrites a tensor from elsewhere")
        result = translation(*((self,) if name in STATEFUL else ()), *arguments, **options)
        if not self._records:
            result = mapped(result, lambda leaf: self.detach(leaf) if isinstance(leaf, Value) else leaf)
        for one in renamed:
            self.translated.results[one] = result
        return result

    def _argument(self, node: fx.Node) -> Any:
        if node not in self.translated.results:
            raise Unsupported(f"{node} has no value")
        return self.translated.results[node]

    def _require_type(self, result: Any, expected: Any) -> None:
        """Raise ``Unsupported`` if the result has not the dtype and shape that PyTorch's would have."""
        if isinstance(expected, torch.Tensor):
            wanted = type_of(expected, False)
            if not isinstance(result, Value) or result.dtype is not wanted.dtype:
                raise Unsupported(f"a result of {expected.dtype}")
            if self._compares and result.type.concrete(self._samples or 0) != wanted.shape:
                raise Unsupported(f"a result of shape {tuple(expected.shape)}")
        elif isinstance(expected, tuple | list) and not isinstance(expected, torch.Size):
            if not isinstance(result, tuple | list) or len(result) != len(expected):
                raise Unsupported("several results")
            for one, wanted in zip(result, expected, strict=True):
                self._require_type(one, wanted)


def sets_gradient_mode(node: fx.Node) -> bool:
    """Return whether a node switches the recording of gradients on or off, as ``torch.no_grad()`` does."""
    return node.op == "call_function" and getattr(node.target, "__name__", "") == "_set_grad_enabled"


def _layer(node: fx.Node) -> str:
    """Return the dotted path of the module that a node comes from, as far as Dynamo recorded it."""
    stack = node.meta.get("nn_module_stack")
    if not stack:
        return ""
    path = str(list(stack.values())[-1][0])
    parts = [part for part in path.replace("L['self']", "").replace("[", ".").replace("]", "").split(".") if part]
    return ".".join(part.strip("'\"") for part in parts if part not in ("_modules", "L"))


def _has_value(tree: Any) -> bool:
    if isinstance(tree, Value):
        return True
    if isinstance(tree, Mapping):
        return any(_has_value(one) for one in tree.values())
    return isinstance(tree, tuple | list) and any(_has_value(one) for one in tree)


def order_of(tensor: torch.Tensor) -> tuple[int, ...] | None:
    """Return the axes of a tensor from the outermost in memory to the innermost; None for row-major order.

    A tensor in channels-last format has (0, 2, 3, 1).
    """
    sizes, strides = sizes_of(tensor.shape), sizes_of(tensor.stride())
    if 0 in strides:
        return None
    order = tuple(sorted(range(len(sizes)), key=lambda axis: (-strides[axis], axis)))
    wide = [axis for axis in order if sizes[axis] != 1]
    return None if wide == sorted(wide) else order


def leaves_of(tree: Any) -> list[Any]:
    """Return the elements of nested tuples and lists, in order, as one flat list."""
    return [leaf for one in tree for leaf in leaves_of(one)] if isinstance(tree, tuple | list) else [tree]


def mapped(tree: Any, function: Callable[[Any], Any]) -> Any:
    """Return nested tuples and lists with ``function(x)`` in place of every element x that is neither."""
    return type(tree)(mapped(one, function) for one in tree) if isinstance(tree, tuple | list) else function(tree)


def is_batch(size: object) -> bool:
    """Return whether a size is the symbolic batch size N."""
    return isinstance(size, Batch)


def shares_memory(node: fx.Node, others: Sequence[fx.Node]) -> bool:
    """Return whether the tensor of ``node`` shares memory with that of one of ``others``."""
    return memory(node) is not None and memory(node) in {memory(other) for other in others}
