"""Compiles kernels in several processes, since llvmlite holds one lock for all threads of a process.

A worker is a fork of this process, so the sources to compile are already in its memory. A worker sends back object
files, each preceded by its length. It takes the number of its next kernel from a pipe that all workers read:

    jobs     │ number │ number │ …                              written before the workers start
    results  │ number, STARTED │ number, DONE, length │ object │ …     one pipe per worker

If a worker fails to compile a kernel, this process compiles the kernel again, to raise the error here. A kernel whose
compilation crashed a worker is not compiled again, because it would crash this process, too.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import selectors
import signal
import struct
import sys
import warnings
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import NoReturn

from striate.errors import GraphError

FEWEST = 8
"""The smallest number of kernels for which several workers are worth while."""

MANY = 64
"""A process that has compiled so many kernels compiles a few more itself."""

Finished = Callable[[int, bytes], None]

_log = logging.getLogger("striate")
_MOST_WORKERS = 16
_MOST_JOBS = 8192  # their numbers must fit in the pipe's buffer, because no worker reads it yet
_PATIENCE = 60.0  # seconds without a message after which the workers are abandoned
_PIPE_BYTES = 1 << 20
_JOB = struct.Struct("<I")
_FRAME = struct.Struct("<IIQ")  # number of the kernel, what happened, bytes that follow
_STARTED, _DONE, _FAILED = range(3)
_GAVE_UP = 75
# Signals that people and systems send. Any other signal or exit is blamed on the kernel that was being compiled.
_FROM_OUTSIDE = ("SIGKILL", "SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT")


def count(kernels: int, threads: int, before: int = 0) -> int:
    """Return the number of worker processes for compiling ``kernels`` kernels with ``threads`` threads.

    0 means that this process should compile the kernels alone. One worker is not faster than that, but the memory that
    LLVM needs, 50 MB and more, is free again when it ends. A fork takes some milliseconds, so a process that has
    compiled many kernels already, ``before``, does without the worker.
    """
    if sys.platform != "linux":
        return 0  # on other systems, a forked process cannot rely on the system's libraries
    if kernels < FEWEST:
        return int(before < MANY)
    return min(max(threads, 1), _MOST_WORKERS, kernels // 2)


@dataclass
class _Worker:
    process: int
    pipe: int
    buffer: bytearray = field(default_factory=bytearray)
    current: int | None = None


def compile_all(
    names: Sequence[str], compile_one: Callable[[int], bytes], workers: int, finished: Finished
) -> list[bytes]:
    """Compile kernels in ``workers`` processes; return their object files, in the order of ``names``.

    ``names`` are the names of the kernels, and ``compile_one(i)`` compiles kernel number i to an object file. If
    ``workers`` is 0, this process compiles alone. After each kernel, ``finished(i, object)`` is called in this process
    with the bytes of its object file. Raises ``GraphError`` with the name of the kernel if its compilation crashes a
    worker process, and any error that ``compile_one`` raises.
    """
    objects: list[bytes | None] = [None] * len(names)
    for first in range(0, len(names) if workers else 0, _MOST_JOBS):
        _Team(names, compile_one, objects, finished).run(range(first, min(first + _MOST_JOBS, len(names))), workers)
    complete: list[bytes] = []
    with collection_paused():
        for number, data in enumerate(objects):
            complete.append(compile_one(number) if data is None else data)
            if data is None:
                finished(number, complete[number])
    return complete


@contextlib.contextmanager
def collection_paused() -> Generator[None]:
    """Pause the garbage collector in this ``with`` block.

    Code that creates many objects and drops none runs a third faster without the collector.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


class _Team:
    def __init__(
        self,
        names: Sequence[str],
        compile_one: Callable[[int], bytes],
        objects: list[bytes | None],
        finished: Finished,
    ) -> None:
        self._names = names
        self._compile_one = compile_one
        self._objects = objects
        self._finished = finished
        self._workers: list[_Worker] = []

    def run(self, numbers: Sequence[int], workers: int) -> None:
        """Compile the kernels with these numbers in workers; kernels that fail in a worker are left out."""
        jobs, jobs_end = os.pipe()
        try:
            try:
                os.write(jobs_end, b"".join(map(_JOB.pack, numbers)))
            finally:
                os.close(jobs_end)  # so that workers see the end of the list
            for _ in range(workers):
                self._start(jobs)
            self._listen()
        except OSError as error:  # no more processes or descriptors: this process compiles the rest
            _log.info("kernels are compiled without workers: %s", error)
        finally:
            os.close(jobs)
            self._stop()

    def _start(self, jobs: int) -> None:
        pipe, end = os.pipe()
        try:
            process = _fork()
        except BaseException:
            os.close(pipe)
            os.close(end)
            raise
        if process == 0:
            _work(jobs, end, self._compile_one, [pipe, *(worker.pipe for worker in self._workers)])
        os.close(end)
        self._workers.append(_Worker(process, pipe))

    def _listen(self) -> None:
        with selectors.DefaultSelector() as selector:
            for worker in self._workers:
                selector.register(worker.pipe, selectors.EVENT_READ, worker)
            while selector.get_map():
                events = selector.select(_PATIENCE)
                if not events:
                    _log.warning("the worker processes do not respond: this process compiles the remaining kernels")
                    return
                for key, _ in events:
                    data = os.read(key.fd, _PIPE_BYTES)
                    if data:
                        key.data.buffer += data
                        self._receive(key.data)
                    else:
                        selector.unregister(key.fd)
                        self._end(key.data)

    def _receive(self, worker: _Worker) -> None:
        while len(worker.buffer) >= _FRAME.size:
            number, event, length = _FRAME.unpack_from(worker.buffer)
            if len(worker.buffer) < _FRAME.size + length:
                return
            data = bytes(worker.buffer[_FRAME.size : _FRAME.size + length])
            del worker.buffer[: _FRAME.size + length]
            worker.current = number if event == _STARTED else None
            if event == _DONE:
                self._objects[number] = data
                self._finished(number, data)

    def _end(self, worker: _Worker) -> None:
        """Wait for a worker that closed its pipe.

        Raises ``GraphError`` if the kernel that the worker was compiling ended it.
        """
        self._workers.remove(worker)
        os.close(worker.pipe)
        try:
            code = os.waitstatus_to_exitcode(os.waitpid(worker.process, 0)[1])
        except ChildProcessError:  # another part of the program has waited for it
            return
        signals = {-number.value: number.name for number in signal.Signals}
        if worker.current is None or code in (0, _GAVE_UP) or signals.get(code) in _FROM_OUTSIDE:
            return
        how = f"by {signals[code]}" if code in signals else f"with code {code}"
        raise GraphError(f"compiling kernel {self._names[worker.current]} ended its process {how}")

    def _stop(self) -> None:
        for worker in self._workers:
            os.close(worker.pipe)
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker.process, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(worker.process, 0)
        self._workers.clear()


def _fork() -> int:
    with warnings.catch_warnings():
        # Python warns that other threads may hold locks. A worker takes only locks that its caller already holds.
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def _work(jobs: int, results: int, compile_one: Callable[[int], bytes], foreign: Sequence[int]) -> NoReturn:
    """Run the main loop of a worker; without a parent process, the first write ends it."""
    try:
        for descriptor in foreign:
            os.close(descriptor)
        with contextlib.suppress(ValueError):
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        gc.disable()
        while len(job := os.read(jobs, _JOB.size)) == _JOB.size:
            (number,) = _JOB.unpack(job)
            _send(results, _FRAME.pack(number, _STARTED, 0))
            try:
                data = compile_one(number)
            except Exception:  # noqa: BLE001 - raised again by the parent, which compiles this kernel itself
                _send(results, _FRAME.pack(number, _FAILED, 0))
            else:
                _send(results, _FRAME.pack(number, _DONE, len(data)) + data)
    except BaseException:  # noqa: BLE001 - a fork must never return into its parent's code
        os._exit(_GAVE_UP)
    os._exit(0)


def _send(pipe: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(pipe, view) :]
