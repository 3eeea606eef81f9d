"""The run folder: everything needed to use, evaluate and repeat a training.

RUN/model.safetensors    the model, as ``st.save`` writes it
RUN/progress.jsonl       the events of the training, one per line: see ``striate.train.record``
RUN/run.json             arguments, seed, data set, versions, history, final evaluation, findings
"""

from __future__ import annotations

import json
import platform
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np

from striate.data import Dataset, NumberOptions, PictureOptions, Split, open_dataset
from striate.data.catalog import KNOWN, options_from_json
from striate.data.reading import Reading
from striate.errors import DataError, ModelFileError, OptionError
from striate.persistence import write_atomically
from striate.version import VERSION

MODEL_FILE = "model.safetensors"
RUN_FILE = "run.json"
_OF_A_RUN = {MODEL_FILE, RUN_FILE, "progress.jsonl"}  # the files that a killed training may leave
_FORMAT = "striate run 1"
_LARGEST = 64_000_000
_BESIDE = 100_000  # bytes of the graph in the model's file, and of run.json


def versions() -> dict[str, str]:
    """Return the versions and the machine that can affect the results of a run, by name."""
    return {
        "striate": VERSION,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "machine": f"{platform.system()} {platform.machine()}",
    }


@dataclass
class Run:
    """The contents of ``run.json``.

    ``data`` is the name or absolute path of the data set, as ``open_dataset`` takes it. ``findings`` are those of the
    doctor, which diagnoses the training.
    """

    data: str
    arguments: dict[str, Any]
    seed: int
    finished: bool = False
    history: dict[str, Any] = field(default_factory=dict[str, Any])
    evaluation: dict[str, Any] | None = None
    findings: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])  # of the doctor
    versions: dict[str, str] = field(default_factory=versions)
    data_options: dict[str, Any] = field(default_factory=dict[str, Any])  # ``PictureOptions`` or ``NumberOptions``
    centring: dict[str, Any] | None = None  # place and size of figures in images: ``data.centring``

    def dataset(self, split: Split) -> Dataset:
        """Open a part of the run's data set, with images read as for the training.

        Raises like ``open_dataset``.
        """
        require_there(self.data)
        return open_dataset(self.data, split, self.data_options)

    @property
    def reading(self) -> Reading | None:
        """How images are read from files; None for other data."""
        options = options_from_json(self.data_options) if self.data_options else None
        return options.reading if isinstance(options, PictureOptions) else None

    @property
    def number_options(self) -> NumberOptions | None:
        """How files of numbers are read; None for other data."""
        options = options_from_json(self.data_options) if self.data_options else None
        return options if isinstance(options, NumberOptions) else None

    def to_json(self) -> dict[str, Any]:
        """Return the contents of ``run.json`` as a dictionary."""
        return {"format": _FORMAT, **asdict(self)}


def require_there(data: str) -> None:
    """Raise ``DataError`` if the data of a run, a known name or an absolute path, have been moved or removed."""
    if data not in KNOWN and not Path(data).exists():
        raise DataError(
            f"{data}: the data of this run are no longer there\n  help: move them back, or name where they are now"
        )


def free_folder(folder: Path) -> Path:
    """Return the folder or, if it has a run, the first of ``folder-2``, ``folder-3``, … without one."""
    tried, number = folder, 1
    while (tried / RUN_FILE).exists():
        number += 1
        tried = folder.with_name(f"{folder.name}-{number}")
    return tried


def claim_folder(folder: Path, room: int = 0, *, overwrite: bool = False) -> None:
    """Create the folder of a run, and check before training that the run can be saved there.

    A folder with the remains of a training that was killed is used again. Raises ``OptionError`` for a folder with a
    run, unless ``overwrite``; for a folder with other files, which are never overwritten; and if ``room`` bytes cannot
    be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        names = {entry.name for entry in folder.iterdir()}
    except OSError as error:
        raise OptionError(f"{folder}: cannot be the folder of a run: {error.strerror or error}") from error
    if RUN_FILE in names and not overwrite:
        raise OptionError(
            f"{folder}: holds a run already\n  help: --overwrite replaces it; or give --out another folder, or no --out"
        )
    if RUN_FILE not in names and (others := names - _OF_A_RUN):
        shown = ", ".join(sorted(others)[:5])
        raise OptionError(
            f"{folder}: holds {shown}, but no {RUN_FILE}; it is not the folder of a run and is not overwritten\n"
            "  help: give --out a new or empty folder"
        )
    try:
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(bytes(room + _BESIDE))
            probe.flush()
    except OSError as error:
        raise OptionError(
            f"{folder}: the run cannot be saved here ({(room + _BESIDE) / 1e6:.1f} MB): {error.strerror or error}\n"
            "  help: give --out a folder that you may write to, on a disk with room"
        ) from error


def write_run(folder: Path, run: Run) -> None:
    """Write ``run.json`` into the folder."""
    text = json.dumps(run.to_json(), indent=2, ensure_ascii=False, default=str) + "\n"
    write_atomically(folder / RUN_FILE, text.encode())


def read_run(folder: Path) -> Run:
    """Read ``run.json`` from the folder; raises ``ModelFileError`` if it is missing or has another format."""
    path = folder / RUN_FILE
    cure = "\n  help: give the folder that `striate train --out RUN` made"
    if not path.is_file():
        missing = "a file, not a folder" if folder.exists() else "no such folder"
        raise ModelFileError(f"{folder}: {'no run.json in it' if folder.is_dir() else missing}{cure}")
    try:
        if path.stat().st_size > _LARGEST:
            raise ValueError(f"larger than {_LARGEST // 10**6} MB")
        document = cast("object", json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelFileError(f"{path}: cannot be read: {error}{cure}") from error
    if not isinstance(document, Mapping) or cast("Mapping[str, object]", document).get("format") != _FORMAT:
        raise ModelFileError(f"{path}: not written by this version of striate{cure}")
    entries = dict(cast("Mapping[str, Any]", document))
    expected: dict[str, type | tuple[type, ...]] = {
        "data": str, "arguments": dict, "seed": int, "finished": bool, "history": dict,
        "evaluation": (dict, type(None)), "findings": list, "versions": dict, "centring": (dict, type(None)),
        "data_options": dict,
    }  # fmt: skip
    entries.pop("format")
    entries.setdefault("findings", [])  # missing from runs of earlier versions
    entries.setdefault("centring", None)
    entries.setdefault("data_options", {})
    if set(entries) != set(expected) or not all(isinstance(entries[name], kind) for name, kind in expected.items()):
        raise ModelFileError(f"{path}: expected {', '.join(expected)}{cure}")
    return Run(**entries)
