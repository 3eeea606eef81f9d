"""The environment of a training, on which its exact results and its speed depend: versions, processor, threads."""

from __future__ import annotations

import functools
import os
import platform
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from striate import settings
from striate.settings import Engine
from striate.version import VERSION

_CPUINFO = Path("/proc/cpuinfo")


def versions() -> dict[str, str]:
    """Return versions, processor and number of threads by name, for ``run.json`` and checkpoints.

    ``target`` names the processor that kernels are compiled for, as LLVM does, and the number of float32 in a vector
    register. It is "reference" if nothing is compiled. The results of a training depend on ``target``, but not on the
    number of threads.
    """
    current = settings.current()
    return {
        "striate": VERSION,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "llvmlite": _version("llvmlite"),
        "machine": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": str(os.cpu_count() or ""),
        "threads": str(current.threads),
        "target": _target() if current.engine is Engine.COMPILED else "reference",
    }


@functools.cache
def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _target() -> str:
    target = import_module("striate.codegen.target").current()
    return f"{target.cpu}, {target.lanes} lanes"


@functools.cache
def _processor() -> str:
    """Return the name of the processor, "" if it is unknown."""
    try:
        for line in _CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    except OSError:
        pass
    return platform.processor()
