"""``__all__`` is accurate, and short enough to be read."""

from __future__ import annotations

import importlib
import subprocess
import sys
import tomllib
import types
from pathlib import Path

import pytest

import striate


@pytest.mark.parametrize(
    "name",
    ["striate", "striate.nn", "striate.optim", "striate.models", "striate.ops", "striate.insight", "striate.plot"],
)
def test_all_names_exist_and_nothing_else_is_public(name: str) -> None:
    module = importlib.import_module(name)
    assert len(set(module.__all__)) == len(module.__all__)
    for public in module.__all__:
        assert getattr(module, public) is not None
    defined = {
        public
        for public, thing in vars(module).items()
        if not public.startswith("_") and not isinstance(thing, types.ModuleType) and public != "annotations"
    }
    extra = {public for public in defined - set(module.__all__) if isinstance(getattr(module, public), type)}
    assert not extra - {"Any", "Callable", "Operations", "Sequential"}, extra


def test_the_front_door() -> None:
    for name in (
        "TrainingStep",
        "Trainer",
        "save",
        "load",
        "compile",
        "value_and_grad",
        "nn",
        "optim",
        "ops",
        "models",
    ):
        assert name in striate.__all__


def test_importing_striate_opens_only_what_every_script_needs() -> None:
    program = "import sys, striate; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    later = {
        "llvmlite.binding", "numpy.random", "PIL", "rich", "typer", "safetensors", "striate.compiler",
        "striate.runtime.program", "striate.train", "striate.persistence", "striate.data", "striate.cli",
        "striate.insight", "striate.plot", "matplotlib",
    }  # fmt: skip
    assert "striate.nn" in loaded
    assert not later & set(loaded)


def test_the_version_is_that_of_the_package() -> None:
    project = Path(__file__).parent.parent / "pyproject.toml"
    assert tomllib.loads(project.read_text())["project"]["version"] == striate.__version__
