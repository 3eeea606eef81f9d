"""Forks, threads, signals, exits and shared caches in the middle of trainings, and thousands of steps of any shape.

    python tests/campaign/processes.py --seconds 3600 --seed 1           trials in turn; exit status 1 after a finding
    python tests/campaign/processes.py --trial signals --seed 47         one trial again
    python tests/campaign/processes.py --trial shapes --steps 10000      resident memory and kernels over 10,000 steps

Each trial runs in a process of its own, and must end with status 0 within its time:

    forks      children forked at random moments of a training in another thread train and predict like the parent
    spawn      two spawned processes train the same bits as this one
    threads    four threads train a model each, and a fifth predicts: the bits of one after the other
    signals    an exception from a signal handler at a random moment of compiling, a step, an update, a prediction or
               saving: model, statistics, counters and optimizer are those of the step before or after it, a prediction
               is that of the weights, and the training goes on with the bits of an undisturbed one
    exits      the interpreter ends while daemon threads and the main thread are in the middle of a step
    cache      processes start at once with one empty folder of kernels, some are killed: the same bits, no bad entry
    shapes     steps of random batch sizes and picture sizes: resident memory stays flat, kernels are bounded
"""

from __future__ import annotations

import argparse
import collections
import gc
import hashlib
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402

import striate as st  # noqa: E402
from striate import nn, optim  # noqa: E402
from striate.passes import lower  # noqa: E402

LONGEST = 600
"""Seconds after which a trial hangs."""


class FailedError(Exception):
    """A promise was broken."""


def model() -> nn.Module:
    """Return a small network with batch normalization and dropout; it takes pictures of any size."""
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.LeakyReLU(0.1), nn.Dropout(0.1),
        nn.Conv2d(8, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.LeakyReLU(0.1),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 4),
    ).seed(3)  # fmt: skip


def training() -> st.TrainingStep:
    """Return a training step of a new model."""
    return st.TrainingStep(model(), nn.CrossEntropyLoss(), optim.SGD(lr=0.05, momentum=0.9), seed=5, ema=0.9)


def batch(number: int, n: int = 6, size: int = 12) -> tuple[Any, Any]:
    """Return the batch of a number."""
    random = np.random.default_rng(number)
    return random.standard_normal((n, 1, size, size)).astype(np.float32), random.integers(0, 4, n)


def digest(step: st.TrainingStep, predicted: bool = True) -> str:
    """Return the SHA-256 of everything in the model and the optimizer, and of a prediction."""
    sha = hashlib.sha256()
    step.use_average(False)  # an interruption may have left the averages in the model, as the flag then says
    for state in (step.model.state_dict(), step.state_dict()):
        for name in sorted(state):
            sha.update(name.encode() + np.array(state[name]).tobytes())
    if predicted:
        sha.update(np.asarray(step.model(batch(0)[0])).tobytes())
    return sha.hexdigest()


def course(steps: int) -> list[str]:
    """Return the digest after 0, 1, … steps of an undisturbed training (after 0, without a prediction)."""
    step = training()
    step.gradients(*batch(1))  # gives the parameters their memory
    found = [digest(step)]
    for number in range(steps):
        step(*batch(number + 1))
        found.append(digest(step))
    return found


# Trials


def forks(random: np.random.Generator, steps: int) -> str:
    expected = course(4)[4]
    busy, stop = training(), threading.Event()

    def train() -> None:
        number = 0
        while not stop.is_set():
            busy(*batch(number, 1 + number % 9))
            number += 1

    thread = threading.Thread(target=train, daemon=True)
    thread.start()
    count = max(3, steps // 20)
    for _ in range(count):
        time.sleep(random.uniform(0, 0.05))
        child = os.fork()
        if child == 0:
            status = 9
            try:
                own = training()
                for number in range(4):
                    own(*batch(number + 1))
                np.asarray(busy.model(batch(0)[0]))
                status = 0 if digest(own) == expected else 8
            finally:
                os._exit(status)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if code:
            raise FailedError(f"a forked child ended with {code}; 8 means other bits")
    stop.set()
    thread.join()
    return f"{count} forks"


def _spawned(queue: Any) -> None:
    queue.put(course(3)[3])


def spawn(random: np.random.Generator, steps: int) -> str:
    expected = course(3)[3]
    for method in ("spawn", "forkserver"):
        context = multiprocessing.get_context(method)
        queue = context.Queue()
        children = [context.Process(target=_spawned, args=(queue,)) for _ in range(2)]
        for child in children:
            child.start()
        for _ in children:
            if queue.get(timeout=LONGEST / 2) != expected:
                raise FailedError(f"a process started by {method} computes other bits")
        for child in children:
            child.join()
            if child.exitcode:
                raise FailedError(f"a process started by {method} ended with {child.exitcode}")
    return "4 processes"


def threads(random: np.random.Generator, steps: int) -> str:
    count = max(3, steps // 20)
    expected = course(count)[count]
    found: list[str] = []
    errors: list[BaseException] = []
    stop = threading.Event()
    other = model()
    seen: set[bytes] = set()

    def train() -> None:
        try:
            found.append(course(count)[count])
        except BaseException as error:  # noqa: BLE001 - reported by the main thread
            errors.append(error)

    def predict() -> None:
        while not stop.is_set():
            seen.add(np.asarray(other(batch(0)[0])).tobytes())

    trainers = [threading.Thread(target=train) for _ in range(4)]
    predictor = threading.Thread(target=predict)
    for thread in (*trainers, predictor):
        thread.start()
    for thread in trainers:
        thread.join()
    stop.set()
    predictor.join()
    if errors:
        raise errors[0]
    if found != [expected] * 4 or len(seen) != 1:
        raise FailedError(f"threads at once computed {found}, not {expected}, and {len(seen)} different predictions")
    return f"4 × {count} steps"


class Interruption(BaseException):
    """Raised by the handler of a signal."""


def signals(random: np.random.Generator, steps: int) -> str:
    last = 6
    undisturbed = course(last)
    seconds = _seconds_of_a_step()
    outcomes: collections.Counter[str] = collections.Counter()

    def handler(number: int, frame: Any) -> None:
        raise Interruption

    signal.signal(signal.SIGALRM, handler)
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(max(4, steps // 8)):
            step = training()
            step.gradients(*batch(1))
            if random.random() < 0.5:
                step(*batch(1))  # else the signal may arrive while the update is compiled
            for _ in range(last):
                number = step.step_number
                if number == last:
                    break
                longest = seconds * (1.2 if random.random() < 0.8 else 40)
                try:
                    try:
                        signal.setitimer(signal.ITIMER_REAL, max(1e-6, random.uniform(0, longest)))
                        step(*batch(number + 1))
                        if random.random() < 0.3:
                            np.asarray(step.model(batch(2)[0]))
                            st.save(step.model, Path(folder) / "model.safetensors")
                            with step.averaged() as averaged:
                                np.asarray(averaged(batch(2)[0]))
                    finally:
                        signal.setitimer(signal.ITIMER_REAL, 0)
                except Interruption:
                    outcomes[f"interrupted {'after' if step.step_number > number else 'before'} the update"] += 1
                else:
                    outcomes["not interrupted"] += 1
                if digest(step) != undisturbed[step.step_number]:
                    raise FailedError(
                        f"interrupted in step {number + 1}, at step number {step.step_number}: {_difference(step)}"
                    )
            while step.step_number < last:
                step(*batch(step.step_number + 1))
            if digest(step) != undisturbed[last]:
                raise FailedError(f"trained on after interruptions: {_difference(step)}")
            if list(Path(folder).glob(".*")):
                raise FailedError(f"an interrupted save left {list(Path(folder).iterdir())}")
    return ", ".join(f"{name} {count}" for name, count in outcomes.items())


def _difference(step: st.TrainingStep) -> str:
    """Say what differs from the undisturbed training of as many steps."""
    clean = training()
    clean.gradients(*batch(1))
    for number in range(step.step_number):
        clean(*batch(number + 1))
    names = [
        f"{kind} {name}"
        for kind, a, b in (
            ("model", step.model.state_dict(), clean.model.state_dict()),
            ("step", step.state_dict(), clean.state_dict()),
        )
        for name in b
        if np.array(a[name]).tobytes() != np.array(b[name]).tobytes()
    ]  # fmt: skip
    same = np.asarray(step.model(batch(0)[0])).tobytes() == np.asarray(clean.model(batch(0)[0])).tobytes()
    return f"other contents of {', '.join(names) or 'nothing'}; the prediction is {'the same' if same else 'another'}"


def _seconds_of_a_step() -> float:
    step = training()
    step(*batch(1))
    begun = time.perf_counter()
    for number in range(5):
        step(*batch(number))
    return (time.perf_counter() - begun) / 5


_EXITS = {
    "the main thread ends": "time.sleep(t)",
    "sys.exit": "time.sleep(t); sys.exit(0)",
    "an exception": "time.sleep(t); sys.excepthook = lambda *a: None; raise SystemExit(0)",
    "SIGTERM": "signal.signal(signal.SIGTERM, lambda *a: sys.exit(0)); os.kill(os.getpid(), 15); time.sleep(9)",
    "in a step": "signal.signal(14, lambda *a: sys.exit(0)); signal.setitimer(0, t); train()",
    "a step at exit": "import atexit; s = p.training(); s(*p.batch(1)); atexit.register(lambda: s(*p.batch(2)))",
    "the collector": "s = p.training(); s(*p.batch(1)); s.cycle = s if False else None; gc.collect(); time.sleep(t)",
}


def exits(random: np.random.Generator, steps: int) -> str:
    counts = 0
    for name, code in _EXITS.items():
        for threads in (0, 2):
            text = (
                "import gc, os, signal, sys, threading, time\n"
                f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
                f"import processes as p\nt = {random.uniform(0, 0.2)}\n"
                "def train():\n    s = p.training()\n    n = 0\n"
                "    while True:\n        s(*p.batch(n, 1 + n % 7)); n += 1\n"
                f"for _ in range({threads}):\n    threading.Thread(target=train, daemon=True).start()\n"
                f"time.sleep({random.uniform(0, 0.5)})\n{code}\n"
            )
            done = subprocess.run(
                [sys.executable, "-c", text], capture_output=True, text=True, timeout=LONGEST / 4, check=False
            )
            if done.returncode or "Traceback" in done.stderr or "Fatal" in done.stderr:
                raise FailedError(f"{name}, {threads} threads: status {done.returncode}\n{done.stderr[-2000:]}")
            counts += 1
    return f"{counts} exits"


def cache(random: np.random.Generator, steps: int) -> str:
    expected, killed = course(2)[2], 0
    with tempfile.TemporaryDirectory() as folder:
        kernels = Path(folder) / "kernels"
        text = (
            f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
            "import processes as p; print(p.course(2)[2])"
        )
        environment = {**os.environ, "STRIATE_CACHE": str(kernels)}
        command = [sys.executable, "-c", text]
        for round_ in range(2):
            children = [
                subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
                for _ in range(4)
            ]
            victims = [child for child in children if random.random() < 0.4 and child is not children[0]]
            for victim in victims:
                time.sleep(random.uniform(0, 1.5))
                victim.kill()
            for child in children:
                out, errors = child.communicate(timeout=LONGEST / 2)
                if child in victims:
                    killed += 1
                elif child.returncode or out.strip() != expected or "Traceback" in errors:
                    raise FailedError(f"round {round_}: status {child.returncode}, {out}{errors[-2000:]}")
            entries = sorted(kernels.rglob("*"))
            for entry in entries:  # a kill may cut an entry off only where its name says so
                if random.random() < 0.05 and entry.is_file() and not entry.name.startswith("."):
                    entry.write_bytes(entry.read_bytes()[: int(random.integers(0, 200))])
    return f"8 processes, {killed} of them killed, {len(entries)} entries"


def resident() -> int:
    """Return the resident memory of this process in bytes, without what LLVM and Python could give back."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def shapes(random: np.random.Generator, steps: int) -> str:
    from striate.codegen import jit

    step = training()
    sizes = [int(size) for size in random.integers(4, 17, 12)]
    marks: list[int] = []
    most = 0
    size = sizes[0]
    for number in range(steps):
        if number % max(10, steps // 100) == 0:
            size = sizes[int(random.integers(len(sizes)))]
        step(*batch(number, int(random.integers(1, 17)), size))
        if number % max(1, steps // 20) == 0:
            step.model(batch(number, int(random.integers(1, 17)), size)[0])
            marks.append(resident())
            most = max(most, len(jit.kernels._libraries))
    half = marks[len(marks) // 2 :]
    growth = (half[-1] - half[0]) / 2**20
    loaders = len({id(code.engine) for code in jit._codes})
    if growth > 24:
        raise FailedError(f"resident memory grows by {growth:.1f} MiB: {[mark >> 20 for mark in marks]} MiB")
    if most > 2000 or loaders > 20:
        raise FailedError(f"{most} kernels and {loaders} loaders are in memory")
    return (
        f"{steps} steps of {len(sizes)} sizes: {marks[0] >> 20} to {max(marks) >> 20} MiB, second half"
        f" {growth:+.1f} MiB, at most {most} kernels in memory, {jit.kernels.compiled + jit.kernels.cached} loaded"
    )


TRIALS = {one.__name__: one for one in (signals, forks, threads, exits, cache, spawn, shapes)}


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--trial", choices=TRIALS, help="run one trial, in this process")
    parser.add_argument("--only", help="names of trials, separated by commas")
    parser.add_argument("--steps", type=int, default=160, help="size of a trial")
    options = parser.parse_args()
    if options.trial:
        if options.seed % 2:
            lower.SINGLE_THREADED_WORK = 0  # small programs, too, run on all threads
        try:
            print(TRIALS[options.trial](np.random.default_rng(options.seed), options.steps))
        except FailedError as error:
            print(error)
            return 1
        return 0
    end, seed, counts = time.monotonic() + options.seconds, options.seed, collections.Counter[str]()
    names = options.only.split(",") if options.only else list(TRIALS)
    while time.monotonic() < end:
        for name in names:
            if time.monotonic() >= end:
                break
            command = [
                sys.executable, __file__, "--trial", name, "--seed", str(seed), "--steps", str(options.steps)
            ]  # fmt: skip
            try:
                done = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST, check=False)
                said, status = done.stdout + done.stderr, done.returncode
            except subprocess.TimeoutExpired as late:
                said, status = f"no end after {LONGEST} s\n{late.stdout!r}", -1
            print(f"{name} {seed}: {said.strip()}", flush=True)
            if status:
                print(f"finding: status {status}\n  again: {' '.join(command[1:])}")
                return 1
            counts[name] += 1
        seed += 1
    print(", ".join(f"{name} {count}" for name, count in counts.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
