"""The trace of a training as JSON and arrays, for a checkpoint."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, get_type_hints

import numpy as np
import numpy.typing as npt

from striate.doctor.training_trace import Drift, Reading, TrainingTrace
from striate.errors import ModelFileError
from striate.persistence.container import object_of, parse_json
from striate.persistence.plain import read_as, to_plain

Array = npt.NDArray[Any]

_OUTSIDE = frozenset({"setup", "structure", "data", "validation", "labels_seen", "losses", "readings", "drifts"})
"""Fields that are computed again from the model and the data, or stored as arrays."""


def as_bytes(document: object) -> Array:
    """Return plain data, such as dicts and lists, as JSON in an array (n,) uint8."""
    return np.frombuffer(_text(document).encode(), np.uint8)


def _text(document: object) -> str:
    return json.dumps(document, allow_nan=False, separators=(",", ":"))


class ReadingTexts:
    """Converts the readings of a training (statistics of its layers in some steps) to JSON for checkpoints.

    Each call of ``as_bytes`` converts only the readings that are new.
    """

    def __init__(self) -> None:
        self._texts: list[str] = []

    def as_bytes(self, readings: list[Reading]) -> Array:
        """Return the readings as JSON in an array (n,) uint8.

        The list must begin with the readings of the previous call; only those after them are converted.
        """
        self._texts += [_text(to_plain(one)) for one in readings[len(self._texts) :]]
        return np.frombuffer(f"[{','.join(self._texts)}]".encode(), np.uint8)


def document_of(state: Mapping[str, Array], name: str, where: str) -> dict[str, object]:
    """Return the dict that ``as_bytes`` stored in ``state[name]``.

    Raises ``ModelFileError``, whose message begins with ``where``, if the array is missing or contains no JSON object.
    """
    if name not in state or state[name].dtype != np.uint8:
        raise ModelFileError(f"{where}: {name} is missing")
    return object_of(parse_json(state[name].tobytes(), where), where)


def trace_document(trace: TrainingTrace) -> object:
    """Return the trace as plain data, without the setup and all that can be computed again from model and data.

    The arrays of ``trace_arrays`` are left out, too.
    """
    return to_plain(trace, _OUTSIDE)


def trace_arrays(trace: TrainingTrace) -> dict[str, Array]:
    """Return those observations of a trace that are stored as arrays, by name.

    "losses" (steps,) float64 has the loss of every step, and "labels_seen" (C,) int64 the number of samples of each
    class in all batches. "drifts.PATH" (readings, 2) float64 has the fields of every ``Drift`` of the normalization at
    PATH.
    """
    drifts = {
        f"drifts.{path}": np.array([(one.mean_distance, one.variance_ratio) for one in found], np.float64)
        for path, found in trace.drifts.items()
    }
    labels = np.array(trace.labels_seen, np.int64)
    return {"losses": np.array(trace.losses, np.float64), "labels_seen": labels, **drifts}


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
    trace.drifts = {
        name.partition(".")[2]: [Drift(float(distance), float(ratio)) for distance, ratio in array]
        for name, array in arrays.items()
        if name.startswith("drifts.")
    }
    if "readings" in arrays:
        found = parse_json(arrays["readings"].tobytes(), f"{where}: readings")
        trace.readings = read_as(list[Reading], found, f"{where}: readings")
