"""Compiling in several processes gives the same objects and errors as in one, and leaves nothing behind."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from striate.codegen import workers
from striate.errors import GraphError

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="workers are forked on Linux alone")

HERE = os.getpid()
NAMES = [f"kernel_{number}" for number in range(40)]


def _object(number: int) -> bytes:
    """Return the bytes of an object; their sizes range up to more than a pipe buffers."""
    return bytes([number]) * (number**4)


def _in_workers(action: Callable[[], None], at: int = 11) -> Callable[[int], bytes]:
    """Return a function that compiles; at kernel ``at``, it calls ``action`` first if it runs in a worker."""

    def compile_one(number: int) -> bytes:
        if number == at and os.getpid() != HERE:
            action()
        return _object(number)

    return compile_one


def _run(compile_one: Callable[[int], bytes], count: int = 2) -> tuple[list[bytes], int]:
    given: dict[int, bytes] = {}
    objects = workers.compile_all(NAMES, compile_one, count, given.__setitem__)
    assert [given[number] for number in range(len(NAMES))] == objects
    return objects, len(given)


@pytest.fixture(autouse=True)
def _nothing_left() -> object:
    before = len(os.listdir("/proc/self/fd"))
    yield
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)
    assert len(os.listdir("/proc/self/fd")) == before
    assert gc.isenabled()


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_every_object_in_its_place(count: int) -> None:
    assert _run(_object, count) == ([_object(number) for number in range(40)], 40)


def test_few_kernels_and_one_thread_have_one_worker() -> None:
    assert workers.count(1, 8) == workers.count(workers.FEWEST - 1, 8) == 1
    assert workers.count(1000, 1) == 1
    assert workers.count(1, 8, workers.MANY) == 0
    assert workers.count(100, 2) == 2
    assert workers.count(8, 64) == 4
    assert workers.count(1000, 64) == 16


def test_more_kernels_than_a_pipe_holds_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_MOST_JOBS", 16)
    assert _run(_object) == ([_object(number) for number in range(40)], 40)


def test_an_error_is_raised_here_with_its_type() -> None:
    def compile_one(number: int) -> bytes:
        if number == 11:
            raise ZeroDivisionError(f"in {'here' if os.getpid() == HERE else 'a worker'}")
        return b""

    with pytest.raises(ZeroDivisionError, match="in here"):
        _run(compile_one)


@pytest.mark.parametrize(
    ("action", "how"),
    [
        (lambda: os._exit(3), "with code 3"),
        (lambda: os.kill(os.getpid(), signal.SIGBUS), "by SIGBUS"),
    ],
)
def test_a_kernel_that_ends_its_process_is_named(action: Callable[[], None], how: str) -> None:
    with pytest.raises(GraphError, match=f"kernel_11 ended its process {how}"):
        _run(_in_workers(action))


def test_a_worker_killed_from_outside_is_replaced_by_this_process() -> None:
    found = _run(_in_workers(lambda: os.kill(os.getpid(), signal.SIGKILL)))
    assert found == ([_object(number) for number in range(40)], 40)


def test_interruption_leaves_no_process() -> None:
    def interrupted(number: int, data: bytes) -> None:
        raise KeyboardInterrupt

    start = time.perf_counter()
    with pytest.raises(KeyboardInterrupt):
        workers.compile_all(NAMES, _in_workers(lambda: time.sleep(60), at=39), 2, interrupted)
    assert time.perf_counter() - start < 30


def test_silent_workers_are_given_up(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(workers, "_PATIENCE", 0.2)
    found = _run(_in_workers(lambda: time.sleep(60)), 1)
    assert found == ([_object(number) for number in range(40)], 40)
    assert "do not respond" in caplog.text


def test_where_no_process_can_be_made_this_one_compiles(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused() -> int:
        raise OSError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(workers, "_fork", refused)
    assert _run(_object) == ([_object(number) for number in range(40)], 40)


ORPHANS = """
import os, sys, time
from pathlib import Path
from striate.codegen import workers
here = os.getpid()
def compile_one(number):
    Path(sys.argv[1], str(os.getpid())).touch()
    time.sleep(0.05)
    return bytes(10)
workers.compile_all([str(i) for i in range(1000)], compile_one, 2, lambda number, data: os._exit(9))
"""


def test_workers_end_with_their_parent(tmp_path: Path) -> None:
    finished = subprocess.run([sys.executable, "-c", ORPHANS, str(tmp_path)], env={**os.environ, "PYTHONPATH": "."})
    assert finished.returncode == 9
    pids = [int(path.name) for path in tmp_path.iterdir()]
    assert pids
    deadline = time.monotonic() + 20
    while any(_runs(pid) for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
