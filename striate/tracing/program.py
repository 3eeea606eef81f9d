"""Compiled functions of arrays, and a cache of a limited number of them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from striate.engine import Executable
from striate.graph.contents import ContentCheck
from striate.graph.graph import Graph
from striate.graph.value import Array, Value
from striate.locks import Lock
from striate.tracing.trace import TracedModule
from striate.tracing.tree import Tree, flatten_tree, rebuild_tree


@dataclass(frozen=True)
class TracedFunction:
    """A compiled function that takes arrays by name, and N, and returns arrays, nested as in ``outputs``.

    ``executable`` is the compiled form of ``graph``. Before each run, the functions ``checks`` are called with N, and
    those in ``contents`` with input arrays, to check for example the range of labels. ``models`` are the models that
    the function calls, each with its ``version`` at the time of tracing.
    """

    graph: Graph
    executable: Executable
    outputs: Tree
    checks: Sequence[Callable[[int], None]]
    contents: Sequence[ContentCheck] = ()
    models: Sequence[tuple[TracedModule, int]] = ()

    @property
    def outdated(self) -> bool:
        """Whether a model that this function calls has changed its structure or memory since the tracing."""
        return any(model.version != version for model, version in self.models)

    def __call__(self, arrays: Mapping[str, Array], n: int) -> Tree:
        for verify in self.checks:
            verify(n)
        for name, require in self.contents:
            require(arrays[name])
        found = self.executable.run(arrays, n)
        if isinstance(self.outputs, Value):
            return found["out"]
        leaves: list[Any] = [
            found[name] if isinstance(leaf, Value) else leaf for name, leaf in flatten_tree(self.outputs, "out")
        ]
        return rebuild_tree(self.outputs, leaves)


class FunctionCache:
    """A cache of at most ``limit`` traced functions by key; the least recently used is dropped first."""

    def __init__(self, limit: int = 16) -> None:
        self._limit = limit
        self._functions: OrderedDict[object, TracedFunction] = OrderedDict()
        self._lock = Lock()  # another thread may remove the function that was just found

    def find(self, key: object) -> TracedFunction | None:
        """Return the function for a key, or None if the cache has none."""
        with self._lock:
            found = self._functions.get(key)
            if found is not None:
                self._functions.move_to_end(key)
            return found

    def keep(self, key: object, function: TracedFunction) -> TracedFunction:
        """Add a function under a key, and return the function.

        If the cache is full, the least recently used function is dropped.
        """
        with self._lock:
            self._functions[key] = function
            if len(self._functions) > self._limit:
                self._functions.popitem(last=False)
        return function

    def __len__(self) -> int:
        return len(self._functions)
