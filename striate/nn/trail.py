"""Error messages of layers, which show the layer, the problem, the shapes from the input to the layer, and a remedy.

at "fc1" Linear(in_features=128): its input has 2048 features
  input (N, 3, 32, 32) → conv1 (N, 16, 32, 32) → pool1 (N, 16, 16, 16)
  → conv2 (N, 32, 16, 16) → pool2 (N, 32, 8, 8) → flatten (N, 2048)
  32·8·8 = 2048, not 128
  help: Linear(2048, 10), or Linear(None, 10) to have it inferred
"""

from __future__ import annotations

from typing import TypeVar

from striate.errors import ShapeError, StriateError
from striate.graph.value import Shape, Value, shape_text
from striate.tracing import Trace

Kind = TypeVar("Kind", bound=StriateError)
_WIDTH = 88
_LAYERS = 10


def layer_error(trace: Trace | None, where: str, what: str, lines: list[str], help: str) -> ShapeError:
    """Return a ``ShapeError`` that names the layer and shows the shapes from the input to it.

    ``where`` is the path and the layer as text, ``what`` the problem, ``lines`` are further lines of the message, and
    ``help`` is the remedy. ``trace`` is the record of the traced call; if it is None, the shapes are left out.
    """
    return _placed(ShapeError, trace, where, what, [*lines, *([f"help: {help}"] if help else [])])


def _placed(kind: type[Kind], trace: Trace | None, where: str, what: str, lines: list[str]) -> Kind:
    details = [*(trail_lines(trace) if trace else []), *lines]
    error = kind("\n  ".join([f"at {where}: {what}", *details]))
    if trace is not None:
        trace.explained.append(error)
    return error


def explained_error(trace: Trace, where: str, error: Kind, applies_one: bool) -> Kind:
    """Return ``error``, raised by an operation, as an error of the same class that names the layer.

    The layer is the one that called the operation; ``where`` is its path and description, as in ``Module.where``.
    ``trace`` is the record of the traced call. ``applies_one`` says that the layer applies only this operation; the
    message then leaves out the operation's name.
    """
    what, *lines = str(error).splitlines()
    if what.startswith('at "'):  # the place that the operation named, replaced by the layer's description
        what = what.partition(": " if applies_one else '" ')[2]
    return _placed(type(error), trace, where, what, [line.strip() for line in lines])


def trail(trace: Trace) -> list[tuple[str, Shape]]:
    """Return (path, output shape) for the input and for each layer that changed the shape, in running order.

    ``trace`` is the record of the traced call.
    """
    found: list[tuple[str, Shape]] = []
    first = next(iter(trace.inputs.values()), None)
    if first is not None:
        found.append(("input", first.shape))
    for step in trace.calls:
        if step.is_leaf and (not found or step.output.shape != found[-1][1]):
            found.append((step.path, step.output.shape))
    return found


def trail_lines(trace: Trace) -> list[str]:
    """Return the shapes of ``trail(trace)`` as text lines; if there are many, only the input and the last ones."""
    steps = [f"{path} {shape_text(shape)}" for path, shape in trail(trace)]
    if len(steps) > _LAYERS:
        steps = [steps[0], "…", *steps[-_LAYERS:]]
    lines: list[str] = []
    for index, step in enumerate(steps):
        piece = f"→ {step}" if index else step
        if lines and len(lines[-1]) + 1 + len(piece) <= _WIDTH:
            lines[-1] += f" {piece}"
        else:
            lines.append(piece)
    return lines


def product_text(shape: Shape) -> str:
    """Return the sizes of one sample as a product: ``32·8·8`` for the shape (N, 32, 8, 8)."""
    return "·".join(str(dim) for dim in shape[1:])


def before_flattening(trace: Trace | None, x: Value) -> str:
    """Return the sizes before a flattening, such as ``32·8·8 = 2048`` for x (N, 2048); "" if x was not just flattened.

    ``trace`` is the record of the traced call. If it is None, the result is "".
    """
    shapes = [shape for _, shape in trail(trace)] if trace else []
    if x.type.rank == 2 and len(shapes) > 1 and shapes[-1] == x.shape and len(shapes[-2]) > 2:
        return f"{product_text(shapes[-2])} = {x.shape[-1]}"
    return ""
