"""PyTorch's own samples of its operations, through ``st.ops``: values and gradients are PyTorch's, in float64.

Every sample passes or is refused for a reason in a list. They run on the NumPy references: in ``make test`` at most
about thirty of each operation, in ``make test-all`` all of them. ``make test-all`` also compiles the first ones of each
operation. One test runs them all, because importing PyTorch's samples takes seconds.
"""

from __future__ import annotations

from typing import Any

import pytest

from striate import settings
from tests.conformance.torch_exclusions import EXCLUSIONS, TOLERANCES

MANY = 30
"""How many samples of an operation ``make test`` runs, about."""


def _operations() -> Any:
    pytest.importorskip("torch", reason="torch is not installed")
    pytest.importorskip("expecttest", reason="expecttest, which PyTorch's samples need, is not installed")
    return pytest.importorskip("tests.conformance.torch_operations")


def _judged(count: int | None, first: bool = False) -> int:
    """Runs ``count`` samples of each operation, spread over all or the first ones; returns how many passed."""
    torch_operations = _operations()
    failed: list[str] = []
    needed: set[tuple[str, str, str]] = set()
    passed = 0
    for name in torch_operations.ADAPTERS:
        samples = torch_operations.samples(name)
        step = 1 if count is None or first else max(len(samples) // count, 1) // 2 * 2 + 1  # options alternate
        for sample in samples[:count] if first else samples[::step]:
            problem = torch_operations.outcome(name, sample, *TOLERANCES.get(name, (1e-9,))[:1])
            listed = [
                (reason, words, name)
                for reason, refusals in EXCLUSIONS.items()
                for words, names in refusals.items()
                if problem is not None and problem.startswith("refused: ") and words in problem and name in names
            ]
            needed |= set(listed)
            passed += problem is None
            failed += [] if problem is None or listed else [f"{name}: {problem}"]
    assert not failed, "\n".join(failed)
    if not first:
        exclusions = {
            (reason, words, name)
            for reason, refusals in EXCLUSIONS.items()
            for words, names in refusals.items()
            for name in names
        }
        assert not exclusions - needed, "exclusions that nothing needs"
    return passed


def test_samples_pass_or_are_refused_with_a_reason(kept_settings: settings.Settings) -> None:
    settings.override(engine=settings.Engine.REFERENCE)
    assert _judged(MANY) > 1000


@pytest.mark.slow
def test_all_samples_pass_or_are_refused_with_a_reason(kept_settings: settings.Settings) -> None:
    settings.override(engine=settings.Engine.REFERENCE)
    assert _judged(None) > 3500


@pytest.mark.slow
def test_the_first_samples_pass_compiled() -> None:
    assert _judged(2, first=True) > 300


@pytest.mark.parametrize("name", TOLERANCES)
def test_tolerances_are_needed(name: str, kept_settings: settings.Settings) -> None:
    settings.override(engine=settings.Engine.REFERENCE)
    torch_operations = _operations()
    assert any(torch_operations.outcome(name, sample) for sample in torch_operations.samples(name))
