"""``TensorBoard``, a callback that writes the curves of a training as event files."""

from __future__ import annotations

import math
import os
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary

from striate.errors import OptionError
from striate.options import path as checked_path
from striate.train.callback import Callback
from striate.train.history import Epoch
from striate.train.progress import Moment, Plan
from striate.train.trainer import Trainer

_PAUSE = 0.5  # the fewest seconds between the scalars of two batches
_THINNING = 500  # after T seconds of training, the pause is at least T / 500
_OF_EPOCHS = {
    "loss": "loss/training", "validation_loss": "loss/held-out", "validation_accuracy": "accuracy/held-out",
    "validation_cross_entropy": "cross_entropy/held-out", "validation_error": "error/held-out",
    "validation_f1": "f1/held-out", "validation_auc": "auc/held-out", "validation_r2": "r2/held-out",
    "images_per_second": "speed/samples_per_second", "waiting": "speed/waiting_for_data",
}  # fmt: skip
"""The tags of the fields of ``Epoch``; "waiting" is a share of the time."""
_OF_LAYERS = {
    "gradient_norm": "gradient_norm", "update_ratio": "update_ratio", "zeros": "zeros", "mean": "output_mean",
    "std": "output_std",
}  # fmt: skip
"""The first parts of the tags of a layer's statistics, by their names in ``Watch.record``."""


class TensorBoard(Callback):
    """Writes the scalars of a training into an event file in ``folder``, which ``tensorboard --logdir FOLDER`` shows.

        st.Trainer(model, loss, optimizer, callbacks=[TensorBoard("runs/night/tensorboard")])

    The step of every scalar is the number of training steps (updates) so far. The tags are

    loss/batch                 the mean loss of the epoch so far, at most twice a second
    learning_rate              the optimizer's rate in the last step; rates of parameter groups are not written
    loss/training, loss/held-out, accuracy/held-out …    the fields of ``Epoch``, after every epoch
    gradient_norm/LAYER …      the statistics of each layer that the trainer watches, after every epoch

    A training that is resumed writes another file into the folder, and TensorBoard drops what earlier files say about
    steps after the checkpoint. If writing fails, ``complain`` is called with a message, and the training continues
    without event files. ``begin`` raises ``OptionError`` if the folder cannot be written to.
    """

    def __init__(self, folder: str | Path, complain: Callable[[str], None] = warnings.warn) -> None:
        self.folder = checked_path("folder", folder)
        self.complain = complain
        self._writer: Any = None
        self._began = self._due = 0.0
        self._batches = 0

    def describe(self) -> str:
        return ""

    def begin(self, trainer: Trainer, plan: Plan) -> None:
        """Create the event file. Raises ``OptionError`` if that fails."""
        self._close()
        self._began, self._due, self._batches = time.perf_counter(), 0.0, plan.batches
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            # The writer names files by the second; two trainings may begin in one.
            ending = f".{os.getpid()}.{trainer.step.step_number}"
            self._writer = EventsWriter(str(self.folder / "events"), ending)
        except OSError as error:
            raise OptionError(f"{self.folder}: no event file can be written: {error.strerror or error}") from error
        if trainer.step.step_number:
            self._write(Event(step=trainer.step.step_number + 1, session_log=SessionLog(status=SessionLog.START)))

    def after_batch(self, trainer: Trainer, moment: Moment) -> None:
        now = time.perf_counter()
        if now < self._due and moment.batch != self._batches:
            return
        self._due = now + max(_PAUSE, (now - self._began) / _THINNING)
        step = trainer.step.step_number
        self._scalars(step, {"loss/batch": moment.loss, "learning_rate": trainer.step.optimizer.rate_at(step - 1)})

    def after_epoch(self, trainer: Trainer, epoch: Epoch) -> None:
        found = {tag: vars(epoch)[name] for name, tag in _OF_EPOCHS.items()}
        if trainer.watch is not None:
            layers = cast("Mapping[str, Mapping[str, Any]]", trainer.watch.record()["layers"])
            for path, layer in layers.items():
                found |= {f"{tag}/{path}": layer[name] for name, tag in _OF_LAYERS.items()}
        self._scalars(trainer.step.step_number, found)

    def end(self, trainer: Trainer) -> None:
        self._close()

    def _scalars(self, step: int, values: Mapping[str, float | None]) -> None:
        """Write the values that are finite, by tag."""
        known = {tag: value for tag, value in values.items() if value is not None and math.isfinite(value)}
        parts = [Summary.Value(tag=tag, simple_value=value) for tag, value in known.items()]
        self._write(Event(step=step, summary=Summary(value=parts)))

    def _write(self, event: Any) -> None:
        if self._writer is None:
            return
        event.wall_time = time.time()
        try:
            self._writer.write_event(event)
            self._writer.flush()
        except OSError as error:
            self._writer = None
            self.complain(f"{self.folder}: the event file ends here: {error.strerror or error}")

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
