"""The exceptions that striate raises.

Every message says what was wrong, where (the dotted path of the layer), and what to do about it.

    StriateError
     ├─ ShapeError          a shape that an operation or layer cannot take   (also ValueError)
     ├─ DTypeError          an array or label of the wrong type              (also TypeError)
     ├─ OptionError         an unknown option or an impossible value         (also ValueError)
     │   └─ ArgumentError   arguments that a function or class does not take (also TypeError)
     ├─ DataError           data that cannot be read or learned from         (also ValueError)
     │   └─ LabelError      a label out of range or not an integer
     ├─ ModelFileError      a saved model that cannot be read                (also ValueError)
     ├─ NonFiniteError      a loss or gradient that became NaN or infinite   (also ArithmeticError)
     ├─ TracingError        a function that cannot be traced into a graph    (also TypeError)
     ├─ GraphError          a graph that is malformed, or that has no gradient where one is needed
     ├─ EngineError         this computer cannot run compiled kernels        (also RuntimeError)
     └─ MissingExtraError   an optional package is not installed             (also ImportError)
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from importlib import import_module
from types import ModuleType


class StriateError(Exception):
    """Base class of all exceptions that striate raises on purpose: catch it to catch them all."""


class ShapeError(StriateError, ValueError):
    """An array or value has a shape that an operation or layer cannot take."""


class DTypeError(StriateError, TypeError):
    """An array, label or parameter has a dtype that the operation, layer or loss cannot use."""


class OptionError(StriateError, ValueError):
    """An option is unknown, or its value is not allowed."""


class ArgumentError(OptionError, TypeError):
    """A call has arguments that the function or class does not take, or lacks one that it needs."""


class DataError(StriateError, ValueError):
    """Data is empty, damaged, not finite, or does not follow its file format."""


class LabelError(DataError):
    """A label is not an integer, or is out of range for the number of classes."""


class ModelFileError(StriateError, ValueError):
    """A saved model is missing, truncated, in another format, or unsafe to load."""


class NonFiniteError(StriateError, ArithmeticError):
    """The loss or a gradient of a training step is NaN or infinite.

    Parameters and statistics are as they were before the step.
    """


class TracingError(StriateError, TypeError):
    """A function cannot be traced into a graph, for example because it branches on a computed value."""


class GraphError(StriateError):
    """A graph is malformed, or an operation has no gradient where one is needed.

    A malformed graph is a defect in striate or in an operation that a user has defined.
    """


class EngineError(StriateError, RuntimeError):
    """Compiled kernels cannot run on this computer.

    ``STRIATE_ENGINE=reference`` runs everything in NumPy instead.
    """


class MissingExtraError(StriateError, ImportError):
    """A feature needs an optional package that is not installed."""


def opened_room(room: str, *packages: str, extra: str = "") -> ModuleType:
    """Import and return the subpackage of striate named ``room``, which needs optional packages.

    ``packages`` are the import names of those packages. ``extra`` is the name of the optional dependency to install, as
    in ``pip install 'striate[extra]'``; by default, it is the name of the subpackage. Raises ``MissingExtraError`` if
    one of the packages is not installed.
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
    """Return (do not raise) an ``OptionError`` that says that ``got`` is an unknown ``what``.

    ``what`` is the kind of option, such as "precision", or "Conv2d: padding_mode" with the layer or function that takes
    it. The message lists the known values and suggests the one that is spelled most alike.
    """
    names = [str(name) for name in known]
    near = difflib.get_close_matches(str(got), names, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    place, colon, kind = what.rpartition(": ")
    return OptionError(f"{place}{colon}unknown {kind} {got!r}{hint}\n  known: {', '.join(names)}")


_PLURALS = {"axis": "axes", "spatial axis": "spatial axes", "index": "indices", "class": "classes"}


def quantity(count: object, noun: str) -> str:
    """Return a number with its noun for a message, such as ``1 axis`` or ``N samples``; ``noun`` is the singular."""
    return f"{count} {noun if count == 1 else _PLURALS.get(noun, noun + 's')}"
