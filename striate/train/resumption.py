"""What a trainer puts into a checkpoint, and how it goes on from one.

A resumed training ends with the same bits as one that was never interrupted: the order of the samples follows from
(seed, epoch), dropout and augmentation from (seed, step, sample), and all else that changes is in the checkpoint.

Three kinds of changes between the checkpoint and the training that goes on from it:

- what the state does not fit (another network, optimizer or a moving average) is refused;
- other training data are refused too, unless they are allowed; then, and with another seed, batch size or order, the
  interrupted epoch begins again;
- every other option takes effect from here on, with a line that says what it was and what it is.
"""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

from striate.data import Dataset, Standardizer
from striate.data.standardizer import standardizer_of
from striate.errors import ModelFileError, OptionError, StriateError
from striate.graph.value import Array
from striate.train.checkpoint import Checkpoint
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
"""The versions that the bits of a training depend on."""


def fingerprints(train_set: Dataset, validation: Dataset | None) -> Fingerprints:
    """Those of the data of a training."""
    found = {TRAINING: Fingerprint.of(train_set)}
    return found if validation is None else found | {HELD_OUT: Fingerprint.of(validation)}


def configuration(trainer: Trainer, weights: Array | None) -> dict[str, str]:
    """The options of a training as text, by the names that they have in the interface."""
    step = trainer.step
    rule = step.optimizer
    found = {"optimizer": type(rule).__name__}
    found |= {one.name: repr(getattr(rule, one.name)) for one in fields(rule)}
    loss_weights = {name: digest(array) for name, array in step.loss.state_dict().items()}
    found |= {
        "loss": repr(step.loss),
        "weights of the loss": "none" if not loss_weights else ", ".join(loss_weights.values()),
        "sample_weight": "none" if weights is None else digest(weights),
        "seed": str(trainer.seed),
        "batch_size": str(trainer.batch_size),
        "shuffle": str(trainer.shuffle),
        "moving average": "none" if step.ema is None else "kept",
        "ema": repr(step.ema),
        **{name: repr(value) for name, value in step.options.items() if name != "ema"},
    }
    described = [text for one in trainer.callbacks if (text := one.describe())]
    return found | {"callbacks": ", ".join(described) or "none"}


def captured(trainer: Trainer, epochs: int, data: Fingerprints, options: dict[str, str]) -> Checkpoint:
    """The checkpoint of a training between two steps."""
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
    """A training that goes on from a checkpoint.

    ``notes`` are lines that say from where, and what has changed. Raises ``OptionError`` for changes that are refused,
    ``ModelFileError`` for a checkpoint of another network.
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
        if epochs > saved.epochs:
            self.place.stopping = None
        self.began_again = again and self.place.batch > 0
        if self.began_again:
            self.place.begin_epoch(self.place.epoch)
        self.notes = [f"resumed from {saved.describe()}"] if not self._nothing_left(epochs) else []
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

    def _nothing_left(self, epochs: int) -> bool:
        return self.place.epoch > epochs or self.place.stopping is not None

    def restore_model(self, shape: tuple[int, ...]) -> None:
        """Gives the model its weights and statistics, and the step its optimizer's state; ``shape`` is a sample's."""
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
        """Gives callbacks, doctor and watch their state; after ``begin`` of the callbacks."""
        trainer, saved = self._trainer, self.saved
        known = dict(enumerate(saved.callbacks))
        for callback in trainer.callbacks:
            number = next((number for number, name in known.items() if name == type(callback).__name__), None)
            if number is not None:
                del known[number]
                if state := saved.part(f"callbacks.{number}"):
                    callback.load_state_dict(state)
        if trainer.watch is not None and saved.part("watch") and not self.began_again:
            trainer.watch.load_state_dict(saved.part("watch"))


def _changes(then: dict[str, str], now: dict[str, str]) -> dict[str, str]:
    """``lr: 0.05 then, 0.01 now`` by the name of each option that differs."""
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


def nothing_left(saved: Checkpoint) -> str:
    """The line for a training that has nothing left to do."""
    done = len(saved.history)
    why = f" ({saved.place.stopping})" if saved.place.stopping else ""
    return f"finished already: {done} epoch{'s' * (done != 1)}{why}; a larger number of epochs continues it"
