"""Arrays written with non-temporal stores: the same bits, and complete before other threads read them."""

from __future__ import annotations

import numpy as np
import pytest

import striate as st
from striate import nn, optim
from striate.codegen import jit, target
from striate.compiler import CompiledExecutable
from striate.passes import lower
from tests.compiled.networks import residual_block


def _trained() -> tuple[dict[str, np.ndarray], list[str]]:
    """Return the state after three steps, and the text of all kernels."""
    random = np.random.default_rng(0)
    step = st.TrainingStep(residual_block().initialize(0), nn.CrossEntropyLoss(), optim.SGD(lr=0.01, momentum=0.9))
    for n in (8, 5, 8):
        step(random.standard_normal((n, 3, 24, 24)).astype(np.float32), random.integers(0, 10, n))
    (compiled,) = step._prepared.programs.values()
    executable = compiled.executable
    assert isinstance(executable, CompiledExecutable)
    sources = {phase.spec.key: phase.spec for phase in executable.compiled.lowered.phases}
    return step.model.state_dict(), [source.ir() for source in sources.values()]


def test_streaming_changes_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    state, texts = _trained()
    assert not any("!nontemporal" in text for text in texts), "arrays this small stay in the caches"
    monkeypatch.setattr(lower, "STREAMED", 0)
    streamed, texts = _trained()
    streaming = [text for text in texts if "!nontemporal" in text]
    assert streaming
    for name, array in state.items():
        np.testing.assert_array_equal(array, streamed[name], name)
    # The barrier between phases orders usual stores alone.
    assert all("fence seq_cst" in text for text in streaming)


@pytest.mark.skipif("x86" not in target.current().triple, reason="reads x86 instructions")
def test_whole_lines_are_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lower, "STREAMED", 0)
    _, texts = _trained()
    text = next(text for text in texts if "!nontemporal" in text)
    assert "movntps" in jit.disassembly(text, target.current())
