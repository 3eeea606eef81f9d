"""1×1 convolutions run over all positions of a sample as one row."""

from __future__ import annotations

import numpy as np
import pytest

from striate.compiler import compile_graph, options_for
from striate.graph.graph import Graph, Input
from striate.graph.value import Array, DType, N, TensorType, Value
from striate.ops.activation import Relu
from striate.ops.convolution import Convolution, conv
from striate.ops.kernels.direct import TapConvolution
from striate.ops.kernels.direct_gradient import WeightGradient
from striate.ops.random import DropoutMask
from striate.ops.reduction import Moments
from striate.passes.differentiate import differentiate
from tests.compiled.cases import Problem, assert_close, total


def _problem(shape: tuple[int, ...], filters: int, wide: bool) -> Problem:
    """Build a 1×1 convolution with fused work before and after it: dropout, broadcasts and sums.

    The broadcast arrays vary by channel, position or row. With ``wide``, a 3-tap convolution reads the result as well,
    so it is stored with padding.
    """
    random = np.random.default_rng(len(shape))
    rank = len(shape) - 2
    arrays: dict[str, Array] = {
        "x": random.standard_normal(shape), "w": random.standard_normal((filters, shape[1], *(1,) * rank)),
        "channel": random.standard_normal((1, filters, *(1,) * rank)),
        "position": random.standard_normal((1, 1, *shape[2:])), "row": random.standard_normal((1, 1, *shape[2:-1], 1)),
        "key": np.asarray(7, np.int64),
    }  # fmt: skip
    arrays = {name: a.astype("f4") if a.dtype.kind == "f" else a for name, a in arrays.items()}
    values: dict[str, Value] = {
        name: Input(name, TensorType(DType(a.dtype.name), (N, *a.shape[1:]) if name == "x" else a.shape))()
        for name, a in arrays.items()
    }
    h = Relu()(values["x"] * 0.5 + 0.25)
    y = conv(h, values["w"]) * values["channel"] + values["position"]
    z = y * DropoutMask(0.5, 3)(y, values["key"])
    outputs = {
        "z": z,
        "rows": Relu()(y + values["row"]) if rank > 1 else z,
        "mean": Moments((0, *range(2, rank + 2)))(y)[0],
    }
    loss = total(z * z)
    if wide:
        taps = Input("taps", TensorType(DType.float32, (3, filters, *(3,) * rank)))()
        values["taps"], arrays["taps"] = taps, random.standard_normal(taps.type.concrete(1)).astype("f4")
        outputs["wide"] = conv(z, taps, padding=1)
        loss = loss + total(outputs["wide"])
    for name, gradient in zip(("x", "w"), differentiate(loss, [values["x"], values["w"]]), strict=True):
        outputs[f"d{name}"] = gradient
    return Problem(f"1×1 of {shape}", Graph(values, outputs), arrays, shape[0])


SHAPES = [(2, 17, 5, 7), (1, 16, 3, 4, 2), (3, 5, 9), (2, 18, 6, 1), (2, 3, 4, 5)]
QUICK = [((2, 17, 5, 7), True), ((1, 16, 3, 4, 2), False), ((3, 5, 9), True)]


@pytest.mark.parametrize(
    ("shape", "wide"),
    [
        pytest.param(shape, wide, marks=() if (shape, wide) in QUICK else pytest.mark.slow)
        for shape in SHAPES
        for wide in (False, True)
    ],
)
def test_one_row_computes_what_the_reference_does(shape: tuple[int, ...], wide: bool) -> None:
    problem = _problem(shape, 20, wide)
    assert_close(problem.run(), problem.expected(), problem.label)


def test_all_positions_are_one_row() -> None:
    x = Input("x", TensorType(DType.float32, (N, 32, 7, 7)))()
    w = Input("w", TensorType(DType.float32, (48, 32, 1, 1)))()
    y = Convolution((1, 1), ((0, 0), (0, 0)), (1, 1), 1)(x, w)
    (dx, dw) = differentiate(total(Relu()(y)), [x, w])
    phases = compile_graph(Graph({"x": x, "w": w}, {"y": y, "dx": dx, "dw": dw}), options_for()).lowered.phases
    kernels = [phase.spec for phase in phases if isinstance(phase.spec, TapConvolution | WeightGradient)]
    assert len(kernels) == 3
    for kernel in kernels:
        part = kernel.part if isinstance(kernel, WeightGradient) else kernel.parts[0]
        assert part.sizes == (1, 1, 49)
