"""Load, call and drop compiled code in many threads, with garbage collections and forks in between.

    python tests/stress_kernels.py --seconds 60 --threads 8 --seed 0

Each result is compared with NumPy. A thread may drop what another one is just looking up, the garbage collector may run
anywhere, and the process may fork at any moment: code that is unloaded too early ends the process by a signal, and
``faulthandler`` prints where each thread was. The number of memory maps and the resident memory are printed on the way.
The exit status is 0 if all results were right.
"""

from __future__ import annotations

import argparse
import faulthandler
import gc
import os
import random
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

import striate as st
from striate import nn, optim
from striate.graph.value import Array, Value

SHAPES = 12
"""Different shapes: few enough that threads often want what another one has just dropped."""
SAMPLES = 4


def _exponential(x: Value) -> Value:
    return st.ops.exp(x)


def _sum(x: Value) -> Value:
    return x * 2.0 + st.ops.abs(x)


def _sum_reference(x: Array) -> Array:
    return x * 2.0 + np.abs(x)


FUNCTIONS: list[tuple[Callable[[Value], Value], Callable[[Array], Array]]] = [
    (_exponential, np.exp),
    (_sum, _sum_reference),
]


class Predictor:
    """A model in a reference cycle.

    It has no ``__del__`` that predicts: if the garbage collector called it inside LLVM's lock, it would wait for a lock
    whose holder waits for LLVM's.
    """

    def __init__(self, features: int) -> None:
        self.model = _model(features)
        self.model(np.full((1, features), 0.5, np.float32))
        self.itself = self


def _model(features: int) -> nn.Module:
    return nn.Sequential(nn.Linear(features, 8), nn.ReLU(), nn.Linear(8, 3))


@dataclass
class Stress:
    """The state that the threads share, and their actions."""

    seed: int
    stop: threading.Event = field(default_factory=threading.Event)
    shared: dict[int, tuple[Callable[..., Array], Callable[[Array], Array], int]] = field(
        default_factory=dict[int, tuple[Callable[..., Array], Callable[[Array], Array], int]]
    )
    problems: list[str] = field(default_factory=list[str])
    turns: dict[str, int] = field(default_factory=dict[str, int])

    def live(self, number: int) -> None:
        """Run random actions in one thread, until the time is over or something is wrong."""
        draw = random.Random(self.seed * 1000 + number)
        actions = [
            self.function,
            self.function,
            self.share,
            self.borrow,
            self.borrow,
            self.model,
            self.cycle,
            self.train,
        ]
        try:
            while not self.stop.is_set() and not self.problems:
                action = draw.choice(actions)
                action(draw)
                self.turns[action.__name__] = self.turns.get(action.__name__, 0) + 1
                if draw.random() < 0.1:
                    gc.collect()
        except BaseException:  # noqa: BLE001 - reported by the main thread
            self.problems.append(traceback.format_exc())

    def _check(self, function: Callable[..., Array], reference: Callable[[Array], Array], features: int) -> None:
        x = np.linspace(-1, 1, SAMPLES * features, dtype=np.float32).reshape(SAMPLES, features)
        if not np.allclose(function(x), reference(x), rtol=1e-5):
            self.problems.append(f"a wrong result for {features} features")

    def function(self, draw: random.Random) -> None:
        """Compile a function, call it and drop it."""
        traced, reference = draw.choice(FUNCTIONS)
        self._check(st.compile(traced), reference, draw.randint(1, SHAPES))

    def share(self, draw: random.Random) -> None:
        """Compile a function for all threads; the one it replaces is dropped, possibly while it runs."""
        traced, reference = draw.choice(FUNCTIONS)
        self.shared[draw.randrange(4)] = (st.compile(traced), reference, draw.randint(1, SHAPES))

    def borrow(self, draw: random.Random) -> None:
        """Call a function that all threads share."""
        found = self.shared.get(draw.randrange(4))
        if found is not None:
            self._check(*found)

    def model(self, draw: random.Random) -> None:
        """Create a model, predict and drop it."""
        features = draw.randint(1, SHAPES)
        self._check(_model(features), lambda x: _model(features)(x), features)

    def cycle(self, draw: random.Random) -> None:
        """Leave a model to the garbage collector."""
        Predictor(draw.randint(1, SHAPES))

    def train(self, draw: random.Random) -> None:
        """Take a step that is refused, and keep its stack frames until the next collection."""
        features = draw.randint(1, SHAPES)
        step = st.TrainingStep(_model(features), nn.CrossEntropyLoss(), optim.SGD(lr=0.1))
        x, y = np.ones((SAMPLES, features), np.float32), np.zeros(SAMPLES, np.int64)
        step(x, y)
        x[0, 0] = np.nan
        try:
            step(x, y)
        except st.StriateError as error:
            held: list[object] = [error]
            held.append(held)
        else:
            self.problems.append("a step on NaN was taken")

    def fork(self) -> None:
        """Fork a child that calls, compiles and drops code; reports how it ended."""
        child = os.fork()
        if child == 0:
            faulthandler.dump_traceback_later(30, exit=True)
            code = 96
            try:
                draw = random.Random(self.seed)
                self.problems.clear()
                for action in (self.borrow, self.function, self.share, self.function, self.borrow):
                    action(draw)
                    gc.collect()
                code = 95 if self.problems else 0
            finally:
                os._exit(code)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if code:
            self.problems.append(f"a child ended with {code}")


def memory() -> str:
    """Return a text with the number of memory maps and the resident megabytes, where /proc has them."""
    try:
        maps = len(Path("/proc/self/maps").read_text().splitlines())
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return ""
    return f"{maps} maps, {pages * os.sysconf('SC_PAGESIZE') / 1e6:.0f} MB"


def run(seconds: float, threads: int, seed: int, forks: bool) -> list[str]:
    """Run all threads and return the list of failures."""
    stress = Stress(seed)
    people = [threading.Thread(target=stress.live, args=(number,)) for number in range(threads)]
    for person in people:
        person.start()
    start, shown = time.monotonic(), 0
    while time.monotonic() - start < seconds and not stress.problems:
        time.sleep(0.5)
        if forks and hasattr(os, "fork"):
            stress.fork()
        if (time.monotonic() - start) * 4 > shown * seconds:
            shown += 1
            print(f"{time.monotonic() - start:4.0f} s  {memory()}", flush=True)
    stress.stop.set()
    for person in people:
        person.join()
    print(f" end    {memory()}  {stress.turns}")
    return stress.problems


def main() -> int:
    parser = argparse.ArgumentParser(description="load, call and drop compiled code in many threads")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-forks", action="store_true")
    chosen = parser.parse_args()
    faulthandler.enable()
    warnings.simplefilter("ignore", DeprecationWarning)  # of forks in a process with threads, which is the point
    problems = run(chosen.seconds, chosen.threads, chosen.seed, not chosen.no_forks)
    print("\n".join(problems) if problems else "every result was right")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
