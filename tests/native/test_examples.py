"""The examples of native networks: each is compiled where its compiler is installed, and names classes as the model."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import striate as st
from striate import nn
from tests.native.conftest import CLASSES, RANDOM, compiled, output_of

EXAMPLES = Path(__file__).parents[2] / "examples" / "native"
SAMPLES = RANDOM.uniform(0, 255, (7, 2, 9, 8)).astype(np.float32)


@pytest.fixture(scope="module")
def names(model: nn.Module) -> str:
    """The names of the classes of the samples, one in a line."""
    return "".join(f"{CLASSES[best]}\n" for best in model(SAMPLES).argmax(1))


@pytest.mark.slow
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_c(compiler: str, folder: Path, names: str) -> None:
    program = compiled(folder, str(EXAMPLES / "classify.c"), "net.o", compiler=compiler, options=("-std=c11", "-I."))
    assert output_of([str(program)], folder, SAMPLES.tobytes()) == names


@pytest.mark.slow
@pytest.mark.parametrize("compiler", ["g++", "clang++"])
def test_cpp(compiler: str, folder: Path, names: str) -> None:
    options = ("-std=c++17", "-I.")
    program = compiled(folder, str(EXAMPLES / "classify.cpp"), "net.o", compiler=compiler, options=options)
    assert output_of([str(program)], folder, SAMPLES.tobytes()) == names


def test_the_program_of_the_documentation(model: nn.Module, folder: Path) -> None:
    page = (EXAMPLES.parents[1] / "docs" / "native.md").read_text(encoding="utf-8")
    (folder / "page.c").write_text(page.split("```c\n")[1].split("```")[0], encoding="utf-8")
    program = compiled(folder, "page.c", "net.o", options=("-std=c11",))
    found = [float(line.rpartition(" ")[2]) for line in output_of([str(program)], folder).splitlines()]
    np.testing.assert_allclose(found, model(np.zeros((1, 2, 9, 8), np.uint8))[0], rtol=1e-4)


@pytest.mark.slow
def test_rust(folder: Path, names: str) -> None:
    rustc = shutil.which("rustc")
    if rustc is None:
        pytest.skip("rustc is not installed")
    command = [rustc, "-O", "-D", "warnings", str(EXAMPLES / "classify.rs"), "-C", "link-arg=net.o", "-o", "rust"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert output_of(["./rust"], folder, SAMPLES.tobytes()) == names


def test_python_without_striate(folder: Path, names: str) -> None:
    if not (folder / "net.so").exists():
        pytest.skip("ld is not installed")
    command = [sys.executable, "-I", str(EXAMPLES / "classify.py"), str(folder / "net.so")]
    assert output_of(command, folder, SAMPLES.tobytes()) == names


@pytest.mark.parametrize("bytes_inside", [True, False])
def test_a_camera(bytes_inside: bool, tmp_path: Path) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(None, 3)).initialize(4)
    frames = RANDOM.integers(0, 256, (4, 12, 10, 3), dtype=np.uint8)  # twice the height and width of the input
    means = frames.reshape(4, 6, 2, 5, 2, 3).mean((2, 4)).transpose(0, 3, 1, 2)
    x = np.floor(means + 0.5).astype(np.uint8) if bytes_inside else (means / 255).astype(np.float32)
    if bytes_inside:
        model.standardizer = st.data.Standardizer.fit(x)
    expected = model(x)
    st.export_native(model, tmp_path, softmax=True, classes=CLASSES)
    program = compiled(tmp_path, str(EXAMPLES / "camera.c"), "net.o", options=("-std=c11", "-I."))
    stream = b"".join(b"P6\n# frame\n10 12\n255\n" + frame.tobytes() for frame in frames)
    lines = output_of([str(program)], tmp_path, stream).splitlines()
    assert [line.rpartition(" ")[0] for line in lines] == [CLASSES[best] for best in expected.argmax(1)]
    softmax = np.exp(expected) / np.exp(expected).sum(1, keepdims=True)
    np.testing.assert_allclose([float(line.rpartition(" ")[2]) for line in lines], softmax.max(1), atol=1e-3)
    wrong = subprocess.run([program], input=b"P3\n1 1\n255\n0", capture_output=True, check=False)
    assert (wrong.returncode, b"expected pictures" in wrong.stderr) == (1, True)
