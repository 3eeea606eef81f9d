"""What every layer gives for some pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from striate.graph.value import Array, DType, N, TensorType, Value
from striate.insight.layers import Layers
from striate.nn.module import Module
from striate.tracing import Trace, active_trace


def feature_maps(model: Module, images: Any, layers: str | Sequence[str] = "*") -> dict[str, Array]:
    """{layer: its output (N, channels, positions…)} for images (N, C, H, W), in the order in which layers run.

    Works for every model: chains, blocks, subclasses with a forward of their own, models from files. ``layers`` is a
    pattern such as ``"conv*"``, the name of a block (``"features"``), or several. The names are explained in
    ``striate.insight.layers``. As in prediction: running statistics, no dropout. Raises ``OptionError`` for an unknown
    layer, listing the known ones.

    >>> feature_maps(model, images)["0"].shape
    (8, 16, 28, 28)
    """
    wanted = (layers,) if isinstance(layers, str) else tuple(layers)

    def watched(x: Value) -> dict[str, Value]:
        return Layers(active_trace("feature_maps"), model(x)).chosen(wanted)

    found: dict[str, Array] = model.computed(("feature maps", wanted), {"x": model.as_input(images)}, watched)
    return {name: np.asarray(array) for name, array in found.items()}


def layer_shapes(model: Module, shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """{layer: shape of its output for one sample}, for samples of ``shape``, by arithmetic alone."""
    with Trace() as trace:
        x = trace.input("x", TensorType(model.dtype or DType.float32, (N, *shape)))
        return {name: value.type.concrete(1)[1:] for name, value in Layers(trace, model(x)).values.items()}
