"""``st.ops``: the functions of ``striate.ops``, which here accept arrays as well as traced values.

Called on arrays, a function is compiled for their shapes, runs and returns arrays. Called inside a traced function, it
adds nodes to the graph.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import wraps
from inspect import Signature, signature
from types import ModuleType
from typing import Any, cast

from striate import habits
from striate.errors import DTypeError, StriateError
from striate.graph.op import naming, place
from striate.graph.value import Value
from striate.tracing.function import CompiledFunction
from striate.tracing.tree import contains_value

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
    """Wrap ``function`` to raise ``DTypeError`` if an argument annotated as a value is not a value.

    All errors that the function raises begin with its name.
    """
    parameters = signature(function)
    kinds = function.__annotations__
    name = function.__name__

    @wraps(function)
    def checked(*arguments: Any, **options: Any) -> Any:
        given = parameters.bind(*arguments, **options).arguments
        with naming(name, lambda: _call(name, given, parameters)):
            try:
                for parameter, argument in given.items():
                    _require_values(parameter, argument, kinds.get(parameter), f"st.ops.{name}")
                return function(*arguments, **options)
            except StriateError as error:
                if not re.match(rf'(at "[^"]*" )?{name}\b', str(error)):
                    error.args = (f"{place(name)}: {error}",)
                raise

    return checked


def _require_values(parameter: str, given: object, kind: str | None, function: str) -> None:
    """Raise ``DTypeError`` if the annotation ``kind`` of a parameter names values, and ``given`` is something else."""
    values: Sequence[object] = ()
    if kind == "Sequence[Value]":
        if not isinstance(given, tuple | list):
            raise DTypeError(f"{parameter} is {given!r:.60}, not a list of arrays\n  help: {function}([x, y])")
        values = cast("Sequence[object]", given)
    elif kind in ("Value", "Integers") or (kind == "Value | None" and given is not None):
        values = (given,)
    for value in values:
        if not isinstance(value, Value):
            raise DTypeError(f"{parameter} is {value!r:.60}, not an array\n  help: np.asarray(x, np.float32)")


def _call(name: str, given: Mapping[str, object], signature: Signature) -> str:
    """Return a call as text, with the options that differ from their defaults: ``conv(stride=2)``.

    Arrays, and whatever may contain them, are left out, and so are long options.
    """
    options = [
        f"{parameter}={argument!r}"
        for parameter, argument in given.items()
        if not contains_value(argument)
        and not (isinstance(argument, float | int | str | None) and argument == signature.parameters[parameter].default)
    ]
    shown = [option for option in options if len(option) <= 40]
    return f"{name}({', '.join(shown)})" if shown else name
