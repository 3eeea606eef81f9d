"""PyTorch's samples of its operations (``op_db``) through ``st.ops``, in float64: values and gradients agree."""

from __future__ import annotations

from typing import Any

import pytest

from striate import settings
from tests.conformance.torch_refusals import REFUSALS


@pytest.mark.slow
def test_samples_agree_or_are_refused_with_a_reason(kept_settings: settings.Settings) -> None:
    """Uses the NumPy references; ``tests/compiled`` compares each kernel with them."""
    pytest.importorskip("torch", reason="PyTorch is not installed")
    torch_samples: Any = pytest.importorskip("tests.conformance.torch_samples")
    settings.override(engine=settings.Engine.REFERENCE)
    parts = [part for some in REFUSALS.values() for part in some]
    used: set[str] = set()
    wrong: list[str] = []
    agreed = 0
    for one in torch_samples.operations():
        for sample in torch_samples.samples(one):
            problem = torch_samples.outcome(one, sample)
            if problem is None:
                agreed += 1
                continue
            found = [part for part in parts if part in problem] if problem.startswith("refused: ") else []
            used.update(found)
            if not found and "PyTorch" not in problem:
                wrong.append(f"{one.name} {one.variant_test_name}: {problem}")
    assert not wrong, "\n".join(wrong)
    assert agreed > 1500
    assert set(parts) == used, f"reasons that nothing needs: {set(parts) - used}"
