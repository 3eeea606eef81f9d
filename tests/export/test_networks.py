"""Each named network is exported to ONNX; onnxruntime and the re-imported model agree with it on 100 inputs."""

from __future__ import annotations

import inspect
from pathlib import Path

import numpy as np
import pytest

import striate as st
from striate.models import MODELS

pytest.importorskip("onnx", reason="onnx is not installed")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

QUICK = ("lenet5",)


def _trained_looking(model: st.nn.Module, random: np.random.Generator) -> None:
    """Set statistics, scales and shifts to random values other than 0 and 1, as after a training."""
    state = model.state_dict()
    for name, array in state.items():
        if name.endswith("running_var"):
            state[name] = random.uniform(0.5, 2, array.shape)
        elif name.endswith(("running_mean", "bias")):
            state[name] = 0.1 * random.standard_normal(array.shape)
    model.load_state_dict(state)


SHAPES: dict[str, tuple[int, ...]] = {
    "lenet5": (1, 28, 28), "first_cnn": (1, 28, 28), "mlp": (1, 28, 28), "fcn": (2, 64), "resnet1d": (2, 64),
    "inception_time": (2, 64), "resnet18_3d": (1, 16, 16, 16),
}  # fmt: skip
"""The shapes of samples that are not (3, 32, 32)."""


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[] if n in QUICK else [pytest.mark.slow, pytest.mark.long]) for n in MODELS]
)
def test_a_network_goes_to_onnx_and_comes_back(name: str, tmp_path: Path) -> None:
    shape = SHAPES.get(name, (3, 32, 32))
    channels = "channels" in inspect.signature(MODELS[name]).parameters
    model = st.models.build(name, seed=0, channels=shape[0] if channels else None)
    random = np.random.default_rng(0)
    x = random.standard_normal((100, *shape)).astype(np.float32)
    model.infer(shape)
    _trained_looking(model, random)
    expected = model(x)
    found = st.export_onnx(model, tmp_path / "net.onnx", samples=x)
    scale = max(1.0, float(np.abs(expected).max()))
    assert found.samples == 100
    assert found.difference < 1e-4 * scale
    back = st.load(tmp_path / "net.onnx")
    np.testing.assert_allclose(back(x), expected, atol=1e-4 * scale)
