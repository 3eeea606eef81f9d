"""Activations that are recomputed for a weight gradient: the same bits with less memory."""

from __future__ import annotations

import numpy as np
import pytest

import striate as st
from striate import nn, optim
from striate.compiler import pipeline
from striate.graph.arithmetic import Later
from striate.graph.graph import Graph

DEPTH = 6


def _network(activation: type[nn.Module] = nn.LeakyReLU) -> nn.Module:
    layers: list[nn.Module] = []
    for inputs in (3, *(16,) * (DEPTH - 1)):
        layers += [nn.Conv2d(inputs, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), activation()]
    return nn.Sequential(*layers, nn.GlobalAveragePool(), nn.Flatten(), nn.Linear(16, 10))


def _trained(model: nn.Module) -> tuple[dict[str, np.ndarray], Graph, int]:
    random = np.random.default_rng(0)
    step = st.TrainingStep(model, nn.CrossEntropyLoss(), optim.SGD(lr=0.05, momentum=0.9))
    for _ in range(3):
        step(random.standard_normal((5, 3, 12, 9)).astype(np.float32), random.integers(0, 10, 5))
    (compiled,) = step._prepared.programs.values()
    executable = compiled.executable
    return model.state_dict(), executable.compiled.layouts.graph, executable.scratch_bytes


def test_recomputing_changes_no_bit_and_saves_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    state, graph, scratch = _trained(_network())
    again = [node for node in graph.nodes if isinstance(node.op, Later)]
    # The last layers are needed again too soon to be worth it.
    assert 2 <= len(again) < DEPTH
    monkeypatch.setattr(pipeline, "recompute", lambda graph: graph)
    kept_state, kept_graph, kept_scratch = _trained(_network())
    assert not [node for node in kept_graph.nodes if isinstance(node.op, Later)]
    assert scratch < kept_scratch
    for name, array in state.items():
        np.testing.assert_array_equal(array, kept_state[name], name)


def test_what_the_backward_pass_reads_anyway_is_kept() -> None:
    """The derivative of tanh is 1 − y², so the loop that could recompute y reads it anyway."""
    _, graph, _ = _trained(_network(nn.Tanh))
    assert not [node for node in graph.nodes if isinstance(node.op, Later)]


def _blocks() -> nn.Module:
    """Build residual blocks of one width and a strided layer: some outputs are skip connections, one is not."""
    layers: list[nn.Module] = [nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.LeakyReLU()]
    for _ in range(3):
        body = nn.Sequential(
            nn.Conv2d(16, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.LeakyReLU(),
            nn.Conv2d(16, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16),
        )  # fmt: skip
        layers += [nn.Residual(body), nn.LeakyReLU()]
    for stride in (2, 1, 1, 1, 1, 1):
        layers += [nn.Conv2d(16, 16, 3, stride=stride, padding=1, bias=False), nn.BatchNorm2d(16), nn.LeakyReLU()]
    return nn.Sequential(*layers, nn.GlobalAveragePool(), nn.Flatten(), nn.Linear(16, 10))


def test_outputs_of_blocks_are_computed_again_where_that_reads_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    state, graph, scratch = _trained(_blocks())
    again = {node.path for node in graph.nodes if isinstance(node.op, Later)}
    # The stem's output has one array behind it, the first two blocks' have two and are skips, the last block's is none.
    assert {"2", "8"} <= again
    assert not {"4", "6"} & again
    monkeypatch.setattr(pipeline, "recompute", lambda graph: graph)
    kept_state, _, kept_scratch = _trained(_blocks())
    assert scratch < kept_scratch
    for name, array in state.items():
        np.testing.assert_array_equal(array, kept_state[name], name)
