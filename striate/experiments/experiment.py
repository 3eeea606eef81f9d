"""The base class of experiments, the data and size of a run, and the steps of a run."""

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
"""A function that is called with (finished trainings, total trainings, name of the current one)."""


@dataclass(frozen=True)
class Size:
    """The size of a run: numbers of seeds, training samples, held-out samples and epochs.

    ``samples`` and ``held_out`` are upper limits, since a data set may have fewer. A run of the default size takes well
    under two minutes on two cores. Raises ``OptionError`` if a number is less than 1 or there are fewer than 20
    samples.
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
        """The product seeds × samples × epochs, to which the running time is roughly proportional."""
        return self.seeds * self.samples * self.epochs


class Work:
    """The data, size and seeds of one run of an experiment, and its progress reports.

    At most ``size.held_out`` samples of ``held_out`` are kept. The method ``samples`` draws training samples for a seed
    from ``train_set``. ``report(done, total, text)`` is called before each training and after the last; None: no
    reports.
    """

    def __init__(self, train_set: Dataset, held_out: Dataset, size: Size, report: Report | None = None) -> None:
        self.size = size
        self.held_out = held_out.subset(order(len(held_out), 0, 0)[: size.held_out])
        self._train_set = train_set
        self._report = report

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one sample, (C, H, W)."""
        return self.held_out.images.shape[1:]

    @property
    def classes(self) -> int:
        """The number of classes of the data set."""
        return len(self._train_set.classes)

    @property
    def kernel(self) -> int:
        """The filter size for these pictures: 5 if height and width are at least 20 pixels, else 3."""
        return 5 if min(self.shape[1:]) >= 20 else 3

    def samples(self, seed: int) -> Dataset:
        """Return the training samples for a seed, drawn without replacement and always the same for a seed."""
        return self._train_set.subset(order(len(self._train_set), seed, 0)[: self.size.samples])

    def runs(self, settings: Sequence[str]) -> Iterator[tuple[str, int]]:
        """Yield each setting (compared configuration) with each seed; report progress before each pair."""
        total = len(settings) * self.size.seeds
        done = 0
        for setting in settings:
            for seed in range(self.size.seeds):
                self.say(done, total, f"{setting}, seed {seed}" if self.size.seeds > 1 else setting)
                yield setting, seed
                done += 1
        self.say(done, total, "")

    def say(self, done: int, total: int, text: str) -> None:
        """Report that ``done`` of ``total`` trainings are finished; ``text`` names the next one, "" after the last."""
        if self._report is not None:
            self._report(done, total, text)


class Experiment(ABC):
    """A claim about networks that is tested on real data (abstract).

    name, title, equation   of the claim
    setup                   the data, networks and training in a few sentences
    data                    the preferred data set: "mnist", or "digits", which is part of the package
    size                    default numbers of seeds, samples and epochs
    usual_seconds           duration at the default size on two cores, with cached kernels
    quantities              what is measured for each setting and seed
    predictions             what is expected, stated before the run
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
        """Estimate the seconds that a run of another size takes, in proportion to ``Size.work``."""
        return self.usual_seconds * size.work / self.size.work

    @abstractmethod
    def measure(self, work: Work) -> Measurement:
        """Train the networks of all settings and return what was measured."""

    @abstractmethod
    def draw(self, found: Measurement, figure: Any) -> None:
        """Draw the measurements into a matplotlib figure; ``drawing.save_picture`` adds frame and caption."""


@dataclass(frozen=True)
class Outcome:
    """The result of one run of an experiment: measurements, checked predictions, and the verdict.

    ``data`` is the name of the data set, ``note`` says why the preferred set was not used ("" if it was), ``found`` has
    the measurements, ``compared`` the predictions with their results, ``seconds`` is the duration of the run, and
    ``picture`` is the path of the picture, or None if there is none.
    """

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
        """Return the outcome as JSON-compatible data."""
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
    """The training and held-out data of an experiment; ``note`` says why a replacement is used ("" if none is)."""

    train_set: Dataset
    held_out: Dataset
    note: str = ""


def material(wanted: str | None, preferred: str, opened: Callable[[str, str], Dataset]) -> Material:
    """Open the data set ``wanted``, or the ``preferred`` one if ``wanted`` is None.

    ``opened(name, part)`` opens the part "train" or "test". If the preferred set is not found, the digits of the
    package are used, and a note says so. Raises ``DataError`` if ``wanted`` cannot be read, and ``OptionError`` if the
    samples are not pictures (C, H, W).
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
    """Run an experiment: measure, compare with the predictions, and judge.

    ``report(done, total, text)`` is called before each training, which ``text`` names. No picture is drawn.
    """
    start = time.perf_counter()
    found = experiment.measure(Work(given.train_set, given.held_out, size, report))
    seconds = time.perf_counter() - start
    compared = tuple(prediction.compare(found) for prediction in experiment.predictions)
    return Outcome(experiment, size, given.train_set.name, given.note, found, compared, judge(compared), seconds)
