"""Collects the state of a trainer in a checkpoint, and restores it when a training is resumed.

A resumed training ends with the same bits as one that was never interrupted: the order of the samples is a function of
(seed, epoch), dropout of (seed, step, sample), and everything else that changes is in the checkpoint.

Options and data may differ between the checkpoint and the training that is resumed from it:

- Another network, another kind of optimizer, and a moving average that was added or removed are refused, because the
  saved state does not fit.
- Other training data are refused unless the caller allows them. The interrupted epoch then starts again.
- A new seed, batch size or value of ``shuffle`` also makes the interrupted epoch start again.
- All other changes take effect.

A message for each accepted change shows the old and the new value.
"""

from __future__ import annotations

import re
from dataclasses import fields
from typing import TYPE_CHECKING

from striate.data import Dataset, Standardizer
from striate.data.standardizer import standardizer_of
from striate.errors import ModelFileError, OptionError, StriateError
from striate.graph.value import Array
from striate.train.checkpoint import Checkpoint
from striate.train.early_stopping import EarlyStopping
from striate.train.environment import versions
from striate.train.fingerprint import Fingerprint, digest
from striate.train.history import Epoch
from striate.train.place import Place

if TYPE_CHECKING:
    from striate.train.trainer import Trainer

Fingerprints = dict[str, Fingerprint]
TRAINING, HELD_OUT = "training", "held-out"
_ORDER = ("seed", "batch_size", "shuffle")
_FIXED = ("optimizer", "moving average")
_BITS = ("striate", "llvmlite", "target")
"""The entries of ``versions()`` on which the bits of a training depend."""


def fingerprints(train_set: Dataset, validation: Dataset | None) -> Fingerprints:
    """Return the fingerprints of the training data and of the validation data, under "training" and "held-out"."""
    found = {TRAINING: Fingerprint.of(train_set)}
    return found if validation is None else found | {HELD_OUT: Fingerprint.of(validation)}


def configuration(trainer: Trainer, weights: Array | None, validation_weights: Array | None) -> dict[str, str]:
    """Return the options of a training as text, by the names of the parameters that set them.

    ``weights`` are the weights of the training samples and ``validation_weights`` those of the validation samples, as
    given to ``fit``; None: all are 1.
    """
    step = trainer.step
    rule = step.optimizer
    found = {"optimizer": type(rule).__name__}
    found |= {one.name: _text(getattr(rule, one.name)) for one in fields(rule)}
    loss_weights = [digest(array)[:8] for array in step.loss.state_dict().values()]
    found |= {
        "loss": _text(step.loss),
        "weights of the loss": ", ".join(loss_weights) or "none",
        "sample_weight": "none" if weights is None else digest(weights)[:8],
        "validation_weight": "none" if validation_weights is None else digest(validation_weights)[:8],
        "seed": str(trainer.seed),
        "batch_size": str(trainer.batch_size),
        "shuffle": str(trainer.shuffle),
        "augment": ", ".join(map(_text, trainer.augment)) or "none",
        "recompute_statistics": str(trainer.recomputes),
        "moving average": "none" if step.ema is None else "kept",
        "ema": repr(step.ema),
        **{name: repr(value) for name, value in step.options.items() if name != "ema"},
    }
    if step.sharing is not None:
        found |= {"reduce": step.sharing.reduce.value, "sync_batch_norm": str(step.sharing.synchronized)}
    described = [text for one in trainer.callbacks if (text := one.describe())]
    return found | {"callbacks": ", ".join(described) or "none"}


def _text(thing: object) -> str:
    """Return the representation of an option without addresses of functions, which differ between processes."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(thing))


def captured(trainer: Trainer, epochs: int, data: Fingerprints, options: dict[str, str]) -> Checkpoint:
    """Return a checkpoint with the present state of a training, between two steps.

    ``epochs`` is the planned number of epochs; ``data`` and ``options`` are from ``fingerprints`` and
    ``configuration``.
    """
    tensors: dict[str, Array] = {}

    def add(prefix: str, state: dict[str, Array]) -> None:
        tensors.update({f"{prefix}.{name}": array for name, array in state.items()})

    add("model", trainer.model.state_dict())  # first: it draws the weights of a model that has none yet
    add("step", trainer.step.state_dict())
    if trainer.watch is not None:
        add("watch", trainer.watch.state_dict())
    if trainer.doctor is not None:
        add("doctor", trainer.doctor.state_dict())
    for number, callback in enumerate(trainer.callbacks):
        add(f"callbacks.{number}", callback.state_dict())
    standardizer = standardizer_of(trainer.model)
    return Checkpoint(
        trainer.place,
        list(trainer.history),
        epochs,
        options,
        data,
        None if standardizer is None else standardizer.to_json(),
        [type(callback).__name__ for callback in trainer.callbacks],
        None if trainer.record is None else trainer.record.size,
        versions(),
        tensors,
    )


class Resumption:
    """Restores the trainer ``trainer`` from the checkpoint ``saved``.

    ``epochs`` is the planned number of all epochs. ``data`` and ``options`` describe the training that is resumed, as
    ``fingerprints`` and ``configuration`` return them. The constructor compares both with the checkpoint, but does not
    change the trainer. It raises ``OptionError`` for a change after which a training cannot be resumed, and for other
    training data unless ``allow_changes`` is true.

    The attribute ``place`` is the position at which to continue. The attribute ``notes`` is a list of lines. They say
    where the training continues, or that it is finished, and what has changed since the checkpoint.
    """

    def __init__(
        self,
        saved: Checkpoint,
        trainer: Trainer,
        epochs: int,
        data: Fingerprints,
        options: dict[str, str],
        allow_changes: bool,
    ) -> None:
        self.saved = saved
        self._trainer = trainer
        changed = _changes(saved.configuration, options)
        if refused := [line for name, line in changed.items() if name in _FIXED]:
            raise OptionError(
                f"a resumed training cannot change its {', '.join(refused)}\n"
                "  help: resume with the same options, or start a new training"
            )
        data_changes = _data_changes(saved, data)
        if TRAINING in data_changes and not allow_changes:
            raise OptionError(
                f"the training data have changed since the checkpoint: {'; '.join(data_changes[TRAINING])}\n"
                "  help: resume with the same data; or allow_changes=True (--allow-changes) goes on with the new data "
                "from the beginning of the epoch"
            )
        again = TRAINING in data_changes or any(name in changed for name in _ORDER)
        self.place = Place(**vars(saved.place))
        self.place.told = [(kind, cause) for kind, cause in saved.place.told]
        self._goes_on = self.place.stopping is not None and epochs > saved.epochs
        if self._goes_on:
            self.place.stopping = None
        self.began_again = again and self.place.batch > 0
        if self.began_again:
            self.place.begin_epoch(self.place.epoch)
        over = self.place.epoch > epochs or self.place.stopping is not None
        self.notes = [_finished_already(saved) if over else f"resumed from {saved.describe()}"]
        self.notes += [f"changed since the checkpoint: {line}" for line in changed.values()]
        if epochs != saved.epochs:
            self.notes.append(f"changed since the checkpoint: epochs: {saved.epochs} then, {epochs} now")
        self.notes += [f"the {part} data have changed: {'; '.join(lines)}" for part, lines in data_changes.items()]
        now = versions()
        self.notes += [
            f"{name}: {then} then, {now.get(name)} now; the bits may differ from those of an undisturbed training"
            for name, then in saved.versions.items()
            if name in _BITS and now.get(name) != then
        ]
        if self.began_again:
            self.notes.append(f"epoch {self.place.epoch} begins again")

    def restore_model(self, shape: tuple[int, ...]) -> None:
        """Restore weights, statistics, optimizer and history; ``shape`` is the shape of a sample.

        Raises ``ModelFileError`` if the checkpoint is of another network.
        """
        model, step, saved = self._trainer.model, self._trainer.step, self.saved
        if saved.standardizer is not None:
            found = standardizer_of(model)
            if found is None or found.to_json() != saved.standardizer:
                model.standardizer = Standardizer.from_json(saved.standardizer)
        try:
            model.infer(shape)
            model.load_state_dict(saved.part("model"))
            step.load_state_dict(saved.part("step"))
        except StriateError as error:
            raise ModelFileError(f"the checkpoint does not fit this training: {error}") from error
        self._trainer.history.epochs[:] = [Epoch(**vars(epoch)) for epoch in saved.history]

    def restore_observers(self) -> None:
        """Restore the state of the callbacks and the watch; the caller must have called ``begin`` of each callback."""
        trainer, saved = self._trainer, self.saved
        known = dict(enumerate(saved.callbacks))
        for callback in trainer.callbacks:
            number = next((number for number, name in known.items() if name == type(callback).__name__), None)
            if number is not None:
                del known[number]
                if state := saved.part(f"callbacks.{number}"):
                    callback.load_state_dict(state)
                    if self._goes_on and isinstance(callback, EarlyStopping):
                        callback.waited = 0  # it stopped the training, and would at once do so again
        if trainer.watch is not None and saved.part("watch") and not self.began_again:
            trainer.watch.load_state_dict(saved.part("watch"))


def _changes(then: dict[str, str], now: dict[str, str]) -> dict[str, str]:
    """Return a line such as ``lr: 0.05 then, 0.01 now`` for each option that differs, by name."""
    names = list(dict.fromkeys([*then, *now]))
    absent = "none"
    return {
        name: f"{name}: {then.get(name, absent)} then, {now.get(name, absent)} now"
        for name in names
        if then.get(name, absent) != now.get(name, absent)
    }


def _data_changes(saved: Checkpoint, now: Fingerprints) -> dict[str, list[str]]:
    found = {part: then.changes(now.get(part)) for part, then in saved.data.items()}
    found |= {part: ["not given then, given now"] for part in now if part not in saved.data}
    return {part: lines for part, lines in found.items() if lines}


def _finished_already(saved: Checkpoint) -> str:
    """Return the message that the training of this checkpoint is already finished."""
    done = len(saved.history)
    why = f" ({saved.place.stopping})" if saved.place.stopping else ""
    return f"finished already: {done} epoch{'s' * (done != 1)}{why}; a larger number of epochs continues it"
