"""The settings of the process, as one frozen ``Settings`` that is read from environment variables.

    STRIATE_THREADS    number of threads, 1 to 1024 (default: the cores that affinity and the cgroup quota allow, or a
                       worker process's share of them, see ``default_threads``)
    STRIATE_ENGINE     "compiled" (default) or "reference" (run everything in NumPy, slowly)
    STRIATE_CACHE      folder of the compiled kernels; "off" or "0" keeps none
    STRIATE_TARGET     "host" (default) or an LLVM CPU name such as "x86-64-v3". Kernels for another CPU can always be
                       printed, but run only if this processor has the instructions of that CPU
    STRIATE_WINOGRAD   "on" (default) or "off": whether suitable convolutions use Winograd's algorithm
    STRIATE_DATA       folder of data sets such as MNIST
    STRIATE_OFFLINE    "1" forbids downloads of data sets (default: "0")

A variable that is unset or empty has its default.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, fields, replace
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

    Each field is named like its variable without the prefix STRIATE_. ``cache`` is None if kernels are not cached on
    disk, ``data`` is None if no folder of data sets is set.
    """

    threads: int
    engine: Engine
    cache: Path | None
    target: str
    winograd: bool
    data: Path | None
    offline: bool = False


def available_threads() -> int:
    """Return how many threads can run at once: at least 1.

    This is the smaller of the cores that the affinity mask allows and the CPU quota of the control groups, rounded up.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.ceil(min(allowed, cpu_quota())))


def default_threads(environment: Mapping[str, str], worker: str | None) -> int:
    """Return the number of threads of a process if STRIATE_THREADS does not set one: at least 1.

    ``environment`` holds the environment variables. ``worker`` is the name of the process if the ``multiprocessing``
    module or joblib started it, else None. Other workers compute at the same time. A worker therefore uses
    OMP_NUM_THREADS threads, a variable that joblib sets to the share of one worker, but at most
    ``available_threads()``. If the variable is not set, a worker of a ``multiprocessing.Pool`` uses 1 thread, and any
    other worker ``available_threads()``. A process that is not a worker ignores OMP_NUM_THREADS and uses
    ``available_threads()``.
    """
    available = available_threads()
    if worker is None:
        return available
    share = environment.get("OMP_NUM_THREADS", "").partition(",")[0].strip()  # a list has a number for each level
    if share.isdecimal() and int(share) > 0:
        return min(available, int(share))
    return 1 if "PoolWorker" in worker else available


_RANKS = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE")
"""Environment variables in which launchers of Open MPI and MPICH give the number of ranks (processes)."""


def launched_ranks() -> int:
    """Return the number of ranks (processes) that an MPI launcher, such as ``mpirun``, started together with this one.

    This process is counted too. The result is 1 if no launcher started it.
    """
    for name in _RANKS:
        given = os.environ.get(name, "")
        if given.isdecimal():
            return int(given)
    return 1


def _worker_name() -> str | None:
    """Return the name of this process if ``multiprocessing`` or joblib started it, else None."""
    process = sys.modules.get("multiprocessing.process")  # every such process has loaded it
    if process is None or process.parent_process() is None:
        return None
    return str(process.current_process().name)


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
    """Return the settings that the variables in ``environment`` define.

    Raises ``OptionError`` for an invalid value of STRIATE_THREADS, STRIATE_ENGINE, STRIATE_WINOGRAD or STRIATE_OFFLINE.
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
    offline = environment.get("STRIATE_OFFLINE") or "0"
    if offline not in ("0", "1"):
        raise unknown_option("STRIATE_OFFLINE", offline, ("0", "1"))
    cache = environment.get("STRIATE_CACHE", "")
    data = environment.get("STRIATE_DATA")
    return Settings(
        threads=int(threads) if threads else default_threads(environment, _worker_name()),
        engine=Engine(engine),
        cache=None if cache in ("off", "0") else Path(cache).expanduser() if cache else _default_cache(environment),
        target=environment.get("STRIATE_TARGET") or "host",
        winograd=winograd == "on",
        data=Path(data).expanduser() if data else None,
        offline=offline == "1",
    )


def threads_are_default() -> bool:
    """Return whether the number of threads is the default, rather than chosen by a variable or a caller."""
    return current().threads == _read_threads and not os.environ.get("STRIATE_THREADS")


_current: Settings | None = None
_read_threads = 0  # the number of threads that the environment gave when it was read
_of_parent: Settings | None = None  # the settings that a forked process had before the fork
_local_threads: ContextVar[int | None] = ContextVar("striate_threads", default=None)


def current() -> Settings:
    """Return the settings in use: those of the environment, with the changes of ``override`` and ``using_threads``.

    The environment is read at the first call.
    """
    global _current, _read_threads
    if _current is None:
        fresh = read(os.environ)
        _read_threads = fresh.threads
        _current = fresh if _of_parent is None else replace(_of_parent, threads=fresh.threads)
    threads = _local_threads.get()
    return _current if threads in (None, _current.threads) else replace(_current, threads=threads)


def override(**changes: object) -> Settings:
    """Replace the given settings in this process, and return the previous settings for ``restore``.

    The names are the fields of ``Settings``, as in ``override(threads=1)``. Raises ``OptionError`` for another name,
    and for a value of another type or out of range.
    """
    global _current
    known = [field.name for field in fields(Settings)]
    for name in changes:
        if name not in known:
            raise unknown_option("setting", name, known)
    for name, value in changes.items():
        _require_value(name, value)
    current()
    before = _current
    assert before is not None
    _current = replace(before, **changes)  # pyright: ignore[reportArgumentType]
    return before


def _require_value(name: str, value: object) -> None:
    """Raise ``OptionError`` unless ``value`` is one that the field ``name`` of ``Settings`` may have."""
    match name:
        case "threads":
            usable = isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MOST_THREADS
            expected = f"a whole number from 1 to {MOST_THREADS:,}"
        case "engine":
            usable, expected = isinstance(value, Engine), "Engine.COMPILED or Engine.REFERENCE"
        case "cache" | "data":
            usable, expected = value is None or isinstance(value, Path), "a pathlib.Path, or None"
        case "target":
            usable, expected = isinstance(value, str) and value != "", 'the name of a target, such as "host"'
        case _:
            usable, expected = isinstance(value, bool), "True or False"
    if not usable:
        raise OptionError(f"{name}={value!r}; expected {expected}")


def restore(settings: Settings) -> None:
    """Make these settings the current ones; ``settings`` is usually what ``override`` returned."""
    global _current
    _current = settings


@contextmanager
def using_threads(threads: int | None) -> Generator[None]:
    """Return a context manager during which the calling Python thread computes with ``threads`` threads.

    Other Python threads are not affected. ``threads=None`` changes nothing.
    """
    token = _local_threads.set(_local_threads.get() if threads is None else threads)
    try:
        yield
    finally:
        _local_threads.reset(token)


def _forget_threads() -> None:
    """In a forked process, have the number of threads read again at the next use, unless ``override`` has set it."""
    global _current, _of_parent
    if _current is not None and _current.threads == _read_threads:
        _of_parent, _current = _current, None


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_forget_threads)
