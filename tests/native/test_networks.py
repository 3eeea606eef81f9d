"""Five networks as native objects: 100 samples equal to the model's, bit for bit, in C with one thread and two.

And what other programs say of them: valgrind, nm, and an emulator of another architecture.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import striate as st
from striate import nn, settings
from striate.codegen import target as targets
from tests.native.conftest import compiled, output_of

CHECKOUT = Path(__file__).parents[2]
NETWORKS = {
    "lenet5": (lambda: st.models.lenet5(), (1, 28, 28)),
    "vgg_small": (lambda: st.models.vgg_small(), (3, 32, 32)),
    "resnet20": (lambda: st.models.resnet20(), (3, 32, 32)),
    "mobilenet_v2": (lambda: st.models.mobilenet_v2(multiplier=0.5), (3, 32, 32)),
    "resnet1d": (lambda: st.models.resnet1d(channels=3, width=32), (3, 96)),
}
LARGEST_CODE = {"lenet5": 100_000}
"""Bytes of code and tables, without weights."""


def network(name: str, count: int) -> tuple[nn.Module, np.ndarray]:
    """Return a network with running statistics that normalize, and random samples for it."""
    build, shape = NETWORKS[name]
    model = build().initialize(3)
    x = np.random.default_rng(1).standard_normal((count, *shape)).astype(np.float32)
    model(x[:2])
    state = model.state_dict()
    random = np.random.default_rng(2)
    for key, array in state.items():
        if key.endswith("running_var"):
            state[key] = random.uniform(0.5, 2, array.shape).astype(np.float32)
        elif key.endswith(("running_mean", "bias")):
            state[key] = (0.1 * random.standard_normal(array.shape)).astype(np.float32)
    model.load_state_dict(state)
    return model, x


def ran(folder: Path, program: list[str], x: np.ndarray, outputs: int, threads: int) -> np.ndarray:
    """Run the test program on a file of samples and return its outputs."""
    (folder / "in").write_bytes(x.tobytes())
    output_of([*program, "in", "out", str(threads)], folder)
    return np.fromfile(folder / "out", np.float32).reshape(len(x), outputs)


@pytest.mark.slow
@pytest.mark.parametrize("batch", [1, 7])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_hundred_samples_have_the_same_bits(name: str, batch: int, tmp_path: Path) -> None:
    model, x = network(name, 100)
    found = st.export_native(model, tmp_path, batch=batch)
    assert found.checked
    assert found.code_bytes <= LARGEST_CODE.get(name, 2_000_000)
    program = compiled(tmp_path, "net_test.c", "net.o", options=("-std=c99",))
    assert output_of([str(program)], tmp_path).endswith("\nok\n")
    expected = np.concatenate([model(x[i : i + batch]) for i in range(0, 100, batch)])
    for threads in (1, 2):
        np.testing.assert_array_equal(ran(tmp_path, [str(program)], x, expected.shape[1], threads), expected)


@pytest.mark.slow
@pytest.mark.parametrize("target", ["x86-64-v2", "x86-64-v3"])
def test_the_same_bits_as_the_model_on_a_processor_of_the_target(target: str, tmp_path: Path) -> None:
    if not targets.runs_here(targets.named(target)):
        pytest.skip(f"this computer lacks {target}")
    x = np.random.default_rng(1).standard_normal((3, 17, 9, 8)).astype(np.float32)

    def build() -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(17, 18, 3), nn.GroupNorm(3, 18), nn.GELU(), nn.Conv2d(18, 5, 3), nn.Sigmoid(), nn.Softmax2d()
        ).initialize(6)  # fmt: skip

    before = settings.override(target=target)
    try:
        model = build()
        expected = [model(x[:count]) for count in (1, 2, 3)]
    finally:
        settings.restore(before)
    st.export_native(build(), tmp_path, batch=3, target=target, input_shape=x.shape[1:])
    found = st.native.load(tmp_path)
    for y in expected:
        assert found(x[: len(y)], threads=2).tobytes() == y.tobytes()


@pytest.mark.slow
def test_another_process_writes_the_same_bytes(tmp_path: Path) -> None:
    """Other hashes of strings, another number of threads, and no cache change nothing."""
    model, _ = network("lenet5", 1)
    st.save(model, tmp_path / "model.safetensors")
    written: list[dict[str, bytes]] = []
    for number in ("1", "2"):
        folder = tmp_path / number
        command = [sys.executable, "-m", "striate", "export", str(tmp_path / "model.safetensors"), "--native"]
        options = ["-o", str(folder), "--batch", "4", "--target", "x86-64-v2,x86-64-v3,x86-64-v4"]
        changes = {"PYTHONHASHSEED": number, "STRIATE_THREADS": number, "STRIATE_CACHE": "off"}
        subprocess.run([*command, *options], check=True, capture_output=True, env=os.environ | changes, cwd=CHECKOUT)
        written.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert written[0] == written[1]
    assert sorted(written[0]) == ["net.h", "net.json", "net.o", "net_test.c"]


@pytest.mark.slow
def test_nm_finds_no_undefined_symbol_and_valgrind_no_error(tmp_path: Path) -> None:
    if shutil.which("nm") is None or shutil.which("valgrind") is None:
        pytest.skip("nm or valgrind is not installed")
    model, _ = network("lenet5", 3)
    st.export_native(model, tmp_path, batch=3, target="x86-64-v3")  # valgrind knows no AVX-512
    assert output_of(["nm", "-u", "net.o"], tmp_path) == ""
    program = compiled(tmp_path, "net_test.c", "net.o", options=("-g",))
    command = ["valgrind", "-q", "--error-exitcode=9", str(program)]
    assert output_of(command, tmp_path).endswith("\nok\n")


@pytest.mark.slow
def test_it_runs_on_another_architecture(tmp_path: Path) -> None:
    compiler, emulator = shutil.which("aarch64-linux-gnu-gcc"), shutil.which("qemu-aarch64")
    if compiler is None or emulator is None:
        pytest.skip("aarch64-linux-gnu-gcc or qemu-aarch64 is not installed")
    for name in ("lenet5", "resnet1d"):
        model, x = network(name, 4)
        st.export_native(model, tmp_path, batch=2, target="aarch64-generic")
        program = compiled(tmp_path, "net_test.c", "net.o", compiler=compiler, options=("-static",))
        assert output_of([emulator, str(program)], tmp_path).endswith("\nok\n")
        np.testing.assert_allclose(ran(tmp_path, [emulator, str(program)], x, 10, 2), model(x), rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_a_shared_library_needs_nothing(tmp_path: Path) -> None:
    if shutil.which("ld") is None or shutil.which("readelf") is None:
        pytest.skip("binutils are not installed")
    model, x = network("lenet5", 5)
    st.export_native(model, tmp_path, batch=5, shared=True)
    assert "Shared library" not in subprocess.check_output(["readelf", "-d", tmp_path / "net.so"], text=True)
    assert "no relocations" in subprocess.check_output(["readelf", "-r", tmp_path / "net.so"], text=True)
    (tmp_path / "net.o").unlink()
    np.testing.assert_array_equal(st.native.load(tmp_path)(x, threads=2), model(x))


@pytest.mark.slow
def test_a_processor_without_the_instructions_gets_an_error_or_a_lesser_level(tmp_path: Path) -> None:
    emulator = shutil.which("qemu-x86_64")
    if emulator is None:
        pytest.skip("qemu-x86_64 is not installed")
    model, x = network("lenet5", 2)
    for target, processor, works in (
        ("x86-64-v3", "Nehalem", False),
        ("x86-64-v2,x86-64-v3", "Nehalem", True),
        ("x86-64-v2,x86-64-v3,x86-64-v4", "max", True),
        ("x86-64-v3", "max,-fma", False),
        ("x86-64-v2", "core2duo", False),
    ):
        if not st.export_native(model, tmp_path, target=target).checked:
            pytest.skip("this computer has another architecture")
        command = [emulator, "-cpu", processor, str(compiled(tmp_path, "net_test.c", "net.o"))]
        if works:
            np.testing.assert_allclose(ran(tmp_path, command, x, 10, 1), model(x), rtol=1e-5, atol=1e-5)
        else:
            done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
            assert (done.returncode, "lacks instructions" in done.stdout) == (1, True), done.stdout + done.stderr
