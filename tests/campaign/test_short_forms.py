"""The short forms of the campaigns find nothing; docs/reliability.md has the figures of the long forms."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
linux = pytest.mark.skipif(sys.platform != "linux", reason="limits, signals and control groups of Linux")

SHORT = [
    pytest.param("graphs.py --seed 7 --cases 6", id="graphs"),
    pytest.param("special_numbers.py --seed 7 --cases 15 --steps 30", id="numbers"),
    *(
        pytest.param(f"processes.py --trial {name} --seed 7 --steps {steps}", id=name, marks=linux)
        for name, steps in (("signals", 24), ("forks", 60), ("threads", 60), ("shapes", 120))
    ),
    pytest.param("resources.py --only groups,executable,processors,memory", id="resources", marks=linux),
]


@pytest.mark.slow
@pytest.mark.parametrize("command", SHORT)
def test_nothing_is_found(command: str) -> None:
    script, *options = command.split()
    done = subprocess.run(
        [sys.executable, str(HERE / script), *options],
        env={**os.environ, "PYTHONPATH": str(HERE.parents[1]), "STRIATE_THREADS": ""},
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
