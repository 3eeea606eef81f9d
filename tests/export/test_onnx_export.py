"""Exported ONNX files: their contents, that two other programs agree with them, and what is refused."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import striate as st
from striate import nn
from striate.cli import app
from striate.errors import DTypeError, ModelFileError, OptionError, ShapeError, opened_room

onnx: Any = pytest.importorskip("onnx", reason="onnx is not installed")
onnxruntime: Any = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (5, 2, 8, 9), dtype=np.uint8)


def network() -> nn.Sequential:
    body = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4))
    model = nn.Sequential({
        "conv": nn.Conv2d(2, 4, 3, stride=2, padding=(1, 0), groups=2), "norm": nn.BatchNorm2d(4, eps=0.01),
        "act": nn.LeakyReLU(0.2), "block": nn.Residual(body), "pool": nn.MaxPool2d(2, 1), "tanh": nn.Tanh(),
        "flatten": nn.Flatten(), "fc": nn.Linear(None, 3),
    }).initialize(1)  # fmt: skip
    model.standardizer = st.data.Standardizer.fit(IMAGES)
    model(IMAGES)
    state = model.state_dict()
    for name, array in state.items():
        if name.endswith("running_mean"):
            state[name] = RANDOM.standard_normal(array.shape)
        elif name.endswith(("running_var", "norm.weight", "1.weight")):
            state[name] = RANDOM.uniform(0.5, 2, array.shape)
        elif name.endswith("bias"):
            state[name] = RANDOM.standard_normal(array.shape)
    model.load_state_dict(state)
    return model


def run(path: Path, x: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x.astype(np.float32)})[0]


def operators(path: Path) -> list[str]:
    return [node.op_type for node in onnx.load(path).graph.node]


def test_a_network_with_everything_inside(tmp_path: Path) -> None:
    model, path = network(), tmp_path / "net.onnx"
    found = st.export_onnx(model, path, samples=IMAGES, softmax=True, classes=("a", "b", "c"))
    assert found.difference < 1e-5
    assert str(found).startswith(f"exported {path}: opset 20, ")
    logits = model(IMAGES)
    expected = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    for count in (1, 3, 5):
        np.testing.assert_allclose(run(path, IMAGES[:count]), expected[:count], atol=1e-5)
    file = onnx.load(path)
    assert (file.ir_version, file.opset_import[0].version) == (10, 20)
    assert json.loads({p.key: p.value for p in file.metadata_props}["classes"]) == ["a", "b", "c"]
    assert operators(path) == [
        "Reshape", "Sub", "Reshape", "Div", "Conv", "BatchNormalization", "LeakyRelu", "Conv", "BatchNormalization",
        "Add", "MaxPool", "Tanh", "Reshape", "Gemm", "Softmax",
    ]  # fmt: skip
    names = {array.name for array in file.graph.initializer}
    assert {"conv.weight", "conv.bias", "norm.running_var", "block.body.1.weight", "fc.weight", "fc.bias"} <= names
    dims = file.graph.input[0].type.tensor_type.shape.dim
    assert (dims[0].dim_param, [dim.dim_value for dim in dims[1:]]) == ("N", [2, 8, 9])


def test_folded_and_without_standardizer(tmp_path: Path) -> None:
    model, path = network(), tmp_path / "net.onnx"
    st.export_onnx(model, path, fold=True, standardizer=False)
    assert operators(path) == ["Conv", "LeakyRelu", "Conv", "Add", "MaxPool", "Tanh", "Reshape", "Gemm"]
    fit = model.standardizer
    x = (IMAGES - fit.mean.reshape(1, 2, 1, 1)) / fit.sigma.reshape(1, 2, 1, 1)
    np.testing.assert_allclose(run(path, x), model(IMAGES), atol=1e-5)


def test_a_loaded_model_exports_as_the_saved_one(tmp_path: Path) -> None:
    model = network()
    st.save(model, tmp_path / "net.safetensors", classes=("a", "b", "c"))
    for options in ({}, {"fold": True}, {"standardizer": False}):
        st.export_onnx(model, tmp_path / "one.onnx", classes=("a", "b", "c"), **options)
        st.export_onnx(st.load(tmp_path / "net.safetensors"), tmp_path / "two.onnx", **options)
        one, two = (onnx.load(tmp_path / name).graph for name in ("one.onnx", "two.onnx"))
        assert list(one.initializer) == list(two.initializer)
        assert [(node.op_type, node.input) for node in one.node] == [(node.op_type, node.input) for node in two.node]


class Several(nn.Module):
    """A network with two inputs, two outputs, functions of arrays, and a constant."""

    def __init__(self) -> None:
        self.fc = nn.Linear(3, 3, bias=False)

    def forward(self, x: Any, y: Any) -> Any:
        a = st.ops.exp(self.fc(x)) * np.array([1.0, 2.0, 3.0]) - st.ops.sqrt(abs(y)) / 2
        mean, variance = st.ops.moments(y, 1, keepdims=True)
        return {
            "a": st.ops.maximum(a, 0.5) + variance,
            "b": st.ops.log(st.ops.max(abs(y) + 1, 1, True)) - mean * -x,
            "x": x,
        }


def test_several_inputs_and_outputs(tmp_path: Path) -> None:
    model = Several()
    x, y = RANDOM.standard_normal((2, 4, 3)).astype(np.float32)
    model(x, y)
    found = st.export_onnx(model, tmp_path / "net.onnx", samples=(x, y))
    assert found.difference < 1e-5
    session = onnxruntime.InferenceSession(str(tmp_path / "net.onnx"), providers=["CPUExecutionProvider"])
    assert [one.name for one in session.get_outputs()] == ["out.a", "out.b", "out.x"]


@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize("counted", [False, True])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_poolings(rank: int, ceil_mode: bool, counted: bool, tmp_path: Path) -> None:
    pools = [(nn.MaxPool1d, nn.AvgPool1d), (nn.MaxPool2d, nn.AvgPool2d), (nn.MaxPool3d, nn.AvgPool3d)][rank - 1]
    x = RANDOM.standard_normal((2, 3, *(8, 7, 6)[:rank])).astype(np.float32)
    for layer in (
        pools[0](3, 2, 1, ceil_mode=ceil_mode), pools[0](2, 1, 0, 2), pools[1](3, 2, 1, ceil_mode, counted),
    ):  # fmt: skip
        model = nn.Sequential(layer)
        st.export_onnx(model, tmp_path / "net.onnx", input_shape=x.shape[1:], samples=x)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.AdaptiveMaxPool2d((3, 2)), (4, 7, 8)),
        (nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1, groups=2, dilation=2), (4, 5, 6)),
        (nn.BatchNorm2d(4, bias=False), (4, 3, 5)),
    ],
)
def test_layers_without_an_operator_of_their_own(layer: nn.Module, shape: tuple[int, ...], tmp_path: Path) -> None:
    model, x = nn.Sequential(layer), RANDOM.standard_normal((5, *shape)).astype(np.float32)
    assert st.export_onnx(model, tmp_path / "net.onnx", input_shape=shape, samples=x).difference < 1e-5
    np.testing.assert_allclose(st.load(tmp_path / "net.onnx")(x), model(x), atol=1e-5)


def test_what_cannot_be_exported(tmp_path: Path) -> None:
    model = network()
    for call, error, message in (
        (lambda: st.export_onnx(model, tmp_path / "net.pt"), OptionError, r"ends with \.onnx"),
        (lambda: st.export_onnx(copy.deepcopy(model).double(), tmp_path / "n.onnx"), DTypeError, "float32 only"),
        (lambda: opened_room("export").onnx_bytes(copy.deepcopy(model).double()), DTypeError, "float32 only"),
        (lambda: st.export_onnx(nn.ReLU(), tmp_path / "n.onnx", standardizer="no"), OptionError, "standardizer='no'"),
        (lambda: st.export_onnx(model, tmp_path / "n.onnx", samples=IMAGES[:, :1]), ShapeError, "samples of shape"),
        (lambda: st.export_onnx(model, tmp_path / "n.onnx", samples=[IMAGES] * 2), ShapeError, "2 arrays for a model"),
        (lambda: st.export_onnx(nn.Linear(2, 2), tmp_path / "n.onnx"), ShapeError, "has not been called"),
        (lambda: st.export_onnx(model, tmp_path / "none" / "n.onnx"), ModelFileError, "cannot be written"),
    ):  # fmt: skip
        with pytest.raises(error, match=message):
            call()
    assert not list(tmp_path.iterdir())


def test_a_file_that_disagrees_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from striate.ops.activation import Tanh

    monkeypatch.setattr(Tanh, "onnx_operator", "Atan")
    with pytest.raises(ModelFileError, match="not exported: onnxruntime differs by"):
        st.export_onnx(network(), tmp_path / "net.onnx")
    monkeypatch.setattr(Tanh, "onnx_operator", "Tansh")
    with pytest.raises(ModelFileError, match="not exported: ONNX's checker refuses it"):
        st.export_onnx(network(), tmp_path / "net.onnx")
    monkeypatch.setattr(Tanh, "onnx_operator", "")
    with pytest.raises(OptionError, match='tanh at "tanh" has no ONNX form\n  help: define the method onnx'):
        st.export_onnx(network(), tmp_path / "net.onnx")
    assert not list(tmp_path.iterdir())


def test_the_command(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    st.save(model, tmp_path / "m.safetensors", input_shape=(1, 8, 8))
    target = tmp_path / "m.onnx"
    arguments = ["export", str(tmp_path / "m.safetensors"), "--onnx", str(target)]
    result = CliRunner().invoke(app, [*arguments, "--data", "digits", "--samples", "7"])
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith(f"exported {target}: opset 20, 2 operators; largest difference over 7 samples")
    result = CliRunner().invoke(app, [*arguments, "--json"])
    assert set(json.loads(result.stdout)["differences"]) == {"onnxruntime", "reference"}
    assert "checked on random ones" in result.stderr
    assert CliRunner().invoke(app, [*arguments, "--data", "nowhere"]).exit_code == 2
    assert CliRunner().invoke(app, [*arguments[:3], str(tmp_path / "m.txt")]).exit_code == 2
