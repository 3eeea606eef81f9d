"""Starting up loads no unneeded modules, and compiles nothing that an earlier process compiled."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PROGRAM = """
import json, sys
import numpy as np
import striate as st
from striate.codegen import jit

texts = []
compile_object = jit.compile_object
jit.compile_object = lambda text, *rest, **named: (texts.append(text), compile_object(text, *rest, **named))[1]
model = st.nn.Sequential(
    st.nn.Conv2d(3, 16, 3, padding=1), st.nn.BatchNorm2d(16), st.nn.LeakyReLU(0.1), st.nn.MaxPool2d(2),
    st.nn.Conv2d(16, 16, 3, padding=1), st.nn.LeakyReLU(0.1), st.nn.Flatten(), st.nn.Linear(None, 10),
)
step = st.TrainingStep(model, st.nn.CrossEntropyLoss(), st.optim.SGD(lr=0.1))
x = np.random.default_rng(0).standard_normal((4, 3, 8, 8), np.float32)
losses = [step(x, np.arange(4)) for _ in range(3)]
print(json.dumps({"texts": len(texts), "compiled": jit.kernels.compiled, "cached": jit.kernels.cached,
                  "losses": losses}))
"""


def _ran(program: str, **environment: str) -> str:
    finished = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return finished.stdout


def _start(cache: Path | str, threads: int = 2) -> dict[str, Any]:
    return json.loads(_ran(PROGRAM, STRIATE_CACHE=str(cache), STRIATE_THREADS=str(threads), STRIATE_ENGINE="compiled"))


def test_a_second_start_compiles_nothing_at_all(tmp_path: Path) -> None:
    cold, warm = _start(tmp_path / "kernels"), _start(tmp_path / "kernels")
    assert cold["compiled"] > 10
    assert cold["cached"] == 0
    assert (warm["texts"], warm["compiled"], warm["cached"]) == (0, 0, cold["compiled"])
    assert warm["losses"] == cold["losses"]


@pytest.mark.slow
def test_the_same_bits_from_one_process_many_and_no_cache(tmp_path: Path) -> None:
    alone = _start(tmp_path / "kernels", threads=1)
    without = _start("off")
    assert alone["losses"] == without["losses"]
    if sys.platform == "linux":
        assert without["texts"] < without["compiled"]  # most were compiled by workers


def test_the_import_loads_nothing_large_but_numpy_and_llvmlite() -> None:
    names = _ran("import sys, striate; print(*{name.split('.')[0] for name in sys.modules})").split()
    large = {
        "torch",
        "PIL",
        "scipy",
        "matplotlib",
        "typer",
        "rich",
        "onnx",
        "safetensors",
        "multiprocessing",
        "asyncio",
    }
    assert not large & set(names)
