"""Training with activations in bfloat16: what is rounded, how accurate the kernels are, and their cost."""

from __future__ import annotations

import re

import numpy as np
import pytest

import striate as st
from striate import data, nn, optim, settings
from striate.codegen import jit
from striate.codegen.options import CompileOptions
from striate.codegen.storage import BLOCK
from striate.codegen.target import current, named, require_bfloat16
from striate.compiler import compile_graph, options_for, prepare_compiled, rounded_graph
from striate.dtypes import DType, Precision, dtype_of, round_to_bfloat16
from striate.engine import ReferenceExecutable
from striate.errors import EngineError, NonFiniteError, OptionError
from striate.graph.graph import Graph, Input
from striate.graph.value import Array, N, TensorType, Value
from striate.ops import conv, max_pool
from striate.ops.activation import leaky_relu
from striate.ops.kernels.direct import TapConvolution
from striate.ops.kernels.direct_gradient import WeightGradient
from striate.ops.kernels.winograd.convolution import TileConvolution
from striate.ops.kernels.winograd.gradient import WinogradWeightGradient
from striate.passes.differentiate import differentiate
from striate.passes.fuse import fuse
from striate.passes.layout import layout
from striate.passes.lower import lower
from striate.passes.narrow import Narrow
from tests.compiled.cases import total
from tests.compiled.test_disassembly import innermost_loops

needs_instructions = pytest.mark.skipif(not current().has_bfloat16, reason="the target has no avx512_bf16")


# Rounding


def test_rounding_is_to_the_nearest_and_keeps_what_is_special() -> None:
    one = np.float32(1)
    step = np.float32(2**-7)  # between neighbours above one
    cases = {
        one: one, one + step / 2: one, one + 3 * step / 2: one + 2 * step,  # ties go to the even one
        one + step / 2 + np.float32(2**-20): one + step, -one - step / 4: -one,
        np.float32(3.4e38): np.float32(np.inf), np.float32(-np.inf): np.float32(-np.inf),
        np.float32(1e-40): np.float32(0),
    }  # fmt: skip
    found = round_to_bfloat16(np.array(list(cases), np.float32))
    np.testing.assert_array_equal(found, np.array(list(cases.values()), np.float32))
    assert np.isnan(round_to_bfloat16(np.array([np.nan, -np.nan], np.float32))).all()
    assert round_to_bfloat16(np.float32(0.1)).shape == ()


@needs_instructions
def test_kernels_round_as_the_reference_does() -> None:
    bits = np.random.default_rng(0).integers(0, 2**32, 4096, np.uint32)
    bits[:6] = [0x3F808000, 0x3F818000, 0x7F800000, 0xFF800000, 0x7F800001, 0x80000001]
    x = bits.view(np.float32)
    value = Input("x", TensorType(DType.float32, (4096,)))()
    (found,) = (
        prepare_compiled(Graph({"x": value}, {"y": Narrow()(value)}), {}, {}, options_for()).run({"x": x}, 1).values()
    )
    np.testing.assert_array_equal(found, round_to_bfloat16(x))


def test_no_value_is_of_that_type() -> None:
    """bfloat16 is only a storage format, not a dtype that users compute with."""
    with pytest.raises(OptionError, match="float64"):
        dtype_of("bfloat16")


# The references are the judge


def representable(random: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Return random weights of a realistic size that bfloat16 represents exactly."""
    fan_in = int(np.prod(shape[1:]))
    return round_to_bfloat16((random.standard_normal(shape) * np.sqrt(2 / fan_in)).astype(np.float32))


LAYERS: dict[str, tuple[int, int, tuple[int, ...], dict[str, object]]] = {
    # channels in, channels out, kernel, options
    "16→16": (16, 16, (3, 3), {"padding": 1}),
    "odd sizes": (18, 34, (3, 2), {"padding": ((1, 1), (0, 1))}),
    "stride": (16, 24, (3, 3), {"stride": 2, "padding": 1}),
    "1×1, stride": (20, 16, (1, 1), {"stride": 2}),
    "5×5": (16, 32, (5, 5), {"padding": 2}),
    "dilation": (16, 16, (3, 3), {"dilation": 2, "padding": 2}),
    "groups": (32, 32, (3, 3), {"groups": 2, "padding": 1}),
    "small groups": (16, 16, (3, 3), {"groups": 4, "padding": 1}),
    "groups of three": (48, 48, (3, 3), {"groups": 16, "stride": 2, "padding": 1}),
    "depthwise": (40, 40, (3, 3), {"groups": 40, "padding": 1}),
    "depthwise, two filters each": (19, 38, (3, 2), {"groups": 19, "stride": 2}),
    "stride above the kernel": (8, 16, (1, 2), {"stride": (3, 1)}),
    "odd channels": (17, 19, (3, 3), {"padding": 1}),
}
QUICK = ("odd sizes", "small groups", "3×3")
WINOGRAD = {"3×3": (32, 48, (3, 3), {"padding": 1}), "5×5, many channels": (64, 64, (5, 5), {"padding": 2})}


def chain(name: str, seed: int = 5) -> tuple[Graph, dict[str, Array], int]:
    """Build the layer between two others, with all gradients, so that its operands are stored activations."""
    inputs, outputs, kernel, options = {**LAYERS, **WINOGRAD}[name]
    random = np.random.default_rng(seed)
    arrays = {
        "x": random.standard_normal((5, 3, 13, 11)).astype(np.float32),
        "w1": representable(random, (inputs, 3, 1, 1)),
        "w2": representable(random, (outputs, inputs // int(str(options.get("groups", 1))), *kernel)),
        "w3": representable(random, (16, outputs, 1, 1)),
    }
    values: dict[str, Value] = {
        key: Input(key, TensorType(DType.float32, (N, *a.shape[1:]) if key == "x" else a.shape))()
        for key, a in arrays.items()
    }
    h = leaky_relu(conv(values["x"], values["w1"]), 0.1)
    y = leaky_relu(conv(h, values["w2"], **options), 0.1)  # pyright: ignore[reportArgumentType]
    z = max_pool(conv(y, values["w3"]), 2)
    gradients = differentiate(total(z * z), [values[key] for key in ("w1", "w2", "w3")])
    return Graph(values, {"z": z, **{f"d{i}": g for i, g in enumerate(gradients, 1)}}), arrays, 5


def distance(found: Array, expected: Array) -> float:
    """Return the root mean square of the difference, relative to that of the expected values."""
    return float(np.sqrt(np.mean((found.astype("f8") - expected) ** 2) / np.mean(expected.astype("f8") ** 2)))


@needs_instructions
@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in (*LAYERS, *WINOGRAD)]
)
def test_every_direction_computes_what_the_references_do(name: str) -> None:
    """Direct forms and those transformed in float32 differ only by the order of sums, which sometimes changes a
    rounding; tiles of F(2×2, 3×3) are rounded once more. The float32 graph is far outside of both bounds.
    """
    graph, arrays, n = chain(name)
    executable = prepare_compiled(graph, {}, {}, options_for(Precision.bfloat16))
    found = executable.run(arrays, n)
    expected = ReferenceExecutable(rounded_graph(graph, options_for(Precision.bfloat16)), {}, {}).run(arrays, n)
    unrounded = ReferenceExecutable(graph, {}, {}).run(arrays, n)
    bound = 2e-2 if name == "3×3" else 6e-4
    for key, y in expected.items():
        assert distance(found[key], y) <= bound, f"{key}: {distance(found[key], y):.1e}"
        assert name == "3×3" or distance(unrounded[key], y) > 2 * bound
    narrow = [v for v in executable.compiled.plan.in_memory if executable.compiled.layouts.dtype(v) is DType.bfloat16]
    assert narrow or name == "odd channels"


@needs_instructions
@pytest.mark.parametrize("channels", [64, 256])
def test_small_tiles_cost_little_accuracy(channels: int) -> None:
    """Compared with float64, the error of F(2×2, 3×3) is at most twice that of rounding both operands of the direct
    form.
    """
    random = np.random.default_rng(1)
    x = random.standard_normal((2, 4, 12, 12)).astype(np.float32)
    first = representable(random, (channels, 4, 1, 1))
    w = (random.standard_normal((32, channels, 3, 3)) * np.sqrt(2 / 9 / channels)).astype(np.float32)
    values = {key: Input(key, TensorType(DType.float32, a.shape))() for key, a in (("x", x), ("v", first), ("w", w))}
    h = conv(values["x"], values["v"])
    graph = Graph(values, {"y": conv(h, values["w"], padding=1)})
    arrays = {"x": x, "v": first, "w": w}
    exact = Graph(values, {"h": h})
    unrounded = ReferenceExecutable(exact, {}, {}).run(arrays, 2)["h"].astype("f8")
    stages = st.ops.conv  # eagerly, in float64
    judge = np.asarray(stages(unrounded, w.astype("f8"), padding=1))
    direct = np.asarray(stages(round_to_bfloat16(unrounded).astype("f8"), round_to_bfloat16(w).astype("f8"), padding=1))
    executable = prepare_compiled(graph, {}, {}, options_for(Precision.bfloat16))
    assert any(isinstance(p.spec, TileConvolution) and p.spec.operands is DType.bfloat16 for p in executable.phases)
    assert distance(executable.run(arrays, 2)["y"], judge) <= 2 * distance(direct, judge) <= 6e-3


# Steps


def network() -> nn.Sequential:
    body = nn.Sequential(
        nn.Conv2d(16, 32, 3, 2, 1, bias=False), nn.BatchNorm2d(32), nn.LeakyReLU(0.1),
        nn.Conv2d(32, 32, 3, 1, 1, bias=False), nn.BatchNorm2d(32),
    )  # fmt: skip
    shortcut = nn.Sequential(nn.Conv2d(16, 32, 1, 2, bias=False), nn.BatchNorm2d(32))
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.LeakyReLU(0.1), nn.Residual(body, shortcut),
        nn.LeakyReLU(0.1), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(None, 10),
    )  # fmt: skip


def training_step(precision: str = "bfloat16") -> st.TrainingStep:
    return st.TrainingStep(
        network().seed(1), nn.CrossEntropyLoss(), optim.SGD(lr=0.05, momentum=0.9), precision=precision
    )


def batch(samples: int = 24) -> tuple[Array, Array]:
    random = np.random.default_rng(4)
    return random.standard_normal((samples, 3, 16, 16)).astype(np.float32), random.integers(0, 10, samples)


@needs_instructions
def test_watching_changes_no_bit() -> None:
    x, y = batch()
    plain, watched = training_step(), training_step()
    watched.watch("*")
    assert [plain(x, y) for _ in range(3)] == [watched(x, y) for _ in range(3)]
    for name, array in plain.model.state_dict().items():
        np.testing.assert_array_equal(array, watched.model.state_dict()[name])


@needs_instructions
def test_it_learns_as_float32_does_and_keeps_masters_in_float32() -> None:
    x, y = batch()
    narrow, full = training_step(), training_step("float32")
    losses = np.array([(narrow(x, y), full(x, y)) for _ in range(12)])
    assert losses[-1].max() < 0.5 * losses[0].min()
    assert np.abs(losses[:4, 0] / losses[:4, 1] - 1).max() < 0.02
    for array in narrow.model.state_dict().values():
        assert array.dtype in (np.float32, np.int64)
    weight = narrow.model.state_dict()["3.body.0.weight"]
    assert (weight != round_to_bfloat16(weight)).mean() > 0.9


@needs_instructions
def test_nan_reaches_the_loss_and_nothing_is_kept() -> None:
    x, y = batch()
    step = training_step()
    step(x, y)
    before = {name: array.copy() for name, array in step.model.state_dict().items()}
    huge = x.copy()
    huge[3] *= np.float32(3e37)
    with pytest.raises(NonFiniteError):
        step(huge, y)
    for name, array in step.model.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


@needs_instructions
@pytest.mark.parametrize(
    "name", ["resnet20", *(pytest.param(n, marks=pytest.mark.slow) for n in ("vgg_small", "resnet18"))]
)
def test_activations_take_half_the_memory(name: str) -> None:
    """Counts the bytes stored between loops, in blocks of channels, for one sample."""
    model = st.models.build(name).seed(0)
    graph = step_graph(model)
    sizes: dict[Precision, int] = {}
    for precision in Precision:
        compiled = compile_graph(graph, options_for(precision))
        stored = [v for v, group in compiled.plan.in_memory.items() if group >= 0 and v.type.batched]
        kept = {compiled.layouts.base(v) for v in stored}
        blocked = [v for v in kept if v.type.rank == 4]
        sizes[precision] = sum(compiled.layouts.storage(v).bytes_per_sample for v in blocked)
    assert sizes[Precision.bfloat16] <= 0.55 * sizes[Precision.full]


def step_graph(model: nn.Module) -> Graph:
    """Return the graph of the gradients of a training step."""
    step = st.TrainingStep(model, nn.CrossEntropyLoss(), optim.SGD(lr=0.1))
    before = settings.override(engine=settings.Engine.REFERENCE)
    try:
        random = np.random.default_rng(0)
        step.gradients(random.standard_normal((1, 3, 32, 32)).astype(np.float32), [0])
    finally:
        settings.restore(before)
    (compiled,) = step._prepared.programs.values()
    return compiled.graph


@needs_instructions
def test_the_reference_engine_rounds_too(kept_settings: settings.Settings) -> None:
    x, y = batch(6)
    compiled = training_step()
    settings.override(engine=settings.Engine.REFERENCE)
    rounded, full = training_step(), training_step("float32")
    losses = [step(x, y) for step in (rounded, full)]
    assert losses[0] != losses[1]
    settings.override(engine=settings.Engine.COMPILED)
    assert abs(compiled(x, y) / losses[0] - 1) < 5e-3


@needs_instructions
@pytest.mark.slow
def test_a_trainer_takes_it() -> None:
    train_set, held_out = data.load_digits("train"), data.load_digits("test")
    trainer = st.Trainer(
        st.models.lenet5(), nn.CrossEntropyLoss(), optim.SGD(lr=0.05, momentum=0.9), batch_size=32,
        precision="bfloat16", progress=False,
    )  # fmt: skip
    trainer.fit(train_set, epochs=3)
    assert trainer.evaluate(held_out).accuracy > 0.95


# Refusals


def test_processors_without_the_instructions_are_refused(kept_settings: settings.Settings) -> None:
    settings.override(target="x86-64-v3")
    with pytest.raises(EngineError, match=r"avx512_bf16.*x86-64-v3.*\n.*float32"):
        training_step()
    for name, has in (("znver4", True), ("sapphirerapids", True), ("icelake-server", False), ("x86-64-v4", False)):
        assert named(name).has_bfloat16 is has
    with pytest.raises(EngineError, match="neoverse-v1"):
        require_bfloat16(named("neoverse-v1"))


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(OptionError, match="float32, bfloat16"):
        training_step("half")
    with pytest.raises(OptionError, match="float64"):
        st.TrainingStep(network().seed(0).double(), nn.CrossEntropyLoss(), optim.SGD(lr=0.1), precision="bfloat16")


# Machine code


@pytest.mark.parametrize("name", ["16→16", "stride", "3×3"])
def test_hot_loops_multiply_pairs_and_keep_them_in_registers(name: str) -> None:
    """Each product of stored activations is a full-width ``vdpbf16ps`` that reads one factor from memory."""
    options = CompileOptions(named("znver4"), precision=Precision.bfloat16)
    plan = fuse(layout(rounded_graph(chain(name)[0], options), options), options)
    found: set[str] = set()
    for phase in lower(plan, options).phases:
        spec = phase.spec
        paired = isinstance(spec, TapConvolution) and spec.source.dtype is DType.bfloat16
        paired |= isinstance(spec, WeightGradient) and spec.paired
        paired |= isinstance(spec, TileConvolution | WinogradWeightGradient) and spec.operands is DType.bfloat16
        if not paired:
            continue
        found.add(phase.name)
        hot = innermost_loops(jit.disassembly(spec.ir(), named("znver4")), "vdpbf16ps")
        assert hot, phase.name
        for loop in hot:
            products = [line for line in loop if "vdpbf16ps" in line]
            assert all("{1to16}" in line and "%zmm" in line for line in products), phase.name
            assert not [line for line in loop if re.search(r"%[xyz]mm", line) and "(%rsp)" in line], phase.name
            assert not [line for line in loop if "vfmadd" in line], phase.name
        longest = max(sum("vdpbf16ps" in line for line in loop) for loop in hot)
        if isinstance(spec, TapConvolution):
            assert longest >= 64  # eight pairs of channels for many pixels
            assert longest % (BLOCK // 2) == 0
        elif isinstance(spec, WeightGradient):
            assert longest <= spec.accumulators
        else:
            assert longest == (8 * spec.together if isinstance(spec, TileConvolution) else BLOCK)
    assert len(found) >= 3, found
