"""How the losses of samples and elements are reduced to one number."""

from __future__ import annotations

from enum import Enum

from striate.errors import unknown_option
from striate.graph.value import Value
from striate.ops.reduction import mean, sum


class LossReduction(Enum):
    """How the losses of the samples are reduced to one number."""

    mean = "mean"
    sum = "sum"
    none = "none"


def loss_reduction(name: str) -> LossReduction:
    """The reduction of a name; the error for an unknown name lists the known ones."""
    if not isinstance(name, str) or name not in LossReduction.__members__:
        raise unknown_option("reduction", name, LossReduction.__members__)
    return LossReduction[name]


def reduced(losses: Value, reduction: LossReduction, shares: Value | None = None) -> Value:
    """The losses, their sum, or their mean, which divides by the sum of the ``shares`` where they are given."""
    if reduction is LossReduction.none:
        return losses
    if reduction is LossReduction.sum:
        return sum(losses)
    return mean(losses) if shares is None else sum(losses) / sum(shares)
