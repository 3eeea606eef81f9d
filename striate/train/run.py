"""The run folder: everything needed to use, evaluate and repeat a training.

RUN/run.json             arguments, seed, data set, versions; at the end history, final evaluation, findings
RUN/model.safetensors    the model, as ``st.save`` writes it, when the training has ended
RUN/config.toml          the options as used; ``striate train RUN/config.toml`` repeats the training
RUN/progress.jsonl       the events of the training, one per line: see ``striate.train.record``
RUN/checkpoints/         the state from which a training is resumed: see ``striate.train.checkpoints``
RUN/log.txt              the printed lines, with the time
RUN/curves.svg           loss and accuracy by epoch
RUN/tensorboard/         event files, with ``--tensorboard``: see ``striate.tensorboard``
RUN/.lock                the lock of the running training: see ``striate.persistence.lock``
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from striate.data import Dataset, NumberOptions, Opened, PictureOptions, Split, open_data, open_dataset
from striate.data.catalog import KNOWN, options_from_json
from striate.data.reading import Reading
from striate.errors import DataError, ModelFileError, OptionError
from striate.persistence import write_atomically
from striate.persistence.atomic import make_folder, remove_leftovers
from striate.persistence.container import whole
from striate.persistence.lock import LOCK_FILE, FolderLock
from striate.train.callback import Callback
from striate.train.checkpoints import BEST, FOLDER, LAST, PREVIOUS
from striate.train.environment import versions
from striate.train.log import LOG_FILE
from striate.train.progress import Plan
from striate.train.record import PROGRESS_FILE

if TYPE_CHECKING:
    from striate.train.trainer import Trainer

MODEL_FILE = "model.safetensors"
RUN_FILE = "run.json"
CURVES_FILE = "curves.svg"
CONFIGURATION_FILE = "config.toml"
TENSORBOARD_FOLDER = "tensorboard"
_WRITTEN = (MODEL_FILE, CURVES_FILE, CONFIGURATION_FILE, LOG_FILE, PROGRESS_FILE, RUN_FILE)
_OF_A_RUN = {*_WRITTEN, FOLDER, TENSORBOARD_FOLDER, LOCK_FILE}
_FORMAT = "striate run 1"
_LARGEST = 64_000_000
_BESIDE = 100_000  # bytes of the graph in the model's file, and of run.json


@dataclass
class Run:
    """The contents of ``run.json``.

    data          the name or absolute path of the data set, as ``open_dataset`` takes it
    arguments     the options of ``striate train``, by parameter name
    seed          the seed of the training
    finished      whether the training was completed or a callback ended it early; False if it was interrupted
    history       ``History.to_json`` when the training has ended; {} before
    evaluation    ``Evaluation.to_json`` on the held-out data when the training has ended; None before
    findings      the findings of the doctor, which diagnoses the training
    versions      see ``striate.train.environment``
    data_options  the fields of ``PictureOptions`` or ``NumberOptions``; {} for data sets known by name
    inputs        ``InputRange.to_json`` of the training samples; None in runs of earlier versions
    centring      ``Centring.to_json``; None if the samples are not pictures with a plain background
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
    inputs: dict[str, Any] | None = None
    centring: dict[str, Any] | None = None  # place and size of figures in images: ``data.centring``

    def dataset(self, split: Split) -> Dataset:
        """Open one part of the run's data set, read as for the training.

        Raises the same errors as ``open_dataset``.
        """
        require_there(self.data)
        return open_dataset(self.data, split, self.data_options)

    def opened(self) -> Opened:
        """Open both parts of the run's data set, read as for the training.

        Raises the same errors as ``open_data``.
        """
        require_there(self.data)
        return open_data(self.data, self.data_options or None)

    @property
    def reading(self) -> Reading | None:
        """The ``Reading`` by which picture files are converted to inputs; None for other data."""
        options = options_from_json(self.data_options) if self.data_options else None
        return options.reading if isinstance(options, PictureOptions) else None

    @property
    def number_options(self) -> NumberOptions | None:
        """The ``NumberOptions`` by which files of numbers are read; None for other data."""
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


def claim_free_folder(folder: Path, room: int = 0) -> tuple[Path, FolderLock]:
    """Claim ``folder`` or, if it contains a run, the first of ``folder-2``, ``folder-3``, … without a run.

    A folder in which another training runs counts as a folder with a run. Returns the folder and its lock. ``room`` and
    the errors are as in ``claim_folder``.
    """
    tried, number = folder, 1
    while True:
        if not (tried / RUN_FILE).exists():
            lock = FolderLock(_made(tried))
            if lock.try_take():
                if not (tried / RUN_FILE).exists():
                    return tried, _claimed(lock, tried, room, overwrite=False)
                lock.release()
        number += 1
        tried = folder.with_name(f"{folder.name}-{number}")


def claim_folder(folder: Path, room: int = 0, *, overwrite: bool = False) -> FolderLock:
    """Create and lock the folder of a run, and check before training that the run can be saved there.

    The remains of a training that was killed before its first checkpoint are removed. With ``overwrite``, a whole run
    is removed too. Returns the lock. Raises ``OptionError`` if another training uses the folder, if the folder contains
    other files, or if the disk has no space for ``room`` bytes. Without ``overwrite``, it is also raised for a folder
    with a run.
    """
    lock = FolderLock(_made(folder))
    if not (folder / RUN_FILE).exists():  # of a foreign folder, before there is a lock that leaves a file in it
        _require_free(folder, overwrite)
    lock.take()
    return _claimed(lock, folder, room, overwrite)


def _made(folder: Path) -> Path:
    try:
        make_folder(folder)
    except OSError as error:
        raise OptionError(f"{folder}: cannot be the folder of a run: {error.strerror or error}") from error
    return folder


def _claimed(lock: FolderLock, folder: Path, room: int, overwrite: bool) -> FolderLock:
    try:
        _require_free(folder, overwrite)
        _require_room(folder, room)
        _clear(folder)
    except BaseException:
        lock.release()
        raise
    return lock


def _require_free(folder: Path, overwrite: bool) -> None:
    try:
        names = {entry.name for entry in folder.iterdir()}
    except OSError as error:
        raise OptionError(f"{folder}: cannot be the folder of a run: {error.strerror or error}") from error
    if RUN_FILE in names and not overwrite:
        raise OptionError(
            f"{folder}: holds a run already\n  help: --resume {folder} continues it, --overwrite replaces it; "
            "or give --out another folder, or no --out"
        )
    others = {name for name in names if name not in _OF_A_RUN and not _is_leftover(name)}
    if RUN_FILE not in names and others:
        shown = ", ".join(sorted(others)[:5])
        raise OptionError(
            f"{folder}: holds {shown}, but no {RUN_FILE}; it is not the folder of a run and is not overwritten\n"
            "  help: give --out a new or empty folder"
        )


def _is_leftover(name: str) -> bool:
    return any(name.startswith(f".{known}.") for known in _WRITTEN)


def _require_room(folder: Path, room: int) -> None:
    try:
        with tempfile.TemporaryFile(dir=folder) as probe:
            _reserve(probe.fileno(), room + _BESIDE)
    except OSError as error:
        raise OptionError(
            f"{folder}: the run cannot be saved here ({(room + _BESIDE) / 1e6:.1f} MB): {error.strerror or error}\n"
            "  help: give --out a folder that you may write to, on a disk with room"
        ) from error


def _reserve(file: int, size: int) -> None:
    """Enlarge an open file to this size in bytes, to reserve the space on the disk; raises ``OSError``."""
    if sys.platform == "win32" or sys.platform == "darwin":
        for start in range(0, size, 1 << 20):
            os.write(file, bytes(min(1 << 20, size - start)))
    else:
        os.posix_fallocate(file, 0, size)


def _clear(folder: Path) -> None:
    """Remove the files of an earlier run, ``run.json`` last; other files stay."""
    try:
        for name in (LAST, PREVIOUS, BEST):
            (folder / FOLDER / name).unlink(missing_ok=True)
        for events in (folder / TENSORBOARD_FOLDER).glob("events.out.tfevents.*"):
            events.unlink()
        for name in _WRITTEN:
            (folder / name).unlink(missing_ok=True)
    except OSError as error:
        raise OptionError(f"{folder}: an earlier run cannot be removed: {error.strerror or error}") from error
    remove_leftovers(folder, _WRITTEN)
    remove_leftovers(folder / FOLDER, (LAST, PREVIOUS, BEST))


def model_file(folder: Path) -> Path:
    """Return the path of the model in a run folder; raises ``ModelFileError`` if the training has not saved it yet."""
    path = folder / MODEL_FILE
    if not path.exists() and (folder / RUN_FILE).exists():
        raise ModelFileError(
            f"{folder}: no model in it: the training is running, or was killed before it ended\n"
            f"  help: striate train --resume {folder} continues a training that was killed"
        )
    return path


def write_run(folder: Path, run: Run) -> None:
    """Write ``run.json`` into the folder."""
    text = json.dumps(run.to_json(), indent=2, ensure_ascii=False, default=str) + "\n"
    write_atomically(folder / RUN_FILE, text.encode())


class RunFile(Callback):
    """A callback that writes ``run.json`` and ``config.toml`` when training begins.

    With these files, a training that is killed can be resumed. ``folder`` is the run folder, ``run`` the contents of
    ``run.json``, and ``configuration`` the text of ``config.toml``.
    """

    def __init__(self, folder: Path, run: Run, configuration: str) -> None:
        self._folder, self._run, self._configuration = folder, run, configuration

    def begin(self, trainer: Trainer, plan: Plan) -> None:
        self._run.history = trainer.history.to_json()
        write_run(self._folder, self._run)
        write_atomically(self._folder / CONFIGURATION_FILE, self._configuration.encode())

    def describe(self) -> str:
        return ""


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
        document = cast("object", json.loads(path.read_text(encoding="utf-8"), parse_int=whole))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelFileError(f"{path}: cannot be read: {error}{cure}") from error
    if not isinstance(document, Mapping) or cast("Mapping[str, object]", document).get("format") != _FORMAT:
        raise ModelFileError(f"{path}: not written by this version of striate{cure}")
    entries = dict(cast("Mapping[str, Any]", document))
    expected: dict[str, type | tuple[type, ...]] = {
        "data": str, "arguments": dict, "seed": int, "finished": bool, "history": dict,
        "evaluation": (dict, type(None)), "findings": list, "versions": dict, "centring": (dict, type(None)),
        "inputs": (dict, type(None)),
        "data_options": dict,
    }  # fmt: skip
    entries.pop("format")
    entries.setdefault("findings", [])  # missing from runs of earlier versions
    entries.setdefault("centring", None)
    entries.setdefault("inputs", None)
    entries.setdefault("data_options", {})
    if set(entries) != set(expected) or not all(isinstance(entries[name], kind) for name, kind in expected.items()):
        raise ModelFileError(f"{path}: expected {', '.join(expected)}{cure}")
    if wrong := _wrong_entry(entries):
        raise ModelFileError(f"{path}: {wrong} is not what striate writes there{cure}")
    return Run(**entries)


_KINDS: dict[str, type] = {"epochs": int, "batch_size": int, "model": str}
"""The types of arguments that are used as they are in the file."""


def _wrong_entry(entries: Mapping[str, Any]) -> str:
    """Return the name of an entry of ``run.json`` whose contents have the wrong form, or ""."""
    arguments, history = entries["arguments"], entries["history"]
    for name, value in arguments.items():
        if not _is_plain(value) or not isinstance(value, _KINDS.get(name, object)):
            return f"arguments.{name}"[:80]
    if not isinstance(history.get("epochs", []), list):
        return "history.epochs"
    if not all(isinstance(one, dict) for one in (*history.get("epochs", []), *entries["findings"])):
        return "an epoch or finding"
    if not all(isinstance(value, str) for value in entries["versions"].values()):
        return "versions"
    return ""


def _is_plain(value: object) -> bool:
    """Return whether a value is None, a number, a text, or a list of these."""
    items = cast("list[object]", value) if isinstance(value, list) else [value]
    return all(one is None or isinstance(one, bool | int | float | str) for one in items)
