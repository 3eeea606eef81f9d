"""Open the data and the folder of a training, run it, and write the run folder."""

from __future__ import annotations

import math
import os
import shlex
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer
from rich.console import Console

from striate.cli.evaluate import model_path
from striate.cli.progress import Steps
from striate.cli.ranks import ranks
from striate.cli.report import say_note, say_notes
from striate.counting import counted
from striate.data import Dataset, Opened, open_data
from striate.data.catalog import KNOWN
from striate.data.number_files import ENDINGS, set_name
from striate.data.tree import ARCHIVES
from striate.errors import ModelFileError, NonFiniteError
from striate.nn import Module
from striate.persistence import load, save, write_atomically
from striate.persistence.lock import FolderLock
from striate.train.evaluation import Evaluation
from striate.train.fine_tuning import load_matching
from striate.train.notebook import history_svg
from striate.train.rate_search import RateSearch
from striate.train.run import CURVES_FILE, MODEL_FILE, Run, claim_folder, claim_free_folder, write_run
from striate.train.trainer import Trainer
from striate.train.tta import Views


def data_name(path: Path) -> str:
    """Return the name of a folder, archive or file of numbers, without its suffix."""
    name = path.resolve().name
    if path.suffix.lower() in ENDINGS:
        return set_name(path.resolve())
    ending = next((ending for ending in ARCHIVES if name.lower().endswith(ending)), "")
    return name[: len(name) - len(ending)] or "data"


def opened_data(context: typer.Context, data: str, given: Mapping[str, Any]) -> Opened:
    """Open the data set ``data``, a name or a path, and print notes about it, such as files that were skipped.

    ``context`` is typer's context of the command; the notes name options of this command. ``given`` are the options of
    the command line for reading data, by parameter name; None means that an option was not given. On several ranks,
    rank 0 opens the data first, since it may download and unpack them.
    """
    options = {name: value for name, value in given.items() if value is not None}
    if ranks().rank:
        ranks().wait_for_all()  # rank 0 may download and unpack the data
    with Steps("train") as steps:
        opened = open_data(data, options, lambda done, count: steps.count("reading pictures", done, count))
    say_notes(opened.notes, context)
    if ranks().size > 1 and not ranks().rank:
        ranks().wait_for_all()
    return opened


def begin_with(network: Module, weights: Path, shape: tuple[int, ...]) -> None:
    """Load the weights of a run or model file into the network, and print which parameters keep their initial values.

    ``weights`` is the run folder or the file, and ``shape`` the shape of a sample. Raises ``OptionError`` if no array
    fits, and ``ModelFileError`` for a file that cannot be read.
    """
    network.infer(shape)
    own = [name for name, _ in network.named_parameters()]
    anew = [name for name in load_matching(network, load(model_path(weights)).state_dict()) if name in own]
    shown = f"; {', '.join(anew[:4])}{' …' if len(anew) > 4 else ''} begin anew" if anew else ""
    say_note(f"{len(own) - len(anew)} of {counted(len(own), 'parameter')} from {weights}{shown}")


def save_search(search: RateSearch, data: str, out: Path | None) -> Path:
    """Write the curve of a search for a learning rate to the SVG file RUN-rates.svg, and return its path.

    RUN is the folder ``out`` or, if that is None, the folder in ``runs`` that is named after ``data``.
    """
    run = Path("runs") / (data if data in KNOWN else data_name(Path(data))) if out is None else out
    path = run.with_name(f"{run.name}-rates.svg")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, search.svg().encode())
    return path


def claimed(
    data: str, out: Path | None, overwrite: bool, resume: Path | None, network: Module, copies: int
) -> tuple[Path, FolderLock | None]:
    """Create and lock the folder of a new run, or lock the folder of the run to resume; rank 0 does so for all ranks.

    ``resume`` is the folder of the run to resume; None: a new run, in the folder ``out`` or, if that is None, in a
    free folder in ``runs`` that is named after ``data``. ``overwrite`` removes the run that ``out`` contains.

    Returns the folder and, on rank 0, its lock. Raises ``OptionError`` for a folder that cannot be used (see
    ``claim_folder``) and, for a new run, if the disk lacks space for the model and three checkpoints. A checkpoint is
    ``copies`` times as large as the model.
    """
    if ranks().rank:
        return Path(ranks().gather_texts("")[0]), None
    folder, lock = _claimed(data, out, overwrite, resume, network, copies)
    ranks().gather_texts(str(folder))
    return folder, lock


def _claimed(
    data: str, out: Path | None, overwrite: bool, resume: Path | None, network: Module, copies: int
) -> tuple[Path, FolderLock]:
    if resume is not None:
        lock = FolderLock(resume)
        lock.take()
        return resume, lock
    size = sum(4 * math.prod(int(size or 0) for size in parameter.shape) for _, parameter in network.named_state())
    room = size * (1 + 3 * copies)
    if out is None:
        return claim_free_folder(Path("runs") / (data if data in KNOWN else data_name(Path(data))), room)
    return out, claim_folder(out, room, overwrite=overwrite)


@dataclass(frozen=True)
class Going:
    """Whether a training continues a run (``on``), and whether its data may have changed (``with_changes``)."""

    on: bool = False
    with_changes: bool = False


def leave_at_once(code: int) -> None:
    """End the process immediately with this exit code, even while kernels run; called after a second Ctrl-C."""
    if sys.stderr.isatty():
        Console(stderr=True).show_cursor(True)  # the live display hid it
    os._exit(code)


def fitted(
    trainer: Trainer, train_set: Dataset, held_out: Dataset, run: Run, folder: Path, going: Going, views: Views
) -> Evaluation:
    """Train, and return the evaluation of the trained model on ``held_out``.

    The predictions are averaged over ``views`` of each sample, such as the sample and its mirror image.

    The model, ``run`` (as run.json) and the curves are written to ``folder``, even if the training is ended by Ctrl-C
    or, after the first step, by a ``NonFiniteError``. ``going`` says whether a run is continued.
    """
    epochs = int(run.arguments["epochs"])
    shape = train_set.images.shape[1:]
    again = f"striate train --resume {shlex.quote(str(folder))}"

    def keep() -> None:
        if trainer.ranks.rank:
            return
        run.history = trainer.history.to_json()
        run.finished = trainer.history.finished
        run.findings = trainer.findings.to_json()
        try:
            save(trainer.model, folder / MODEL_FILE, input_shape=shape)
        except ModelFileError as error:
            raise rescued(trainer.model, shape, error, again) from error
        write_run(folder, run)
        if picture := history_svg(trainer.history):
            write_atomically(folder / CURVES_FILE, picture.encode())

    try:
        trainer.fit(train_set, held_out, epochs=epochs, resume=going.on, allow_changes=going.with_changes)
    except KeyboardInterrupt:
        keep()
        say_note(
            f"interrupted after step {trainer.step.step_number}; the model is in {folder / MODEL_FILE}\n"
            f"  help: {again} continues the training"
        )
        raise
    except NonFiniteError:
        if trainer.step.step_number:
            keep()
            say_note(
                f"the model as it was before that step is in {folder / MODEL_FILE}\n"
                f"  help: {again} --lr … continues from the last checkpoint with another learning rate"
            )
        raise
    keep()
    evaluation = trainer.evaluate(held_out, tta=views)
    run.evaluation = evaluation.to_json()
    if not trainer.ranks.rank:
        write_run(folder, run)
    return evaluation


def rescued(model: Module, shape: Sequence[int], error: ModelFileError, again: str) -> ModelFileError:
    """Save a model in the system's temporary folder after its run folder could not be written.

    ``shape`` is the shape of a sample, ``error`` the failure to report, and ``again`` the command that writes the rest
    of the run. Returns the error to raise. It names the new path or, if saving failed there too, says that the training
    is in its last checkpoint.
    """
    problem = str(error).splitlines()[0]
    cure = f"  help: make room; then {again} writes the rest"
    try:
        path = Path(tempfile.mkdtemp(prefix="striate-")) / MODEL_FILE
        save(model, path, input_shape=shape)
    except (ModelFileError, OSError):
        return ModelFileError(f"{problem}; the training is in its last checkpoint\n{cure}")
    return ModelFileError(f"{problem}; the model is in {path} instead\n{cure}")
