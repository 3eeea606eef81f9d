"""``striate doctor``: print what is wrong with a training, and what to change."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from striate.cli.report import output, say_json, say_note
from striate.data.standardizer import standardizer_of
from striate.doctor import Finding, Findings, Setup, posthoc
from striate.errors import OptionError, StriateError
from striate.models import MODELS, options_of
from striate.nn.module import Module
from striate.optim import OPTIMIZERS, SGD, Optimizer
from striate.persistence import load
from striate.train.history import Epoch
from striate.train.record import read_progress
from striate.train.run import Run, model_file, read_run
from striate.train.task import loss_for, network_for


def doctor(
    run: Annotated[Path, typer.Argument(help="Folder that `striate train` created.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Say what was wrong with a training, why, and what to change."""
    document = read_run(run)
    watched = bool(document.arguments.get("doctor"))
    findings = recorded(document) if watched or document.findings else examined(run, document)
    if as_json:
        say_json({"run": str(run), "watched": watched, "findings": findings.to_json()})
        return
    if not watched:
        say_note(
            f"this run was trained without the doctor: the findings come from its data, model and {record_of(run)}"
        )
    if findings:
        print_findings(findings)
    else:
        typer.echo("no problems were found" if went_well(document) else too_little(document))


def recorded(document: Run) -> Findings:
    """Return the findings stored in ``run.json``; raises ``ModelFileError`` if they are malformed."""
    return Findings([Finding.from_json(one) for one in document.findings])


def examined(folder: Path, document: Run) -> Findings:
    """Diagnose a run that was trained without ``Doctor``, from its data, model and history in ``folder``.

    ``document`` has the contents of its run.json. Raises ``OptionError`` if the data can no longer be read.
    """
    try:
        opened = document.opened()
    except StriateError as error:
        raise OptionError(f"the data of this run can no longer be read: {error}") from error
    train_set, held_out = opened.train, opened.held_out
    epochs = [Epoch(**entries) for entries in document.history.get("epochs", [])]
    arguments, model = document.arguments, load(model_file(folder))
    standardizer = standardizer_of(model)
    name = str(arguments.get("model"))
    network: Module = model
    if name in MODELS:
        own = {option: arguments[option] for option in options_of(name) if option in arguments}
        network = network_for(opened, name, document.seed, own)
        if standardizer is not None:
            network.standardizer = standardizer
    kind = OPTIMIZERS.get(str(arguments.get("optimizer")), SGD)
    options = {
        one.name: arguments[one.name] for one in fields(kind) if isinstance(arguments.get(one.name), int | float)
    }
    rule: Optimizer = replace(kind(lr=0.0), **options)
    setup = Setup(
        network, loss_for(opened), rule, batch_size=int(arguments.get("batch_size", 64)),
        epochs=int(arguments.get("epochs", 1)), seed=document.seed, command_line=command_line_of(name, kind),
        recompute_statistics=bool(arguments.get("recompute_statistics", False)),
    )  # fmt: skip
    losses: list[Any] = [epoch.loss for epoch in epochs]
    return posthoc(
        model,
        train_set,
        held_out,
        setup=setup,
        standardizer=standardizer,
        losses=losses,
        validation_losses=[epoch.validation_loss for epoch in epochs],
        validation_accuracies=[epoch.validation_accuracy for epoch in epochs],
        events=events_of(folder),
        finished=document.finished,
    )


GENERAL = ("--lr", "--epochs", "--batch-size", "--standardize", "--weight-decay", "--recompute-statistics")


def command_line_of(model: str, kind: type[Optimizer]) -> tuple[str, ...]:
    """Return the options of ``striate train`` that remedies may recommend, such as "--lr".

    These are the options of the network named ``model``, the options of the optimizer class ``kind``, and the options
    in ``GENERAL``.
    """
    network = options_of(model) if model in MODELS else {}
    own = [f"--{name.replace('_', '-')}" for name in (*network, *(one.name for one in fields(kind)))]
    return tuple(dict.fromkeys((*GENERAL, *own)))


def events_of(folder: Path) -> list[dict[str, Any]]:
    """Return the events in the run's ``progress.jsonl`` as dictionaries, or [] if it is missing or damaged."""
    try:
        return read_progress(folder)
    except StriateError:
        return []


def record_of(folder: Path) -> str:
    """Return a phrase that names the source of the diagnosis of a run that was trained without ``Doctor``.

    The phrase says "record" if ``progress.jsonl`` has statistics of layers. Otherwise, it says "history alone", which
    means the losses of the epochs.
    """
    watched = any(event.get("kind") == "watch" for event in events_of(folder))
    return "record, which has some of its steps" if watched else "history alone"


def went_well(document: Run) -> bool:
    """Return whether the training finished with an accuracy above 1.5 times chance, 1.5 / number of classes."""
    accuracy = (document.evaluation or {}).get("accuracy")
    classes = len((document.evaluation or {}).get("classes") or ()) or 2
    return document.finished and isinstance(accuracy, int | float) and accuracy > 1.5 / classes


def too_little(document: Run) -> str:
    """Return the message for a training that went badly without any finding."""
    accuracy = (document.evaluation or {}).get("accuracy")
    if not document.finished:
        what = "it ended early"
    elif isinstance(accuracy, int | float):
        what = f"it ended at {100 * accuracy:.1f} %"
    else:
        what = "it was not evaluated"
    return (
        f"too little was recorded to say what went wrong: {what}\n"
        "  help: train again without --no-doctor, which reads the steps"
    )


def print_findings(findings: Findings) -> None:
    """Print each finding in full, starting with the most important one."""
    console = output()
    text = Text(findings.text(min(console.width, 100)))
    if console.is_terminal:
        text.highlight_regex(r"(?m)^error:", "bold red")
        text.highlight_regex(r"(?m)^warning:", "bold yellow")
        text.highlight_regex(r"(?m)^  (evidence|why|remedy|explains:)", "bold")
    console.print()
    console.print(text, soft_wrap=True)
