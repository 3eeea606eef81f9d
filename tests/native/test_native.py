"""Native networks: the same bits as the model, from Python and from C, and what is refused."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import striate as st
from striate import nn
from striate.codegen import elf, target
from striate.errors import EngineError, ModelFileError, OptionError, ShapeError
from striate.native.linking import linkers
from striate.native.loaded import loaded_object
from tests.native.conftest import CLASSES, IMAGES, RANDOM, compiled, output_of

ARM = target.is_arm(target.native_triple())


def test_the_same_bits_as_the_model_for_any_batch_and_threads(model: nn.Module, folder: Path) -> None:
    network = st.native.load(folder)
    object_alone = loaded_object((folder / "net.o").read_bytes(), network.description)
    assert object_alone(IMAGES[:3]).tobytes() == network(IMAGES[:3]).tobytes()
    for x in (IMAGES, IMAGES.astype(np.float32) + 0.25):
        for count in (1, 2, 3):
            expected = model(x[:count]).tobytes()
            assert all(network(x[:count], threads=threads).tobytes() == expected for threads in (1, 2))
    np.testing.assert_allclose(network(IMAGES), model(IMAGES), rtol=1e-5)
    assert (network.batch, network.classes, network.input_shape) == (3, CLASSES, (2, 9, 8))
    with pytest.raises(ShapeError, match=r"takes \(N, 2, 9, 8\)"):
        network(IMAGES[:, :1])


def test_the_test_program_passes(folder: Path) -> None:
    program = compiled(folder, "net_test.c", "net.o", options=("-std=c99",))
    lines = output_of([str(program)], folder).splitlines()
    assert lines[-1] == "ok"
    assert [line for line in lines if "two threads" in line] == [
        "one sample, two threads: equal", "all samples, two threads: equal",
    ]  # fmt: skip
    assert "bytes: equal" in lines


def test_any_loop_of_the_caller_and_calls_at_the_same_time(folder: Path) -> None:
    source = Path(__file__).with_name("loops.c")
    program = compiled(folder, str(source), "net.o", options=("-std=c11", "-I."))
    assert output_of([str(program)], folder) == (
        "backwards: 0 0\ncalled: 1\nlazy: 1\nno loop: 0\nat the same time: 0\nunknown: 1 1\n"
    )


def test_the_object_needs_nothing_and_exports_only_its_functions(folder: Path) -> None:
    data = (folder / "net.o").read_bytes()
    elf.require_self_contained(data)
    found = elf.exported_symbols(data)
    assert found
    assert all(name.startswith("net_") for name in found)
    header = (folder / "net.h").read_text()
    assert all(f" {name}(" in header or f"*{name}(" in header for name in found)
    assert header.startswith("/* SPDX-License-Identifier: Apache-2.0")
    assert not {section.name for section in elf.sections(data) if section.flags & 1 and section.size}  # writable


def test_rebuilt_it_is_the_same_byte_for_byte(model: nn.Module, folder: Path, tmp_path: Path) -> None:
    shared = (folder / "net.so").exists()
    found = st.export_native(model, tmp_path, batch=3, samples=IMAGES, shared=shared)
    assert len(found.files) == 4 + shared
    assert all(path.read_bytes() == (folder / path.name).read_bytes() for path in found.files)


def test_softmax_and_labels_inside(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.Flatten(), nn.Linear(None, 3)).initialize(5)
    model.standardizer = st.data.Standardizer.fit(IMAGES)
    model(IMAGES)
    st.export_native(model, tmp_path, batch=5, softmax=True, standardizer=False, name="soft")
    x = RANDOM.standard_normal((5, 2, 9, 8)).astype(np.float32)
    standardizer = st.data.Standardizer.fit(IMAGES)
    shape = (1, 2, 1, 1)
    logits = model((x * standardizer.sigma.reshape(shape) + standardizer.mean.reshape(shape)).astype(np.float32))
    expected = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(st.native.load(tmp_path, "soft")(x), expected, atol=1e-5)
    st.export_native(model, tmp_path, batch=5, labels=True, name="label")
    found = st.native.load(tmp_path, "label")(IMAGES)
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, model(IMAGES).argmax(1))


def test_two_instruction_sets_and_external_weights(tiny: nn.Module, tmp_path: Path) -> None:
    found = st.export_native(tiny, tmp_path, target="x86-64-v4,x86-64-v3,x86-64-v2", weights="external")
    assert found.targets == ("x86-64-v2", "x86-64-v3", "x86-64-v4")
    assert "net.weights" in [path.name for path in found.files]
    if not found.checked:
        return  # a processor of another architecture
    assert found.checked == found.targets[: len(found.checked)]
    network = st.native.load(tmp_path)
    assert network.level == len(found.checked) - 1
    with pytest.raises(OptionError, match="level=3"):
        network.use_level(3)
    program = compiled(tmp_path, "net_test.c", "net.o")
    assert output_of([str(program)], tmp_path).endswith("ok\n")
    moved = (tmp_path / "net.weights").rename(tmp_path / "other")
    assert output_of([str(program), "-w", moved.name], tmp_path).endswith("ok\n")
    (tmp_path / "net.weights").write_bytes(moved.read_bytes()[:8] + b"12345678" + moved.read_bytes()[16:])
    done = subprocess.run([program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, "weights are not those of this network" in done.stdout) == (1, True)
    with pytest.raises(ModelFileError, match=r"net.weights does not belong to the other files"):
        st.native.load(tmp_path)
    assert not (st.export_native(tiny, tmp_path).files[0].parent / "net.weights").exists()


def test_another_architecture_is_written_and_not_loaded(tiny: nn.Module, tmp_path: Path) -> None:
    found = st.export_native(tiny, tmp_path, target="aarch64-generic")
    assert found.targets == ("aarch64",)
    if found.checked:
        return  # this computer has that architecture
    with pytest.raises(EngineError, match="compiled for aarch64, not for this computer"):
        st.native.load(tmp_path)


def test_a_linker_is_tried_only_for_the_targets_that_it_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    here, there = (target.named(cpu) for cpu in (("x86-64", "generic")[:: -1 if ARM else 1]))
    monkeypatch.setattr("striate.native.linking.sys", SimpleNamespace(platform="linux"))
    assert "ld" in linkers(here)
    assert "ld" not in linkers(there)
    monkeypatch.setattr("striate.native.linking.sys", SimpleNamespace(platform="darwin"))  # its ld writes Mach-O alone
    assert "ld" not in linkers(here)


def test_what_is_refused(model: nn.Module, tmp_path: Path) -> None:
    for options, words in (
        ({"target": "i386"}, "unknown target 'i386'"),
        ({"target": "x86-64-v3,x86-64-v3"}, "one instruction set each"),
        ({"target": "x86-64-v3,aarch64-generic"}, "of one architecture"),
        ({"name": "Net"}, "expected a name for C"),
        ({"weights": "none"}, "unknown weights 'none'"),
        ({"batch": 0}, "batch=0"),
    ):
        with pytest.raises(OptionError, match=words):
            st.export_native(model, tmp_path, **options)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ShapeError, match="has not been called"):
        st.export_native(nn.Conv2d(2, 3, 3), tmp_path)
    with pytest.raises(ShapeError, match="samples of shape"):
        st.export_native(model, tmp_path, samples=IMAGES[:, :1])
    with pytest.raises(ModelFileError, match="cannot be loaded"):
        st.native.load(tmp_path / "nowhere")
    (tmp_path / "net.json").write_text(json.dumps([1]))
    with pytest.raises(ModelFileError, match="does not describe"):
        st.native.load(tmp_path)


def test_a_signal_in_float64(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Conv1d(3, 5, 4), nn.GroupNorm(1, 5), nn.Sigmoid(), nn.GlobalAveragePool()).double()
    x = RANDOM.standard_normal((1, 3, 17))
    expected = model(x)
    for name in ("native", "x86-64-v2"):
        found = st.export_native(model, tmp_path, target=name)
        if found.checked:
            np.testing.assert_allclose(st.native.load(tmp_path)(x), expected, rtol=1e-12)
