"""The exceptions of striate.

Every message says what was wrong, where (the path of the layer), and what to do about it.

    StriateError
     ├─ ShapeError          a shape that an operation cannot take            (also ValueError)
     ├─ DTypeError          an array or label of the wrong type              (also TypeError)
     ├─ OptionError         an unknown or impossible option                  (also ValueError)
     │   └─ ArgumentError   arguments that a function or class does not take (also TypeError)
     ├─ DataError           data that cannot be read or learned from         (also ValueError)
     │   └─ LabelError      a label out of range or not an integer
     ├─ ModelFileError      a saved model that cannot be read                (also ValueError)
     ├─ NonFiniteError      a loss or gradient that became NaN or infinite   (also ArithmeticError)
     ├─ TracingError        a function that cannot be traced into a graph    (also TypeError)
     ├─ GraphError          a malformed graph: a defect in a pass or an operation
     ├─ EngineError         this computer cannot run compiled kernels        (also RuntimeError)
     └─ MissingExtraError   an optional package is absent                    (also ImportError)
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from importlib import import_module
from types import ModuleType


class StriateError(Exception):
    """Base class of all exceptions that striate raises deliberately."""


class ShapeError(StriateError, ValueError):
    """A shape that an operation cannot take."""


class DTypeError(StriateError, TypeError):
    """An array, label or parameter of the wrong type."""


class OptionError(StriateError, ValueError):
    """An option that is unknown, or a value that it cannot have."""


class ArgumentError(OptionError, TypeError):
    """A call with arguments that the function or class does not take, or without one that it needs."""


class DataError(StriateError, ValueError):
    """Data that is empty, damaged, not finite, or not as its format requires."""


class LabelError(DataError):
    """A label that is out of range or not an integer."""


class ModelFileError(StriateError, ValueError):
    """A saved model that is missing, truncated, in another format, or malicious."""


class NonFiniteError(StriateError, ArithmeticError):
    """The loss or a gradient is NaN or infinite; nothing of that step was kept."""


class TracingError(StriateError, TypeError):
    """A function that depends on values that exist only when the graph runs."""


class GraphError(StriateError):
    """A graph that breaks its own rules: a defect in striate or in a user's operation."""


class EngineError(StriateError, RuntimeError):
    """Compiled kernels cannot run here; ``STRIATE_ENGINE=reference`` runs everything in NumPy."""


class MissingExtraError(StriateError, ImportError):
    """An optional package that this feature needs is not installed."""


def opened_room(room: str, *packages: str, extra: str = "") -> ModuleType:
    """Imports ``striate.room``, which needs an extra, that of its name unless ``extra`` is given.

    Raises ``MissingExtraError`` if one of its packages is absent.
    """
    try:
        return import_module(f"striate.{room}")
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in packages:
            raise
        raise MissingExtraError(
            f"striate.{room} needs {package}, which is not installed\n  help: pip install 'striate[{extra or room}]'"
        ) from error


def unknown_option(what: str, got: object, known: Iterable[object]) -> OptionError:
    """The error for an unknown value; it suggests the nearest known one."""
    names = [str(name) for name in known]
    near = difflib.get_close_matches(str(got), names, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return OptionError(f"unknown {what} {got!r}{hint}\n  known: {', '.join(names)}")
