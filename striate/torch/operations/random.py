"""Translations of dropout.

The masks are drawn by striate from a seed that PyTorch's generator gives, so ``torch.manual_seed`` determines them.
"""

from __future__ import annotations

from collections.abc import Callable

from striate import ops
from striate.graph.value import Value
from striate.torch.table import Context, translates_with_context


@translates_with_context("dropout")
def _dropout(context: Context, input: Value, p: float = 0.5, training: bool = True, inplace: bool = False) -> Value:
    return _dropped(context, ops.dropout, input, p) if training and p else input


def _dropped(context: Context, function: Callable[..., Value], input: Value, p: float, **options: bool) -> Value:
    key, stream = context.key()
    return function(input, key, p, stream, **options)


@translates_with_context("dropout1d", "dropout2d", "dropout3d", "feature_dropout")
def _feature_dropout(
    context: Context, input: Value, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Value:
    return _dropped(context, ops.feature_dropout, input, p) if training and p else input


@translates_with_context("alpha_dropout")
def _alpha_dropout(
    context: Context, input: Value, p: float = 0.5, training: bool = False, inplace: bool = False
) -> Value:
    return _dropped(context, ops.alpha_dropout, input, p) if training and p else input


@translates_with_context("feature_alpha_dropout")
def _feature_alpha_dropout(
    context: Context, input: Value, p: float = 0.5, training: bool = False, inplace: bool = False
) -> Value:
    return _dropped(context, ops.alpha_dropout, input, p, features=True) if training and p else input
