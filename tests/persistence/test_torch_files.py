"""Weights exchanged with PyTorch: both formats of ``torch.save``, safetensors, and Hugging Face folders."""

from __future__ import annotations

import json
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import striate as st
from striate import nn
from striate.errors import ModelFileError, OptionError, ShapeError
from striate.persistence.container import encode
from striate.persistence.torch import read_state


def network() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3))


def torch_network(torch: Any) -> Any:
    torch.manual_seed(0)
    layers = torch.nn
    made = layers.Sequential(
        layers.Conv2d(3, 4, 3), layers.BatchNorm2d(4), layers.ReLU(), layers.Flatten(), layers.Linear(16, 3)
    )
    made[1].running_mean.uniform_()
    made[1].running_var.uniform_(0.5, 2)
    return made.eval()


@pytest.fixture
def torch() -> Any:
    return pytest.importorskip("torch", reason="PyTorch is not installed")


X = np.random.default_rng(0).standard_normal((2, 3, 4, 4)).astype(np.float32)


def outputs(torch: Any, theirs: Any) -> Any:
    with torch.inference_mode():
        return theirs(torch.from_numpy(X)).numpy()


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("form", ["state", "checkpoint", "parallel", "nested", "protocol 4"])
def test_weights_from_torch_give_the_same_outputs(torch: Any, tmp_path: Path, zipped: bool, form: str) -> None:
    theirs = torch_network(torch)
    state: Any = theirs.state_dict()
    options: dict[str, Any] = {}
    match form:
        case "checkpoint":
            state = {"epoch": 3, "lr": 0.1, "optimizer": {"momentum": [torch.zeros(9)]}, "state_dict": state}
        case "parallel":
            state = OrderedDict((f"module.{name}", array) for name, array in state.items())
        case "nested":
            flat, state = state, {}
            for name, tensor in flat.items():
                state.setdefault(name.split(".")[0], {})[name.split(".")[1]] = tensor
            state = {"model": state, "big": 2**70, "none": None, "shape": torch.Size([2, 3]), "flag": True}
        case "protocol 4":
            options = {"pickle_protocol": 4}
        case _:
            pass
    torch.save(state, tmp_path / "w.pth", _use_new_zipfile_serialization=zipped, **options)
    ours = network()
    found = st.load_torch_state(ours, tmp_path / "w.pth")
    assert found == ([], [])
    np.testing.assert_allclose(ours(X), outputs(torch, theirs), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".safetensors"])
def test_torch_reads_what_is_written(torch: Any, tmp_path: Path, suffix: str) -> None:
    ours, theirs = network().initialize(1), torch_network(torch)
    path = tmp_path / f"w{suffix}"
    st.save_torch_state(ours, path)
    if suffix == ".safetensors":
        from safetensors.torch import load_file

        state = load_file(path)
    else:
        state = torch.load(path, weights_only=True)
        assert torch.load(path, weights_only=True, mmap=True).keys() == state.keys()
    theirs.load_state_dict(state)
    np.testing.assert_allclose(ours(X), outputs(torch, theirs), rtol=1e-5, atol=1e-6)
    again = network()
    st.load_torch_state(again, path)
    assert all(np.array_equal(array, ours.state_dict()[name]) for name, array in again.state_dict().items())
    st.save_torch_state(again, tmp_path / f"again{suffix}")
    assert (tmp_path / f"again{suffix}").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("zipped", [True, False])
def test_views_aliases_and_all_types(torch: Any, tmp_path: Path, zipped: bool) -> None:
    base = torch.arange(24.0)
    state = {
        "transposed": base.reshape(4, 6).T, "offset": base[5:9], "stepped": base[::5], "alias": base, "scalar": base[7],
        "empty": torch.zeros(0, 3), "parameter": torch.nn.Parameter(base[:2]), "bf16": torch.tensor([1.5, -2.0**-140])
        .bfloat16(), "half": torch.tensor([1.5, 65504]).half(), "double": torch.tensor([np.pi], dtype=torch.float64),
        "i64": torch.tensor([-(2**62)]), "i32": torch.tensor([-3], dtype=torch.int32),
        "i16": torch.tensor([-3], dtype=torch.int16), "i8": torch.tensor([-3], dtype=torch.int8),
        "u8": torch.tensor([250], dtype=torch.uint8), "flags": torch.tensor([True, False]),
    }  # fmt: skip
    torch.save(state, tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
    found = read_state(tmp_path / "w.pth")
    assert found.keys() == state.keys()
    for name, tensor in state.items():
        expected = tensor.detach().float().numpy() if name == "bf16" else tensor.detach().numpy()
        assert found[name].dtype == expected.dtype, name
        np.testing.assert_array_equal(found[name], expected)
        assert not found[name].flags.writeable or not found[name].size


def test_counters_of_old_files_stay_at_zero(torch: Any, tmp_path: Path) -> None:
    state = torch_network(torch).state_dict()
    del state["1.num_batches_tracked"]
    torch.save(state, tmp_path / "w.pth")
    model = network()
    assert st.load_torch_state(model, tmp_path / "w.pth") == ([], [])
    assert model.state_dict()["1.num_batches_tracked"] == 0


def test_half_precision_becomes_the_dtype_of_the_model(torch: Any, tmp_path: Path) -> None:
    for kind in (torch.float16, torch.bfloat16):
        theirs = torch_network(torch).to(kind)
        torch.save(theirs.state_dict(), tmp_path / "w.pth")
        model = network()
        st.load_torch_state(model, tmp_path / "w.pth")
        np.testing.assert_array_equal(model.state_dict()["0.weight"], theirs[0].weight.detach().float().numpy())
        from safetensors.torch import save_file

        save_file(theirs.state_dict(), tmp_path / "w.safetensors")
        other = network()
        st.load_torch_state(other, tmp_path / "w.safetensors")
        assert np.array_equal(other.state_dict()["0.weight"], model.state_dict()["0.weight"])


def test_what_does_not_fit_is_counted(torch: Any, tmp_path: Path) -> None:
    state = torch_network(torch).state_dict()
    torch.save({**state, "4.weight": torch.zeros(3, 17)}, tmp_path / "w.pth")
    with pytest.raises(ShapeError, match=r"8 of its 9 names matched\n  of another shape \(1\): 4\.weight \(3, 17\)"):
        st.load_torch_state(network(), tmp_path / "w.pth", strict=False)
    torch.save({f"net.{name}": tensor for name, tensor in state.items()}, tmp_path / "w.pth")
    with pytest.raises(ShapeError, match="none of the 9 names"):
        st.load_torch_state(network(), tmp_path / "w.pth", strict=False)


def test_a_whole_model_and_other_objects_are_refused_by_name(torch: Any, tmp_path: Path) -> None:
    for zipped in (True, False):
        torch.save(torch_network(torch), tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
        with pytest.raises(ModelFileError, match=r"'torch\.nn\.modules\.container\.Sequential', which is refused"):
            st.load_torch_state(network(), tmp_path / "w.pth")
    torch.save({"a": {"w": torch.zeros(1)}, "b": {"w": torch.zeros(1)}}, tmp_path / "w.pth")
    with pytest.raises(ModelFileError, match=r"unknown entry 'c'[\s\S]*known: a, b"):
        st.load_torch_state(network(), tmp_path / "w.pth", entry="c")
    torch.save(torch.zeros(3), tmp_path / "w.pth")
    with pytest.raises(ModelFileError, match="it holds a tensor, not a dictionary of tensors"):
        st.load_torch_state(network(), tmp_path / "w.pth")


def test_wrong_arguments(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"unknown suffix '\.npz'"):
        st.save_torch_state(network(), tmp_path / "w.npz")
    with pytest.raises(ModelFileError, match="no such file"):
        st.load_torch_state(network(), tmp_path / "none.pth")
    with pytest.raises(OptionError, match="entry=3"):
        st.load_torch_state(network(), tmp_path / "none.pth", entry=3)  # type: ignore[arg-type]
    (tmp_path / "w.pth").write_bytes(b"hello, world")
    with pytest.raises(ModelFileError, match=r"not a file of torch\.save"):
        st.load_torch_state(network(), tmp_path / "w.pth")


# Folders


def folder(path: Path, **changes: Any) -> Path:
    model = st.models.build("lenet5", channels=1, classes=3, seed=0, activation="relu").infer((1, 28, 28))
    (path / "model.safetensors").write_bytes(encode(model.state_dict(), {"format": "pt"}))
    config = {
        "architecture": "lenet5", "num_classes": 3, "label_names": ["a", "b", "c"],
        "pretrained_cfg": {"input_size": [1, 28, 28], "mean": [0.5], "std": [0.25]}, **changes,
    }  # fmt: skip
    (path / "config.json").write_text(json.dumps(config))
    return path


def test_a_folder_opens_by_path(tmp_path: Path) -> None:
    opened = st.load(folder(tmp_path))
    plain = st.models.build("lenet5", channels=1, classes=3, seed=0, activation="relu")
    pixels = np.random.default_rng(0).integers(0, 256, (2, 1, 28, 28), dtype=np.uint8)
    expected = plain(((pixels / 255 - 0.5) / 0.25).astype(np.float32))
    np.testing.assert_allclose(opened(pixels), expected, rtol=1e-4, atol=1e-5)
    assert opened.classes == ("a", "b", "c")
    assert opened.input_shape == (1, 28, 28)
    st.save(opened, tmp_path / "saved.safetensors")
    assert st.load(tmp_path / "saved.safetensors").classes == ("a", "b", "c")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": "lenet7"}, "unknown architecture 'lenet7'; did you mean 'lenet5'[\\s\\S]*known: .*resnet18"),
        ({"architecture": 3}, "architecture is not a text"),
        ({"num_classes": -1}, "num_classes is -1"),
        ({"num_classes": 4}, "of another shape"),
        ({"label_names": ["a", "b"]}, "2 label_names for 3 classes"),
        ({"model_args": {"depth": 3}}, "unknown option of lenet5 'depth'"),
        ({"pretrained_cfg": {"mean": ["x"], "std": [1]}}, "mean is not a list of numbers"),
    ],
)
def test_folders_that_cannot_be_opened(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelFileError, match=message):
        st.load(folder(tmp_path, **changes))


@pytest.mark.slow
def test_networks_of_torchvision_have_its_stem(tmp_path: Path) -> None:
    published = {"stem": "imagenet", "activation": "relu"}
    model = st.models.build("resnet18", channels=3, classes=4, seed=1, **published).infer((3, 64, 64))
    st.save_torch_state(model, tmp_path / "model.safetensors")
    config = {"architecture": "resnet18.a1_in1k", "num_classes": 4, "pretrained_cfg": {"input_size": [3, 64, 64]}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    opened = st.load(tmp_path)
    assert opened.input_shape == (3, 64, 64)
    for name, array in opened.state_dict().items():
        np.testing.assert_array_equal(array, model.state_dict()[name])


def test_a_folder_without_weights(tmp_path: Path) -> None:
    (folder(tmp_path) / "model.safetensors").unlink()
    with pytest.raises(ModelFileError, match=r"help: model\.safetensors or pytorch_model\.bin"):
        st.load(tmp_path)
