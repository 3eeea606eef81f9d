"""PyTorch finds the backend by its name, and a training script uses it after one changed line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

pytest.importorskip("torch")

CHECKOUT = Path(__file__).parents[2]
SCRIPT = """
import importlib.util, json, sys, warnings
import numpy as np
import striate.data
from striate.data.dataset import Dataset

def pictures(split, most=None):
    random = np.random.default_rng(0)
    labels = np.arange(24) % 10
    return Dataset((random.random((24, 3, 32, 32)) * 200 + 5 * labels[:, None, None, None]).astype(np.uint8), labels)

striate.data.load_cifar10 = pictures
specification = importlib.util.spec_from_file_location("example", sys.argv[1])
example = importlib.util.module_from_spec(specification)
specification.loader.exec_module(example)
small = ["--blocks", "1", "--width", "4", "--batch-size", "10", "--epochs", "2", "--lr", "0.02"]
print(json.dumps([example.main(small), example.main([*small, "--eager"])]))
"""


def _installed(folder: Path) -> Path:
    """Write what an installation of striate leaves for other programs: its name and its entry points."""
    points = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["entry-points"]
    place = folder / "striate-0.1.0.dist-info"
    place.mkdir()
    (place / "METADATA").write_text("Metadata-Version: 2.1\nName: striate\nVersion: 0.1.0\n")
    lines = [f"[{group}]\n" + "\n".join(f"{a} = {b}" for a, b in found.items()) for group, found in points.items()]
    (place / "entry_points.txt").write_text("\n".join(lines) + "\n")
    return folder


@pytest.mark.slow
def test_the_example_finds_the_backend_by_name_and_trains_as_pytorch_does(tmp_path: Path) -> None:
    path = os.pathsep.join([str(_installed(tmp_path)), str(CHECKOUT)])
    run = subprocess.run(
        [sys.executable, "-W", "error::UserWarning:striate", "-c", SCRIPT, CHECKOUT / "examples" / "pytorch_cifar.py"],
        env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert "striate leaves" not in run.stderr
    *lines, losses = run.stdout.splitlines()
    ours, eager = json.loads(losses)
    assert len(lines) == 4
    assert ours == pytest.approx(eager, rel=1e-3)
    assert ours[1] < ours[0]
