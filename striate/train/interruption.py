"""Signals that end a training: the first lets the running step finish, and a second stops at once."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType

from striate.distributed import Interrupted

Handler = signal.Handlers | int | Callable[[int, FrameType | None], object] | None
_SIGNALS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]


class Terminated(Interrupted):
    """The error when a training is ended by SIGTERM, or by SIGHUP because its terminal was closed.

    It is handled like Ctrl-C. ``code`` is the exit code that shells expect: 128 plus the number of the signal, so 143
    for SIGTERM.
    """

    def __init__(self, code: int) -> None:
        super().__init__(f"ended by {signal.Signals(code - 128).name}")
        self.code = code


class Interruption:
    """A context manager that delays Ctrl-C, SIGTERM and SIGHUP until ``raise_if_asked`` is called.

    At a second signal, ``leave`` is called with the exit code; without ``leave``, ``KeyboardInterrupt`` is raised at
    once, wherever the program is. SIGTERM and SIGHUP are not affected if the program already handles or ignores them.
    Signals are delivered to the main thread, so this does nothing in other threads.
    """

    def __init__(self, leave: Callable[[int], None] | None = None) -> None:
        self.asked: int | None = None
        """The number of the signal that came."""
        self._leave = leave
        self._before: dict[int, Handler] = {}
        self._process = os.getpid()

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():
            self._before[signal.SIGINT] = signal.signal(signal.SIGINT, self._received)
            for number in _SIGNALS:
                if signal.getsignal(number) is signal.SIG_DFL:
                    self._before[number] = signal.signal(number, self._received)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, before in self._before.items():
            usual = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
            signal.signal(number, usual if before is None else before)
        self._before.clear()

    def _received(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:  # a forked child has no training to end
            os._exit(128 + number)
        if self.asked is None:
            self.asked = number
        elif self._leave is not None:
            self._leave(128 + number)
        else:
            raise KeyboardInterrupt(f"a second {signal.Signals(number).name}")

    def raise_if_asked(self) -> None:
        """Raise ``Interrupted`` if Ctrl-C was pressed, or ``Terminated`` if another signal came."""
        if self.asked is not None:
            raise Interrupted if self.asked == signal.SIGINT else Terminated(128 + self.asked)
