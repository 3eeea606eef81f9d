"""``st.ops``: the functions of ``striate.ops``, which here take arrays as well as traced values.

Called on arrays, a function is compiled for their shapes, runs and returns arrays. Called inside a traced function, it
adds to the graph.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

from striate.tracing.function import CompiledFunction

_PROGRAMS = 16


class Operations(ModuleType):
    """A stand-in for a module of functions of values."""

    def __init__(self, module: ModuleType) -> None:
        super().__init__(module.__name__, module.__doc__)
        self._module = module
        self._compiled: dict[str, CompiledFunction] = {}
        self.__all__ = list(module.__all__)
        self.__path__ = module.__path__

    def __getattr__(self, name: str) -> Any:
        if name not in self.__all__:
            return getattr(self._module, name)
        if name not in self._compiled:
            self._compiled[name] = CompiledFunction(getattr(self._module, name), False, None, _PROGRAMS, scalars=False)
        return self._compiled[name]

    def __dir__(self) -> list[str]:
        return sorted(self.__all__)
