"""A pool of memory blocks for values that must outlive the run that computed them, such as saved activations."""

from __future__ import annotations

from contextlib import suppress

from striate.locks import Lock
from striate.runtime.arena import Arena

_MOST_FREE = 4
"""The largest number of unused arenas that a pool keeps."""


class Lease:
    """The right to use ``arena``, a block of memory, until ``end`` is called or this object is deleted.

    The arena then returns to ``pool``.
    """

    def __init__(self, pool: ArenaPool, arena: Arena) -> None:
        self._pool: ArenaPool | None = pool
        self.arena = arena

    def end(self) -> None:
        """Return the memory block to its pool, which may then lend it to others; a second call has no effect."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.receive(self.arena)

    def __del__(self) -> None:
        self.end()


class ArenaPool:
    """A pool of arenas (blocks of memory): an arena whose lease has ended is used again for a later lease."""

    def __init__(self) -> None:
        self._free: list[Arena] = []
        self._lock = Lock()

    def lease(self, size: int) -> Lease:
        """Return a lease of an arena, a block of memory of at least ``size`` bytes with undefined contents.

        An unused arena is reused if it has at least ``size`` bytes, and at most the larger of 2 · ``size`` bytes and 1
        MiB. If there is no such arena, a new one is allocated.
        """
        with self._lock:
            fitting = [arena for arena in self._free if size <= arena.size <= max(2 * size, 1 << 20)]
            if fitting:
                found = min(fitting, key=lambda arena: arena.size)
                with suppress(ValueError):  # a finalizer may have dropped it since
                    self._free.remove(found)
                    return Lease(self, found)
        return Lease(self, Arena(size))

    def receive(self, arena: Arena) -> None:
        """Keep ``arena``, a block of memory, for later leases.

        If too many blocks are unused, the block that has been unused for the longest time is dropped.
        """
        # Called by finalizers, at any point of this thread: a list's own methods are atomic, and no lock is needed.
        self._free.append(arena)
        if len(self._free) > _MOST_FREE:
            del self._free[0]
