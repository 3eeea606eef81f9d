"""``st.ops``: the functions of ``striate.ops``, which here accept arrays as well as traced values.

Called on arrays, a function is compiled for their shapes, runs and returns arrays. Called inside a traced function, it
adds nodes to the graph.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import wraps
from inspect import signature
from types import ModuleType
from typing import Any, cast

from striate import habits
from striate.errors import DTypeError
from striate.graph.value import Value
from striate.tracing.function import CompiledFunction

_PROGRAMS = 16


class Operations(ModuleType):
    """A copy of a module of operations whose functions accept NumPy arrays as well as traced values.

    A call with arrays compiles the function for their shapes, runs it and returns arrays.
    """

    def __init__(self, module: ModuleType) -> None:
        super().__init__(module.__name__, module.__doc__)
        self._module = module
        self._compiled: dict[str, CompiledFunction] = {}
        self.__all__ = list(module.__all__)
        self.__path__ = module.__path__

    def __getattr__(self, name: str) -> Any:
        if name not in self.__all__:
            if not hasattr(self._module, name):
                raise habits.missing("st.ops", name, self.__all__, habits.OPERATIONS | _ranked(name, self.__all__))
            return getattr(self._module, name)
        if name not in self._compiled:
            function = _requiring_values(getattr(self._module, name))
            self._compiled[name] = CompiledFunction(function, False, None, _PROGRAMS, scalars=False)
        return self._compiled[name]

    def __dir__(self) -> list[str]:
        return sorted(self.__all__)


def _ranked(name: str, known: Collection[str]) -> dict[str, str]:
    """Return the answer for a name of PyTorch with a number of dimensions, such as ``max_pool2d``."""
    base = name[:-2] if name[-2:] in ("1d", "2d", "3d") else name
    return {name: f"st.ops.{base}, whatever the number of dimensions"} if base != name and base in known else {}


def _requiring_values(function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap ``function`` to raise ``DTypeError`` if an argument annotated as a value is not a value."""
    parameters = signature(function)
    kinds = function.__annotations__

    @wraps(function)
    def checked(*arguments: Any, **options: Any) -> Any:
        for name, given in parameters.bind(*arguments, **options).arguments.items():
            kind = kinds.get(name)
            values: Sequence[object] = ()
            if kind == "Sequence[Value]":
                if not isinstance(given, tuple | list):
                    raise DTypeError(
                        f"{function.__name__}: {name} is {given!r:.60}, not a list of arrays\n"
                        f"  help: st.ops.{function.__name__}([x, y])"
                    )
                values = cast("Sequence[object]", given)
            elif kind in ("Value", "Integers") or (kind == "Value | None" and given is not None):
                values = cast("Sequence[object]", (given,))
            for value in values:
                if not isinstance(value, Value):
                    raise DTypeError(
                        f"{function.__name__}: {name} is {value!r:.60}, not an array\n  help: np.asarray(x, np.float32)"
                    )
        return function(*arguments, **options)

    return checked
