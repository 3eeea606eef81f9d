"""Callbacks: what a user's own objects are told during a training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from striate.graph.value import Array
from striate.train.history import Epoch
from striate.train.progress import Moment, Plan

if TYPE_CHECKING:
    from striate.train.trainer import Trainer


class Callback:
    """Base of callbacks: each method does nothing.

    They run on the thread that trains. ``trainer.step`` and ``trainer.model`` may be read, and saved;
    ``trainer.stop(reason)`` ends the training.

        class Snapshot(st.train.Callback):
            def after_epoch(self, trainer, epoch):
                with trainer.evaluated() as model:
                    st.save(model, f"epoch-{epoch.number}.safetensors", input_shape=(1, 8, 8))

        st.Trainer(model, loss, optimizer, callbacks=[Snapshot()])
    """

    def begin(self, trainer: Trainer, plan: Plan) -> None:
        """Training begins."""

    def after_batch(self, trainer: Trainer, moment: Moment) -> None:
        """A step was committed."""

    def after_epoch(self, trainer: Trainer, epoch: Epoch) -> None:
        """An epoch was finished and validated; it is the last of ``trainer.history``."""

    def end(self, trainer: Trainer) -> None:
        """Training ended: all epochs were finished, or a callback stopped it. Not called after an error or Ctrl-C."""

    # What a checkpoint holds of a callback

    def state_dict(self) -> dict[str, Array]:
        """The arrays that a resumed training needs; a callback without state has none."""
        return {}

    def load_state_dict(self, state: Mapping[str, Array]) -> None:
        """Restores what ``state_dict`` returned; called after ``begin`` where a training is resumed."""

    def describe(self) -> str:
        """Name and options, by which a resumed training notices that they have changed; "" to leave it out."""
        return type(self).__name__
