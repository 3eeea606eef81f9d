"""The progress of training: the interface of displays, and displays that show nothing or plain lines.

The live display of a terminal is in ``striate.train.display``.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from dataclasses import dataclass
from typing import Protocol, TextIO, runtime_checkable

from striate.counting import counted
from striate.doctor.finding import Finding
from striate.train.history import Epoch
from striate.train.numerals import number_text


@dataclass(frozen=True)
class Plan:
    """The numbers of epochs, batches and samples of a training that is about to start.

    ``first`` is the number of the first epoch and ``epochs`` the number of the last one, counted from 1. ``batches``
    and ``samples`` are the numbers of batches and samples in one epoch. ``unit`` is the word for a sample in messages,
    such as "image".
    """

    epochs: int
    batches: int  # in an epoch
    samples: int  # in an epoch
    batch_size: int
    unit: str = "image"  # what messages call a sample
    first: int = 1  # the number of the epoch that it begins with


@dataclass(frozen=True)
class Moment:
    """The state of training after a batch.

    ``epoch`` and ``batch`` count from 1, and ``samples`` is the number of samples of this epoch so far. ``loss`` is the
    mean over this epoch so far, and ``images_per_second`` the training speed. ``accuracy``, for live displays, is the
    accuracy from 0 to 1 on some recent batches, predicted before the model learned from them. It is None if it was not
    estimated.
    """

    epoch: int
    batch: int
    samples: int
    loss: float
    images_per_second: float
    accuracy: float | None = None


@runtime_checkable
class Progress(Protocol):
    """The methods that the trainer calls to show its progress."""

    @property
    def live(self) -> bool:
        """Whether the display uses ``Moment.accuracy``; estimating it takes time."""
        ...

    def start(self, plan: Plan) -> None:
        """Called when training begins."""
        ...

    def warn(self, text: str) -> None:
        """Called after ``start`` with a warning about the data."""
        ...

    def note(self, text: str) -> None:
        """Called after ``start`` with information that is not a problem, such as where a resumed training continues."""
        ...

    def finding(self, finding: Finding) -> None:
        """Called with every new finding of the doctor, which diagnoses problems of the training."""
        ...

    def batch(self, moment: Moment) -> None:
        """Called after every successful training step."""
        ...

    def epoch(self, epoch: Epoch) -> None:
        """Called after an epoch has been trained and validated."""
        ...

    def stop(self) -> None:
        """Called when training has ended, also after an error or Ctrl-C."""
        ...


class Silent:
    """A ``Progress`` that shows nothing; warnings become ordinary Python warnings."""

    live = False

    def start(self, plan: Plan) -> None:
        pass

    def warn(self, text: str) -> None:
        warnings.warn(text, stacklevel=3)

    def note(self, text: str) -> None:
        pass

    def finding(self, finding: Finding) -> None:
        pass  # it is in trainer.findings

    def batch(self, moment: Moment) -> None:
        pass

    def epoch(self, epoch: Epoch) -> None:
        pass

    def stop(self) -> None:
        pass


class Together:
    """Several ``Progress`` objects as one; the first decides whether the live accuracy is estimated."""

    def __init__(self, first: Progress, *others: Progress) -> None:
        self._first = first
        self._all = (first, *others)

    @property
    def live(self) -> bool:
        return self._first.live

    def start(self, plan: Plan) -> None:
        for one in self._all:
            one.start(plan)

    def warn(self, text: str) -> None:
        for one in self._all:
            one.warn(text)

    def note(self, text: str) -> None:
        for one in self._all:
            one.note(text)

    def finding(self, finding: Finding) -> None:
        for one in self._all:
            one.finding(finding)

    def batch(self, moment: Moment) -> None:
        for one in self._all:
            one.batch(moment)

    def epoch(self, epoch: Epoch) -> None:
        for one in self._all:
            one.epoch(epoch)

    def stop(self) -> None:
        for one in self._all:
            one.stop()


class Lines:
    """A ``Progress`` that prints one line of text per epoch, for files and pipes.

    ``stream`` is standard error by default.
    """

    live = False

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream
        self._plan = Plan(0, 0, 0, 0)

    def start(self, plan: Plan) -> None:
        self._plan = plan
        epochs, batches = counted(plan.epochs, "epoch"), counted(plan.batches, "batch", "batches")
        self.say(f"{counted(plan.samples, plan.unit)}, {epochs} of {batches} of up to {plan.batch_size}")

    def warn(self, text: str) -> None:
        self.say(f"warning: {text}")

    def note(self, text: str) -> None:
        self.say(text)

    def finding(self, finding: Finding) -> None:
        self.say(finding.brief)

    def batch(self, moment: Moment) -> None:
        pass

    def epoch(self, epoch: Epoch) -> None:
        self.say(epoch_line(epoch, self._plan))

    def stop(self) -> None:
        pass

    def say(self, text: str) -> None:
        """Print a line of text to the stream."""
        print(text, file=self._stream or sys.stderr, flush=True)


def epoch_line(epoch: Epoch, plan: Plan) -> str:
    """Return the results of an epoch as one line of text; ``plan`` has the number of epochs and the word for a sample.

        epoch  2/10  loss 0.0312  held-out accuracy 98.59 %  41,022 images/s  1.2 s

    If the loss is not the plain cross entropy, because of class weights, label smoothing or a sum, the line shows both
    the loss and the cross entropy of the validation data:

        loss 0.8203  held-out loss 0.8741 (cross entropy 0.7425), accuracy 98.59 %  …
    """
    number = f"{epoch.number:{len(str(plan.epochs))}}/{plan.epochs}"
    plain = epoch.validation_cross_entropy
    parts = [] if plain is None else [f"loss {number_text(epoch.validation_loss)} (cross entropy {number_text(plain)})"]
    if epoch.validation_error is not None:
        parts.append(f"mean error {epoch.validation_error:.4g}")
    if epoch.validation_accuracy is not None:
        parts.append(f"accuracy {100 * epoch.validation_accuracy:.2f} %")
    held_out = f"  held-out {', '.join(parts)}" if parts else ""
    return (
        f"epoch {number}  loss {number_text(epoch.loss)}{held_out}"
        f"  {epoch.images_per_second:,.0f} {plan.unit}s/s  {epoch.seconds:.1f} s"
    )


def chosen_progress(progress: bool | Progress) -> Progress:
    """Return the display for the option ``progress``.

    True means the live display in a terminal and lines elsewhere; False means a ``Progress`` that shows nothing. An
    object is returned unchanged.
    """
    if progress is False:
        return Silent()
    if progress is not True:
        return progress
    if not sys.stderr.isatty():
        return Lines()
    # Imported here, because rich is slow to import and only needed in a terminal.
    return importlib.import_module("striate.train.display").Live()
