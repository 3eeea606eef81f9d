"""Finds the outputs of a traced model's layers by their names.

A layer is named by its path, such as ``conv1`` or ``stage1.0``; the second use of a layer ``act`` is ``act#2``. A block
that applies an operation of its own after its layers, such as a residual addition, counts as a layer too. An operation
that a ``forward`` applies between its layers is named by block and operation: ``relu``, ``block1.max_pool``. The result
of the model's own last operation is ``output``. A model from a file has the same names, because its graph keeps the
paths.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from itertools import groupby

from striate.errors import OptionError, unknown_option
from striate.graph.elementwise import Cast
from striate.graph.graph import topological
from striate.graph.op import Kind, Node
from striate.graph.value import Value
from striate.tracing import Trace, output_values

_ROOT = "output"


class Layers:
    """The outputs of a traced model's layers: the dict ``values``, by name, in the order in which the layers run.

    ``trace`` is the trace in which the model was called, and ``result`` is what the model returned.
    """

    def __init__(self, trace: Trace, result: object) -> None:
        results = list(output_values(result).values())
        self._nodes = [node for node in topological(results) if node.op.kind is not Kind.SOURCE]
        self.values = self._found({step.output for step in trace.calls})

    def _found(self, ends: set[Value]) -> dict[str, Value]:
        """Collect the outputs of layers and of operations between layers.

        ``ends`` are the outputs that the trace recorded.
        """
        paths = {node.path for node in self._nodes}
        blocks = {path for path in paths if any(other != path and _inside(other, path) for other in paths)}
        found: dict[str, Value] = {}
        for path, run in groupby(self._nodes, lambda node: node.path):
            nodes = list(run)
            if path in blocks:
                for node in nodes:
                    if node.op.kind is not Kind.VIEW and not isinstance(node.op, Cast):
                        own = node is self._last(path)
                        _add(found, (path or _ROOT) if own else _joined(path, _operation(node)), node.outputs[0])
                continue
            # This is one layer. If it is used several times in a row, only the trace knows where each use ends.
            passes = [value for node in nodes for value in node.outputs if value in ends]
            if not passes or passes[-1].node is not nodes[-1]:
                passes.append(nodes[-1].outputs[0])
            for value in passes:
                _add(found, path or _ROOT, value)
        return found

    def _last(self, path: str) -> Node | None:
        """Return the last node inside a layer or block, or None."""
        return next((node for node in reversed(self._nodes) if _inside(node.path, path)), None)

    def value(self, name: str) -> Value:
        """Return the output of a layer or block; raises ``OptionError`` for an unknown name."""
        if name in self.values:
            return self.values[name]
        last = self._last(name) if name else None
        if last is None:
            raise unknown_option("layer", name, self.values)
        return last.outputs[0]

    def chosen(self, wanted: str | Sequence[str]) -> dict[str, Value]:
        """Return the outputs of the layers whose names match a pattern or one of several, as a dict by name.

        ``wanted`` is a pattern such as ``conv*``, or a list of patterns; a pattern may also be the exact name of a
        block. Raises ``OptionError`` for a pattern without a match.
        """
        patterns = [wanted] if isinstance(wanted, str) else list(wanted)
        if not patterns:
            raise OptionError(f"no layer was named\n  known: {', '.join(self.values)}")
        found: dict[str, Value] = {}
        for pattern in patterns:
            matching = {name: value for name, value in self.values.items() if fnmatch.fnmatchcase(name, pattern)}
            found |= matching or {pattern: self.value(pattern)}
        return found


def _inside(path: str, block: str) -> bool:
    """Whether a path is that of a block or of something inside it; "" is the whole model."""
    return path == block or not block or path.startswith(f"{block}.")


def _joined(block: str, name: str) -> str:
    return f"{block}.{name}" if block else name


def _operation(node: Node) -> str:
    return node.op.call_name()


def _add(found: dict[str, Value], name: str, value: Value) -> None:
    """Add the output of a layer, numbered where the name exists.

    Values that do not depend on the sample, or are not floats, are left out.
    """
    if not (value.type.batched and value.dtype.is_float):
        return
    uses = 1
    while (name if uses == 1 else f"{name}#{uses}") in found:
        uses += 1
    found[name if uses == 1 else f"{name}#{uses}"] = value
