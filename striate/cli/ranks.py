"""Commands on several ranks (processes), as ``mpirun -n 4 striate train`` starts them.

Every rank runs the whole command. Rank 0 alone prints and writes files; an error on any rank ends all of them.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import typer

from striate.cli.report import Command, GroupedCommand, exit_code
from striate.distributed import AGREED, Alone, Communicator, failing_together, launched_communicator, share_threads

_AGREED = (*AGREED, typer.Exit)
"""Exceptions that end a command on all ranks at once, since the ranks agree on them."""
_ranks: list[Communicator] = [Alone()]


def ranks() -> Communicator:
    """Return the communicator of the ranks that run this command; without a launcher, there is one rank."""
    return _ranks[-1]


def on_ranks(run: Any) -> Any:
    """Call the function ``run`` on this rank, and return its result.

    Whatever ranks other than 0 print is discarded. An error on one rank ends all ranks.
    """
    found = launched_communicator()
    if found is None:
        return run()
    _ranks.append(found)
    if found.rank:
        sys.stdout = sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - until the process ends
    with failing_together(found, _AGREED, exit_code):
        share_threads(found)
        try:
            return run()
        except _AGREED:
            found.wait_for_all()  # a rank that exits with an error makes the launcher end the others
            raise


class RankedCommand(Command):
    """A typer command that may run on several ranks (processes that an MPI launcher started)."""

    def invoke(self, ctx: Any) -> Any:
        return on_ranks(lambda: super(RankedCommand, self).invoke(ctx))


class RankedGroupedCommand(GroupedCommand):
    """A typer command that lists its options in groups and may run on several ranks (processes)."""

    def invoke(self, ctx: Any) -> Any:
        return on_ranks(lambda: super(RankedGroupedCommand, self).invoke(ctx))
