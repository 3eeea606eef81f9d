"""How training shows its progress: not at all, or in plain lines. ``display`` has the live display of a terminal."""

from __future__ import annotations

import sys
import warnings
from dataclasses import dataclass
from typing import Protocol, TextIO, runtime_checkable

from striate.doctor.finding import Finding
from striate.train.history import Epoch


@dataclass(frozen=True)
class Plan:
    """The training that is about to start."""

    epochs: int
    batches: int  # of one epoch
    samples: int  # of one epoch
    batch_size: int


@dataclass(frozen=True)
class Moment:
    """The state of training after a batch; ``loss`` is the mean of this epoch so far.

    ``accuracy`` (0 to 1) is an estimate for live displays: that of some recent batches before they were learned from.
    """

    epoch: int
    batch: int
    samples: int
    loss: float
    images_per_second: float
    accuracy: float | None = None


@runtime_checkable
class Progress(Protocol):
    """What the trainer calls to show its progress."""

    @property
    def live(self) -> bool:
        """Whether ``Moment.accuracy`` is needed."""
        ...

    def start(self, plan: Plan) -> None:
        """Training begins."""
        ...

    def warn(self, text: str) -> None:
        """A warning about the data; after ``start``."""
        ...

    def note(self, text: str) -> None:
        """Something worth knowing that is no problem, such as where a resumed training goes on; after ``start``."""
        ...

    def finding(self, finding: Finding) -> None:
        """The doctor found something new."""
        ...

    def batch(self, moment: Moment) -> None:
        """A step was committed."""
        ...

    def epoch(self, epoch: Epoch) -> None:
        """An epoch was finished and validated."""
        ...

    def stop(self) -> None:
        """Training ended, for whatever reason."""
        ...


class Silent:
    """Shows nothing; warnings become ordinary warnings of Python."""

    live = False

    def start(self, plan: Plan) -> None:
        pass

    def warn(self, text: str) -> None:
        warnings.warn(text, stacklevel=3)

    def note(self, text: str) -> None:
        pass

    def finding(self, finding: Finding) -> None:
        pass  # trainer.findings has it

    def batch(self, moment: Moment) -> None:
        pass

    def epoch(self, epoch: Epoch) -> None:
        pass

    def stop(self) -> None:
        pass


class Together:
    """Several progress displays; the first decides what is shown live."""

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
    """One line an epoch, for files and pipes."""

    live = False

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream
        self._epochs = 0

    def start(self, plan: Plan) -> None:
        self._epochs = plan.epochs
        epochs, batches = counted(plan.epochs, "epoch"), counted(plan.batches, "batch", "batches")
        self.say(f"{counted(plan.samples, 'image')}, {epochs} of {batches} of up to {plan.batch_size}")

    def warn(self, text: str) -> None:
        self.say(f"warning: {text}")

    def note(self, text: str) -> None:
        self.say(text)

    def finding(self, finding: Finding) -> None:
        self.say(finding.brief)

    def batch(self, moment: Moment) -> None:
        pass

    def epoch(self, epoch: Epoch) -> None:
        self.say(epoch_line(epoch, self._epochs))

    def stop(self) -> None:
        pass

    def say(self, text: str) -> None:
        """Prints a line."""
        print(text, file=self._stream or sys.stderr, flush=True)


def counted(count: int, one: str, several: str = "") -> str:
    """``1 epoch``, ``1,442 images``"""
    return f"{count:,} {one if count == 1 else several or one + 's'}"


def epoch_line(epoch: Epoch, epochs: int) -> str:
    """``epoch  2/10  loss 0.0312  held-out accuracy 98.59 %  41,022 images/s  1.2 s``

    With class weights, label smoothing or a summed loss the plain cross entropy stands beside:
    ``loss 0.8203  held-out loss 0.8741 (cross entropy 0.7425), accuracy 98.59 %  …``
    """
    number = f"{epoch.number:{len(str(epochs))}}/{epochs}"
    plain = epoch.validation_cross_entropy
    parts = [] if plain is None else [f"loss {epoch.validation_loss:.4f} (cross entropy {plain:.4f})"]
    if epoch.validation_error is not None:
        parts.append(f"mean error {epoch.validation_error:.4g}")
    if epoch.validation_accuracy is not None:
        parts.append(f"accuracy {100 * epoch.validation_accuracy:.2f} %")
    held_out = f"  held-out {', '.join(parts)}" if parts else ""
    return (
        f"epoch {number}  loss {epoch.loss:.4f}{held_out}"
        f"  {epoch.images_per_second:,.0f} images/s  {epoch.seconds:.1f} s"
    )
