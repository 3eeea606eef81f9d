"""End all ranks (processes) of a training if one of them fails, as the others would wait for it for ever."""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import TracebackType

from striate.distributed.communicator import Communicator
from striate.errors import NonFiniteError, StriateError
from striate.starting import INTERRUPTED

_PATIENCE = 1.0
"""Seconds that a rank other than 0 waits before it ends all ranks: rank 0 often fails in the same way, and its message
suffices."""


class Interrupted(KeyboardInterrupt):
    """The error that ends a training on Ctrl-C or another signal; all ranks (processes) raise it after the same step.

    Any other ``KeyboardInterrupt`` may have been raised on one rank alone.
    """


AGREED = (NonFiniteError, Interrupted)
"""The exceptions that a training raises on all ranks at once."""


@contextmanager
def failing_together(
    communicator: Communicator,
    agreed: tuple[type[BaseException], ...] = (),
    code: Callable[[BaseException], int] = lambda error: 1,
) -> Generator[None]:
    """Return a context in which an exception ends the processes of all ranks, after its message is printed.

    Exceptions of the types ``agreed`` are raised as usual; they must occur on all ranks at once. ``code`` returns the
    exit code for an exception other than ``KeyboardInterrupt``. With a single rank, the context has no effect.
    """
    try:
        yield
    except BaseException as error:
        if communicator.size == 1 or isinstance(error, agreed):
            raise
        text = f": {error}" if isinstance(error, StriateError) else f" failed:\n{_trace(error)}"
        interrupted = isinstance(error, KeyboardInterrupt)
        _end_all(communicator, ": interrupted" if interrupted else text, INTERRUPTED if interrupted else code(error))
        raise


def end_all_on_uncaught(communicator: Communicator) -> None:
    """From now on, end the processes of all ranks if an uncaught exception ends this process.

    Exceptions that all ranks raise at once (``AGREED``) are excluded. A process that ends by ``sys.exit`` does not end
    the others.
    """
    before = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        before(kind, error, trace)
        if not isinstance(error, AGREED):
            interrupted = isinstance(error, KeyboardInterrupt)
            _end_all(communicator, " failed, which ends all ranks", INTERRUPTED if interrupted else 1)

    sys.excepthook = hook


def _end_all(communicator: Communicator, text: str, code: int) -> None:
    if communicator.rank:
        time.sleep(_PATIENCE)
    sys.stdout.flush()
    # sys.stderr of ranks other than 0 may be discarded.
    print(f"error: rank {communicator.rank} of {communicator.size}{text}", file=sys.__stderr__, flush=True)
    communicator.abort(code)


def _trace(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))
