"""The fuzzer: a short run finds no failure, is reproducible, and does find planted ones."""

from __future__ import annotations

import numpy as np
import pytest

from striate import settings
from striate.codegen import jit
from striate.graph.value import DType
from striate.ops.activation import Tanh
from tests import fuzz_operations
from tests.compiled.cases import forward, samples
from tests.fuzz.judge import WrongResultError


def test_a_short_run_finds_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    status = fuzz_operations.search(seed=11, seconds=120, cases=5)  # `make test-slow` searches for a minute
    shown = capsys.readouterr().out
    assert status == 0, shown
    assert "without a finding" in shown


def test_a_case_of_a_seed_is_always_the_same() -> None:
    first = [fuzz_operations.describe(3, number) for number in range(40)]
    assert first == [fuzz_operations.describe(3, number) for number in range(40)]
    assert len(set(first)) > 30


def test_a_wrong_kernel_is_a_finding(monkeypatch: pytest.MonkeyPatch, kept_settings: settings.Settings) -> None:
    problem = forward(samples("Tanh")[0], DType.float32)
    fuzz_operations.check_kernels(problem, np.random.default_rng(0))
    monkeypatch.setattr(Tanh, "emit", lambda self, k, x: k.mul(x, x))
    monkeypatch.setattr(jit, "kernels", jit.Kernels())
    settings.override(cache=None)
    with pytest.raises(WrongResultError, match="off by"):
        fuzz_operations.check_kernels(problem, np.random.default_rng(0))
