"""The settings of the process, as one frozen ``Settings`` that is read from environment variables.

    STRIATE_THREADS    number of threads, 1 to 1024 (default: the cores that affinity and the cgroup quota allow)
    STRIATE_ENGINE     "compiled" (default) or "reference" (run everything in NumPy, slowly)
    STRIATE_CACHE      folder of the compiled kernels, or "off"
    STRIATE_TARGET     "host" (default) or an LLVM CPU name such as "x86-64-v3"; every computer can print the kernels
                       for any of them, but running them needs a processor with those instructions
    STRIATE_WINOGRAD   "on" (default) or "off": whether suitable convolutions use Winograd's algorithm
    STRIATE_DATA       folder of data sets such as MNIST

A variable that is unset or empty has its default.
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
"""The largest number of threads that STRIATE_THREADS accepts."""


class Engine(Enum):
    """How graphs are run: as compiled kernels, or each operation in NumPy (slow, for verification)."""

    COMPILED = "compiled"
    REFERENCE = "reference"


@dataclass(frozen=True)
class Settings:
    """All settings of the process; see the environment variables at the top of this module.

    ``cache`` is None if kernels are not cached on disk, ``data`` is None if no folder of data sets is set.
    """

    threads: int
    engine: Engine
    cache: Path | None
    target: str
    winograd: bool
    data: Path | None


def available_threads() -> int:
    """Return how many threads can run at once: at least 1.

    This is the smaller of the cores that the affinity mask allows and the CPU quota of the control groups, rounded up.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.ceil(min(allowed, cpu_quota())))


def _default_cache(environment: Mapping[str, str]) -> Path:
    """Return the usual folder for cached files on this system, with "striate" appended."""
    if sys.platform == "win32":
        base = Path(environment.get("LOCALAPPDATA", "~"))
    elif sys.platform == "darwin":
        base = Path("~/Library/Caches")
    else:
        base = Path(environment.get("XDG_CACHE_HOME") or "~/.cache")
    return base.expanduser() / "striate"


def read(environment: Mapping[str, str]) -> Settings:
    """Return the settings that an environment defines, such as ``os.environ``.

    Raises ``OptionError`` for an invalid value of STRIATE_THREADS, STRIATE_ENGINE or STRIATE_WINOGRAD.
    """
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
    """Return the settings in use: those of the environment, with the changes of ``override``.

    The environment is read at the first call.
    """
    global _current
    if _current is None:
        _current = read(os.environ)
    return _current


def override(**changes: object) -> Settings:
    """Replace the given settings in this process, and return the previous settings for ``restore``.

    The names are the fields of ``Settings``, as in ``override(threads=1)``.
    """
    global _current
    before = current()
    _current = replace(before, **changes)  # pyright: ignore[reportArgumentType]
    return before


def restore(settings: Settings) -> None:
    """Make these settings the current ones; ``settings`` is usually what ``override`` returned."""
    global _current
    _current = settings
