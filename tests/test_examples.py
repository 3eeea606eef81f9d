"""Each example runs and gives the result that it promises."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_digits(capsys: pytest.CaptureFixture[str]) -> None:
    assert example("digits").main(epochs=4) > 0.96
    assert "multiply-adds" in capsys.readouterr().out


def test_skip_connection(capsys: pytest.CaptureFixture[str]) -> None:
    assert example("skip_connection").main(epochs=2) > 0.9
    assert "|∂L/∂block1.conv1.weight|" in capsys.readouterr().out


def test_logistic_regression() -> None:
    assert example("logistic_regression").main(steps=100) > 0.97


def test_standardizer(capsys: pytest.CaptureFixture[str]) -> None:
    raw, standardized = example("standardizer").main(epochs=5)
    assert standardized > 0.95 > raw
    assert "feature 1" in capsys.readouterr().out


def test_every_example_is_tested() -> None:
    names = {path.stem for path in EXAMPLES.glob("*.py")}
    # pytorch_cifar is tested in tests/torch_backend/test_entry_point.py
    assert names == {"digits", "skip_connection", "logistic_regression", "standardizer", "pytorch_cifar"}
