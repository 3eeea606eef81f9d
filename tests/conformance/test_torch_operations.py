"""PyTorch's samples of its operations (``op_db``) through ``st.ops``, in float64: values and gradients agree."""

from __future__ import annotations

from typing import Any

import pytest

from striate import settings
from tests.conformance.torch_refusals import REFUSALS


def _judged(most: int | None) -> int:
    """Run the first ``most`` samples of each operation (None: all); return how many agree.

    If all are run, each reason for a refusal has to be needed.
    """
    pytest.importorskip("torch", reason="PyTorch is not installed")
    torch_samples: Any = pytest.importorskip("tests.conformance.torch_samples")
    parts = [part for some in REFUSALS.values() for part in some]
    used: set[str] = set()
    wrong: list[str] = []
    agreed = 0
    for one in torch_samples.operations():
        for sample in torch_samples.samples(one, most):
            problem = torch_samples.outcome(one, sample)
            if problem is None:
                agreed += 1
                continue
            found = [part for part in parts if part in problem] if problem.startswith("refused: ") else []
            used.update(found)
            if not found and not problem.startswith("refused: PyTorch: "):
                wrong.append(f"{one.name} {one.variant_test_name}: {problem}")
    assert not wrong, "\n".join(wrong)
    if most is None:
        assert set(parts) == used, f"reasons that nothing needs: {set(parts) - used}"
    return agreed


@pytest.mark.slow  # importing the samples alone takes PyTorch many seconds
def test_the_first_samples_agree(kept_settings: settings.Settings) -> None:
    settings.override(engine=settings.Engine.REFERENCE)
    assert _judged(2) > 200


@pytest.mark.slow
def test_all_samples_agree_or_are_refused_with_a_reason(kept_settings: settings.Settings) -> None:
    settings.override(engine=settings.Engine.REFERENCE)
    assert _judged(None) > 5600


@pytest.mark.slow
@pytest.mark.long
def test_all_samples_agree_compiled() -> None:
    assert _judged(None) > 5600
