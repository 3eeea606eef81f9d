"""The report's section on the confusion matrix and the worst mistakes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, cast

import numpy as np

from striate.insight import Confusion, Mistake
from striate.insight import confusion as confusion_of
from striate.report.chart import percent
from striate.report.html import Markup, element, joined
from striate.report.material import Material, numbers_of
from striate.report.page import Section, absent, details, table, wide
from striate.report.pixels import enlarged, picture, sheet, shown, warm

LARGEST_TABLE = 20
_SIDE = 112
_LONGEST_ACROSS = 4  # characters of a name that stands above its column; longer ones are turned
_DEGREES = 10


def section(material: Material) -> Section:
    """Build the report's section on mistakes: confusion matrix, frequent confusions, and worst mistakes.

    The worst mistakes are those with the largest loss.
    """
    lead = (
        "Rows are true classes, columns predicted ones: blue on the diagonal is right, orange elsewhere wrong, each "
        "by its share of the row. Bad signs: an orange column (a class that everything is taken for), an empty column "
        "(a class that is never predicted), and confident mistakes on clear pictures, which are often wrong labels."
    )
    if material.data is None or not material.outputs:
        return Section("mistakes", "What it confuses", lead, absent(f"No matrix: {material.missing or 'no classes'}."))
    material.say(f"predicting {len(material.data):,} held-out samples")
    found = confusion_of(material.model, material.data)
    worst = material.mistakes
    total = int(found.counts.sum())
    wrong = total - int(np.trace(found.counts))
    parts = [
        element(
            "p",
            f"{wrong:,} of {total:,} held-out samples are predicted wrongly: accuracy {percent(found.accuracy, 2)}.",
        ),
        _matrix(found) if len(found.classes) <= LARGEST_TABLE else _map(found),
        _pairs(found),
        _classes(material.run.evaluation if material.run else None),
        element("h3", "The worst mistakes") if worst else None,
        element("div", [_mistake(one) for one in worst], class_="tiles") if worst else None,
    ]
    return Section("mistakes", "What it confuses", lead, element("div", *parts))


def _matrix(found: Confusion) -> Markup:
    """Return the confusion matrix as a table of counts."""
    upright = any(len(name) > _LONGEST_ACROSS for name in found.classes)
    head = [element("td", "")]
    for name in found.classes:
        title = element("span", name) if upright else name
        head.append(element("th", title, scope="col", title=name, class_="upright" if upright else None))
    rows: list[Markup] = []
    for truth, name in enumerate(found.classes):
        counts = found.counts[truth]
        whole = int(counts.sum())
        cells = [element("th", name, scope="row", title=name)]
        for guess, count in enumerate(counts):
            degree = math.ceil(_DEGREES * int(count) / whole) if whole else 0
            kind = "r" if guess == truth else "w"
            cells.append(element("td", f"{int(count)}" if count else "·", class_=f"{kind}{degree}" if count else "r0"))
        rows.append(element("tr", *cells))
    matrix = element(
        "table", element("caption", "true class ↓, predicted class →"),
        element("thead", element("tr", *head)), element("tbody", *rows), class_="confusion",
    )  # fmt: skip
    return wide(matrix, "Confusion matrix")


def _map(found: Confusion) -> Markup:
    """Return the confusion matrix of many classes as a picture."""
    shares = found.counts / np.maximum(found.counts.sum(axis=1, keepdims=True), 1)
    size = max(1, 360 // len(found.classes))
    caption = f"{len(found.classes)} classes: rows are true, columns predicted; bright is a large share of the row."
    return element(
        "figure", shown(sheet([enlarged(warm(shares), size)], 1), f"Confusion matrix of {len(found.classes)} classes"),
        element("figcaption", caption),
    )  # fmt: skip


def _classes(evaluation: Mapping[str, Any] | None) -> Markup | None:
    """Return the table of the measures of each class in the run's evaluation; None if it has none."""
    listed = (evaluation or {}).get("classes")
    if not isinstance(listed, list) or not listed:
        return None
    classes = [cast("Mapping[str, Any]", one) for one in cast("list[object]", listed) if isinstance(one, dict)]
    names = ("accuracy", "precision", "f1", "auc", "average_precision")
    rows: list[list[str]] = []
    for one in classes:
        values = [numbers_of(one, name) for name in names]
        cells = [percent(value[0], 1) if value else "–" for value in values[:3]]
        cells += [f"{value[0]:.3f}" if value else "–" for value in values[3:]]
        rows.append([str(one.get("name", "")), *cells])
    text = "AUC and AP are the areas under the ROC curve and the precision-recall curve of a class against all others."
    calibration = numbers_of(evaluation or {}, "calibration_error")
    if calibration:
        text += (
            f" Calibration error {percent(calibration[0], 1)}: by so much, on average, the probability of the "
            "predicted class differs from the share of correct predictions."
        )
    return details(
        "Each class in numbers",
        joined(table(("class", "recall", "precision", "F1", "AUC", "AP"), rows), element("p", text)),
    )


def _pairs(found: Confusion) -> Markup | None:
    """Return the table of the most frequent confusions; None without mistakes."""
    pairs = found.most_confused(8)
    if not pairs:
        return None
    index = {name: place for place, name in enumerate(found.classes)}
    rows = [
        [f"{truth} taken for {guess}", f"{count:,}", percent(count / int(found.counts[index[truth]].sum()), 1)]
        for truth, guess, count in pairs
    ]
    return joined(element("h3", "Most frequent confusions"), table(("confusion", "times", "of its class"), rows))


def _mistake(one: Mistake) -> Markup:
    """Return the tile of one mistake."""
    caption = joined(
        element("span", f"{one.predicted} ({percent(one.probability)})", class_="wrong"), element("br"),
        element("span", f"is {one.label} ({percent(one.probability_of_label, 1)})", class_="right"), element("br"),
        f"sample {one.index}",
    )  # fmt: skip
    if one.image.ndim != 3:
        return element("figure", element("figcaption", caption))
    pixels = picture(one.image)
    size = max(1, round(_SIDE / max(pixels.shape[:2])))
    alt = f"sample {one.index}: predicted {one.predicted}, is {one.label}"
    return element("figure", shown(enlarged(pixels, size), alt), element("figcaption", caption))
