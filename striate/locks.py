"""Locks that survive a fork, and everything else that a fork must reset.

A fork copies the memory of all threads but only one of the threads. A lock that another thread holds at that moment
would be held in the child for ever, and the data that it protects may be half changed. Therefore

- a ``Lock`` whose holder does not exist in the child is replaced there by a free lock;
- a lock with an ``Order`` is taken before every fork and released after it, in the parent and in the child, so that
  the data that it protects is never half changed;
- an object that owns threads registers itself with ``reset_after_fork``;
- ``cached_property`` takes no lock, unlike that of ``functools`` in Python 3.11.
"""

from __future__ import annotations

import logging  # pyright: ignore[reportUnusedImport]  # noqa: F401 - takes a lock before forks, see the end
import os
import threading
import weakref
from collections.abc import Callable
from enum import IntEnum
from types import TracebackType
from typing import Any, Generic, Protocol, TypeVar, overload

PATIENCE = 60.0
"""Seconds that a fork waits for each lock with an order. After that it proceeds, and the child gets a free lock."""


class Order(IntEnum):
    """The locks that are taken before a fork; every thread that takes several must take them in this order."""

    IMPORT = 0
    """Held while a module is imported late: Python's own import lock would stay taken in a child."""
    RUN = 1
    """Held while native code runs on the scratch memory of the process."""
    LLVM = 2
    """Held while LLVM compiles, loads or removes code."""


class Lock:
    """A reentrant lock for ``with`` statements that cannot stay locked for ever in the child of a fork.

    In the child, it is free unless the forking thread itself held it. A lock with an ``order`` is taken before every
    fork.
    """

    def __init__(self, order: Order | None = None) -> None:
        self.order = order
        self._lock = threading.RLock()
        _locks[id(self)] = self

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.release()

    def acquire(self, timeout: float) -> bool:
        """Take the lock; return False if that is not possible within ``timeout`` seconds."""
        return self._lock.acquire(timeout=timeout)

    def release(self) -> None:
        """Undo one ``acquire``."""
        self._lock.release()

    def renew(self) -> None:
        """Replace the underlying lock if another thread holds it; called in the child of a fork."""
        if self._lock.acquire(blocking=False):
            self._lock.release()
        else:
            self._lock = threading.RLock()


_Result = TypeVar("_Result")


class cached_property(Generic[_Result]):  # noqa: N801 - the name that readers know
    """A property that is computed once and kept in the instance; two threads may both compute it.

    The ``cached_property`` of ``functools`` in Python 3.11 has a lock that all instances share. If a process forked
    while a thread computed the property, the child would wait for this lock for ever.
    """

    def __init__(self, compute: Callable[[Any], _Result]) -> None:
        self._compute = compute
        self._name = compute.__name__
        self.__doc__ = compute.__doc__

    @overload
    def __get__(self, instance: None, owner: type) -> cached_property[_Result]: ...

    @overload
    def __get__(self, instance: object, owner: type) -> _Result: ...

    def __get__(self, instance: object | None, owner: type) -> cached_property[_Result] | _Result:
        if instance is None:
            return self
        # This is not a data descriptor, so from now on Python finds the instance's own entry first.
        value = instance.__dict__[self._name] = self._compute(instance)
        return value


class Resettable(Protocol):
    """Protocol: an object that must be reset in the child of a fork, such as one that owns threads."""

    def after_fork(self) -> None:
        """Reset the object; called in the child of every fork, when all locks are usable again."""
        ...


class _Forking(threading.local):
    """The locks that the current thread has taken for the fork in progress."""

    def __init__(self) -> None:
        self.taken: list[Lock] = []


# `valuerefs` copies the references in one step, so that other threads may create locks meanwhile.
_locks: weakref.WeakValueDictionary[int, Lock] = weakref.WeakValueDictionary()
_resettable: weakref.WeakValueDictionary[int, Resettable] = weakref.WeakValueDictionary()
_forking = _Forking()


def reset_after_fork(owner: Resettable) -> None:
    """Register ``owner``, so that its ``after_fork()`` is called in the child of every fork.

    Only a weak reference is kept, so registering an object does not keep it alive.
    """
    _resettable[id(owner)] = owner


def _before_fork() -> None:
    ordered: list[tuple[Order, Lock]] = []
    for reference in _locks.valuerefs():
        lock = reference()
        if lock is not None and lock.order is not None:
            ordered.append((lock.order, lock))
    for _, lock in sorted(ordered, key=lambda pair: pair[0]):
        if lock.acquire(PATIENCE):
            _forking.taken.append(lock)


def _release() -> None:
    while _forking.taken:
        _forking.taken.pop().release()


def _after_fork_in_child() -> None:
    _release()
    for lock in list(_locks.values()):
        lock.renew()
    for owner in list(_resettable.values()):
        owner.after_fork()


# Python calls what was registered last first. `logging` takes its lock before a fork, too, and threads that hold one of
# the locks above write messages: theirs must be taken before logging's, so logging is imported before this line.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_release, after_in_child=_after_fork_in_child)
