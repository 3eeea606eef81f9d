"""What the bits and the speed of a training depend on besides its options: versions, processor, threads."""

from __future__ import annotations

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
    """Versions, processor and threads, as ``run.json`` and checkpoints have them.

    ``target`` is the processor that kernels are compiled for, by LLVM's name, with the float32 of one vector; the bits
    depend on it, and not on the number of threads.
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


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _target() -> str:
    target = import_module("striate.codegen.target").current()
    return f"{target.cpu}, {target.lanes} lanes"


def _processor() -> str:
    """The name of the processor."""
    try:
        for line in _CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    except OSError:
        pass
    return platform.processor()
