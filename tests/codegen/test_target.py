from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

import striate as st
from striate import settings
from striate.codegen import target
from striate.codegen.probe import Probe
from striate.errors import EngineError, OptionError

ARM = target.host().triple.startswith(("aarch64", "arm64"))


@pytest.fixture(autouse=True)
def _restore() -> Iterator[None]:
    before = settings.current()
    yield
    settings.restore(before)


def test_the_host_has_a_vector_width_and_caches() -> None:
    here = target.host()
    assert (here.lanes, here.vector_registers) in {(16, 32), (8, 16), (4, 16), (4, 32)}
    assert 16 * 1024 <= here.l1 < here.l2
    assert here.triple
    assert here is target.host()


@pytest.mark.parametrize(
    ("cpu", "lanes", "registers"),
    [("x86-64-v3", 8, 16), ("x86-64-v4", 16, 32), ("x86-64", 4, 16), ("generic", 4, 32), ("apple-m1", 4, 32)],
)
def test_named_targets(cpu: str, lanes: int, registers: int) -> None:
    named = target.named(cpu)
    assert (named.cpu, named.lanes, named.vector_registers) == (cpu, lanes, registers)
    assert named == target.named(cpu)
    assert named.triple.startswith("x86_64" if cpu.startswith("x86") else ("aarch64", "arm64"))


def test_the_preference_for_narrow_vectors_is_switched_off_for_512_bits_alone() -> None:
    assert "-prefer-256-bit" in target.named("x86-64-v4").machine_features
    assert target.named("x86-64-v3").machine_features == ""


def test_different_targets_have_different_keys() -> None:
    keys = {target.named(cpu).key for cpu in ("x86-64-v3", "x86-64-v4", "generic", "apple-m1")} | {target.host().key}
    assert len(keys) == 5


def test_an_unknown_target_lists_the_known_ones() -> None:
    with pytest.raises(OptionError, match=r"did you mean 'x86-64-v3'"):
        target.named("x86_64-v3")


def test_the_settings_choose() -> None:
    settings.override(target="host")
    assert target.current() is target.host()
    name = "generic" if ARM else "x86-64"
    settings.override(target=name)
    assert target.current() == target.named(name)


def test_code_that_this_computer_cannot_run_is_refused_where_it_would_run() -> None:
    foreign = "x86-64-v3" if ARM else "apple-m1"
    settings.override(target=foreign)
    assert target.current() == target.named(foreign)
    with pytest.raises(EngineError, match="STRIATE_ENGINE=reference"):
        st.compile(st.ops.tanh)(np.zeros((2, 3), np.float32))
    with pytest.raises(EngineError, match=f"STRIATE_TARGET={foreign} cannot run on this computer"):
        Probe(threads=1)


@pytest.mark.skipif(ARM, reason="features are those of x86-64")
def test_a_missing_feature_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(target.llvm, "get_host_cpu_features", lambda: {"avx2": True, "fma": True, "bmi2": True})
    target.assert_runs_here(target.named("x86-64-v3"))
    with pytest.raises(EngineError, match="it lacks avx512f"):
        target.assert_runs_here(target.named("x86-64-v4"))
    with pytest.raises(EngineError, match="avx512bf16"):
        target.assert_runs_here(target.named("sapphirerapids"))
    # A virtual machine that hides AVX-512 from an AVX-512 processor leaves 8 lanes.
    target.host.cache_clear()
    try:
        monkeypatch.setattr(target.llvm, "get_host_cpu_name", lambda: "znver5")
        hidden = target.llvm.get_host_cpu_features()
        monkeypatch.setattr(target.llvm, "get_host_cpu_features", lambda: _Features(hidden))
        assert (target.host().lanes, target.host().vector_registers) == (8, 16)
    finally:
        target.host.cache_clear()


class _Features(dict[str, bool]):
    def flatten(self) -> str:
        return ",".join(f"+{name}" for name in self)
