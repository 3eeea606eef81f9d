"""Saved and loaded models: the same predictions and names, without source code."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from safetensors.numpy import load_file

import striate as st
from striate import nn
from striate.data import Standardizer
from striate.errors import ModelFileError, OptionError, ShapeError
from striate.graph.elementwise import Elementwise
from striate.graph.op import registry
from striate.graph.value import DType, TensorType
from striate.models import MODELS, build
from striate.persistence import load, save, write_atomically
from striate.persistence.container import encode
from striate.persistence.document import graph_document
from tests.data.layouts import LAYOUTS


def test_a_folder_is_opened_and_a_file_of_pytorch_is_not(tmp_path: Path) -> None:
    model = net()
    model(pictures())
    save(model, tmp_path / "model.safetensors")
    assert load(tmp_path).classes == model.classes
    with pytest.raises(ModelFileError, match=r"a folder without model\.safetensors"):
        load(tmp_path.parent)
    st.save_torch_state(model, tmp_path / "weights.pth")
    with pytest.raises(ModelFileError, match=r"help: build .* st.load_torch_state\(model, '.*weights.pth'\)"):
        load(tmp_path / "weights.pth")
    with pytest.raises(ModelFileError, match=r"help: give a file that torch\.save or safetensors wrote"):
        st.load_torch_state(model, tmp_path / "none.pth")
    with pytest.raises(OptionError, match=r"or st.save_torch_state\(model, "):
        save(model, tmp_path / "model.pth")
    with pytest.raises(ShapeError, match=r"help: give \(N, 2, 6, 4\), or train"):
        load(tmp_path)(np.zeros((1, 2, 8, 8), np.float32))


def net() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.LeakyReLU(0.1), nn.MaxPool2d(2),
        nn.Residual(nn.Conv2d(4, 4, 3, padding="same")), nn.Flatten(), nn.Dropout(0.5), nn.Linear(None, 3),
    )  # fmt: skip


def pictures(n: int = 5) -> Any:
    return np.random.default_rng(0).integers(0, 256, (n, 2, 6, 4), dtype=np.uint8)


def test_a_loaded_model_predicts_the_same_bits(tmp_path: Path) -> None:
    model, x = net(), pictures()
    model.standardizer = Standardizer.fit(x)
    expected = model(x)
    save(model, tmp_path / "m.safetensors", classes=["a", "b", "c"])
    loaded = load(tmp_path / "m.safetensors")
    np.testing.assert_array_equal(loaded(x), expected)
    np.testing.assert_array_equal(loaded(x[:2].astype(np.float32)), expected[:2])
    assert loaded.classes == ("a", "b", "c")
    assert loaded.input_shape == (2, 6, 4)
    assert loaded.standardizer is not None
    np.testing.assert_array_equal(loaded.standardizer.mean, model.standardizer.mean)


def test_the_file_holds_pytorchs_names_and_rows_in_order(tmp_path: Path) -> None:
    model = net()
    model(pictures())
    save(model, tmp_path / "m.safetensors")
    plain = load_file(tmp_path / "m.safetensors")
    state = model.state_dict()
    assert plain.keys() == state.keys()
    assert {"0.weight", "0.bias", "1.running_mean", "1.num_batches_tracked", "7.weight"} <= plain.keys()
    for name, array in state.items():
        np.testing.assert_array_equal(plain[name], array)
    assert list(load(tmp_path / "m.safetensors").state_dict()) == list(state)


def test_a_transposed_array_is_stored_as_it_reads(tmp_path: Path) -> None:
    weights = np.arange(12, dtype=np.float32).reshape(3, 4).T
    model = nn.Sequential(nn.Linear(3, 4))
    model.load_state_dict({"0.weight": weights, "0.bias": np.zeros(4, np.float32)})
    save(model, tmp_path / "m.safetensors", input_shape=(3,))
    np.testing.assert_array_equal(load(tmp_path / "m.safetensors").state_dict()["0.weight"], weights)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name in ("lenet5", "resnet20") else [pytest.mark.slow, pytest.mark.long])
        for name in MODELS
    ],
)
def test_named_networks_come_back(name: str, tmp_path: Path) -> None:
    shape = {"fcn": (1, 50), "resnet1d": (1, 50), "inception_time": (1, 50), "resnet18_3d": (1, 8, 8, 8)}.get(
        name, (1, 8, 8) if name in ("lenet5", "resnet20") else (1, 32, 32)
    )
    model = build(name, channels=1, classes=10, seed=3)
    save(model, tmp_path / "m.safetensors", input_shape=shape)
    x = np.random.default_rng(1).standard_normal((2, *shape), dtype=np.float32)
    np.testing.assert_array_equal(load(tmp_path / "m.safetensors")(x), model(x))


def test_float64_arrays_closed_over_and_several_outputs(tmp_path: Path) -> None:
    mask = np.array([[1.0, 0.0, 2.0]])

    class Own(nn.Module):
        def __init__(self) -> None:
            self.fc = nn.Linear(3, 2)

        def forward(self, x: Any) -> Any:
            return {"twice": x * 2.0, "scores": self.fc(x * mask)}

    model = Own().double()
    x = np.random.default_rng(0).standard_normal((4, 3))
    save(model, tmp_path / "m.safetensors", input_shape=(3,))
    loaded = load(tmp_path / "m.safetensors")
    np.testing.assert_array_equal(loaded(x)["scores"], model(x)["scores"])
    np.testing.assert_array_equal(loaded(x)["twice"], 2 * x)


def test_a_loaded_model_is_saved_again_and_is_part_of_other_models(tmp_path: Path) -> None:
    model, x = net(), pictures()
    expected = model(x)
    save(model, tmp_path / "a.safetensors", classes=["a", "b", "c"])
    save(load(tmp_path / "a.safetensors"), tmp_path / "b.safetensors")
    again = load(tmp_path / "b.safetensors")
    np.testing.assert_array_equal(again(x), expected)
    assert again.classes == ("a", "b", "c")
    inside = nn.Sequential(again, nn.ReLU())
    np.testing.assert_array_equal(inside(x.astype(np.float32)), np.maximum(expected, 0))


def test_another_shape_than_the_saved_one_is_explained(tmp_path: Path) -> None:
    model = net()
    model(pictures())
    save(model, tmp_path / "m.safetensors")
    with pytest.raises(ShapeError, match=r"saved for inputs f32 \(N, 2, 6, 4\), not .* \(N, 2, 8, 8\)"):
        load(tmp_path / "m.safetensors")(np.zeros((1, 2, 8, 8), np.float32))


def test_a_model_that_was_never_called_needs_a_shape(tmp_path: Path) -> None:
    with pytest.raises(ShapeError, match="input_shape="):
        save(net(), tmp_path / "m.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_saving_replaces_in_one_step_and_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")
    path.chmod(0o640)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(ModelFileError, match="No space left"):
        write_atomically(path, b"new")
    monkeypatch.undo()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="nowhere"):
        save(nn.Sequential(nn.Linear(2, 2)), tmp_path / "nowhere" / "m.safetensors", input_shape=(2,))


@pytest.mark.parametrize(
    ("path", "message"),
    [(None, "path=None; expected a path"), (3, "path=3"), (["a"], "path="), ("", "path=''"), (True, "path=True")],
)
def test_what_is_not_a_path(path: Any, message: str) -> None:
    model = net()
    model(pictures())
    with pytest.raises(OptionError, match=message):
        save(model, path)
    with pytest.raises(OptionError, match=message):
        load(path)


@pytest.mark.parametrize("path", [".", "a\0b"])
def test_paths_that_no_file_can_have(path: str) -> None:
    model = net()
    model(pictures())
    with pytest.raises(ModelFileError):
        save(model, path)
    with pytest.raises(ModelFileError):
        load(path)


@pytest.mark.parametrize("model", [None, [], "lenet5", nn.Linear])
def test_what_is_not_a_model(model: Any, tmp_path: Path) -> None:
    with pytest.raises(
        OptionError, match=r"expected a Module\n  help: (the model comes first; )?give an object, such as nn"
    ):
        save(model, tmp_path / "m.safetensors")


@pytest.mark.parametrize("shape", ["2,6,4", 5, (2, -6, 4), (2, 6.0, 4), (2, None, 4)])
def test_what_is_not_the_shape_of_a_sample(shape: Any, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="input_shape"):
        save(net(), tmp_path / "m.safetensors", input_shape=shape)


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (["a"], "1 class for a model of 3 outputs\n  help: one name for each output, or classes"),
        (list("abcd"), "4 classes for a model of 3 outputs"),
        ("abc", "expected a list of names"),
        (3, "expected a list of names"),
        (["a", "b", "a"], "two classes are named 'a'"),
        (["a", "b", "c" * 1001], "names of up to 1000 characters"),
        (["a", "b", "\ud800"], "characters of Unicode"),
    ],
)
def test_classes_are_names_of_the_outputs(classes: Any, message: str, tmp_path: Path) -> None:
    model = net()
    model(pictures())
    with pytest.raises(OptionError, match=message):
        save(model, tmp_path / "m.safetensors", classes=classes)
    assert not list(tmp_path.iterdir())
    save(model, tmp_path / "m.safetensors", classes=np.array([7, 8, 9]))  # type: ignore[arg-type]
    assert load(tmp_path / "m.safetensors").classes == ("7", "8", "9")
    save(model, tmp_path / "m.safetensors", classes=())
    assert load(tmp_path / "m.safetensors").classes == ()


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.uint8])
def test_tensors_of_any_layout_are_written_in_order(layout: str, dtype: type) -> None:
    array = np.random.default_rng(0).integers(0, 200, (2, 3, 4)).astype(dtype)
    scalar = np.array(3.0, ">f4")
    written = safetensors.numpy.load(encode({"a": LAYOUTS[layout](array), "b": scalar}, {}))
    np.testing.assert_array_equal(written["a"], array)
    assert written["a"].shape == array.shape
    assert written["b"] == 3
    assert written["b"].shape == ()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_file_predicts_as_the_model_that_closed_over_an_array(layout: str, tmp_path: Path) -> None:
    constant = np.random.default_rng(0).standard_normal((2, 6, 4)).astype(np.float32)
    given = LAYOUTS[layout](constant)

    class Scaled(nn.Module):
        def forward(self, x: Any) -> Any:
            return x * given

    model, x = Scaled(), pictures().astype(np.float32)
    np.testing.assert_array_equal(model(x), x * constant)
    save(model, tmp_path / "m.safetensors")
    np.testing.assert_array_equal(load(tmp_path / "m.safetensors")(x), x * constant)


def test_an_unregistered_operation_cannot_be_saved(tmp_path: Path) -> None:
    @dataclass(frozen=True)
    class Homemade(Elementwise):
        """y = 2x"""

        def reference(self, x: Any) -> Any:
            return 2 * x

    class Own(nn.Module):
        def forward(self, x: Any) -> Any:
            return Homemade()(x)

    with pytest.raises(ModelFileError, match=r"Homemade.*\n.*@register"):
        save(Own(), tmp_path / "m.safetensors", input_shape=(2,))


def test_every_registered_operation_survives_the_document() -> None:
    """Each sample of each operation is written as a graph, read, and equal field by field."""
    from striate.graph.graph import Graph, Input
    from striate.graph.op import Node
    from striate.persistence.document import graph_from_document

    random = np.random.default_rng(0)
    for name, cls in registry().items():
        if cls.__module__.split(".")[0] != "striate":
            continue
        for sample in cls.samples(random):
            inputs = {
                f"x{i}": Input(f"x{i}", TensorType(DType[array.dtype.name], array.shape))()
                for i, array in enumerate(np.asarray(array) for array in sample.arrays)
            }
            node = Node(sample.op, tuple(inputs.values()), "here")
            graph = Graph(inputs, {f"y{i}": value for i, value in enumerate(node.outputs)})
            document = json.loads(json.dumps(graph_document(graph), allow_nan=False))
            back = graph_from_document(document, {}, name)
            assert next(iter(back.outputs.values())).node.op == sample.op


def test_saving_follows_links_and_spares_devices(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(2, 2))
    target, link, pipe = tmp_path / "a.safetensors", tmp_path / "latest.safetensors", tmp_path / "pipe"
    link.symlink_to(target)
    st.save(model, link, input_shape=(2,))
    assert link.is_symlink()
    assert target.is_file()
    os.mkfifo(pipe)
    with pytest.raises(ModelFileError, match="a device or pipe"):
        st.save(model, pipe, input_shape=(2,))
    with pytest.raises(ModelFileError, match="cannot be written"):
        st.save(model, tmp_path / ("a" * 300), input_shape=(2,))
