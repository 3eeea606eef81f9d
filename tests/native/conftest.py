"""What the tests of native networks share: a small model with everything inside, and the compilers of this machine."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import striate as st
from striate import nn

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (5, 2, 9, 8), dtype=np.uint8)
CLASSES = ("cat", 'a "dog"?', "Käfer")


@pytest.fixture(scope="session")
def model() -> nn.Module:
    body = nn.Sequential(nn.Conv2d(17, 17, 3, padding=1, bias=False), nn.BatchNorm2d(17), nn.LeakyReLU(0.1))
    model = nn.Sequential(
        nn.Conv2d(2, 17, 3, padding=1), nn.BatchNorm2d(17), nn.ReLU(), nn.Residual(body), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(None, 3),
    ).initialize(1)  # fmt: skip
    model.standardizer = st.data.Standardizer.fit(IMAGES)
    model.classes = CLASSES
    model(IMAGES)
    return model


@pytest.fixture(scope="session")
def folder(model: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model as a native object for up to three samples, with a shared library where there is a linker."""
    place = tmp_path_factory.mktemp("native")
    st.export_native(model, place, batch=3, samples=IMAGES, shared=shutil.which("ld") is not None)
    return place


@pytest.fixture(scope="session")
def tiny() -> nn.Module:
    model = nn.Sequential(nn.Conv2d(1, 3, 3)).initialize(2)
    model(np.zeros((1, 1, 4, 5), np.float32))
    return model


def compiled(folder: Path, *sources: str, compiler: str = "cc", options: tuple[str, ...] = ()) -> Path:
    """Compile C sources in a folder with ``compiler``, warnings as errors, and return the program."""
    found = shutil.which(compiler)
    if found is None:
        pytest.skip(f"{compiler} is not installed")
    program = folder / "program"
    flags = ["-Wall", "-Wextra", "-pedantic", "-Werror", "-O2", *options]
    done = subprocess.run(
        [found, *flags, *sources, "-o", str(program), "-lpthread"], cwd=folder, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return program


def output_of(command: list[str], folder: Path, stdin: bytes = b"") -> str:
    """Run a command in a folder and return what it prints; it must succeed."""
    done = subprocess.run(command, cwd=folder, capture_output=True, input=stdin, check=False)
    assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()
    return done.stdout.decode()
