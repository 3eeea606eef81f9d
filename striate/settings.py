"""The settings of the process: one frozen ``Settings``, read from environment variables only here.

    STRIATE_THREADS    number of threads, 1 to 1024 (default: cores allowed by affinity and cgroup quota)
    STRIATE_ENGINE     "compiled" (default) or "reference" (everything in NumPy, slowly)
    STRIATE_CACHE      folder of the kernel cache, or "off"
    STRIATE_TARGET     "host" (default) or an LLVM CPU name such as "x86-64-v3"; any computer can show a network for
                       any of them; running one needs a processor with its instructions
    STRIATE_WINOGRAD   "on" (default) or "off"
    STRIATE_DATA       folder of data sets such as MNIST

A variable that is not set has its default.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

from striate.errors import OptionError, unknown_option
from striate.quota import cpu_quota

MOST_THREADS = 1024


class Engine(Enum):
    """How graphs are run."""

    COMPILED = "compiled"
    REFERENCE = "reference"


@dataclass(frozen=True)
class Settings:
    """All settings, read from the environment once."""

    threads: int
    engine: Engine
    cache: Path | None
    target: str
    winograd: bool
    data: Path | None


def available_threads() -> int:
    """Cores ∩ affinity ∩ the CPU quota of the process's control groups, rounded up; at least 1."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.ceil(min(allowed, cpu_quota())))


def _default_cache(environment: Mapping[str, str]) -> Path:
    if sys.platform == "win32":
        base = Path(environment.get("LOCALAPPDATA", "~"))
    elif sys.platform == "darwin":
        base = Path("~/Library/Caches")
    else:
        base = Path(environment.get("XDG_CACHE_HOME") or "~/.cache")
    return base.expanduser() / "striate"


def read(environment: Mapping[str, str]) -> Settings:
    """Parses the environment; raises ``OptionError`` for an invalid value."""
    threads = environment.get("STRIATE_THREADS", "")
    if threads and not (threads.isdecimal() and 1 <= int(threads) <= MOST_THREADS):
        raise OptionError(f"STRIATE_THREADS={threads!r}; expected a whole number from 1 to {MOST_THREADS:,}")
    engine = environment.get("STRIATE_ENGINE") or "compiled"
    if engine not in [known.value for known in Engine]:
        raise unknown_option("STRIATE_ENGINE", engine, [known.value for known in Engine])
    winograd = environment.get("STRIATE_WINOGRAD") or "on"
    if winograd not in ("on", "off"):
        raise unknown_option("STRIATE_WINOGRAD", winograd, ("on", "off"))
    cache = environment.get("STRIATE_CACHE", "")
    data = environment.get("STRIATE_DATA")
    return Settings(
        threads=int(threads) if threads else available_threads(),
        engine=Engine(engine),
        cache=None if cache == "off" else Path(cache).expanduser() if cache else _default_cache(environment),
        target=environment.get("STRIATE_TARGET") or "host",
        winograd=winograd == "on",
        data=Path(data).expanduser() if data else None,
    )


_current: Settings | None = None


def current() -> Settings:
    """The current settings: those of the environment, unless ``override`` changed them."""
    global _current
    if _current is None:
        _current = read(os.environ)
    return _current


def override(**changes: object) -> Settings:
    """Replaces some settings for this process and returns the previous ones, for ``restore``."""
    global _current
    before = current()
    _current = replace(before, **changes)  # pyright: ignore[reportArgumentType]
    return before


def restore(settings: Settings) -> None:
    """Restores the settings that ``override`` returned."""
    global _current
    _current = settings
