"""Trainings as child processes: ``striate train``, one after the other.

Only one training runs at a time, so that their speeds can be compared and the page stays responsive; the others wait.
To stop a training, the lab sends it Ctrl-C (SIGINT), as from a terminal; the training then finishes its step and saves
its model. If the training does not end, the lab sends Ctrl-C again, and finally kills it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from striate.errors import OptionError
from striate.lab.requests import TrainingRequest

MOST_WAITING = 24
_PATIENCE = (12.0, 3.0)
"""Seconds from the first Ctrl-C to the second, and from the second to killing the process."""
_ENDED = (130, 143)  # by Ctrl-C, by SIGTERM
_LINES_KEPT = 30
_LONGEST_LINE = 2000


class State(Enum):
    """The state of a run or training, as the page shows it."""

    WAITING = "waiting"
    RUNNING = "running"
    STOPPING = "stopping"
    FINISHED = "finished"
    STOPPED = "stopped"
    FAILED = "failed"

    @property
    def over(self) -> bool:
        """Whether the training has ended."""
        return self in (State.FINISHED, State.STOPPED, State.FAILED)


@dataclass(eq=False)
class Training:
    """A requested training: its folder, its state, its process, and the last lines that it printed.

    ``interrupted`` says whether the process was sent Ctrl-C, as ``interrupt`` does.
    """

    request: TrainingRequest
    folder: Path
    state: State = State.WAITING
    process: asyncio.subprocess.Process | None = None
    interrupted: bool = False
    lines: deque[str] = field(default_factory=lambda: deque[str](maxlen=_LINES_KEPT))

    @property
    def message(self) -> str:
        """The last error message of a failed training, or "" for any other."""
        if self.state is not State.FAILED:
            return ""
        lines = list(self.lines)
        starts = [number for number, line in enumerate(lines) if line.startswith("error:")]
        return "\n".join(lines[starts[-1] if starts else -6 :]).removeprefix("error: ")


class Trainings:
    """The queue of trainings.

    ``run`` starts the trainings one after the other. When ``run`` is cancelled, it stops the training that is running.
    ``changed`` is called after each change.
    """

    def __init__(self, changed: Callable[[], None]) -> None:
        self._waiting: deque[Training] = deque()
        self._running: Training | None = None
        self._wake = asyncio.Event()
        self._changed = changed

    @property
    def running(self) -> Training | None:
        """The training whose process is running, or None."""
        return self._running

    def add(self, training: Training) -> None:
        """Queue a training; raise ``OptionError`` if 24 are waiting already."""
        if len(self._waiting) >= MOST_WAITING:
            raise OptionError(f"{MOST_WAITING} trainings wait already; stop some, or let them finish")
        self._waiting.append(training)
        self._wake.set()
        self._changed()

    def stop(self, training: Training) -> None:
        """Remove a waiting training from the queue, or tell a running one to finish its step and save."""
        if training in self._waiting:
            self._waiting.remove(training)
            training.state = State.STOPPED
        elif training is self._running and training.state is State.RUNNING:
            training.state = State.STOPPING
            interrupt(training)
        self._changed()

    def leave(self) -> None:
        """Send Ctrl-C to the training that still runs, without waiting for it; the training saves its model and ends.

        The lab calls this if it is forced to exit.
        """
        if self._running is not None:
            interrupt(self._running)

    async def run(self) -> None:
        """Run the queued trainings one after the other, until the task is cancelled."""
        try:
            while True:
                while not self._waiting:
                    self._wake.clear()
                    await self._wake.wait()
                await self._train(self._waiting.popleft())
        finally:
            for training in self._waiting:
                training.state = State.STOPPED
            self._waiting.clear()

    async def _train(self, training: Training) -> None:
        self._running, training.state = training, State.RUNNING
        self._changed()
        try:
            training.process = await asyncio.create_subprocess_exec(
                *training.request.command(training.folder),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,  # the lab itself passes on a Ctrl-C in its terminal
            )
            await self._watched(training)
        except OSError as error:
            training.lines.append(f"error: the training could not be started: {error.strerror or error}")
            training.state = State.FAILED
        except asyncio.CancelledError:
            await ended(training)
            raise
        finally:
            if training.process is None or training.process.returncode is not None:
                self._running = None
            self._changed()

    async def _watched(self, training: Training) -> None:
        process = training.process
        assert process is not None
        assert process.stderr is not None
        reading = asyncio.create_task(read_lines(process.stderr, training.lines))
        try:
            while process.returncode is None:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(process.wait(), 0.5)
                if training.state is State.STOPPING and process.returncode is None:
                    await ended(training)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(reading), 2)
        finally:
            reading.cancel()
        training.state = final_state(process.returncode, training.state)


def final_state(code: int, before: State) -> State:
    """Return the state of a training whose process ended with exit code ``code``.

    ``before`` is the state of the training before the process ended. A process that was killed while stopping counts as
    stopped.
    """
    if code == 0:
        return State.FINISHED
    return State.STOPPED if code in _ENDED or before is State.STOPPING else State.FAILED


async def read_lines(stream: asyncio.StreamReader, lines: deque[str]) -> None:
    """Append the lines of a stream to ``lines`` until the stream ends; keep the last 2000 characters of long lines."""
    rest = ""
    while chunk := await stream.read(4096):
        *whole, rest = (rest + chunk.decode("utf-8", "replace"))[-_LONGEST_LINE:].split("\n")
        lines.extend(line.rstrip("\r") for line in whole)
    if rest:
        lines.append(rest)


def interrupt(training: Training) -> None:
    """Send Ctrl-C (SIGINT) once to the training's process group, including workers that compile kernels.

    Further calls do nothing: at a second Ctrl-C, a training leaves without saving its model.
    """
    if training.process is not None and not training.interrupted:
        training.interrupted = True
        send(training, signal.SIGINT)


def send(training: Training, number: int) -> None:
    """Send signal ``number`` to a training's process group if it still runs; on Windows, terminate it."""
    process = training.process
    if process is None or process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if sys.platform == "win32":
            process.terminate()  # there is no Ctrl-C for a process without a console
        else:
            os.killpg(process.pid, number)


async def ended(training: Training) -> None:
    """End a training and wait for it.

    The training is sent Ctrl-C, unless that was done before. If it still runs after 12 s, it is sent Ctrl-C again. If
    it still runs 3 s later, it is killed.
    """
    process = training.process
    if process is None:
        return
    training.state = State.STOPPING
    interrupt(training)
    for patience, number in zip(_PATIENCE, (signal.SIGINT, getattr(signal, "SIGKILL", signal.SIGTERM))):
        try:
            await asyncio.wait_for(process.wait(), patience)
            break
        except TimeoutError:
            send(training, number)
    await process.wait()
    training.state = final_state(process.returncode or 0, training.state)
