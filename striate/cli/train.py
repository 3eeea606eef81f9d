"""``striate train``: train a network on a data set, and write a run folder."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from striate import settings
from striate.cli.choices import (
    USUAL,
    Chosen,
    chosen_callbacks,
    chosen_optimizer,
    chosen_options,
    chosen_schedule,
    require_step_options,
)
from striate.cli.configuration import configuration_of, configured
from striate.cli.configuration_text import configuration_text
from striate.cli.doctor import command_line_of, print_findings
from striate.cli.option import options_of
from striate.cli.ranks import ranks
from striate.cli.recipes import NAMES, require_data, with_recipe
from striate.cli.report import output, say_json, say_note, say_warning
from striate.cli.results import print_result, print_search
from striate.cli.resume import defaults_of, is_finished, require_resumable, resumed_run
from striate.cli.streams import same_target
from striate.cli.training import Going, begin_with, claimed, fitted, leave_at_once, opened_data, save_search
from striate.counting import counted
from striate.data import Standardizer, batch_count
from striate.data.augment import InputStage
from striate.data.augment.text import NAMES as TRANSFORMS
from striate.data.catalog import KNOWN
from striate.data.centring import Centring
from striate.data.input_range import InputRange
from striate.data.number_options import Kind, Task
from striate.distributed import reduce_of
from striate.dtypes import precision_of
from striate.errors import OptionError, opened_room
from striate.models import MODELS
from striate.models.block import ACTIVATIONS, STARTS, NormPlacement
from striate.nn.standardization import Standardization
from striate.nn.whitening import fit_whitening
from striate.optim import OPTIMIZERS, SCHEDULES
from striate.options import seed as checked_seed
from striate.options import whole_number
from striate.step import require_precision
from striate.train.checkpoints import Checkpoints
from striate.train.every import Every
from striate.train.rate_search import find_rate
from striate.train.record import Record
from striate.train.run import TENSORBOARD_FOLDER, Run, RunFile, read_run
from striate.train.statistics import require_tracking
from striate.train.task import loss_for, network_for, usual_training
from striate.train.trainer import Trainer
from striate.train.tta import Views

_CHANGES = f'Random changes, such as "crop:4 flip": {", ".join(TRANSFORMS)}.'
_RATES = ", ".join(f"{name} {OPTIMIZERS[name].usual_lr:g}" for name in ("sgd", "adam")) + " …"
_NAMES = ", ".join(OPTIMIZERS)
_HEAD = ("The options of this training as used; `striate train` with this file repeats it.",)


def train(
    context: typer.Context,
    data: Annotated[
        str,
        typer.Argument(
            help="digits, mnist, fashion_mnist, cifar10, cifar100; a folder, zip or tar of pictures; "
            "a file of numbers (.csv, .tsv, .ts, .npy, .npz); a folder of IDX files; or a .toml file of options.",
            is_eager=True,
            callback=configured,
        ),
    ] = "digits",
    model: Annotated[
        str | None,
        typer.Option(help=f"{', '.join(MODELS)}.", show_default="lenet5; tables mlp, signals fcn, volumes resnet18_3d"),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(help="Passes over the data.", show_default="digits 20, others 3 to 50")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Samples per step.", show_default="digits 32, mnist 64, few samples 16")
    ] = None,
    lr: Annotated[float | None, typer.Option(help="Learning rate, ≥ 0.", show_default=_RATES)] = None,
    optimizer: Annotated[str, typer.Option(help=f"{_NAMES}.")] = "sgd",
    momentum: Annotated[
        float | None, typer.Option(help="μ of sgd and rmsprop, 0 ≤ μ < 1.", show_default="sgd 0.9, rmsprop 0")
    ] = None,
    nesterov: Annotated[bool, typer.Option("--nesterov", help="Nesterov's form of the momentum, for sgd.")] = False,
    weight_decay: Annotated[
        float | None, typer.Option(help="Weight decay λ ≥ 0 of the optimizer.", show_default="0, adamw 0.01")
    ] = None,
    decay_norm_and_bias: Annotated[
        bool, typer.Option(help="Let biases and the weights of normalizations decay, too.", show_default=False)
    ] = True,
    groups: Annotated[
        str,
        typer.Option(
            help='Other options for some parameters, by patterns of their names: "*.bias:lr=10x:weight-decay=0".'
        ),
    ] = "",
    schedule: Annotated[str, typer.Option(help=f"Schedule of the learning rate: {', '.join(SCHEDULES)}.")] = "cosine",
    warmup: Annotated[
        float, typer.Option(help="Steps of a linear rise before the schedule, or, below 1, their share.")
    ] = 0,
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
        bool,
        typer.Option("--find-lr", help="Train with growing learning rates, draw the losses, and suggest one."),
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
    weights: Annotated[
        Path | None, typer.Option(help="Begin with the weights of this run or model file, where names and shapes fit.")
    ] = None,
    freeze: Annotated[
        str | None,
        typer.Option(help='Parameters and statistics that stay as they are, such as "conv1,layer1*".'),
    ] = None,
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
    tta: Annotated[
        str, typer.Option(help='Average the final evaluation over views of each sample: "flip crop:2", as `evaluate`.')
    ] = "",
    doctor: Annotated[bool, typer.Option(help="Report problems during training.", show_default=False)] = True,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the run.", show_default="runs/DATA, runs/DATA-2 …")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a run that --out holds.")] = False,
    checkpoint_every: Annotated[
        str, typer.Option(help="When to write a checkpoint: epoch, a number of steps, or a time such as 10min.")
    ] = "epoch",
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write event files into RUN/tensorboard (needs tensorboardX).")
    ] = False,
    recompute_statistics: Annotated[
        bool,
        typer.Option(
            "--recompute-statistics", help="At the end, compute the statistics of batch normalizations over all data."
        ),
    ] = False,
    reduce: Annotated[
        str, typer.Option(help="On several ranks: fast, or exact: the same bits on 1, 2, 4 and 8 of them.")
    ] = "fast",
    sync_batch_norm: Annotated[
        bool, typer.Option(help="On several ranks, normalize by the samples of all.", show_default=False)
    ] = True,
    recipe: Annotated[
        str | None,
        typer.Option(
            help=f"Options that were chosen and measured together: {', '.join(NAMES)}.",
            is_eager=True,
            callback=with_recipe,
            show_default=False,
        ),
    ] = None,
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
    if recipe is not None:
        require_data(context, recipe)
    before = None if resume is None else read_run(resume)
    if before is not None:
        if (path := configuration_of(context)) is not None or recipe is not None:
            given = f"--recipe {recipe}" if path is None else path
            raise OptionError(f"{given} does not go with --resume, which takes the options of the run")
        require_resumable(context, before)
        if is_finished(before, epochs):
            if as_json:
                say_json(before.to_json())
            return
    elif allow_changes:
        raise OptionError("--allow-changes has no effect without --resume")
    room = opened_room("tensorboard", "tensorboardX", "google") if tensorboard else None
    views = Views.parse(tta)
    numbers = precision_of(precision)
    require_precision(numbers)  # before data are read and a folder is created
    opened = opened_data(
        context,
        data,
        {
            "size": size, "resize": resize, "channels": channels, "held_out": held_out, "on_error": on_error,
            "task": task, "kind": kind, "label_column": label_column, "group_column": group_column,
            "ignore_columns": ignore_columns, "window": window, "stride": stride, "length": length,
            "channels_last": channels_last, "seed": seed,
        },
    )  # fmt: skip
    train_set, validation = opened.train, opened.held_out
    usual = USUAL.get(data) or usual_training(train_set.images.ndim, len(train_set))
    chosen = Chosen(
        model or usual.model,
        whole_number("--epochs", usual.epochs if epochs is None else epochs, 1),
        whole_number("--batch-size", usual.batch_size if batch_size is None else batch_size, 1),
    )
    loss = loss_for(opened, class_weights, label_smoothing)
    callbacks = chosen_callbacks(patience, min_delta)
    require_step_options(max_norm, clip_value, accumulate, ema)
    steps = chosen.epochs * batch_count(len(train_set), chosen.batch_size)
    rate = usual.lr if lr is None and optimizer == "sgd" and chosen.model == usual.model else lr
    rule = chosen_optimizer(
        optimizer, rate, momentum, weight_decay, chosen_schedule(schedule, steps, warmup), decay_norm_and_bias,
        nesterov, groups,
    )  # fmt: skip
    InputStage(train_set, augment)  # raises for transforms that do not fit, before a folder is created
    views.require(train_set.images.shape[1:])
    sizes: Mapping[str, Any] = usual.options if chosen.model == usual.model else {}
    options = chosen_options(
        chosen.model,
        {
            "activation": activation, "norm": norm, "negative_slope": negative_slope, "init": init,
            "depth": sizes.get("depth") if depth is None else depth,
            "width": sizes.get("width") if width is None else width,
        },
    )  # fmt: skip
    network = network_for(opened, chosen.model, seed, options)
    if standardize:
        # Fitted only on training data; it becomes part of the model and its file.
        fit = Standardizer.fit(train_set.images)
        network.standardizer = Standardization(fit.mean, fit.sigma, fit.epsilon)
    fit_whitening(network, train_set.images)
    if weights is not None and resume is None:
        begin_with(network, weights, train_set.images.shape[1:])
    if freeze:
        network.freeze(*filter(None, map(str.strip, freeze.split(","))), statistics=True)
    if recompute_statistics:
        require_tracking(network)
    if find_lr:
        if ranks().size > 1:
            raise OptionError("--find-lr runs on one rank\n  help: search first, then train on several ranks with --lr")
        search = find_rate(network, loss, rule, train_set, batch_size=chosen.batch_size, seed=seed, augment=augment)
        picture = save_search(search, data, out)
        if as_json:
            say_json(search.to_json())
        else:
            print_search(search)
        say_note(f"wrote {picture}")
        return
    network.infer(train_set.images.shape[1:])
    copies = 1 + len(rule.slots) + (ema is not None) + (patience is not None)  # of the weights, in a checkpoint
    folder, lock = claimed(data, out, overwrite, resume, network, copies)
    arguments = {
        "model": chosen.model, "epochs": chosen.epochs, "batch_size": chosen.batch_size, "optimizer": optimizer,
        "lr": rule.lr, "momentum": asdict(rule).get("momentum"), "nesterov": nesterov,
        "weight_decay": asdict(rule).get("weight_decay"), "groups": groups,
        "decay_norm_and_bias": decay_norm_and_bias, "schedule": schedule, "warmup": warmup, "max_norm": max_norm,
        "clip_value": clip_value, "accumulate": accumulate, "ema": ema, "augment": augment,
        "label_smoothing": label_smoothing, "class_weights": class_weights, "patience": patience,
        "min_delta": min_delta, **options,
        "standardize": standardize, "precision": numbers.value, "doctor": doctor, "checkpoint_every": checkpoint_every,
        "weights": None if weights is None else str(weights.resolve()), "freeze": freeze,
        "recompute_statistics": recompute_statistics, "tensorboard": tensorboard, "tta": tta,
        "reduce": reduce_of(reduce).value, "sync_batch_norm": sync_batch_norm,
        "threads": settings.current().threads,
    }  # fmt: skip
    form = Centring.of(train_set.images)
    run = Run(
        data if data in KNOWN else str(Path(data).resolve()), arguments, seed,
        centring=None if form is None else form.to_json(),
        inputs=InputRange.of(train_set.images, opened.file_size).to_json(),
        data_options={} if opened.options is None else opened.options.to_json(),
    )  # fmt: skip
    if room is not None and not ranks().rank:
        callbacks += (room.TensorBoard(folder / TENSORBOARD_FOLDER, say_warning),)
    # Rank 0 alone writes files.
    file = RunFile(folder, run, configuration_text(options_of(train), defaults_of(run), _HEAD))
    writers = () if ranks().rank else (file,)
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
        callbacks=(*writers, *callbacks),
        communicator=ranks(),
        reduce=reduce,
        sync_batch_norm=sync_batch_norm,
        doctor=doctor,
        recompute_statistics=recompute_statistics,
        leave=leave_at_once,
        record=Record(folder, model=chosen.model, data=run.data),
        checkpoints=Checkpoints(folder, every=every, lock=lock),
        options=command_line_of(chosen.model, type(rule)),
    )
    try:
        evaluation = fitted(
            trainer, train_set, validation, run, folder, Going(resume is not None, allow_changes), views
        )
    finally:
        if lock is not None:
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
