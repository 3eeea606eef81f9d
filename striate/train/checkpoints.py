"""The checkpoints in a run folder: the last one, the previous one, and that of the best epoch.

RUN/checkpoints/last.safetensors
RUN/checkpoints/previous.safetensors
RUN/checkpoints/best.safetensors       the epoch with the lowest held-out loss (training loss if nothing is held out)

With ``EarlyStopping``, the best epoch is the one with the best monitored value. Each file is written under a temporary
name, flushed to disk and renamed, so that a complete checkpoint exists at every moment.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path

from striate.errors import ModelFileError, OptionError
from striate.options import path as checked_path
from striate.persistence.atomic import give_name, make_folder, remove_leftovers, sync_folder
from striate.persistence.lock import FolderLock
from striate.train.checkpoint import Checkpoint, read_checkpoint
from striate.train.every import Every

FOLDER = "checkpoints"
LAST, PREVIOUS, BEST = "last.safetensors", "previous.safetensors", "best.safetensors"


class Checkpoints:
    """Writes the checkpoints of a training into its run folder; pass it as ``Trainer(checkpoints=…)``.

        st.Trainer(model, loss, optimizer, checkpoints=train.Checkpoints("runs/night", every="10min"))

    ``every`` is ``"epoch"``, a number of steps, or a time such as ``"10min"``. A checkpoint is also written before the
    first step, after an epoch that is the best so far, on Ctrl-C and SIGTERM, and at the end. The folder is locked
    during training; ``lock`` is the folder's lock if the caller holds it already.

    If a checkpoint cannot be written, the attribute ``complain``, a function, is called with a message. The training
    continues, and earlier checkpoints are unchanged.

    Raises ``OptionError`` for any other ``every``. ``fit`` raises ``OptionError`` if the folder cannot be created or is
    used by another training.
    """

    def __init__(
        self, folder: str | Path, *, every: str | int | Every = "epoch", lock: FolderLock | None = None
    ) -> None:
        self.run = checked_path("checkpoints", folder)
        self.folder = self.run / FOLDER
        self.every = Every.parse(every)
        self.lock = FolderLock(self.run) if lock is None else lock
        self.complain: Callable[[str], None] = lambda text: None
        self._time = time.monotonic()
        self._failed = False

    @property
    def last(self) -> Path:
        """The path of the file ``last.safetensors``."""
        return self.folder / LAST

    def hold(self) -> None:
        """Create and lock the folder, and remove half-written files of a killed training.

        Raises ``OptionError`` if the folder cannot be created, or another training has locked it.
        """
        try:
            make_folder(self.folder)
        except OSError as error:
            raise OptionError(
                f"{self.folder}: cannot be made: {error.strerror or error}\n  help: give a folder that you may write to"
            ) from error
        self.lock.take()
        remove_leftovers(self.folder, (LAST, PREVIOUS, BEST))
        self._time = time.monotonic()

    def release(self) -> None:
        """Unlock the folder."""
        self.lock.release()

    def due(self, step: int) -> bool:
        """Return whether to write a checkpoint after training step number ``step``, in the middle of an epoch."""
        if self.every.steps is not None:
            return step % self.every.steps == 0
        return self.every.seconds is not None and time.monotonic() - self._time >= self.every.seconds

    def due_after_epoch(self, step: int, best: bool) -> bool:
        """Return whether to write a checkpoint after an epoch that ended with training step number ``step``.

        ``best`` says whether the epoch is the best so far.
        """
        return best or self.every.epochs or self.due(step)

    def write(self, checkpoint: Checkpoint, best: bool = False) -> bool:
        """Write ``checkpoint`` as ``last.safetensors``; the previous checkpoint becomes ``previous.safetensors``.

        With ``best``, ``checkpoint`` is also written as ``best.safetensors``. Returns whether it was written.
        ``complain`` is called at the first failure, and not again before a checkpoint has been written.
        """
        try:
            checkpoint.write(self.last, keep=self.folder / PREVIOUS)
            if best:
                self._keep_best(checkpoint)
        except (ModelFileError, OSError) as error:
            if not self._failed:
                reason = str(error).splitlines()[0]
                self.complain(f"no checkpoint at step {checkpoint.step:,}: {reason}; the training goes on")
            self._failed = True
            return False
        finally:
            self._time = time.monotonic()
        self._failed = False
        return True

    def _keep_best(self, checkpoint: Checkpoint) -> None:
        """Give the last checkpoint the name of the best, too; a second file if there are no hard links."""
        give_name(self.last, self.folder / BEST)
        sync_folder(self.folder)
        if not self.last.exists():
            checkpoint.write(self.last)


def checkpoint_folder(path: Path) -> Path:
    """Return the folder of checkpoints in the run folder ``path``, or ``path`` itself if it contains checkpoints."""
    return path / FOLDER if (path / FOLDER).is_dir() or not (path / LAST).exists() else path


def holds_checkpoint(path: Path) -> bool:
    """Return whether a run folder contains a checkpoint to resume from."""
    folder = checkpoint_folder(path)
    return (folder / LAST).exists() or (folder / PREVIOUS).exists()


def newest_checkpoint(path: Path, notice: Callable[[str], None]) -> Checkpoint:
    """Read the checkpoint file ``path``, or the last checkpoint in the run folder ``path``.

    If the last checkpoint is damaged or missing, ``notice`` is called with one line of text, and the previous
    checkpoint is read. Raises ``ModelFileError`` if no checkpoint can be read.
    """
    if path.is_file():
        return read_checkpoint(path)
    if not path.exists():
        raise ModelFileError(f"{path}: no such folder or file\n  help: give the folder that a training left")
    folder = checkpoint_folder(path)
    last, previous = folder / LAST, folder / PREVIOUS
    if not last.exists() and not previous.exists():
        raise ModelFileError(
            f"{path}: no checkpoint in it\n  help: give the folder of a training that wrote some: "
            "st.Trainer(…, checkpoints=FOLDER)"
        )
    try:
        return read_checkpoint(last)
    except ModelFileError as error:
        if not previous.exists():
            raise
        found = read_checkpoint(previous)
        why = str(error).splitlines()[0] if last.exists() else f"{last}: missing"
        notice(f"{why}; resuming from the previous checkpoint, {found.describe()}")
        return found


def is_best(values: list[float]) -> bool:
    """Return whether the last value is lower than all others; False if the last value is NaN."""
    known = [value for value in values[:-1] if not math.isnan(value)]
    return bool(values) and not math.isnan(values[-1]) and all(values[-1] < value for value in known)
