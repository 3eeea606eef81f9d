"""Ctrl-C during training: the running step is finished first; a second Ctrl-C stops at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType


class Interruption:
    """Delays Ctrl-C inside its ``with`` block until ``raise_if_asked``.

    A second Ctrl-C calls ``leave``, which by default raises ``KeyboardInterrupt`` wherever the program is. Signals are
    delivered to the main thread, so in other threads this does nothing.
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
        """Raises the delayed ``KeyboardInterrupt``."""
        if self.asked:
            raise KeyboardInterrupt
