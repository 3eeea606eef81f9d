"""Translations of losses, with the arguments of ``torch.nn.functional``."""

from __future__ import annotations

from inspect import signature
from typing import Any

from torch.nn import functional

from striate import ops
from striate.graph.value import Value
from striate.torch.table import TRANSLATIONS, require, translates


def _reduction(reduction: str, size_average: Any, reduce: Any) -> str:
    require(size_average is None and reduce is None, "size_average or reduce")
    return reduction


def _of_two(name: str, *options: str) -> None:
    """Register a loss of (input, target) whose further ``options`` are those of PyTorch's function."""
    function = getattr(ops, name)

    def translation(
        input: Value, target: Value, size_average: Any = None, reduce: Any = None, reduction: str = "mean", **given: Any
    ) -> Value:
        require(set(given) <= set(options), f"the options {sorted(given)}")
        return function(input, target, reduction=_reduction(reduction, size_average, reduce), **given)

    TRANSLATIONS[name] = translation


def _of_same_names(name: str) -> None:
    """Register a loss whose arguments have the names that they have in PyTorch's function."""
    function, parameters = getattr(ops, name), signature(getattr(functional, name))

    def translation(*arguments: Any, **options: Any) -> Value:
        given = dict(parameters.bind(*arguments, **options).arguments)
        old = given.pop("size_average", None), given.pop("reduce", None)
        reduction = _reduction(given.pop("reduction", "mean"), *old)
        return function(**given, reduction=reduction)

    TRANSLATIONS[name] = translation


for _name in (
    "multi_margin_loss", "multilabel_soft_margin_loss", "hinge_embedding_loss", "margin_ranking_loss",
    "poisson_nll_loss", "triplet_margin_loss", "cosine_embedding_loss",
):  # fmt: skip
    _of_same_names(_name)
_of_two("mse_loss")
_of_two("l1_loss")
_of_two("smooth_l1_loss", "beta")
_of_two("soft_margin_loss")
_of_two("multilabel_margin_loss")


@translates("huber_loss")
def _huber_loss(input: Value, target: Value, reduction: str = "mean", delta: float = 1.0, weight: Any = None) -> Value:
    require(weight is None, "huber_loss with weights")
    return ops.huber_loss(input, target, reduction=reduction, delta=delta)


@translates("cross_entropy", "cross_entropy_loss")
def _cross_entropy(
    input: Value, target: Value, weight: Value | None = None, size_average: Any = None, ignore_index: int = -100,
    reduce: Any = None, reduction: str = "mean", label_smoothing: float = 0.0,
) -> Value:  # fmt: skip
    return ops.cross_entropy(
        input, target, weight, ignore_index=ignore_index, reduction=_reduction(reduction, size_average, reduce),
        label_smoothing=label_smoothing,
    )  # fmt: skip


@translates("nll_loss", "nll_loss_nd")
def _nll_loss(
    input: Value, target: Value, weight: Value | None = None, size_average: Any = None, ignore_index: int = -100,
    reduce: Any = None, reduction: str = "mean",
) -> Value:  # fmt: skip
    chosen = _reduction(reduction, size_average, reduce)
    return ops.nll_loss(input, target, weight, ignore_index=ignore_index, reduction=chosen)


@translates("binary_cross_entropy")
def _binary_cross_entropy(
    input: Value, target: Value, weight: Value | None = None, size_average: Any = None, reduce: Any = None,
    reduction: str = "mean",
) -> Value:  # fmt: skip
    chosen = _reduction(reduction, size_average, reduce)
    return ops.binary_cross_entropy(input, target, weight, reduction=chosen)


@translates("binary_cross_entropy_with_logits")
def _binary_cross_entropy_with_logits(
    input: Value, target: Value, weight: Value | None = None, size_average: Any = None, reduce: Any = None,
    reduction: str = "mean", pos_weight: Value | None = None,
) -> Value:  # fmt: skip
    chosen = _reduction(reduction, size_average, reduce)
    return ops.binary_cross_entropy_with_logits(input, target, weight, reduction=chosen, pos_weight=pos_weight)


@translates("kl_div")
def _kl_div(
    input: Value, target: Value, size_average: Any = None, reduce: Any = None, reduction: str = "mean",
    log_target: bool = False,
) -> Value:  # fmt: skip
    chosen = _reduction(reduction, size_average, reduce)
    return ops.kl_div(input, target, reduction=chosen, log_target=log_target)
