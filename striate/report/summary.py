"""The head of the report's page: title and key figures."""

from __future__ import annotations

from striate.counting import counted
from striate.report.chart import percent
from striate.report.curves import epochs_of
from striate.report.html import Markup, element, joined
from striate.report.material import Material, numbers_of
from striate.report.page import terms
from striate.train.numerals import number_text

Fact = tuple[object, object]


def head(material: Material) -> tuple[str, str, Markup]:
    """Return the report's title, a sentence on the model, and the key figures."""
    run = material.run
    model = str(run.arguments.get("model", "A network")) if run else "A saved network"
    evaluation = (run.evaluation if run else None) or {}
    what = "class", "classes"
    if "mean_error" in evaluation:
        what = "measured value", "measured values"
    elif "exact" in evaluation:
        what = "yes-or-no label", "yes-or-no labels"
    classes = counted(len(material.classes), *what) if material.classes else "its outputs"
    data = f" on {run.data}" if run else ""
    sentence = f"{model}{data}, {classes}: what it is, how it learned, what it sees, and how fast it runs."
    return material.name, sentence, terms(_facts(material), "facts")


def _facts(material: Material) -> list[Fact]:
    """Return the key figures as (name, value)."""
    parameters = sum(block.parameters for block in material.blocks)
    work = sum(block.multiply_adds for block in material.blocks)
    epochs = epochs_of(material)
    facts: list[Fact] = []
    evaluation = material.run.evaluation if material.run else None
    judged = numbers_of(evaluation, "accuracy", "loss", "correct", "count") if evaluation else None
    if judged:
        facts.append(("held-out accuracy", _with(percent(judged[0], 2), f"{judged[2]:,.0f} of {judged[3]:,.0f}")))
        facts.append(("held-out loss", number_text(judged[1])))
    measured = numbers_of(evaluation, "mean_error", "rmse", "loss") if evaluation else None
    if measured:
        facts.append(("held-out mean error", f"{measured[0]:.4g}"))
        share = numbers_of(evaluation or {}, "r2")
        facts.append(("held-out RMSE", _with(f"{measured[1]:.4g}", f"R² {share[0]:.4f}" if share else "")))
        facts.append(("held-out loss", number_text(measured[2])))
    if epochs:
        seconds = sum(found[0] for epoch in epochs if (found := numbers_of(epoch, "seconds")))
        facts.append(("epochs", _with(f"{len(epochs)}", f"{seconds:.1f} s of training steps")))
    facts.append(("parameters", _count(parameters)))
    facts.append(("multiply-adds", _with(_count(work), "for each sample")))
    weighted = sum(block.parameters > 0 and block.multiply_adds > 0 for block in material.blocks)
    facts.append(("layers with weights", str(weighted)))
    return facts


def _with(figure: str, small: str) -> Markup:
    """Return a figure with a smaller text behind it."""
    return joined(figure, element("small", small))


def _count(number: int) -> str:
    """Return a large number as text with a unit: ``1.2 M``."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e4)):
        if number >= size:
            return f"{number / (1e3 if unit == 'k' else size):.3g} {unit}"
    return f"{number:,}"
