"""The checkpoints of a run folder: the last one, the one before it, and the one of the best epoch.

RUN/checkpoints/last.safetensors
RUN/checkpoints/previous.safetensors
RUN/checkpoints/best.safetensors       the epoch with the lowest held-out loss (without held-out data, training loss)

Each is written under another name, brought to the disk and renamed, so that at every moment a complete one is there.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path

from striate.errors import ModelFileError, OptionError
from striate.options import path as checked_path
from striate.persistence.atomic import give_name, remove_leftovers
from striate.persistence.lock import FolderLock
from striate.train.checkpoint import Checkpoint, read_checkpoint
from striate.train.every import Every

FOLDER = "checkpoints"
LAST, PREVIOUS, BEST = "last.safetensors", "previous.safetensors", "best.safetensors"


class Checkpoints:
    """Writes the checkpoints of a training into the folder of its run.

        st.Trainer(model, loss, optimizer, checkpoints=train.Checkpoints("runs/night", every="10min"))

    ``every`` is ``"epoch"``, a number of steps, or a time such as ``"10min"``; a checkpoint is also written after an
    epoch that is the best so far, on Ctrl-C and SIGTERM, and at the end. While it trains, the folder is locked. If a
    checkpoint cannot be written, ``complain`` is called and the training continues; the ones before stay as they are.

    ``lock`` is that of the folder where it is held already.

    Raises ``OptionError`` for another ``every``, a folder that cannot be made, and one that another training uses.
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
        """The file of the last checkpoint."""
        return self.folder / LAST

    def hold(self) -> None:
        """Makes and locks the folder, and removes what a killed training left half-written."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OptionError(
                f"{self.folder}: cannot be made: {error.strerror or error}\n  help: give a folder that you may write to"
            ) from error
        self.lock.take()
        remove_leftovers(self.folder, (LAST, PREVIOUS, BEST))
        self._time = time.monotonic()

    def release(self) -> None:
        """Unlocks the folder."""
        self.lock.release()

    def due(self, step: int) -> bool:
        """Whether a checkpoint is to be written after this step, within an epoch."""
        if self.every.steps is not None:
            return step % self.every.steps == 0
        return self.every.seconds is not None and time.monotonic() - self._time >= self.every.seconds

    def due_after_epoch(self, step: int, best: bool) -> bool:
        """Whether a checkpoint is to be written after an epoch that ended with this step."""
        return best or self.every.epochs or self.due(step)

    def write(self, checkpoint: Checkpoint, best: bool = False) -> bool:
        """Writes the last checkpoint, and keeps the one before it; ``best`` makes it that of the best epoch, too.

        Returns whether it was written; ``complain`` is told the first time that it was not.
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
        """The same file under another name; a file of its own where the file system has no hard links."""
        give_name(self.last, self.folder / BEST)
        if not self.last.exists():
            checkpoint.write(self.last)


def checkpoint_folder(path: Path) -> Path:
    """The folder with the checkpoints: of a run folder its ``checkpoints``, else the folder itself."""
    return path / FOLDER if (path / FOLDER).is_dir() or not (path / LAST).exists() else path


def holds_checkpoint(path: Path) -> bool:
    """Whether there is a checkpoint to resume from in a run folder."""
    folder = checkpoint_folder(path)
    return (folder / LAST).exists() or (folder / PREVIOUS).exists()


def newest_checkpoint(path: Path, notice: Callable[[str], None]) -> Checkpoint:
    """The checkpoint in a file; of a run folder the last one, or the previous one where the last is damaged.

    ``notice`` is then called with one line. Raises ``ModelFileError`` where there is none that can be read.
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
    """Whether the last value is the lowest; NaN never is."""
    known = [value for value in values[:-1] if not math.isnan(value)]
    return bool(values) and not math.isnan(values[-1]) and all(values[-1] < value for value in known)
