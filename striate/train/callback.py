"""Callbacks: objects whose methods the trainer calls during training, such as ``EarlyStopping``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from striate.graph.value import Array
from striate.train.history import Epoch
from striate.train.progress import Moment, Plan

if TYPE_CHECKING:
    from striate.train.trainer import Trainer


class Callback:
    """Base of callbacks.

    The trainer calls the methods of a callback, which do nothing until a subclass overrides them. They run on the
    thread that trains. They may read ``trainer.step`` and ``trainer.model``, save the model, and call
    ``trainer.stop(reason)`` to end the training.

        class Snapshot(st.train.Callback):
            def after_epoch(self, trainer, epoch):
                with trainer.evaluated() as model:
                    st.save(model, f"epoch-{epoch.number}.safetensors", input_shape=(1, 8, 8))

        st.Trainer(model, loss, optimizer, callbacks=[Snapshot()])
    """

    def begin(self, trainer: Trainer, plan: Plan) -> None:
        """Called before the first step; ``plan`` has the numbers of epochs, batches and samples."""

    def after_batch(self, trainer: Trainer, moment: Moment) -> None:
        """Called after every successful training step.

        ``moment`` has the number of the epoch, the number of the batch, and the mean loss of the epoch so far.
        """

    def after_epoch(self, trainer: Trainer, epoch: Epoch) -> None:
        """Called after an epoch has been trained and validated.

        ``epoch`` is the last epoch of ``trainer.history``.
        """

    def end(self, trainer: Trainer) -> None:
        """Called when training has ended, after the last epoch or ``trainer.stop``.

        It is not called after an error or Ctrl-C.
        """

    # What a checkpoint has of a callback

    def state_dict(self) -> dict[str, Array]:
        """Return the arrays, by name, that the callback needs when a training is resumed; {} by default."""
        return {}

    def load_state_dict(self, state: Mapping[str, Array]) -> None:
        """Restore what ``state_dict`` returned. Called after ``begin`` when a training is resumed."""

    def describe(self) -> str:
        """Return the callback's name and options as text, by which a resumed training notices a change.

        The default is the name of the class. If the text is "", a change of the callback is not noticed.
        """
        return type(self).__name__
