"""The trace of a training as JSON and arrays, for a checkpoint."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, get_type_hints

import numpy as np
import numpy.typing as npt

from striate.doctor.training_trace import TrainingTrace
from striate.errors import ModelFileError
from striate.persistence.container import object_of, parse_json
from striate.persistence.plain import read_as, to_plain

Array = npt.NDArray[Any]

_OUTSIDE = frozenset({"setup", "structure", "data", "validation", "labels_seen", "losses"})
"""Fields that are computed from model and data again, or are arrays of their own."""


def as_bytes(document: object) -> Array:
    """Return plain data, such as dicts and lists, as JSON in an array (n,) uint8."""
    text = json.dumps(to_plain(document), allow_nan=False, separators=(",", ":"))
    return np.frombuffer(text.encode(), np.uint8)


def document_of(state: Mapping[str, Array], name: str, where: str) -> dict[str, object]:
    """Return the dict that ``as_bytes`` stored in ``state[name]``.

    Raises ``ModelFileError``, which begins with ``where``, if the array is missing or contains no JSON object.
    """
    if name not in state or state[name].dtype != np.uint8:
        raise ModelFileError(f"{where}: {name} is missing")
    return object_of(parse_json(state[name].tobytes(), where), where)


def trace_document(trace: TrainingTrace) -> object:
    """Return the trace as plain data, without the setup and what follows from model and data.

    The arrays of ``trace_arrays`` are left out, too.
    """
    return to_plain(trace, _OUTSIDE)


def trace_arrays(trace: TrainingTrace) -> dict[str, Array]:
    """Return the loss of every step, and how often each label was in a batch, as arrays."""
    return {"losses": np.array(trace.losses, np.float64), "labels_seen": np.array(trace.labels_seen, np.int64)}


def restore_trace(trace: TrainingTrace, document: object, arrays: Mapping[str, Array]) -> None:
    """Restore a trace in place from the results of ``trace_document`` and ``trace_arrays``.

    Raises ``ModelFileError`` if they are malformed.
    """
    where = "the doctor's trace"
    hints = get_type_hints(TrainingTrace)
    for name, value in object_of(document, where).items():
        if name not in hints or name in _OUTSIDE:
            raise ModelFileError(f"{where}: unknown entry {name[:80]!r}")
        setattr(trace, name, read_as(hints[name], value, f"{where}: {name}"))
    if "losses" not in arrays or "labels_seen" not in arrays:
        raise ModelFileError(f"{where}: losses or labels_seen missing")
    trace.losses = [float(loss) for loss in arrays["losses"]]
    trace.labels_seen = np.array(arrays["labels_seen"], np.int64)
