"""A process that trains one network in one configuration on demand, and is suspended in between.

    controller                                worker
    Worker(network, configuration) ─spawn──▶  builds, takes three steps, answers "ready"
           SIGSTOP ─────────────────────────▶ does nothing, whatever threads it has
    turn() SIGCONT, {"steps": 5} ───────────▶ one step untimed (caches), five timed
           SIGSTOP ◀── {"seconds": […]} ───── answers

So only one framework runs at a time, no waiting thread uses a core, and repetitions interleave.
"""

from __future__ import annotations

import ctypes
import json
import math
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from configuration import Configuration
from networks import NETWORKS, Network, batches
from numpy.typing import NDArray

LEARNING_RATE, MOMENTUM = 0.01, 0.9
WARM_STEPS = 3

Array = NDArray[Any]
Step = Callable[[Any, Any], Any]
Prepared = tuple[Step, Callable[[Array, Array], tuple[Any, Any]]]
"""A training step that returns the loss (or a prediction that returns an array), and the function that converts a batch
to its inputs (not timed)."""


# The controller's side


def peak_memory(pid: int) -> float:
    """Return the peak resident memory of a process in MB (10⁶ bytes), or NaN without /proc."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return math.nan
    return next((int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmHWM")), math.nan)


class WorkerError(RuntimeError):
    """The error when a worker process fails; it has the message of the worker."""


@dataclass(frozen=True)
class Ready:
    """The first answer of a worker: the seconds of building and of the first step, and Σ |results| of that step."""

    build: float
    first_step: float
    outcome: float


class Worker:
    """A worker process that runs ``script``, and is suspended except while it answers."""

    script = __file__
    patience = 900.0
    """The most seconds that an answer may take; compiling a large network takes minutes in some frameworks."""

    def __init__(
        self, network: Network, configuration: Configuration, threads: int, batch: int | None = None, seed: int = 0
    ) -> None:
        self.configuration = configuration
        order = {
            "network": network.name,
            "batch": batch or network.batch,
            "threads": threads,
            "seed": seed,
            "configuration": configuration.arguments(),
        }
        environment = {
            **os.environ,
            **configuration.environment,
            "OMP_NUM_THREADS": str(threads),
            "STRIATE_THREADS": str(threads),
            "TORCHINDUCTOR_COMPILE_THREADS": "1",  # no pool of compiler processes during the measurement
        }
        # In a session of its own, since Ctrl-C must reach only the controller, which then ends the workers.
        self._process = subprocess.Popen(
            [sys.executable, self.script, json.dumps(order)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            start_new_session=True,
            text=True,
        )
        try:
            self.ready = Ready(**self._answer())
        except BaseException:
            self.close()
            raise
        self._signal(signal.SIGSTOP)

    def turn(self, steps: int) -> list[float]:
        """Run ``steps`` training steps and return the seconds of each."""
        return self.ask(steps=steps)["seconds"]

    def ask(self, **order: object) -> dict[str, Any]:
        """Resume the worker, send it an order, suspend it again after its answer, and return the answer.

        Raises ``WorkerError`` if the worker fails, has ended, or does not answer in time.
        """
        self._signal(signal.SIGCONT)
        stdin = self._process.stdin
        assert stdin is not None
        with suppress(BrokenPipeError):  # of a worker that has ended; reading its answer says so
            stdin.write(json.dumps(order) + "\n")
            stdin.flush()
        answer = self._answer()
        self._signal(signal.SIGSTOP)
        return answer

    @property
    def peak(self) -> float:
        """The peak resident memory of the worker so far, in MB."""
        return peak_memory(self._process.pid)

    def _answer(self) -> dict[str, Any]:
        stdout = self._process.stdout
        assert stdout is not None
        # Each order has one line of answer, so nothing is buffered, and waiting for the pipe suffices.
        if not select.select([stdout], [], [], self.patience)[0]:
            raise WorkerError(f"{self.configuration.name}: no answer within {self.patience:.0f} s")
        line = stdout.readline()
        if not line:
            code = self._process.wait()
            raise WorkerError(
                f"the worker {self.configuration.name!r} ended with exit code {code}; see its output above"
            )
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise WorkerError(f"{self.configuration.name}: {answer['error']}")
        return answer

    def _signal(self, number: signal.Signals) -> None:
        os.killpg(self._process.pid, number)

    def close(self) -> None:
        """Kill the process and all processes that it started; a second call does nothing."""
        if self._process.stdin is not None and self._process.stdin.closed:
            return
        with suppress(ProcessLookupError):
            self._signal(signal.SIGKILL)
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(BrokenPipeError):  # an order that a killed worker has not read
                    pipe.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


# The worker's side


def striate_step(model: Any, batch: int, seed: int, precision: str = "float32") -> Prepared:
    """Return the prepared training step of a model in striate."""
    import striate as st

    optimizer = st.optim.SGD(lr=LEARNING_RATE, momentum=MOMENTUM)
    step = st.TrainingStep(model, st.nn.CrossEntropyLoss(), optimizer, seed=seed, capacity=batch, precision=precision)
    return step, lambda x, y: (x, y)


def torch_step(model: Any, configuration: Configuration, threads: int, rank: int = 4) -> Prepared:
    """Return the prepared training step of a model in PyTorch; its inputs have ``rank`` axes, including N."""
    import torch
    from torch.nn import functional

    torch.set_num_threads(threads)
    last = torch.channels_last_3d if rank == 5 else torch.channels_last
    layout = last if configuration.channels_last else torch.contiguous_format
    model = model.to(memory_format=layout)
    optimizer = torch.optim.SGD(model.parameters(), LEARNING_RATE, MOMENTUM, fused=configuration.fused or None)

    def loss_of(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=configuration.bf16):
            return functional.cross_entropy(model(x), y)

    forward = torch.compile(loss_of, dynamic=False) if configuration.compiled else loss_of

    def step(x: torch.Tensor, y: torch.Tensor) -> float:
        optimizer.zero_grad(set_to_none=True)
        loss = forward(x, y)
        loss.backward()
        optimizer.step()
        return loss.item()

    def tensors(x: Array, y: Array) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.from_numpy(x).contiguous(memory_format=layout), torch.from_numpy(y)

    return step, tensors


def prepared(order: Mapping[str, Any]) -> Prepared:
    """Return the prepared training step that a message from the controlling process describes."""
    network, configuration = NETWORKS[order["network"]], Configuration(**order["configuration"])
    if configuration.framework == "striate":
        from networks import striate_model

        precision = "bfloat16" if configuration.bf16 else "float32"
        return striate_step(striate_model(network, seed=order["seed"]), order["batch"], order["seed"], precision)
    from twins import torch_model

    return torch_step(torch_model(network, seed=order["seed"]), configuration, order["threads"])


def _die_with_parent() -> None:
    """Ask the kernel to kill this process if the controller dies (Linux).

    Otherwise a suspended worker would outlive a killed controller for ever.
    """
    if sys.platform == "linux":
        set_death_signal = 1
        ctypes.CDLL(None).prctl(set_death_signal, signal.SIGKILL)


def serve(
    prepare: Callable[[Mapping[str, Any]], Prepared],
    dissect: Callable[[Step, Callable[[], tuple[Any, Any]], int], object] | None = None,
    networks: Callable[[], Mapping[str, Network]] = lambda: NETWORKS,
) -> None:
    """Serve one controller until its pipe closes. ``networks()`` are those that an order may name.

    If an order asks for ``apart`` steps, ``dissect(step, batch, apart)`` profiles that many, and its result is part of
    the answer; ``batch()`` returns a fresh batch.
    """
    _die_with_parent()
    # Redirect what libraries print to standard error, so that the pipe contains only answers.
    channel = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    order = json.loads(sys.argv[1])
    network: Network = networks()[order["network"]]

    def answer(**content: object) -> None:
        channel.write(json.dumps(content) + "\n")

    try:
        start = time.perf_counter()
        step, convert = prepare(order)
        fresh = batches(network, order["batch"], order["seed"])
        build = time.perf_counter() - start

        def once() -> tuple[float, float]:
            x, y = convert(*next(fresh))
            begin = time.perf_counter()
            found = step(x, y)
            seconds = time.perf_counter() - begin
            outcome = float(np.abs(np.asarray(found)).sum())
            if not math.isfinite(outcome):
                raise ArithmeticError(f"the outcome became {outcome}")
            return seconds, outcome

        def timed() -> float:
            return once()[0]

        (first, outcome), *_ = [once() for _ in range(WARM_STEPS)]
        answer(build=build, first_step=first, outcome=outcome)
        for line in sys.stdin:
            asked = json.loads(line)
            timed()
            seconds = [timed() for _ in range(asked["steps"])]
            apart = asked.get("apart", 0)
            found = dissect(step, lambda: convert(*next(fresh)), apart) if dissect and apart else None
            answer(seconds=seconds, apart=found)
    except Exception as error:
        answer(error=f"{type(error).__name__}: {error}")
        raise


if __name__ == "__main__":
    serve(prepared)
