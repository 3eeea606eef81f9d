"""``striate train``: train a network on a data set, and write a run folder."""

from __future__ import annotations

import math
import os
import shlex
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from striate import settings
from striate.cli.doctor import command_line_of, print_findings
from striate.cli.evaluate import print_score
from striate.cli.progress import Steps
from striate.cli.report import output, say_json, say_note
from striate.cli.resume import is_finished, require_resumable, resumed_run
from striate.cli.streams import same_target
from striate.data import Dataset, Opened, Standardizer, batch_count, open_data
from striate.data.augment import InputStage
from striate.data.augment.text import NAMES
from striate.data.catalog import KNOWN
from striate.data.centring import Centring
from striate.data.number_files import ENDINGS, set_name
from striate.data.number_options import Kind, Task
from striate.data.tree import ARCHIVES
from striate.dtypes import precision_of
from striate.errors import ModelFileError, NonFiniteError, OptionError, unknown_option
from striate.models import MODELS, options_of
from striate.models.block import ACTIVATIONS, STARTS, NormPlacement
from striate.nn import Module
from striate.nn.standardization import Standardization
from striate.optim import OPTIMIZERS, SCHEDULES, SGD, Optimizer, Schedule, WarmupSchedule
from striate.options import number, whole_number
from striate.options import seed as checked_seed
from striate.persistence import save, write_atomically
from striate.persistence.lock import FolderLock
from striate.step import Clipping, require_precision
from striate.train.callback import Callback
from striate.train.checkpoints import Checkpoints
from striate.train.early_stopping import EarlyStopping
from striate.train.evaluation import Evaluation
from striate.train.every import Every
from striate.train.history import Epoch, History
from striate.train.notebook import history_svg
from striate.train.numerals import number_text
from striate.train.progress import counted
from striate.train.rate_search import RateSearch, find_rate
from striate.train.record import Record
from striate.train.run import (
    CURVES_FILE,
    MODEL_FILE,
    Run,
    RunFile,
    claim_folder,
    claim_free_folder,
    read_run,
    write_run,
)
from striate.train.task import Recipe, loss_for, network_for, recipe_for
from striate.train.trainer import Trainer

RECIPES = {
    "digits": Recipe("lenet5", 20, 32),  # only 1,442 pictures, so many passes
    "mnist": Recipe("lenet5", 3, 64),
    "fashion_mnist": Recipe("lenet5", 5, 64),
    "cifar10": Recipe("vgg_small", 5, 64),
    "cifar100": Recipe("vgg_small", 10, 64),
}
_WIDTH_OF_ALL, _WIDTH_OF_NARROW = 68, 42
_WORTH_SAYING = 0.01  # the share of waiting for data from which on it is printed
MOMENTUM = 0.9
_ROWS = 20
"""The approximate number of rows in the table of learning rates."""
_CHANGES = f'Random changes of the training data, such as "crop:4 flip": {", ".join(NAMES)}.'
_RATES = ", ".join(f"{name} {OPTIMIZERS[name].usual_lr:g}" for name in ("sgd", "adam")) + " …"
_NAMES = ", ".join(OPTIMIZERS)
_OF_PYTHON = ("schedule", "groups", "maximize", "decay_norm_and_bias")
"""Options that all optimizers have in Python, which error messages about the command line do not list."""


def train(
    context: typer.Context,
    data: Annotated[
        str,
        typer.Argument(
            help="digits (in the package), mnist, fashion_mnist, cifar10, cifar100; a folder, zip or tar of pictures; "
            "a file of numbers (.csv, .tsv, .ts, .npy, .npz); or a folder of IDX files."
        ),
    ] = "digits",
    model: Annotated[
        str | None,
        typer.Option(help=f"{', '.join(MODELS)}.", show_default="lenet5; tables mlp, signals fcn, volumes resnet18_3d"),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(help="Passes over the data.", show_default="digits 20, numbers 5 to 50")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Samples per step.", show_default="digits 32, mnist 64, few samples 16")
    ] = None,
    lr: Annotated[float | None, typer.Option(help="Learning rate, ≥ 0.", show_default=_RATES)] = None,
    optimizer: Annotated[str, typer.Option(help=f"{_NAMES}.")] = "sgd",
    momentum: Annotated[
        float | None, typer.Option(help="μ of sgd and rmsprop, 0 ≤ μ < 1.", show_default="sgd 0.9, rmsprop 0")
    ] = None,
    weight_decay: Annotated[
        float | None, typer.Option(help="Weight decay λ ≥ 0 of the optimizer.", show_default="0, adamw 0.01")
    ] = None,
    decay_norm_and_bias: Annotated[
        bool, typer.Option(help="Let biases and the weights of normalizations decay, too.", show_default=False)
    ] = True,
    schedule: Annotated[str, typer.Option(help=f"Schedule of the learning rate: {', '.join(SCHEDULES)}.")] = "cosine",
    warmup: Annotated[int, typer.Option(help="Steps of a linear rise before the schedule.")] = 0,
    max_norm: Annotated[float | None, typer.Option(help="Scale gradients down to this norm.")] = None,
    clip_value: Annotated[float | None, typer.Option(help="Limit each element of the gradients.")] = None,
    accumulate: Annotated[int, typer.Option(help="Parts in which a batch is computed, to save memory.")] = 1,
    ema: Annotated[
        float | None, typer.Option(help="Decay, such as 0.999, of an average of the weights, which is saved.")
    ] = None,
    augment: Annotated[str, typer.Option(help=_CHANGES)] = "",
    label_smoothing: Annotated[float, typer.Option(help="Share of the target that is spread over all classes.")] = 0.0,
    class_weights: Annotated[str | None, typer.Option(help="balanced: rare classes count as much as others.")] = None,
    patience: Annotated[
        int | None, typer.Option(help="Stop after so many epochs without a lower held-out loss.")
    ] = None,
    min_delta: Annotated[float, typer.Option(help="The least improvement that --patience counts.")] = 0.0,
    find_lr: Annotated[
        bool, typer.Option("--find-lr", help="Train with growing learning rates, suggest one, and save nothing.")
    ] = False,
    precision: Annotated[
        str, typer.Option(help="float32, or bfloat16: activations take half the memory, and some CPUs are faster.")
    ] = "float32",
    seed: Annotated[int, typer.Option(help="Seed of initial weights, order and dropout.")] = 0,
    threads: Annotated[int | None, typer.Option(help="Threads.", show_default="all cores allowed")] = None,
    activation: Annotated[str | None, typer.Option(help=f"{', '.join(ACTIVATIONS)}.", show_default=False)] = None,
    norm: Annotated[
        str | None,
        typer.Option(help=f"Normalization: {', '.join(one.value for one in NormPlacement)}.", show_default=False),
    ] = None,
    negative_slope: Annotated[float | None, typer.Option(help="α of leaky_relu.", show_default="0.1")] = None,
    init: Annotated[str | None, typer.Option(help=f"Initial weights: {', '.join(STARTS)}.", show_default=False)] = None,
    depth: Annotated[int | None, typer.Option(help="Hidden layers of mlp.", show_default="12")] = None,
    width: Annotated[int | None, typer.Option(help="Units in each hidden layer of mlp.", show_default="64")] = None,
    size: Annotated[
        str | None, typer.Option(help="Size of pictures: 64, or 48x64.", show_default="theirs, if all have one")
    ] = None,
    resize: Annotated[
        str | None, typer.Option(help="Pictures of other proportions: stretch, crop or pad.", show_default="stretch")
    ] = None,
    channels: Annotated[
        int | None, typer.Option(help="1 grey, 3 colours.", show_default="1 if no picture has colours")
    ] = None,
    held_out: Annotated[
        float | None, typer.Option(help="Share held out where no parts are given.", show_default="0.2")
    ] = None,
    on_error: Annotated[
        str | None,
        typer.Option(help="Pictures, rows and series that cannot be read: raise or skip.", show_default="raise"),
    ] = None,
    task: Annotated[
        str | None, typer.Option(help=f"{', '.join(Task.__members__)}.", show_default="by the labels")
    ] = None,
    kind: Annotated[
        str | None, typer.Option(help=f"What a file holds: {', '.join(Kind.__members__)}.", show_default="by its form")
    ] = None,
    label_column: Annotated[
        str | None, typer.Option(help="Column of the labels, or several with commas.", show_default="by its name")
    ] = None,
    group_column: Annotated[
        str | None, typer.Option(help="Column whose groups stay on one side.", show_default="by its name")
    ] = None,
    ignore_columns: Annotated[str | None, typer.Option(help="Columns that are not read, with commas.")] = None,
    window: Annotated[int | None, typer.Option(help="Rows of the windows cut from a table of time steps.")] = None,
    stride: Annotated[
        int | None, typer.Option(help="Rows from one window to the next.", show_default="half a window")
    ] = None,
    length: Annotated[
        int | None, typer.Option(help="Steps that signals are brought to.", show_default="the longest")
    ] = None,
    channels_last: Annotated[
        bool | None,
        typer.Option("--channels-last/--channels-first", help="Place of the channels.", show_default="by the shape"),
    ] = None,
    standardize: Annotated[
        bool, typer.Option(help="Standardize the data, inside the model.", show_default=False)
    ] = True,
    doctor: Annotated[bool, typer.Option(help="Report problems during training.", show_default=False)] = True,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the run.", show_default="runs/DATA, runs/DATA-2 …")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a run that --out holds.")] = False,
    checkpoint_every: Annotated[
        str, typer.Option(help="When to write a checkpoint: epoch, a number of steps, or a time such as 10min.")
    ] = "epoch",
    resume: Annotated[
        Path | None,
        typer.Option(
            help="Continue the run in this folder, with its options, to the same bits.",
            is_eager=True,
            callback=resumed_run,
            metavar="RUN",
        ),
    ] = None,
    allow_changes: Annotated[
        bool, typer.Option("--allow-changes", help="Resume although the training data have changed.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the run as JSON.")] = False,
) -> None:
    """Train a network, save it, and evaluate it on held-out data."""
    if threads is not None:
        settings.override(threads=whole_number("--threads", threads, 1, settings.MOST_THREADS))
    checked_seed(seed)
    every = Every.parse(checkpoint_every)
    before = None if resume is None else read_run(resume)
    if before is not None:
        require_resumable(context, before)
        if is_finished(before, epochs):
            if as_json:
                say_json(before.to_json())
            return
    elif allow_changes:
        raise OptionError("--allow-changes has no effect without --resume")
    numbers = precision_of(precision)
    require_precision(numbers)  # before data are read and a folder is created
    opened = opened_data(
        data,
        {
            "size": size, "resize": resize, "channels": channels, "held_out": held_out, "on_error": on_error,
            "task": task, "kind": kind, "label_column": label_column, "group_column": group_column,
            "ignore_columns": ignore_columns, "window": window, "stride": stride, "length": length,
            "channels_last": channels_last, "seed": seed,
        },
    )  # fmt: skip
    train_set, validation = opened.train, opened.held_out
    recipe = RECIPES.get(data) or recipe_for(train_set)
    chosen = Chosen(
        model or recipe.model,
        whole_number("--epochs", recipe.epochs if epochs is None else epochs, 1),
        whole_number("--batch-size", recipe.batch_size if batch_size is None else batch_size, 1),
    )
    loss = loss_for(opened, class_weights, label_smoothing)
    callbacks = chosen_callbacks(patience, min_delta)
    require_step_options(max_norm, clip_value, accumulate, ema)
    steps = chosen.epochs * batch_count(len(train_set), chosen.batch_size)
    rate = recipe.lr if lr is None and optimizer == "sgd" and chosen.model == recipe.model else lr
    rule = chosen_optimizer(
        optimizer, rate, momentum, weight_decay, chosen_schedule(schedule, steps, warmup), decay_norm_and_bias
    )
    InputStage(train_set, augment)  # raises for transforms that do not fit, before a folder is created
    usual: Mapping[str, Any] = recipe.options if chosen.model == recipe.model else {}
    options = chosen_options(
        chosen.model,
        {
            "activation": activation, "norm": norm, "negative_slope": negative_slope, "init": init,
            "depth": usual.get("depth") if depth is None else depth,
            "width": usual.get("width") if width is None else width,
        },
    )  # fmt: skip
    network = network_for(opened, chosen.model, seed, options)
    if standardize:
        # Fitted only on training data; it becomes part of the model and its file.
        fit = Standardizer.fit(train_set.images)
        network.standardizer = Standardization(fit.mean, fit.sigma, fit.epsilon)
    if find_lr:
        search = find_rate(network, loss, rule, train_set, batch_size=chosen.batch_size, seed=seed, augment=augment)
        if as_json:
            say_json(search.to_json())
        else:
            print_search(search)
        return
    network.infer(train_set.images.shape[1:])
    copies = 1 + len(rule.slots) + (ema is not None) + (patience is not None)  # of the weights, in a checkpoint
    folder, lock = claimed(data, out, overwrite, resume, network, copies)
    arguments = {
        "model": chosen.model, "epochs": chosen.epochs, "batch_size": chosen.batch_size, "optimizer": optimizer,
        "lr": rule.lr, "momentum": asdict(rule).get("momentum"), "weight_decay": asdict(rule).get("weight_decay"),
        "decay_norm_and_bias": decay_norm_and_bias, "schedule": schedule, "warmup": warmup, "max_norm": max_norm,
        "clip_value": clip_value, "accumulate": accumulate, "ema": ema, "augment": augment,
        "label_smoothing": label_smoothing, "class_weights": class_weights, "patience": patience,
        "min_delta": min_delta, **options,
        "standardize": standardize, "precision": numbers.value, "doctor": doctor, "checkpoint_every": checkpoint_every,
        "threads": settings.current().threads,
    }  # fmt: skip
    form = Centring.of(train_set.images)
    run = Run(
        data if data in KNOWN else str(Path(data).resolve()), arguments, seed,
        centring=None if form is None else form.to_json(),
        data_options={} if opened.options is None else opened.options.to_json(),
    )  # fmt: skip
    trainer = Trainer(
        network,
        loss,
        rule,
        seed=seed,
        batch_size=chosen.batch_size,
        max_norm=max_norm,
        clip_value=clip_value,
        accumulate=accumulate,
        ema=ema,
        precision=numbers,
        augment=augment,
        callbacks=(RunFile(folder, run), *callbacks),
        doctor=doctor,
        leave=leave_at_once,
        record=Record(folder, model=chosen.model, data=run.data),
        checkpoints=Checkpoints(folder, every=every, lock=lock),
        options=command_line_of(chosen.model, type(rule)),
    )
    try:
        evaluation = fitted(trainer, train_set, validation, run, folder, Going(resume is not None, allow_changes))
    finally:
        lock.release()
    if as_json:
        say_json(run.to_json())
    else:
        print_result(run, trainer.history, evaluation, folder, train_set.unit)
        if trainer.findings and same_target(sys.stdout, sys.stderr):  # they were printed there during the training
            found = counted(len(trainer.findings), "finding")
            output().print(f"{found} above; evidence and reasons: striate doctor {folder}", soft_wrap=True)
        elif trainer.findings:
            print_findings(trainer.findings)


def data_name(path: Path) -> str:
    """Return the name of a folder, archive or file of numbers, without its suffix."""
    name = path.resolve().name
    if path.suffix.lower() in ENDINGS:
        return set_name(path.resolve())
    ending = next((ending for ending in ARCHIVES if name.lower().endswith(ending)), "")
    return name[: len(name) - len(ending)] or "data"


def opened_data(
    data: str,
    given: Mapping[str, Any],
) -> Opened:
    """Open the data with the options from the command line, and print their notes."""
    options = {name: value for name, value in given.items() if value is not None}
    with Steps("train") as steps:
        opened = open_data(data, options, lambda done, count: steps.count("reading pictures", done, count))
    for note in opened.notes:
        say_note(f"note: {note}")
    return opened


def claimed(
    data: str, out: Path | None, overwrite: bool, resume: Path | None, network: Module, copies: int
) -> tuple[Path, FolderLock]:
    """Create and lock the folder of a new run, or lock the folder of the run to resume.

    Returns the folder and its lock. Raises ``OptionError`` for a folder that cannot be used (see ``claim_folder``) and,
    for a new run, unless the disk has space for the model and three checkpoints, each ``copies`` times as large as the
    model.
    """
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


@dataclass(frozen=True)
class Chosen:
    """The model, epochs and batch size of a training: defaults for the data, or values from the command line."""

    model: str
    epochs: int
    batch_size: int


def chosen_options(model: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of the model: its defaults, replaced by the given values that are not None.

    Given options that the model does not have are kept, so that ``build`` raises an error that lists those it has.
    """
    asked = {name: value for name, value in given.items() if value is not None}
    return {name: default for name, default in options_of(model).items() if name in given} | asked


def chosen_schedule(name: str, steps: int, warmup: int = 0) -> Schedule:
    """Return the schedule with this name over ``steps`` steps, the first ``warmup`` of which are a linear warmup.

    Raises ``OptionError`` for an unknown name, or a warmup as long as the training.
    """
    if name not in SCHEDULES:
        raise unknown_option("schedule", name, SCHEDULES)
    whole_number("--warmup", warmup, 0, max(steps - 1, 0))
    schedule = SCHEDULES[name](steps - warmup)
    return WarmupSchedule(schedule, warmup, 1 / (warmup + 1)) if warmup else schedule


def chosen_optimizer(
    name: str,
    lr: float | None,
    momentum: float | None,
    weight_decay: float | None,
    schedule: Schedule,
    decay_norm_and_bias: bool = True,
) -> Optimizer:
    """Return the optimizer with this name; raises ``OptionError`` for an option that it does not have.

    None selects the optimizer's default: its usual learning rate, and for SGD a momentum of 0.9.
    ``decay_norm_and_bias`` says whether the weight decay also applies to biases and normalizations.
    """
    if name not in OPTIMIZERS:
        raise unknown_option("optimizer", name, OPTIMIZERS)
    kind = OPTIMIZERS[name]
    known = [one.name for one in fields(kind)]
    options: dict[str, Any] = {"momentum": MOMENTUM} if issubclass(kind, SGD) else {}
    given = {"momentum": momentum, "weight_decay": weight_decay}
    options |= {option: value for option, value in given.items() if value is not None}
    if unknown := [option for option in options if option not in known]:
        raise unknown_option(f"option of {name}", unknown[0], [one for one in known if one not in _OF_PYTHON])
    rate = kind.usual_lr if lr is None else lr
    return kind(lr=rate, schedule=schedule, decay_norm_and_bias=decay_norm_and_bias, **options)


def chosen_callbacks(patience: int | None, min_delta: float) -> tuple[Callback, ...]:
    """Return the callback for early stopping, or () if ``patience`` is None.

    Raises ``OptionError`` for invalid values, and for a ``min_delta`` without ``patience``.
    """
    if patience is None:
        if min_delta:
            raise OptionError("--min-delta has no effect without --patience")
        return ()
    return (EarlyStopping(patience, min_delta=min_delta),)


def require_step_options(max_norm: float | None, clip_value: float | None, accumulate: int, ema: float | None) -> None:
    """Raise ``OptionError`` for values that the training step would refuse, before a folder is created."""
    Clipping(max_norm, clip_value)
    whole_number("accumulate", accumulate, 1)
    if ema is not None:
        number("ema", ema, 0, below=1)


def fitted(trainer: Trainer, train_set: Dataset, held_out: Dataset, run: Run, folder: Path, going: Going) -> Evaluation:
    """Train and return the final evaluation; write the run folder even if Ctrl-C or a failure ends the training."""
    epochs = int(run.arguments["epochs"])
    shape = train_set.images.shape[1:]
    again = f"striate train --resume {shlex.quote(str(folder))}"

    def keep() -> None:
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
    evaluation = trainer.evaluate(held_out)
    run.evaluation = evaluation.to_json()
    write_run(folder, run)
    return evaluation


def rescued(model: Module, shape: Sequence[int], error: ModelFileError, again: str) -> ModelFileError:
    """Save a model in the system's temporary folder after its run folder could not be written.

    ``shape`` is the shape of a sample, ``error`` the failure to report, and ``again`` the command that writes the rest
    of the run. Returns the error to raise, which names the new path, or says that the training is in its last
    checkpoint if saving failed there too.
    """
    problem = str(error).splitlines()[0]
    cure = f"  help: make room; then {again} writes the rest"
    try:
        path = Path(tempfile.mkdtemp(prefix="striate-")) / MODEL_FILE
        save(model, path, input_shape=shape)
    except (ModelFileError, OSError):
        return ModelFileError(f"{problem}; the training is in its last checkpoint\n{cure}")
    return ModelFileError(f"{problem}; the model is in {path} instead\n{cure}")


def print_search(search: RateSearch) -> None:
    """Print about 20 of the tried learning rates with their losses, and the suggested rate."""
    console = output()
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("learning rate", "loss", "smoothed"):
        table.add_column(name, justify="right", no_wrap=True)
    for place in range(0, len(search.rates), max(1, len(search.rates) // _ROWS)):
        numbers = search.rates[place], search.losses[place], search.smoothed[place]
        table.add_row(f"{numbers[0]:.1e}", number_text(numbers[1]), number_text(numbers[2]))
    console.print(table)
    found = search.suggestion
    console.print("the loss never fell" if found is None else f"suggested: --lr {found:.2g}", soft_wrap=True)


def print_result(run: Run, history: History, evaluation: Evaluation, folder: Path, unit: str) -> None:
    """Print the table of epochs, the path of the saved model, and the accuracy.

    The table is left out if the epochs were already printed to the same terminal, file or pipe. ``unit`` is the word
    for a sample, such as "image".
    """
    console = output()
    if not same_target(sys.stdout, sys.stderr):
        print_epochs(console, history, unit)
    console.print(f"trained {run.arguments['model']} on {run.data} in {history.seconds:.1f} s", soft_wrap=True)
    augmented = ", augmentation included" if run.arguments["augment"] else ""
    if augmented or history.waiting >= _WORTH_SAYING:
        console.print(f"waited for data {100 * history.waiting:.2g} % of that time{augmented}", soft_wrap=True)
    if history.stopped:
        console.print(f"stopped after epoch {history.epochs[-1].number}: {history.stopped}", soft_wrap=True)
    if history.kept is not None:
        console.print(f"the weights are those of epoch {history.kept}, the best one", soft_wrap=True)
    console.print(f"saved {folder / MODEL_FILE}", soft_wrap=True)
    print_score(console, evaluation)


def print_epochs(console: Console, history: History, unit: str) -> None:
    """Print a table with one row per epoch; narrow terminals get fewer columns.

    ``unit`` is the word for a sample, such as "image".
    """
    table = Table(box=None, pad_edge=False, header_style="bold")
    columns: dict[str, Callable[[Epoch], str]] = {
        "epoch": lambda epoch: str(epoch.number),
        "loss": lambda epoch: number_text(epoch.loss),
        "held-out loss": lambda epoch: number_text(epoch.validation_loss),
        "held-out accuracy": lambda epoch: (
            "–" if epoch.validation_accuracy is None else f"{100 * epoch.validation_accuracy:.2f} %"
        ),
        f"{unit}s/s": lambda epoch: f"{epoch.images_per_second:,.0f}",
        "seconds": lambda epoch: f"{epoch.seconds:.2f}",
    }
    if any(epoch.validation_error is not None for epoch in history):
        del columns["held-out accuracy"]
        columns["held-out mean error"] = lambda epoch: (
            "–" if epoch.validation_error is None else f"{epoch.validation_error:.4g}"
        )
    if console.width < _WIDTH_OF_ALL:
        del columns["held-out loss"], columns[f"{unit}s/s"]
    if console.width < _WIDTH_OF_NARROW:
        del columns["seconds"]
    for name in columns:
        table.add_column(name, justify="right", no_wrap=True)
    for epoch in history:
        table.add_row(*(cell(epoch) for cell in columns.values()))
    console.print(table)
