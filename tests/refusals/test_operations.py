"""Every function of ``st.ops`` with one wrong argument: an error that says where, what is wrong, and what helps."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np

import striate as st
from tests.refusals.walk import Arguments, judged, outcome, unprepared, wrong_arrays, wrong_options  # noqa: F401

RANDOM = np.random.default_rng(0)
X2, X3, X4 = (RANDOM.random(shape).astype(np.float32) + 0.1 for shape in ((3, 4), (2, 3, 8), (2, 4, 6, 6)))
LABELS, KEY, BOOLS = np.array([0, 2, 1]), np.array(3), X2 > 0.5
C = X2[0]


def of(*arguments: Any, **options: Any) -> Arguments:
    return arguments, options


CALLS: dict[str, Arguments] = {
    **dict.fromkeys((
        "negative", "abs", "sign", "clip", "exp", "expm1", "log", "log1p", "sqrt", "rsqrt", "square", "reciprocal",
        "sin", "cos", "tan", "erf", "floor", "ceil", "round", "isfinite", "isinf", "isnan", "tanh", "sigmoid", "relu",
        "leaky_relu", "elu", "selu", "celu", "gelu", "silu", "mish", "softplus", "softsign", "logsigmoid", "relu6",
        "hardtanh", "hardsigmoid", "hardswish", "hardshrink", "softshrink", "tanhshrink", "glu", "flatten", "squeeze",
        "transpose", "sum", "mean", "moments", "var", "std", "norm", "max", "min", "prod", "argmax", "argmin",
        "logsumexp", "numel", "softmax", "log_softmax", "softmin",
    ), of(X2)),
    **dict.fromkeys((
        "add", "subtract", "multiply", "divide", "floor_divide", "remainder", "maximum", "minimum", "power", "greater",
        "greater_equal", "less", "less_equal", "equal", "not_equal", "mse_loss", "l1_loss", "smooth_l1_loss",
        "huber_loss", "kl_div", "soft_margin_loss", "multilabel_soft_margin_loss", "hinge_embedding_loss",
        "poisson_nll_loss", "binary_cross_entropy", "binary_cross_entropy_with_logits",
    ), of(X2, X2)),
    **dict.fromkeys(("logical_and", "logical_or", "logical_xor"), of(BOOLS, BOOLS)),
    **dict.fromkeys(("logical_not", "any", "all"), of(BOOLS)),
    **dict.fromkeys(("cross_entropy", "nll_loss", "multi_margin_loss"), of(X2, LABELS, weight=C)),
    **dict.fromkeys(("global_avg_pool", "global_max_pool", "channel_layer_norm", "instance_norm"), of(X4)),
    **dict.fromkeys(("max_pool", "avg_pool", "adaptive_avg_pool", "adaptive_max_pool"), of(X4, 2)),
    **dict.fromkeys(("dropout", "feature_dropout", "alpha_dropout", "drop_path"), of(X2, KEY, 0.5)),
    "where": of(BOOLS, X2, X2), "cast": of(X2, "float64"), "prelu": of(X2, C), "threshold": of(X2, 0.0, 1.0),
    "conv": of(X4, RANDOM.random((2, 2, 3, 3)).astype(np.float32), X4[0, 0, 0, :2], groups=2),
    "conv_transpose": of(X4, RANDOM.random((4, 2, 3, 3)).astype(np.float32), X4[0, 0, 0, :2], stride=2),
    "linear": of(X2, RANDOM.random((5, 4)).astype(np.float32), X3[0, 0, :5]), "matmul": of(X2, X2.T.copy()),
    "batch_norm": of(X2, C, C, C, C), "layer_norm": of(X2, 4, C, C), "group_norm": of(X2, 2, C, C),
    "rms_norm": of(X2, 4, C), "local_response_norm": of(X4, 3), "lp_pool": of(X4, 2.0, 2),
    "interpolate": of(X4, scale_factor=2), "pixel_shuffle": of(X4, 2), "pixel_unshuffle": of(X4, 2),
    "reshape": of(X2, (4, 3)), "unflatten": of(X2, 1, (2, 2)), "unsqueeze": of(X2, 0), "permute": of(X2, (1, 0)),
    "moveaxis": of(X2, 0, 1), "swapaxes": of(X2, 0, 1), "concat": of([X2, X2]), "stack": of([X2, X2]),
    "split": of(X2, 2), "chunk": of(X2, 2), "unbind": of(X2), "take": of(X2, [0, 2], 1), "flip": of(X2, 0),
    "roll": of(X2, 1, 0), "broadcast_to": of(X2, (2, 3, 4)), "expand": of(X2, 2, 3, 4), "tile": of(X2, (2, 1)),
    "repeat": of(X2, 2, 1), "pad": of(X2, (1, 1)), "margin_ranking_loss": of(X2, X2, X2),
    "normalize": of(X2), "cosine_similarity": of(X2, X2), "pairwise_distance": of(X2, X2),
    "channel_shuffle": of(X4, 2), "max_unpool": of(X4, np.zeros(X4.shape, np.int32), 2),
    "gaussian_nll_loss": of(X2, X2, X2), "triplet_margin_loss": of(X2, X2, X2),
    "cosine_embedding_loss": of(X2, X2, C[:3]), "multilabel_margin_loss": of(X2, np.full(X2.shape, -1)),
}  # fmt: skip
"""A valid call of each function."""


def test_there_is_a_valid_call_of_every_function(unprepared: None) -> None:  # noqa: F811
    assert set(CALLS) == set(st.ops.__all__), "enter a call in CALLS of tests/refusals"
    for name, (arguments, options) in CALLS.items():
        assert outcome(lambda n=name, a=arguments, o=options: getattr(st.ops, n)(*a, **o)) is None, name


def test_every_wrong_argument_is_explained(unprepared: None) -> None:  # noqa: F811
    faults: list[str] = []
    for name, valid in CALLS.items():
        function = getattr(st.ops, name)
        signature = inspect.signature(function)
        for cases in (wrong_options(signature, valid), wrong_arrays(valid)):
            for what, (arguments, options), refused in cases:
                call = lambda f=function, a=arguments, o=options: f(*a, **o)  # noqa: E731
                faults += judged(f"{name}: {what}", (name, *signature.parameters), call, refused)
    assert not faults, f"{len(faults)}\n" + "\n".join(faults)
