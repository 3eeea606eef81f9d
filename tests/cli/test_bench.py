"""Test ``striate bench`` through the command line."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from striate import settings
from striate.cli import app, peers
from striate.cli.contest import contest
from striate.models import MODELS, build
from striate.settings import Engine

SMALL = ("first_cnn", "--shape", "1x12x12", "--batch-size", 4, "--repetitions", 2)


@pytest.fixture(scope="module", autouse=True)
def compiled() -> Iterator[None]:
    before = settings.override(engine=Engine.COMPILED)
    yield
    settings.restore(before)


def bench(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["bench", *(str(argument) for argument in arguments)])


def test_a_training_step_in_text() -> None:
    result = bench(*SMALL)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0].startswith("Training step, batch 4")
    assert any(line.startswith("0 Conv2d") for line in lines)
    assert any(line.startswith("total ") for line in lines)
    assert max(map(len, lines)) <= 110
    assert "measuring" in result.stderr


def test_json_and_threads() -> None:
    before = settings.current().threads
    document = json.loads(bench(*SMALL, "--threads", 1, "--predict", "--json").stdout)
    assert document["model"] == "first_cnn"
    assert document["measured"] == "prediction"
    assert document["threads"] == 1
    assert document["shape"] == [1, 12, 12]
    assert {row["pass"] for row in document["rows"]} == {"forward"}
    assert settings.current().threads == before


def test_latency() -> None:
    document = json.loads(bench("first_cnn", "--latency", "--repetitions", 1, "--json").stdout)
    assert document["batch"] == 1
    assert document["median_ms"] <= document["p95_ms"]
    assert bench("first_cnn", "--latency", "--repetitions", 1).stdout.startswith("median ")
    assert json.loads(bench("first_cnn", "--latency", "--batch", 2, "--json").stdout)["batch"] == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["lenet"], "did you mean 'lenet5'"),
        ([*SMALL, "--against", "tensorflow"], "known: torch, onnxruntime"),
        ([*SMALL, "--against", "onnxruntime"], "onnxruntime only predicts"),
        ([*SMALL, "--shape", "big"], "expected channels and sizes"),
    ],
)
def test_what_cannot_be_measured(arguments: list[object], message: str) -> None:
    result = bench(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stdout == ""


def test_the_reference_engine_is_refused(kept_settings: settings.Settings) -> None:
    settings.override(engine=Engine.REFERENCE)
    result = bench(*SMALL)
    assert result.exit_code == 1
    assert "unset STRIATE_ENGINE" in result.stderr


@pytest.mark.parametrize(("peer", "install"), [("torch", "torch"), ("onnxruntime", "onnx onnxruntime")])
def test_an_absent_framework_is_named(monkeypatch: pytest.MonkeyPatch, peer: str, install: str) -> None:
    def absent(name: str) -> ModuleType:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(importlib, "import_module", absent)
    result = bench(*SMALL, "--predict", "--against", peer)
    assert result.exit_code == 2
    assert f"needs the package {peer}" in result.stderr
    assert f"pip install {install}" in result.stderr


@pytest.mark.slow
@pytest.mark.parametrize("extra", [[], ["--predict"]])
def test_against_torch(extra: list[str]) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed")
    document = json.loads(bench(*SMALL, "--threads", 1, "--against", "torch", *extra, "--json").stdout)
    assert list(document["contestants"]) == ["striate", "PyTorch NCHW", "PyTorch channels_last"]
    assert document["first_result_difference"] < 1e-5
    assert document["best_peer"].startswith("PyTorch")
    median = {name: contestant["median_ms"] for name, contestant in document["contestants"].items()}
    assert document["faster_than_best_peer"] == pytest.approx(median[document["best_peer"]] / median["striate"])


@pytest.mark.slow
def test_what_a_comparison_says() -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed")
    output = bench(*SMALL, "--threads", 1, "--against", "torch").stdout
    assert "over striate" in output
    assert "Same weights and data" in output
    assert "eager mode, without torch.compile" in output
    assert "best of the others" in output or "No verdict" in output


TWINS = ("first_cnn", "lenet5", "vgg_small", "resnet20", "resnet18", "mlp", "preact_resnet18", "mobilenet_v2")
"""Networks that are rebuilt for PyTorch; the others join branches by functions, which PyTorch has under other names."""
SOME = [pytest.param(name, marks=[] if name == "lenet5" else pytest.mark.slow) for name in TWINS]


@pytest.mark.parametrize("name", SOME)
def test_torch_twins_predict_the_same(name: str) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed")
    shape = (1, 28, 28) if name in ("lenet5", "first_cnn") else (3, 32, 32)
    model = build(name, channels=shape[0], seed=1).infer(shape)
    x = np.random.default_rng(0).standard_normal((2, *shape), dtype=np.float32)
    wanted = model(x)
    assert name in MODELS
    for predict in peers.torch_predictors(model, 1).values():
        np.testing.assert_allclose(predict(x), wanted, atol=1e-4 * np.abs(wanted).max())


@pytest.mark.parametrize("name", SOME)
def test_onnx_predicts_the_same(name: str) -> None:
    pytest.importorskip("onnx", reason="onnx is not installed")
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    shape = (1, 28, 28) if name in ("lenet5", "first_cnn") else (3, 32, 32)
    model = build(name, channels=shape[0], seed=1).infer(shape)
    x = np.random.default_rng(0).standard_normal((2, *shape), dtype=np.float32)
    wanted = model(x)
    for predict in peers.onnx_predictors(model, shape, 1).values():
        np.testing.assert_allclose(predict(x), wanted, atol=1e-4 * np.abs(wanted).max())


def test_turns_interleave() -> None:
    order: list[str] = []
    found = contest({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 3, 1)
    assert [len(contestant.turns) for contestant in found] == [3, 3]
    assert len({len(turn.seconds) for contestant in found for turn in contestant.turns}) == 1
    blocks = [name for index, name in enumerate(order) if index == 0 or order[index - 1] != name]
    assert len(blocks) >= 6
    assert all(contestant.median <= contestant.p95 for contestant in found)
