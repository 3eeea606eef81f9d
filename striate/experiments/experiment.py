"""The frame of all experiments: predict, measure, compare, judge, draw."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from striate import options
from striate.data import Dataset, load_digits
from striate.data.loader import order
from striate.errors import DataError, OptionError
from striate.experiments.measurement import Measurement, Quantity
from striate.experiments.prediction import Compared, Prediction, Verdict, judge

Report = Callable[[int, int, str], None]
"""(trainings finished, trainings in total, what is running now)"""


@dataclass(frozen=True)
class Size:
    """The size of a run: large enough to test the claim, in well under two minutes on two cores.

    samples and held_out are upper limits; the digits have fewer.
    """

    seeds: int
    samples: int
    held_out: int
    epochs: int

    def __post_init__(self) -> None:
        for name, number in vars(self).items():
            # With fewer than 20 samples most classes would be missing.
            options.whole_number(name, number, 20 if name == "samples" else 1)

    @property
    def work(self) -> int:
        """Seeds × samples × epochs."""
        return self.seeds * self.samples * self.epochs


class Work:
    """One run of an experiment: its data, its size, its seeds, and its progress."""

    def __init__(self, train_set: Dataset, held_out: Dataset, size: Size, report: Report | None = None) -> None:
        self.size = size
        self.held_out = held_out.subset(order(len(held_out), 0, 0)[: size.held_out])
        self._train_set = train_set
        self._report = report

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one sample."""
        return self.held_out.images.shape[1:]

    @property
    def classes(self) -> int:
        """The number of classes of the data set."""
        return len(self._train_set.classes)

    @property
    def kernel(self) -> int:
        """The filter size: 5 for pictures of 20 pixels or more, else 3."""
        return 5 if min(self.shape[1:]) >= 20 else 3

    def samples(self, seed: int) -> Dataset:
        """The training samples of a seed, drawn by the seed alone."""
        return self._train_set.subset(order(len(self._train_set), seed, 0)[: self.size.samples])

    def runs(self, settings: Sequence[str]) -> Iterator[tuple[str, int]]:
        """Every setting with every seed; reports progress."""
        total = len(settings) * self.size.seeds
        done = 0
        for setting in settings:
            for seed in range(self.size.seeds):
                self.say(done, total, f"{setting}, seed {seed}" if self.size.seeds > 1 else setting)
                yield setting, seed
                done += 1
        self.say(done, total, "")

    def say(self, done: int, total: int, text: str) -> None:
        """Reports progress."""
        if self._report is not None:
            self._report(done, total, text)


class Experiment(ABC):
    """One claim of striate's mission, tried on real data (abstract).

    name, title, equation   as in the mission
    setup                   data, networks and training in a few sentences
    data                    the data set it is meant for: "mnist", or "digits", which is part of the package
    predictions             what is expected, stated before the run
    usual_seconds           how long it takes at its default size on two cores, with cached kernels
    """

    name: ClassVar[str]
    title: ClassVar[str]
    equation: ClassVar[str]
    setup: ClassVar[str]
    data: ClassVar[str]
    size: ClassVar[Size]
    usual_seconds: ClassVar[int]
    quantities: ClassVar[tuple[Quantity, ...]]
    predictions: ClassVar[tuple[Prediction, ...]]

    def expected_seconds(self, size: Size) -> float:
        """How long a run of another size takes, roughly: in proportion to its seeds, samples and epochs."""
        return self.usual_seconds * size.work / self.size.work

    @abstractmethod
    def measure(self, work: Work) -> Measurement:
        """Trains and measures the networks that are compared."""

    @abstractmethod
    def draw(self, found: Measurement, figure: Any) -> None:
        """Draws the numbers into a matplotlib figure; ``drawing`` adds frame and caption."""


@dataclass(frozen=True)
class Outcome:
    """An experiment after its run."""

    experiment: Experiment
    size: Size
    data: str
    note: str
    found: Measurement
    compared: tuple[Compared, ...]
    verdict: Verdict
    seconds: float
    picture: Path | None = None

    def to_json(self) -> dict[str, object]:
        """The outcome as plain values for JSON."""
        one = self.experiment
        return {
            "experiment": one.name,
            "title": one.title,
            "equation": one.equation,
            "setup": one.setup,
            "data": self.data,
            "note": self.note or None,
            "size": vars(self.size),
            "predictions": [compared.to_json() for compared in self.compared],
            "measured": self.found.to_json(),
            "remarks": self.found.remarks,
            "verdict": {"ruling": self.verdict.ruling.value, "reasons": list(self.verdict.reasons)},
            "seconds": round(self.seconds, 3),
            "picture": None if self.picture is None else str(self.picture),
        }


@dataclass(frozen=True)
class Material:
    """The data of an experiment, with a note where they are not those that it is meant for."""

    train_set: Dataset
    held_out: Dataset
    note: str = ""


def material(wanted: str | None, preferred: str, opened: Callable[[str, str], Dataset]) -> Material:
    """The data set that was asked for; else the preferred one, or the digits where that is not found.

    ``opened`` takes a name and "train" or "test". Raises ``DataError`` where a set that was asked for cannot be read,
    ``OptionError`` where an experiment with pictures is given something else.
    """
    name = preferred if wanted is None else wanted
    note = ""
    try:
        train_set, held_out = opened(name, "train"), opened(name, "test")
    except DataError as error:
        if wanted is not None:
            raise
        train_set, held_out = load_digits("train"), load_digits("test")
        reason = str(error).splitlines()[0]
        note = f"{reason}: the digits of the package instead, which are smaller and easier; set STRIATE_DATA or --data"
    if train_set.images.ndim != 4:
        raise OptionError(f"{name}: samples of shape {train_set.images.shape[1:]}; expected pictures (C, H, W)")
    return Material(train_set, held_out, note)


def perform(experiment: Experiment, given: Material, size: Size, report: Report | None = None) -> Outcome:
    """Measures, compares and judges; ``drawing.save_picture`` draws the picture."""
    start = time.perf_counter()
    found = experiment.measure(Work(given.train_set, given.held_out, size, report))
    seconds = time.perf_counter() - start
    compared = tuple(prediction.compare(found) for prediction in experiment.predictions)
    return Outcome(experiment, size, given.train_set.name, given.note, found, compared, judge(compared), seconds)
