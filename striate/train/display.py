"""The display of training in a terminal: a live progress bar, and a line for every finished epoch."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, ProgressColumn, Task, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.text import Text

from striate.codegen import jit
from striate.doctor.finding import Finding
from striate.train.history import Epoch
from striate.train.numerals import number_text
from striate.train.progress import Moment, Plan, epoch_line

_UNKNOWN = "–"
_OTHERS = 44  # the fewest columns for the epoch, the bar and the remaining time


class _Numbers(ProgressColumn):
    """The loss, the speed and the accuracy on recent training batches, as far as they fit beside the bar."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self._width = width

    def render(self, task: Task) -> Text:
        if task.fields["loss"] == _UNKNOWN:  # before the first batch
            return Text("")
        text = f"loss {task.fields['loss']}"
        for part in (f"{task.fields['speed']}", f"training accuracy {task.fields['accuracy']}"):
            if len(text) + 2 + len(part) <= self._width - _OTHERS:
                text += f"  {part}"
        return Text(text, no_wrap=True)


class Live:
    """A ``Progress`` for terminals: one line for each finished epoch, and below them a bar over all batches."""

    live = True

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)
        self._bars: Bars | None = None
        self._task = TaskID(0)
        self._plan = Plan(0, 0, 0, 0)
        self._before = 0

    def start(self, plan: Plan) -> None:
        self._plan = plan
        self._before = -1
        self._bars = Bars(
            TextColumn("{task.fields[doing]}"),
            BarColumn(None),
            _Numbers(self._console.width),
            TimeRemainingColumn(compact=True),
            console=self._console,
            expand=True,
            transient=True,
            refresh_per_second=8,
        )
        self._task = self._bars.add_task(
            "", total=None, doing=f"epoch {plan.first}/{plan.epochs}", loss=_UNKNOWN, accuracy=_UNKNOWN, speed=""
        )
        self._bars.start()
        jit.kernels.progress = self._compiling

    def _compiling(self, done: int, count: int) -> None:
        """Show how many kernels have been compiled, which takes seconds for large networks."""
        if self._bars is not None:
            self._bars.update(self._task, doing=f"compiling kernels {done}/{count}")

    def warn(self, text: str) -> None:
        if self._bars is not None:
            self._bars.console.print(Text(f"warning: {text}"), soft_wrap=True)

    def note(self, text: str) -> None:
        if self._bars is not None:
            self._bars.console.print(Text(text), soft_wrap=True)

    def finding(self, finding: Finding) -> None:
        if self._bars is not None:
            self._bars.console.print(Text(finding.brief), soft_wrap=True)

    def batch(self, moment: Moment) -> None:
        if self._bars is None:
            return
        if self._before < 0:  # the first epoch of this call of fit may not be the first of the training
            self._before = (moment.epoch - 1) * self._plan.batches
            self._bars.update(self._task, total=self._plan.epochs * self._plan.batches - self._before)
        done = (moment.epoch - 1) * self._plan.batches + moment.batch - self._before
        self._bars.update(
            self._task,
            completed=done,
            doing=f"epoch {moment.epoch}/{self._plan.epochs}",
            loss=number_text(moment.loss),
            speed=f"{moment.images_per_second:,.0f} {self._plan.unit}s/s",
            accuracy=_UNKNOWN if moment.accuracy is None else f"{100 * moment.accuracy:.0f} %",
        )

    def epoch(self, epoch: Epoch) -> None:
        if self._bars is None:
            return
        self._bars.console.print(Text(epoch_line(epoch, self._plan)), soft_wrap=True)

    def stop(self) -> None:
        jit.kernels.progress = None
        if self._bars is not None:
            self._bars.stop()
            self._bars = None
