"""What happens if a rank fails: it ends all ranks, since the others would wait for its messages for ever."""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Callable, Generator
from contextlib import contextmanager

from striate.distributed.communicator import Communicator
from striate.errors import StriateError

_PATIENCE = 1.0
"""Seconds that a rank other than 0 waits before it ends all ranks: rank 0 often fails in the same way, and its message
suffices."""


@contextmanager
def failing_together(
    communicator: Communicator,
    agreed: tuple[type[BaseException], ...] = (),
    code: Callable[[BaseException], int] = lambda error: 1,
) -> Generator[None]:
    """Return a context in which an exception ends the processes of all ranks, after its message is printed.

    Exceptions of the types ``agreed`` are raised as usual; they must occur on all ranks at once. ``code`` returns the
    exit code for an exception. With a single rank, the context has no effect.
    """
    try:
        yield
    except BaseException as error:
        if communicator.size == 1 or isinstance(error, agreed):
            raise
        if communicator.rank:
            time.sleep(_PATIENCE)
        where = f"rank {communicator.rank} of {communicator.size}"
        ours = isinstance(error, StriateError)
        text = f"{where}: {error}" if ours else f"{where} failed:\n{''.join(traceback.format_exception(error))}"
        sys.stdout.flush()
        print(f"error: {text}", file=sys.__stderr__, flush=True)  # sys.stderr of ranks other than 0 may be discarded
        communicator.abort(code(error))
        raise
