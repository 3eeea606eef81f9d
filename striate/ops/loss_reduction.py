"""Reductions of losses, as PyTorch names them: the mean, the sum, or "none" for the losses themselves."""

from __future__ import annotations

from enum import Enum

from striate.errors import unknown_option
from striate.graph.value import Value
from striate.ops.reduction import mean, sum


class LossReduction(Enum):
    """How the losses of the samples or elements are reduced; ``none`` keeps them as they are."""

    mean = "mean"
    sum = "sum"
    none = "none"


def loss_reduction(name: str) -> LossReduction:
    """Return the reduction called ``name``; raise ``OptionError`` with the known names for any other name."""
    if not isinstance(name, str) or name not in LossReduction.__members__:
        raise unknown_option("reduction", name, LossReduction.__members__)
    return LossReduction[name]


def reduced(losses: Value, reduction: LossReduction, shares: Value | None = None) -> Value:
    """Return the losses unchanged, their sum or their mean, as ``reduction`` says.

    ``shares`` are the weights by which the losses have already been multiplied. The mean is then Σ losses / Σ shares.
    """
    if reduction is LossReduction.none:
        return losses
    if reduction is LossReduction.sum:
        return sum(losses)
    return mean(losses) if shares is None else sum(losses) / sum(shares)
