"""``striate doctor``: what is wrong with a training, and what to change."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from striate.cli.report import output, say_json, say_note
from striate.data import Split
from striate.data.standardizer import standardizer_of
from striate.doctor import Finding, Findings, posthoc
from striate.errors import OptionError, StriateError
from striate.models import MODELS, build
from striate.persistence import load
from striate.train.history import Epoch
from striate.train.run import MODEL_FILE, Run, read_run


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
        say_note("this run was trained without the doctor: the findings come only from its data, model and history")
    if findings:
        print_findings(findings)
    else:
        typer.echo("no problems were found")


def recorded(document: Run) -> Findings:
    """The doctor's findings of the training; raises ``ModelFileError`` if those in ``run.json`` are malformed."""
    return Findings([Finding.from_json(one) for one in document.findings])


def examined(folder: Path, document: Run) -> Findings:
    """The findings that do not need a watch. Raises ``OptionError`` if the data can no longer be found."""
    try:
        train_set, held_out = document.dataset(Split.TRAIN), document.dataset(Split.TEST)
    except StriateError as error:
        raise OptionError(f"the data of this run can no longer be read: {error}") from error
    epochs = [Epoch(**entries) for entries in document.history.get("epochs", [])]
    name = str(document.arguments.get("model"))
    network = (
        build(name, channels=train_set.images.shape[1], classes=len(train_set.classes)) if name in MODELS else None
    )
    losses: list[Any] = [epoch.loss for epoch in epochs]
    model = load(folder / MODEL_FILE)
    return posthoc(
        model,
        train_set,
        held_out,
        network=network,
        standardizer=standardizer_of(model),
        losses=losses,
        validation_losses=[epoch.validation_loss for epoch in epochs],
        validation_accuracies=[epoch.validation_accuracy for epoch in epochs],
    )


def print_findings(findings: Findings) -> None:
    """Prints each finding in full, starting with what to change first."""
    console = output()
    text = Text(findings.text(min(console.width, 100)))
    if console.is_terminal:
        text.highlight_regex(r"(?m)^error:", "bold red")
        text.highlight_regex(r"(?m)^warning:", "bold yellow")
        text.highlight_regex(r"(?m)^  (evidence|why|remedy|explains:)", "bold")
    console.print()
    console.print(text, soft_wrap=True)
