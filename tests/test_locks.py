"""Locks and forks: a forked child can use striate even if other threads of its parent were running models."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import striate
from striate.locks import Lock, Order, cached_property, reset_after_fork
from tests import syntax

PACKAGE = Path(striate.__file__).parent
ALLOWED = {
    "locks.py": {"RLock"},
    "runtime/threads.py": {"Lock", "Semaphore"},  # of a crew of threads: a fork drops them with the crew
}
posix = pytest.mark.skipif(not hasattr(os, "fork"), reason="forks of POSIX systems")
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")


def test_locks_are_made_in_one_place() -> None:
    kinds = {"Lock", "RLock", "Condition", "Semaphore", "BoundedSemaphore", "cached_property"}
    wrong: list[str] = []
    for file in syntax.files():
        name = file.relative_to(PACKAGE).as_posix()
        for node in syntax.nodes(file):
            used: set[str] = set()
            if isinstance(node, ast.ImportFrom) and node.module in ("threading", "multiprocessing"):
                used = {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module == "functools":
                used = {alias.name for alias in node.names}  # Python 3.11's cached_property has a lock
            elif (
                isinstance(node, ast.Attribute)
                and isinstance(node.value, ast.Name)
                and node.value.id in ("threading", "functools")
            ):
                used = {node.attr}
            wrong += [f"{name}: {one}" for one in sorted(used & kinds - ALLOWED.get(name, set()))]
    assert not wrong, "use striate.locks, whose locks survive a fork:\n" + "\n".join(wrong)


def _exit_code_of_child(body: Callable[[], int]) -> int:
    """Fork, call ``body`` in the child, and return its result, or 99 after 20 seconds."""
    child = os.fork()
    if child == 0:
        threading.Timer(20, os._exit, (99,)).start()
        os._exit(body())
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@posix
def test_a_lock_that_another_thread_holds_is_free_in_the_child() -> None:
    lock, held, done = Lock(), threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            held.set()
            done.wait()

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait()
    assert not lock.acquire(0.01)
    assert _exit_code_of_child(lambda: lock.acquire(1)) == 1
    assert not lock.acquire(0.01)
    done.set()
    holder.join()


@posix
def test_a_lock_of_the_forking_thread_stays_its_own() -> None:
    lock = Lock()
    with lock:

        def body() -> bool:
            lock.release()  # raises RuntimeError for a lock that is not held
            return lock.acquire(1)

        assert _exit_code_of_child(body) == 1


@posix
@pytest.mark.parametrize("order", list(Order))
def test_what_an_ordered_lock_protects_is_never_half_changed_in_a_child(order: Order) -> None:
    lock, stop = Lock(order), threading.Event()
    pair = [0, 0]

    def change() -> None:
        while not stop.is_set():
            with lock:
                pair[0] += 1
                stop.wait(0.001)
                pair[1] += 1
            stop.wait(0.001)

    changer = threading.Thread(target=change)
    changer.start()
    codes = [_exit_code_of_child(lambda: pair[0] == pair[1] and lock.acquire(1)) for _ in range(10)]
    stop.set()
    changer.join()
    assert codes == [1] * 10


LOGGING = """
import os, threading, time
from striate.locks import Lock, Order
import logging
lock, held = Lock(Order.IMPORT), threading.Event()
def log():
    with lock:
        held.set()
        time.sleep(0.3)
        logging.getLogger("a new one")
threading.Thread(target=log).start()
held.wait()
child = os.fork()
if child == 0:
    os._exit(0)
print(os.waitpid(child, 0)[1])
"""


@posix
def test_a_thread_that_logs_while_it_holds_an_ordered_lock_does_not_stop_a_fork() -> None:
    """``logging`` takes its own lock before a fork, which must not happen before ours are taken."""
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", LOGGING]
    process = subprocess.run(command, cwd=PACKAGE.parent, text=True, capture_output=True, timeout=50)
    assert (process.stdout, process.returncode) == ("0\n", 0), process.stderr


@posix
def test_a_property_that_another_thread_computes_is_free_in_the_child() -> None:
    begun, end = threading.Event(), threading.Event()

    class Slow:
        def __init__(self, wait: bool) -> None:
            self.wait = wait
            self.computed = 0

        @cached_property
        def value(self) -> int:
            self.computed += 1
            if self.wait:
                begun.set()
                end.wait()
            return 7

    slow, other = Slow(True), Slow(False)
    thread = threading.Thread(target=lambda: slow.value)
    thread.start()
    begun.wait()
    assert _exit_code_of_child(lambda: other.value) == 7
    end.set()
    thread.join()
    assert (slow.value, slow.computed, other.value) == (7, 1, 7)


@posix
def test_owners_of_threads_are_told_of_a_fork_while_they_live() -> None:
    told: list[str] = []

    class Owner:
        def __init__(self, name: str) -> None:
            self.name = name
            reset_after_fork(self)

        def after_fork(self) -> None:
            told.append(self.name)

    kept, dropped = Owner("kept"), Owner("dropped")
    del dropped
    assert _exit_code_of_child(lambda: told == [kept.name]) == 1
    assert not told


BUSY = """
import os, sys, threading, time
import numpy as np
import striate as st
from striate import nn, optim
threading.excepthook = lambda problem: os._exit(98)

def network():
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(None, 4))

random = np.random.default_rng(0)
x, y = random.standard_normal((64, 3, 16, 16), np.float32), random.integers(0, 4, 64)
model, other = network(), network()

def training():
    return st.TrainingStep(network(), nn.CrossEntropyLoss(), optim.SGD(lr=0.05, momentum=0.9))

def losses():
    step = training()
    return [step(x, y) for _ in range(3)]

expected, learned = model(x), losses()
stop = threading.Event()
def predict():
    while not stop.is_set():
        assert np.array_equal(model(x), expected)
def train():
    step = training()
    while not stop.is_set():
        step(x, y)
threads = [threading.Thread(target=predict), threading.Thread(target=train)]
for thread in threads:
    thread.start()
for turn in range(int(sys.argv[1])):
    time.sleep(0.04 * turn / int(sys.argv[1]))
    child = os.fork()
    if child == 0:
        threading.Timer(20, os._exit, (97,)).start()
        right = np.array_equal(model(x), expected) and losses() == learned
        fresh = st.compile(lambda x: st.ops.exp(x))(x[: turn + 2])  # compiled and loaded in the child
        os._exit(0 if right and np.allclose(fresh, np.exp(x[: turn + 2]), rtol=1e-5) else 96)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code == 0, (turn, code)
stop.set()
for thread in threads:
    thread.join()
print("fine")
"""


@posix
@pytest.mark.parametrize("forks", [6, pytest.param(20, marks=pytest.mark.slow)])
def test_children_predict_train_and_compile_whatever_other_threads_do_when_they_are_forked(
    forks: int, tmp_path: Path
) -> None:
    environment = {**os.environ, "STRIATE_CACHE": str(tmp_path / "cache"), "STRIATE_THREADS": "2"}
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", BUSY, str(forks)]
    process = subprocess.run(command, cwd=PACKAGE.parent, env=environment, text=True, capture_output=True, timeout=300)
    assert (process.stdout, process.returncode) == ("fine\n", 0), process.stderr
