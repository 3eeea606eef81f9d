"""The options of a training step, checked and in one value."""

from __future__ import annotations

from dataclasses import dataclass

from striate.distributed import Reduce, communicator_of, reduce_of
from striate.dtypes import Precision, precision_of
from striate.errors import OptionError
from striate.options import flag, number, whole_number
from striate.options import seed as checked_seed
from striate.step.clipping import Clipping
from striate.step.sharing import Sharing


@dataclass(frozen=True)
class StepOptions:
    """The checked options of a ``TrainingStep``, which explains them.

    ``clipping`` has the limits ``max_norm`` and ``clip_value``. ``sharing`` says how several ranks (processes) share
    each batch; it is None for a process alone without ``reduce="exact"``.
    """

    seed: int
    capacity: int | None
    clipping: Clipping
    accumulate: int
    ema: float | None
    precision: Precision
    sharing: Sharing | None

    @property
    def by_name(self) -> dict[str, object]:
        """The arguments of ``TrainingStep`` that change what a training computes, by name.

        ``seed`` and the options for several ranks (processes) are not included.
        """
        return {
            "max_norm": self.clipping.max_norm, "clip_value": self.clipping.clip_value,
            "accumulate": self.accumulate, "ema": self.ema, "precision": self.precision.value,
        }  # fmt: skip

    @property
    def capacity_of_program(self) -> int:
        """The largest number of samples that one run of a program computes; 0 if ``capacity`` is None.

        This is ``capacity``, or less if a batch is computed in several parts or shared by several ranks (processes).
        """
        capacity = self.capacity or 0
        if self.sharing is not None:
            return self.sharing.capacity(capacity) if capacity else 0
        return -(-capacity // self.accumulate)


def checked_options(
    *,
    seed: int,
    capacity: int | None,
    max_norm: float | None,
    clip_value: float | None,
    accumulate: int,
    ema: float | None,
    precision: str | Precision,
    communicator: object,
    reduce: str | Reduce,
    sync_batch_norm: bool,
) -> StepOptions:
    """Return the options of a training step; the arguments are those of ``TrainingStep``.

    Raises ``OptionError`` for invalid values, and for ``accumulate`` together with several ranks (processes).
    """
    seed = checked_seed(seed)
    capacity = None if capacity is None else whole_number("capacity", capacity, 1)
    clipping = Clipping(max_norm, clip_value)
    accumulate = whole_number("accumulate", accumulate, 1)
    ema = None if ema is None else number("ema", ema, 0, below=1)
    precision = precision_of(precision)
    ranks, reduce, synchronized = (
        communicator_of(communicator),
        reduce_of(reduce),
        flag("sync_batch_norm", sync_batch_norm),
    )
    shares = ranks.size > 1 or reduce is Reduce.EXACT
    if shares and accumulate > 1:
        raise OptionError(
            "accumulate with several ranks or reduce='exact' is not supported\n"
            "  help: accumulate=1; each rank computes, and keeps in memory, only its part of a batch"
        )
    sharing = Sharing(ranks, reduce, synchronized) if shares else None
    return StepOptions(seed, capacity, clipping, accumulate, ema, precision, sharing)
