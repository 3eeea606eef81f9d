"""Draws samples of a data set with their augmented versions, epoch by epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from striate import options
from striate.data.augment import InputStage, Transform
from striate.data.dataset import Dataset, require_dataset
from striate.errors import OptionError
from striate.plot.canvas import BLUE, FAINT, GREEN, INK, ORANGE, Array, Grid, finished, show_picture

Transforms = Sequence[Transform] | str
_COLOURS = (BLUE, ORANGE, GREEN)


def augmented(
    dataset: Dataset,
    transforms: Transforms | Mapping[str, Transforms],
    count: int = 4,
    epochs: int = 7,
    *,
    seed: int = 0,
    path: str | Path | None = None,
) -> Figure:
    """Draw samples of a data set, each unchanged and as the network sees it in the first ``epochs`` epochs.

    ``transforms`` is what ``Trainer(augment=…)`` takes; then there is one row for each of ``count`` samples, which are
    evenly distributed over the data. Alternatively, ``transforms`` is a dict of such transforms by name; then there is
    one row for each name, and all rows show the first sample. Pictures are drawn as images, signals (C, L) as curves,
    and volumes by their middle slice. Where labels are mixed, the share of each class is printed. ``seed`` is the seed
    of the transforms' random numbers. If ``path`` is given, the figure is written to this file.

    Raises ``OptionError`` for tables, which have no picture, and for transforms that do not fit the data.
    """
    require_dataset(dataset)
    if dataset.images.ndim not in (3, 4, 5):
        raise OptionError(f"{dataset.name}: samples of shape {dataset.images.shape[1:]} cannot be drawn")
    options.whole_number("count", count, 1)
    options.whole_number("epochs", epochs, 1)
    rows: list[tuple[str, int, InputStage]] = []
    if isinstance(transforms, Mapping):
        rows = [(name, 0, InputStage(dataset, one, seed=seed)) for name, one in transforms.items()]
    else:
        stage = InputStage(dataset, transforms, seed=seed)
        chosen = np.linspace(0, len(dataset) - 1, min(count, len(dataset))).astype(int).tolist()
        rows = [(_label(dataset, dataset.labels[index]), index, stage) for index in chosen]
    mixes = any(stage.mixes for _, _, stage in rows)
    note = f"{dataset.name}: on the left the sample, then what the network sees in {epochs} epochs"
    signals = dataset.images.ndim == 3
    lines = 2 if mixes else 1
    grid = Grid(len(rows), epochs + 1, 1.0, "Augmented samples", note, lines=lines, aspect=0.7 if signals else 1.0)
    for row, (name, index, stage) in enumerate(rows):
        made = [stage.batch([index], epoch) for epoch in range(epochs)]
        shown = [dataset.images[index], *(x[0] for x, _ in made)]
        captions = [name, *(_label(dataset, y[0]) if stage.mixes else "" for _, y in made)]
        if not row and not mixes:
            captions[1:] = [f"epoch {epoch + 1}" for epoch in range(epochs)]
        for column, (sample, caption) in enumerate(zip(shown, captions, strict=True)):
            axes = grid.axes(row * (epochs + 1) + column, caption, colour=FAINT if column else INK, size=7)
            _show(axes, sample)
            if signals:
                axes.set_ylim(min(one.min() for one in shown), max(one.max() for one in shown))
    return finished(grid.figure, path)


def _label(dataset: Dataset, label: Array) -> str:
    """Return the class of a label, the shares of its classes, or its number, as text."""
    if not dataset.is_classification:
        return f"{float(np.ravel(label)[0]):.3g}"
    if label.ndim == 0:
        return dataset.classes[int(label)]
    largest = [int(place) for place in np.argsort(-label, kind="stable")[:2] if label[place] >= 0.005]
    if len(largest) == 1:
        return dataset.classes[largest[0]]
    return "\n".join(f"{100 * label[place]:.0f} % {dataset.classes[place]}" for place in largest)


def _show(axes: Axes, sample: Array) -> None:
    if sample.ndim == 3:
        show_picture(axes, sample)
    elif sample.ndim == 4:
        show_picture(axes, sample[:, sample.shape[1] // 2])
    else:
        for channel, values in enumerate(sample[:3]):
            axes.plot(values, color=_COLOURS[channel], linewidth=0.8)
        axes.margins(x=0.02)
