"""Ctrl-C during training: the first one lets the running step finish, a second one stops at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType


class Interruption:
    """A context manager that delays Ctrl-C until ``raise_if_asked`` is called.

    A second Ctrl-C calls ``leave``, which by default raises ``KeyboardInterrupt`` wherever the program is. Signals are
    delivered to the main thread, so this does nothing in other threads.
    """

    def __init__(self, leave: Callable[[], None] | None = None) -> None:
        self.asked = False
        self._leave = leave
        self._before: signal.Handlers | int | Callable[[int, FrameType | None], object] | None = None
        self._installed = False

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._received)
            self._installed = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._installed:
            signal.signal(signal.SIGINT, signal.default_int_handler if self._before is None else self._before)
            self._installed = False

    def _received(self, number: int, frame: FrameType | None) -> None:
        if not self.asked:
            self.asked = True
        elif self._leave is not None:
            self._leave()
        else:
            raise KeyboardInterrupt

    def raise_if_asked(self) -> None:
        """Raise ``KeyboardInterrupt`` if Ctrl-C was pressed."""
        if self.asked:
            raise KeyboardInterrupt
