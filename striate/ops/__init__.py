"""The operations, one family per file, and the functions that apply them to values.

Arithmetic and shape functions have NumPy's names; all others have those of ``torch.nn.functional`` without the rank.
"""

from striate.graph.arithmetic import reshape
from striate.graph.refusal import known_operations
from striate.ops.activation import leaky_relu, relu, sigmoid, tanh
from striate.ops.arithmetic import (
    abs,
    add,
    cast,
    divide,
    exp,
    greater,
    isfinite,
    log,
    maximum,
    minimum,
    multiply,
    negative,
    sqrt,
    subtract,
    where,
)
from striate.ops.convolution import conv
from striate.ops.element_loss import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    gaussian_nll_loss,
    hinge_embedding_loss,
    huber_loss,
    kl_div,
    l1_loss,
    margin_ranking_loss,
    mse_loss,
    multilabel_soft_margin_loss,
    poisson_nll_loss,
    smooth_l1_loss,
    soft_margin_loss,
)
from striate.ops.linear import linear
from striate.ops.loss import cross_entropy, log_softmax, multi_margin_loss, nll_loss, softmax
from striate.ops.normalization import batch_norm
from striate.ops.padding import pad
from striate.ops.pooling import avg_pool, global_avg_pool, max_pool
from striate.ops.random import dropout
from striate.ops.reduction import max, mean, moments, numel, sum
from striate.ops.sample_normalization import (
    channel_layer_norm,
    group_norm,
    instance_norm,
    layer_norm,
    local_response_norm,
    rms_norm,
)
from striate.ops.shaping import broadcast_to, concat, flatten

__all__ = [
    "add", "subtract", "multiply", "divide", "negative", "abs", "exp", "log", "sqrt", "maximum", "minimum",
    "greater", "where", "isfinite", "cast",
    "tanh", "sigmoid", "relu", "leaky_relu",
    "conv", "linear", "batch_norm", "dropout",
    "layer_norm", "channel_layer_norm", "group_norm", "instance_norm", "rms_norm", "local_response_norm",
    "max_pool", "avg_pool", "global_avg_pool",
    "reshape", "flatten", "concat", "broadcast_to", "pad",
    "sum", "mean", "moments", "max", "numel",
    "softmax", "log_softmax",
    "cross_entropy", "nll_loss", "multi_margin_loss", "binary_cross_entropy", "binary_cross_entropy_with_logits",
    "mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "kl_div", "soft_margin_loss", "multilabel_soft_margin_loss",
    "hinge_embedding_loss", "margin_ranking_loss", "poisson_nll_loss", "gaussian_nll_loss",
]  # fmt: skip

known_operations.update(__all__)
