"""A checkpoint: one safetensors file with everything that is needed to resume a training.

    metadata   "striate-checkpoint": JSON {"version", "striate", "checksum"}
    tensors    "document"               the JSON of ``Checkpoint.document``, as uint8
               "model.conv1.weight" …   parameters, running statistics and counters
               "step.step" …            the state of the ``TrainingStep``: optimizer, number of the step, averages
               "watch.…", "doctor.…"    the state of the statistics and the diagnosis of the training
               "callbacks.0.…" …        the state of the callbacks

The checksum covers the names and bytes of all tensors, so that a damaged file is recognized. Reading a file executes
nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from striate.errors import ModelFileError
from striate.graph.value import Array
from striate.persistence.atomic import write_atomically
from striate.persistence.container import (
    CHECKPOINT,
    encoded,
    object_of,
    open_regular,
    parse_json,
    read_header,
    read_tensor,
)
from striate.persistence.plain import from_plain, to_plain
from striate.train.fingerprint import Fingerprint
from striate.train.history import Epoch
from striate.train.place import Place
from striate.version import VERSION

FORMAT_VERSION = 1
DOCUMENT = "document"


@dataclass
class Checkpoint:
    """The contents of a checkpoint.

    place          the position of the training: epoch, batch, and sums of times and losses in the current epoch
    history        the finished epochs
    epochs         the planned number of epochs
    configuration  the options of the training as text, by name; compared when the training is resumed
    data           the fingerprints of the data sets, under "training" and "held-out"
    standardizer   ``Standardizer.to_json`` of the model's standardizer, or None
    callbacks      the class names of the callbacks, in order
    record         the size of ``progress.jsonl`` in bytes; None if the training does not write that file
    versions       versions of packages, processor and threads: see ``striate.train.environment``
    tensors        all arrays by name: "model.…" (parameters and buffers), "step.…" (optimizer), "callbacks.0.…" …
    """

    place: Place
    history: list[Epoch]
    epochs: int
    configuration: dict[str, str]
    data: dict[str, Fingerprint]
    standardizer: dict[str, Any] | None = None
    callbacks: list[str] = field(default_factory=list[str])
    record: int | None = None
    versions: dict[str, str] = field(default_factory=dict[str, str])
    tensors: dict[str, Array] = field(default_factory=dict[str, Array])

    def part(self, prefix: str) -> dict[str, Array]:
        """Return the arrays whose names start with ``prefix`` and a dot, without that prefix.

        ``part("model")`` is what ``model.load_state_dict`` takes.
        """
        return {name[len(prefix) + 1 :]: array for name, array in self.tensors.items() if name.startswith(f"{prefix}.")}

    @property
    def step(self) -> int:
        """The number of training steps so far."""
        return int(self.tensors["step.step"])

    @property
    def finished(self) -> bool:
        """Whether all planned epochs are done, or a callback has stopped the training."""
        return self.place.epoch > self.epochs or self.place.stopping is not None

    def describe(self) -> str:
        """Return the position as text, such as ``epoch 3 of 20, step 920``."""
        if self.finished:
            return f"the end of epoch {len(self.history)}, step {self.step:,}"
        return f"epoch {self.place.epoch} of {self.epochs}, step {self.step:,}"

    def write(self, path: Path, keep: Path | None = None) -> None:
        """Write the file atomically; an existing file is renamed to ``keep``, unless ``keep`` is None.

        Raises ``ModelFileError`` if the file cannot be written.
        """
        text = json.dumps(to_plain(self, frozenset({"tensors"})), allow_nan=False, separators=(",", ":"))
        document = np.frombuffer(text.encode(), np.uint8)
        tensors = {DOCUMENT: document, **self.tensors}
        about = {"version": FORMAT_VERSION, "striate": VERSION, "checksum": checksum(tensors)}
        write_atomically(path, encoded(tensors, {CHECKPOINT: json.dumps(about)}), keep)


def checksum(tensors: Mapping[str, Array]) -> str:
    """Return the BLAKE2b hash of the names and bytes of all tensors, in alphabetical order of the names."""
    found = hashlib.blake2b(digest_size=16)
    for name in sorted(tensors):
        found.update(name.encode())
        found.update(np.ascontiguousarray(tensors[name]).reshape(-1).view(np.uint8).data)
    return found.hexdigest()


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint from a file; all sizes are checked before memory is allocated.

    Raises ``ModelFileError`` if the file is missing, truncated, damaged, of another version, or not a checkpoint.
    """
    with open_regular(path) as stream:
        try:
            header = read_header(path, stream)
            about = header.metadata.get(CHECKPOINT)
            if about is None:
                raise ModelFileError(f"{path}: not a checkpoint\n  help: give the folder that `striate train` made")
            entries = object_of(parse_json(about.encode(), f"{path}: the header"), f"{path}: the header")
            if entries.get("version") != FORMAT_VERSION:
                raise ModelFileError(
                    f"{path}: written in version {str(entries.get('version'))[:20]} of the format, this striate reads "
                    f"version {FORMAT_VERSION}\n  help: resume with striate {str(entries.get('striate'))[:20]}"
                )
            tensors = {name: read_tensor(path, stream, name, place) for name, place in header.places.items()}
        except OSError as error:
            raise ModelFileError(f"{path}: cannot be read: {error.strerror or error}") from error
    if checksum(tensors) != entries.get("checksum"):
        raise ModelFileError(f"{path}: damaged: its checksum does not fit its contents")
    try:
        content = tensors.pop(DOCUMENT).tobytes()
        found = from_plain(Checkpoint, parse_json(content, f"{path}: the document"), f"{path}: the document")
        found.tensors = tensors
        found.step  # noqa: B018 - a checkpoint without the number of its step is none
    except (KeyError, TypeError, ValueError, ArithmeticError) as error:
        if isinstance(error, ModelFileError):
            raise
        raise ModelFileError(f"{path}: not a checkpoint that this striate can read: {error}") from error
    return found
