"""``striate show``: each stage prints a reproducible text that contains what a newcomer needs."""

from __future__ import annotations

import re
from typing import Any, cast

import numpy as np
import pytest

import striate as st
from striate import nn, optim, settings
from striate.codegen import target
from striate.errors import OptionError
from striate.graph.graph import Graph
from striate.graph.value import DType, Value
from striate.models import build
from striate.show import Stage, stage_of, stage_text
from striate.show.running import size_text
from striate.step import batch_type, training_graph


def block() -> nn.Sequential:
    """Build a residual block of 16 channels, as in the benchmark networks."""
    body = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16))
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.Residual(body), nn.LeakyReLU(0.1), nn.Conv2d(16, 8, 1), nn.Flatten(),
        nn.Linear(None, 10),
    )  # fmt: skip


def graph_of(model: nn.Module, shape: tuple[int, ...], with_gradients: bool = True) -> Graph:
    trained = None if with_gradients else ()
    return training_graph(model, nn.CrossEntropyLoss(), batch_type(shape, DType.float32), trained=trained).graph


def page(stage: Stage, samples: int = 128) -> str:
    model = block()
    layers = {path: type(layer).__name__ for path, layer in model.named_modules() if path}
    return stage_text(graph_of(model, (3, 8, 8), stage is not Stage.traced), stage, samples, layers)


@pytest.mark.parametrize("stage", Stage)
def test_the_same_text_every_time(stage: Stage) -> None:
    text = page(stage)
    assert text == page(stage)
    assert text.endswith("\n")
    assert "?" not in text
    assert not re.search(r"0x[0-9a-f]{6}", text), "an address"


@pytest.mark.parametrize("chosen", ["x86-64", "x86-64-v3", "znver4", "sapphirerapids", "generic", "apple-m1"])
@pytest.mark.parametrize("stage", Stage)
def test_any_target_is_shown_on_any_computer(
    stage: Stage, chosen: str, monkeypatch: pytest.MonkeyPatch, kept_settings: settings.Settings
) -> None:
    """Only programs that run must fit the processor; the test pretends that it has no features at all."""
    monkeypatch.setattr(target.llvm, "get_host_cpu_features", dict[str, bool])
    settings.override(target=chosen)
    graph = graph_of(build("lenet5", channels=1, classes=10), (1, 28, 28))
    assert "weight" in stage_text(graph, stage)


@pytest.mark.parametrize("stage", [Stage.fused, Stage.memory, Stage.program])
def test_pages_are_narrow(stage: Stage) -> None:
    assert max(map(len, page(stage).splitlines())) <= 110


def test_normalization_skip_and_activation_share_one_walk() -> None:
    text = page(Stage.fused)
    convolution = next(part for part in text.split("\n\n") if part.startswith("loop") and "1.body.0 Conv2d" in part)
    assert "sums       moments of" in convolution
    end = next(part for part in text.split("\n\n") if "= leaky_relu(" in part)
    for layer in ("BatchNorm2d", "Residual", "LeakyReLU"):
        assert layer in end
    assert "√(variance" in end
    assert text.count("= leaky_relu(") == 1


def test_every_gradient_is_stored_by_some_loop() -> None:
    model = block()
    stored = re.findall(r"stores +(.*(?:\n {15}.*)*)", page(Stage.fused))
    model.infer((3, 8, 8))
    for name, _ in model.named_parameters():
        assert any(f"∂{name} " in text for text in stored), name


def test_frozen_parameters_have_no_gradient() -> None:
    model = block()
    model[0].requires_grad_(False)
    for stage in (Stage.differentiated, Stage.fused, Stage.program):
        text = stage_text(graph_of(model, (3, 8, 8)), stage)
        gradient = "∂{}" if stage is not Stage.differentiated else "gradient of {}"
        assert gradient.format("5.weight") in text
        assert gradient.format("0.weight") not in text


def test_equations_keep_the_order_of_arithmetic() -> None:
    def function(x: Value) -> Value:
        return st.ops.tanh(x - (x - 2.0)) / (x * (3.0 / x)) - (-x)

    model = type("Net", (nn.Module,), {"forward": lambda self, x: function(x)})()
    text = stage_text(graph_of(model, (10,), with_gradients=False), Stage.fused)
    assert "tanh(x − (x − 2)) / (x · (3 / x)) − (−x)" in text


def test_memory_does_not_overlap_and_grows_with_the_batch() -> None:
    rows = re.findall(r"^ *([\d,]+) +([\d.]+ \w+) +(\d+)–(\d+) ", page(Stage.memory), re.MULTILINE)
    units = {"B": 1, "KiB": 1024, "MiB": 1024**2}
    spans = [
        (int(offset.replace(",", "")), float(size.split()[0]) * units[size.split()[1]], int(first), int(last))
        for offset, size, first, last in rows
    ]
    assert len(spans) > 10
    for index, (start, size, first, last) in enumerate(spans):
        for other, other_size, begin, end in spans[index + 1 :]:
            apart = start + size <= other + 0.06 * size or other + other_size <= start + 0.06 * other_size
            assert apart or last < begin or end < first
    assert page(Stage.memory, 16) != page(Stage.memory, 32)


def test_the_memory_shown_is_that_of_the_step() -> None:
    model = block()
    step = st.TrainingStep(model, nn.CrossEntropyLoss(), optim.SGD(lr=0.1), capacity=16)
    step.gradients(np.zeros((16, 3, 8, 8), np.float32), np.zeros(16, np.int64))
    (compiled,) = step._prepared.programs.values()
    executable = cast(Any, compiled.executable)
    assert f"at N = 16: {size_text(executable.program.scratch)}." in page(Stage.memory, 16)
    assert page(Stage.program, 16).startswith(f"{len(executable.program.phases)} phases")


def test_program_counts_passes() -> None:
    text = page(Stage.program)
    assert re.search(r"^in all +\d+ +\d+ +\d+ ", text, re.MULTILINE)
    assert re.search(r"moves \d+\.\d times that", text)
    assert re.search(r"128 chunks \(1 for each sample\)", text)


def test_an_unknown_stage_lists_the_known() -> None:
    with pytest.raises(OptionError, match="did you mean 'fused'") as caught:
        stage_of("fuse")
    for stage in Stage:
        assert stage.value in str(caught.value)
