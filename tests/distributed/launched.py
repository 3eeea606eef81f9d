"""Runs programs and commands on several ranks; tests that need this skip where mpi4py or an MPI library is absent."""

from __future__ import annotations

import functools
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from striate.distributed.launcher import find_launcher, launch_command

PROGRAMS = Path(__file__).parent / "programs"
LIMIT = 240.0
"""Seconds after which a program is killed, because it hangs."""


NOT_STARTED = "listener thread failed to start"
"""What Open MPI's launcher says now and then on a busy machine, before it starts any rank; it succeeds when repeated.
"""


@functools.cache
def reason() -> str:
    """Return why no program can run on several ranks, or "" if it can."""
    if importlib.util.find_spec("mpi4py") is None:
        return "mpi4py is not installed"
    if find_launcher() is None:
        return "no mpirun is installed"
    try:
        tried = run(1, ["-c", "import mpi4py.MPI"], limit=60)
    except subprocess.TimeoutExpired:
        return "mpirun does not end here"
    return "" if tried.returncode == 0 else f"mpirun does not work here: {tried.stderr[-200:]}"


def require_hosts() -> None:
    """Skip the test, saying why, where network namespaces cannot be created."""
    require_mpi()
    if shutil.which("ip") is None or shutil.which("tc") is None:
        pytest.skip("ip and tc are not installed")
    name = f"striate-test-{os.getpid()}"
    if subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False).returncode:
        pytest.skip("network namespaces may not be created here")
    subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


def require_mpi() -> None:
    """Skip the test, saying why, where no program can run on several ranks."""
    if why := reason():
        pytest.skip(why)


def environment(**changes: str) -> dict[str, str]:
    found = {**os.environ, "STRIATE_THREADS": "1", "PYTHONUNBUFFERED": "1", **changes}
    found["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    return found


def run(ranks: int, arguments: list[object], limit: float = LIMIT) -> subprocess.CompletedProcess[str]:
    """Run Python with these arguments on the ranks; return its exit code and output."""
    command = launch_command(ranks, [sys.executable, *map(str, arguments)])
    finished = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=limit, check=False)
    if finished.returncode and NOT_STARTED in finished.stderr:
        return subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=limit, check=False)
    return finished


def program(ranks: int, name: str, *arguments: object) -> str:
    """Run one of the programs next to this file on the ranks, and return what it prints."""
    finished = run(ranks, [PROGRAMS / f"{name}.py", *arguments])
    assert finished.returncode == 0, finished.stderr[-3000:]
    return finished.stdout


def striate(ranks: int, *arguments: object, limit: float = LIMIT) -> subprocess.CompletedProcess[str]:
    """Run the command line on the ranks."""
    return run(ranks, ["-m", "striate", *arguments], limit)
