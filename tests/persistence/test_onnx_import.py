"""Models from ONNX files, written by striate and by PyTorch's two exporters: they predict, train and save."""

from __future__ import annotations

import copy
import logging
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import striate as st
from striate import nn, optim
from striate.cli import app
from striate.errors import ModelFileError, ShapeError
from striate.persistence.onnx import OnnxModel
from tests.persistence.onnx_bytes import graph, info, model, node, of, tensor

RANDOM = np.random.default_rng(0)


def loaded(path: Path, content: bytes) -> OnnxModel:
    path.write_bytes(content)
    found = st.load(path)
    assert isinstance(found, OnnxModel)
    return found


# PyTorch's exporters


def torch_networks(torch: Any) -> dict[str, tuple[Any, tuple[int, ...]]]:
    """Return networks as people write them in PyTorch, and the shapes of their inputs."""
    tn, functional = torch.nn, torch.nn.functional

    class Block(tn.Module):
        def __init__(self, inputs: int, outputs: int, stride: int) -> None:
            super().__init__()
            self.c1, self.b1 = tn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), tn.BatchNorm2d(outputs)
            self.c2, self.b2 = tn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), tn.BatchNorm2d(outputs)
            self.down = tn.Sequential(tn.Conv2d(inputs, outputs, 1, stride, bias=False), tn.BatchNorm2d(outputs))

        def forward(self, x: Any) -> Any:
            return functional.relu(self.b2(self.c2(functional.relu(self.b1(self.c1(x))))) + self.down(x))

    class Residual(tn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.pool, self.block = tn.Conv2d(3, 8, 7, 2, 3), tn.MaxPool2d(3, 2, 1), Block(8, 12, 2)
            self.mean, self.fc = tn.AdaptiveAvgPool2d(1), tn.Linear(12, 5)

        def forward(self, x: Any) -> Any:
            return self.fc(torch.flatten(self.mean(self.block(self.pool(self.stem(x)))), 1))

    class Shuffled(tn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.depthwise, self.grouped = tn.Conv2d(8, 8, 3, padding=1, groups=8), tn.Conv2d(8, 8, 1, groups=2)

        def forward(self, x: Any) -> Any:
            x = self.grouped(self.depthwise(x))
            n, c, h, w = x.shape
            x = x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
            a, b = x.chunk(2, 1)
            return torch.cat([a * torch.sigmoid(b), b], 1).mean((2, 3))

    class Excited(tn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = tn.Conv2d(3, 8, 3, 2, 1), tn.BatchNorm2d(8)
            self.reduce, self.expand = tn.Conv2d(8, 2, 1), tn.Conv2d(2, 8, 1)

        def forward(self, x: Any) -> Any:
            x = functional.hardswish(self.norm(self.conv(x)))
            gate = self.expand(functional.relu(self.reduce(functional.adaptive_avg_pool2d(x, 1))))
            return functional.relu6(x * functional.hardsigmoid(gate)).flatten(1)

    class Mixed(tn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.dw, self.norm = tn.Conv2d(8, 8, 7, padding=3, groups=8), tn.LayerNorm(8)
            self.a, self.b, self.gamma = tn.Linear(8, 16), tn.Linear(16, 8), tn.Parameter(torch.ones(8) / 2)

        def forward(self, x: Any) -> Any:
            y = self.gamma * self.b(torch.tanh(self.a(self.norm(self.dw(x).permute(0, 2, 3, 1)))))
            return x + y.permute(0, 3, 1, 2)

    class Signal(tn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = tn.Conv1d(2, 6, 9, padding=4), tn.BatchNorm1d(6)
            self.inner, self.group = tn.InstanceNorm1d(6, affine=True), tn.GroupNorm(2, 6)
            self.slope, self.fc = tn.PReLU(6), tn.Linear(6, 3)

        def forward(self, x: Any) -> Any:
            x = functional.silu(self.slope(self.group(self.inner(self.norm(self.conv(x))))))
            return functional.log_softmax(self.fc(x.mean(-1)), -1)

    plain = tn.Sequential(
        tn.Flatten(), tn.Linear(64, 16), tn.Tanh(), tn.Dropout(), tn.Linear(16, 4), tn.Softmax(1)
    )  # fmt: skip
    vgg = tn.Sequential(
        tn.Conv2d(3, 8, 3, padding=1), tn.ReLU(), tn.MaxPool2d(2), tn.Conv2d(8, 8, 3, padding=1), tn.LeakyReLU(0.1),
        tn.AvgPool2d(2, 2, ceil_mode=True, count_include_pad=False), tn.Flatten(), tn.Linear(128, 10),
    )  # fmt: skip
    volume = tn.Sequential(
        tn.Conv3d(1, 4, 3, padding=1, stride=(1, 2, 1)), tn.BatchNorm3d(4), tn.Sigmoid(), tn.AdaptiveMaxPool3d(1),
        tn.Flatten(), tn.Linear(4, 2),
    )  # fmt: skip
    padded = tn.Sequential(
        tn.ReflectionPad2d(1), tn.Conv2d(2, 4, 3, padding=1), tn.ZeroPad2d((1, 2, 0, 1)), tn.PixelShuffle(2)
    )  # fmt: skip
    return {
        "plain": (plain, (1, 8, 8)), "residual": (Residual(), (3, 32, 32)), "shuffled": (Shuffled(), (8, 6, 6)),
        "excited": (Excited(), (3, 16, 16)), "mixed": (Mixed(), (8, 7, 7)), "signal": (Signal(), (2, 50)),
        "vgg": (vgg, (3, 16, 16)), "volume": (volume, (1, 6, 6, 6)), "padded": (padded, (2, 6, 6)),
    }  # fmt: skip


NAMES = ("plain", "residual", "shuffled", "excited", "mixed", "signal", "vgg", "volume", "padded")


def _dynamo(torch: Any, network: Any, x: Any, path: Path) -> None:
    pytest.importorskip("onnxscript", reason="onnxscript is not installed")
    sizes = ({0: torch.export.Dim("n")},)
    torch.onnx.export(network, (x,), path, dynamo=True, dynamic_shapes=sizes, external_data=False, verbose=False)


def _traced(torch: Any, network: Any, x: Any, path: Path) -> None:
    torch.onnx.export(
        network, (x,), path, dynamo=False, input_names=["x"], dynamic_axes={"x": {0: "n"}}, opset_version=17
    )


def _traced_for_one(torch: Any, network: Any, x: Any, path: Path) -> None:
    torch.onnx.export(network, (x[:1],), path, dynamo=False, opset_version=12)


EXPORTERS: dict[str, Callable[[Any, Any, Any, Path], None]] = {
    "dynamo": _dynamo, "traced": _traced, "traced for one sample": _traced_for_one
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "exporter"),
    [
        pytest.param(
            name,
            exporter,
            marks=[] if name == "plain" else [pytest.mark.slow],
        )
        for name in NAMES
        for exporter in EXPORTERS
    ],
)
def test_what_pytorch_exports_predicts_the_same(name: str, exporter: str, tmp_path: Path) -> None:
    torch: Any = pytest.importorskip("torch", reason="PyTorch is not installed")
    pytest.importorskip("onnx", reason="onnx is not installed")
    torch.manual_seed(0)
    network, shape = torch_networks(torch)[name]
    for layer in network.eval().modules():
        if getattr(layer, "running_mean", None) is not None:
            layer.running_mean.normal_()
            layer.running_var.uniform_(0.5, 2)
    x = torch.randn(5, *shape)
    path = tmp_path / "net.onnx"
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exporters warn of each other, and of themselves
            EXPORTERS[exporter](torch, network, x[:2], path)
    finally:
        logging.disable(logging.NOTSET)
    ours = st.load(path)
    with torch.inference_mode():
        expected = network(x).numpy()
    np.testing.assert_allclose(ours(x.numpy()), expected, atol=1e-4 * max(1, np.abs(expected).max()))


# What striate exports


@pytest.mark.parametrize("fold", [False, True])
def test_a_network_comes_back(tmp_path: Path, fold: bool) -> None:
    pytest.importorskip("onnx", reason="onnx is not installed")
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    body = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4, momentum=0.3))
    ours = nn.Sequential({
        "conv": nn.Conv2d(2, 4, 3, padding=(1, 0)), "norm": nn.BatchNorm2d(4), "block": nn.Residual(body),
        "pool": nn.AvgPool2d(2), "flatten": nn.Flatten(), "fc": nn.Linear(None, 3),
    }).initialize(3)  # fmt: skip
    pixels = RANDOM.integers(0, 256, (6, 2, 8, 8), dtype=np.uint8)
    ours.standardizer = st.data.Standardizer.fit(pixels)
    expected = ours(pixels)
    st.export_onnx(ours, tmp_path / "net.onnx", fold=fold, samples=pixels, classes=("a", "b", "c"))
    back = st.load(tmp_path / "net.onnx")
    np.testing.assert_allclose(back(pixels), expected, atol=1e-5)
    assert back.classes == ("a", "b", "c")
    assert back.input_shape == (2, 8, 8)
    if not fold:
        counters = {name for name in ours.state_dict() if name.endswith("num_batches_tracked")}
        assert set(back.state_dict()) == set(ours.state_dict()) - counters
    assert not any(name.startswith("standardizer") for name, _ in back.named_parameters())
    st.save(back, tmp_path / "net.safetensors")
    again = st.load(tmp_path / "net.safetensors")
    np.testing.assert_array_equal(again(pixels), back(pixels))
    for copied in (copy.deepcopy(back), pickle.loads(pickle.dumps(back))):  # noqa: S301  our own
        np.testing.assert_array_equal(copied(pixels), back(pixels))
    assert "OnnxModel(opset 20" in back.summary()


def norm_file(producer: str, momentum: float = 0.9) -> bytes:
    vectors = [
        tensor(name, np.full(3, number, np.float32)) for name, number in (("g", 2), ("b", 1), ("m", 0.5), ("v", 4))
    ]
    made = node("BatchNormalization", ["x", "g", "b", "m", "v"], ["y"], momentum=momentum, epsilon=0.01)
    return model(graph([made], [info("x", ["N", 3])], ["y"], vectors), producer=producer)


@pytest.mark.parametrize(("producer", "unbiased"), [("pytorch", True), ("striate", True), ("tf2onnx", False)])
def test_batch_norm_trains_as_in_the_framework_that_wrote_it(producer: str, unbiased: bool, tmp_path: Path) -> None:
    """PyTorch updates with the unbiased variance, weighted 1 − momentum, Keras and ONNX with the biased one."""
    imported = loaded(tmp_path / "m.onnx", norm_file(producer))
    x = RANDOM.standard_normal((6, 3)).astype(np.float32) * 3 + 1
    np.testing.assert_allclose(imported(x), (x - 0.5) / np.sqrt(4.01) * 2 + 1, rtol=1e-5)
    training = (x - x.mean(0)) / np.sqrt(x.var(0) + 0.01) * 2 + 1
    np.testing.assert_allclose(imported(x, training=True), training, rtol=1e-4, atol=1e-5)
    step = st.TrainingStep(imported, nn.MSELoss(), optim.SGD(lr=0.1))
    step(x, np.zeros((6, 3), np.float32))
    state = imported.state_dict()
    np.testing.assert_allclose(state["m"], 0.9 * 0.5 + 0.1 * x.mean(0), rtol=1e-5)
    np.testing.assert_allclose(state["v"], 0.9 * 4 + 0.1 * x.var(0, ddof=int(unbiased)), rtol=1e-5)
    assert not np.array_equal(state["g"], np.full(3, 2))


def test_momentum_is_exported_as_what_is_kept(tmp_path: Path) -> None:
    onnx: Any = pytest.importorskip("onnx", reason="onnx is not installed")
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    ours = nn.Sequential(nn.BatchNorm1d(3, momentum=0.25), nn.BatchNorm1d(3, momentum=None))
    st.export_onnx(ours, tmp_path / "m.onnx", input_shape=(3,))
    first, second = onnx.load(tmp_path / "m.onnx").graph.node
    assert {one.name: one.f for one in first.attribute}["momentum"] == pytest.approx(0.75)
    assert "momentum" not in {one.name for one in second.attribute}
    x = RANDOM.standard_normal((8, 3)).astype(np.float32)
    back = st.load(tmp_path / "m.onnx")
    for one in (ours, back):
        st.TrainingStep(one, nn.MSELoss(), optim.SGD(lr=0.0))(x, x)
    np.testing.assert_allclose(back.state_dict()["0.running_var"], ours.state_dict()["0.running_var"], rtol=1e-5)


def test_a_file_trains_as_the_network_it_came_from(tmp_path: Path) -> None:
    pytest.importorskip("onnx", reason="onnx is not installed")
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    ours = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 3)
    ).initialize(0)
    st.export_onnx(ours, tmp_path / "m.onnx", input_shape=(1, 8, 8))
    back = st.load(tmp_path / "m.onnx")
    x, y = RANDOM.standard_normal((16, 1, 8, 8)).astype(np.float32), RANDOM.integers(0, 3, 16)
    steps = [st.TrainingStep(one, nn.CrossEntropyLoss(), optim.SGD(lr=0.1, momentum=0.9)) for one in (ours, back)]
    for _ in range(5):
        assert steps[0](x, y) == pytest.approx(steps[1](x, y), rel=1e-4)
    for name, array in back.state_dict().items():
        np.testing.assert_allclose(array, ours.state_dict()[name], rtol=1e-3, atol=1e-5)


def test_a_network_that_keras_wrote_predicts_the_same_and_trains() -> None:
    """Compare with the outputs of Keras 3.15 (TensorFlow 2.21), which wrote the file.

    It has convolutions of images (N, H, W, C), batch normalization, a separable and a transposed convolution, poolings,
    bilinear upsampling, and a softmax.
    """
    imported = st.load(Path(__file__).parent / "keras.onnx")
    x = np.random.default_rng(2).standard_normal((100, 8, 8, 2)).astype(np.float32)
    expected = [
        [0.3460010886, 0.3814927340, 0.2725061774], [0.3510463238, 0.3814333379, 0.2675203383],
        [0.3442659974, 0.3774004579, 0.2783335447], [0.3435361683, 0.3856022060, 0.2708616257],
    ]  # fmt: skip
    np.testing.assert_allclose(imported(x)[:4], expected, atol=1e-6)
    step = st.TrainingStep(imported, lambda p, y: st.ops.nll_loss(st.ops.log(p), y), optim.SGD(lr=0.5))
    losses = [step(x, (x[:, 0, 0, 0] > 0).astype(np.int64)) for _ in range(4)]
    assert losses == sorted(losses, reverse=True)


# Forms of operators that differ between opsets, and computations with shapes

X = RANDOM.standard_normal((4, 3)).astype(np.float32)
FORMS: dict[str, tuple[bytes, np.ndarray]] = {
    "clip of opset 6": (of(node("Clip", ["x"], ["y"], min=-0.5, max=0.5), opset=7), np.clip(X, -0.5, 0.5)),
    "clip above": (of(node("Clip", ["x", "", "c"], ["y"]), tensors=[tensor("c", np.float32(0.2))]), np.minimum(X, 0.2)),
    "softmax of opset 11": (of(node("Softmax", ["x"], ["y"]), opset=11), np.exp(X) / np.exp(X).sum(1, keepdims=True)),
    "squeeze of opset 11": (
        of(node("Unsqueeze", ["x"], ["u"], axes=[1]), node("Squeeze", ["u"], ["y"], axes=[1]), opset=11),
        X,
    ),
    "slice of opset 9": (of(node("Slice", ["x"], ["y"], axes=[1], starts=[-2], ends=[2**31]), opset=9), X[:, -2:]),
    "sum of opset 11": (of(node("ReduceSum", ["x"], ["y"], axes=[-1], keepdims=0), opset=11), X.sum(1)),
    "gemm": (
        of(
            node("Gemm", ["x", "w", "c"], ["y"], alpha=0.5, beta=2.0),
            tensors=[tensor("w", np.eye(3, 2, dtype=np.float32)), tensor("c", np.float32([1, 2]))],
        ),
        X[:, :2] * 0.5 + np.array([2, 4]),
    ),
    "identity, dropout and a cast": (
        of(node("Dropout", ["x"], ["d"]), node("Cast", ["d"], ["e"], to=10), node("Identity", ["e"], ["y"])),
        X,
    ),
    "a reshape by its own shape": (
        of(
            node("Shape", ["x"], ["s"]),
            node("Gather", ["s", "zero"], ["n"]),
            node("Unsqueeze", ["n", "axes"], ["v"]),
            node("Concat", ["v", "rest"], ["t"], axis=0),
            node("Reshape", ["x", "t"], ["y"]),
            tensors=[tensor("zero", np.int64(0)), tensor("axes", np.int64([0])), tensor("rest", np.int64([3, 1]))],
        ),
        X[:, :, None],
    ),
    "half of its width": (
        of(
            node("Shape", ["x"], ["s"]),
            node("Gather", ["s", "one"], ["w"]),
            node("Add", ["w", "one"], ["p"]),
            node("Div", ["p", "two"], ["h"]),
            node("Slice", ["x", "zero", "h", "one"], ["y"]),
            tensors=[tensor("one", np.int64([1])), tensor("two", np.int64([2])), tensor("zero", np.int64([0]))],
        ),
        X[:, :2],
    ),
    "a fixed number of samples": (
        of(node("Reshape", ["x", "t"], ["y"]), tensors=[tensor("t", np.int64([1, 1, 3]))], inputs=[info("x", [1, 3])]),
        X[:, None],
    ),
    "half precision": (
        of(node("Add", ["x", "h"], ["y"]), tensors=[tensor("h", np.float16([0.5, 1, 2]))]),
        X + np.array([0.5, 1, 2]),
    ),
}


def test_dropout_trains_although_the_file_names_a_mask_that_nothing_reads(tmp_path: Path) -> None:
    content = of(node("Dropout", ["x"], ["y", "mask"]), opset=9)
    imported = loaded(tmp_path / "m.onnx", content)
    x = np.ones((64, 3), np.float32)
    assert np.array_equal(imported(x), x)
    assert set(np.unique(imported(x, training=True))) == {0.0, 2.0}


@pytest.mark.parametrize("form", FORMS)
def test_forms_of_operators(form: str, tmp_path: Path) -> None:
    content, expected = FORMS[form]
    imported = loaded(tmp_path / "m.onnx", content)
    np.testing.assert_allclose(imported(X), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(imported(X[:1]), expected[:1], rtol=1e-5, atol=1e-6)


def test_scalars_are_no_parameters_and_vectors_are(tmp_path: Path) -> None:
    scaled = of(
        node("Mul", ["x", "half"], ["a"]), node("Add", ["a", "shift"], ["y"]),
        tensors=[tensor("half", np.float32([0.5])), tensor("shift", np.float32([1, 2, 3]))],
    )  # fmt: skip
    imported = loaded(tmp_path / "m.onnx", scaled)
    assert [name for name, _ in imported.named_parameters()] == ["shift"]


def test_any_size_of_picture(tmp_path: Path) -> None:
    filters = tensor("w", np.ones((2, 1, 3, 3), np.float32))
    nodes = [
        node("Conv", ["x", "w"], ["c"], auto_pad="SAME_UPPER", strides=[2, 2]),
        node("GlobalAveragePool", ["c"], ["y"]),
    ]
    imported = loaded(tmp_path / "m.onnx", model(graph(nodes, [info("x", ["N", 1, "h", "w"])], ["y"], [filters])))
    for height, width in ((6, 6), (9, 7)):
        assert imported(np.ones((2, 1, height, width), np.float32)).shape == (2, 2, 1, 1)
    with pytest.raises(ShapeError, match=r"written for an input x of shape \(N, 1, h, w\)"):
        imported(np.ones((2, 3, 6, 6), np.float32))
    with pytest.raises(ShapeError, match="2 inputs, but the file has 1"):
        imported(np.ones((2, 1, 6, 6), np.float32), np.ones((2, 1, 6, 6), np.float32))


def test_samples_that_would_be_mixed_are_refused(tmp_path: Path) -> None:
    turned = of(node("Transpose", ["x"], ["y"], perm=[1, 0]))
    with pytest.raises(ModelFileError, match=r'Transpose at "transpose1"'):
        loaded(tmp_path / "m.onnx", turned)
    joined = of(node("Reshape", ["x", "t"], ["y"]), tensors=[tensor("t", np.int64([-1]))])
    with pytest.raises(ModelFileError, match="N, the number of samples, must stay axis 0"):
        loaded(tmp_path / "m.onnx", joined)


def test_commands_take_onnx_files(tmp_path: Path) -> None:
    scores = tensor("w", RANDOM.standard_normal((10, 64)).astype(np.float32))
    nodes = [node("Flatten", ["x"], ["f"]), node("Gemm", ["f", "w"], ["y"], transB=1)]
    path = tmp_path / "m.onnx"
    path.write_bytes(model(graph(nodes, [info("x", ["N", 1, 8, 8])], ["y"], [scores])))
    for arguments in (
        ["evaluate", str(path), "digits"], ["show", str(path), "--stage", "traced"],
        ["inspect", str(path), "--out", str(tmp_path / "page.html")],
    ):  # fmt: skip
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 0, result.output
