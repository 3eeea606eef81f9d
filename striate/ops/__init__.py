"""The public functions of ``st.ops``, which apply operations to arrays or to traced values.

Each module of this package holds one family of operations. Names, options and defaults are those of NumPy or PyTorch.
Names from ``torch.nn.functional`` lose the number of dimensions: ``conv`` replaces conv1d, conv2d and conv3d.
"""

from striate.graph.refusal import known_operations
from striate.graph.reshape import reshape
from striate.ops.activation import leaky_relu, relu, sigmoid, tanh
from striate.ops.adaptive import adaptive_avg_pool, adaptive_max_pool, global_max_pool
from striate.ops.arithmetic import (
    abs,
    add,
    cast,
    clip,
    exp,
    log,
    maximum,
    minimum,
    multiply,
    negative,
    sign,
    sqrt,
    subtract,
)
from striate.ops.average_pooling import avg_pool, global_avg_pool, lp_pool
from striate.ops.axis_softmax import glu, log_softmax, softmax, softmin
from striate.ops.comparison import (
    equal,
    greater,
    greater_equal,
    isfinite,
    isinf,
    isnan,
    less,
    less_equal,
    logical_and,
    logical_not,
    logical_or,
    logical_xor,
    not_equal,
    where,
)
from striate.ops.convolution import conv
from striate.ops.division import divide, floor_divide, remainder
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
from striate.ops.elementary import (
    ceil,
    cos,
    erf,
    expm1,
    floor,
    log1p,
    power,
    reciprocal,
    round,
    rsqrt,
    sin,
    square,
    tan,
)
from striate.ops.extremes import all, any, argmax, argmin, logsumexp, min, prod
from striate.ops.indexing import (
    chunk,
    concat,
    flip,
    moveaxis,
    permute,
    roll,
    split,
    stack,
    swapaxes,
    take,
    transpose,
    unbind,
)
from striate.ops.interpolation import interpolate
from striate.ops.linear import linear
from striate.ops.loss import cross_entropy, multi_margin_loss, nll_loss
from striate.ops.margin_loss import cosine_embedding_loss, multilabel_margin_loss, triplet_margin_loss
from striate.ops.matmul import matmul
from striate.ops.max_pooling import max_pool
from striate.ops.normalization import batch_norm
from striate.ops.padding import pad
from striate.ops.piecewise_activation import (
    hardshrink,
    hardsigmoid,
    hardswish,
    hardtanh,
    prelu,
    relu6,
    softshrink,
    threshold,
)
from striate.ops.pixel_shuffle import channel_shuffle, pixel_shuffle, pixel_unshuffle
from striate.ops.random import alpha_dropout, drop_path, dropout, feature_dropout
from striate.ops.reduction import max, mean, moments, numel, sum
from striate.ops.sample_normalization import (
    channel_layer_norm,
    group_norm,
    instance_norm,
    layer_norm,
    local_response_norm,
    rms_norm,
)
from striate.ops.shaping import (
    broadcast_to,
    expand,
    flatten,
    repeat,
    squeeze,
    tile,
    unflatten,
    unsqueeze,
)
from striate.ops.similarity import cosine_similarity, normalize, pairwise_distance
from striate.ops.smooth_activation import (
    celu,
    elu,
    gelu,
    logsigmoid,
    mish,
    selu,
    silu,
    softplus,
    softsign,
    tanhshrink,
)
from striate.ops.statistics import norm, std, var
from striate.ops.transposed_convolution import conv_transpose
from striate.ops.unpooling import max_unpool

__all__ = [
    "add", "subtract", "multiply", "divide", "floor_divide", "remainder", "negative", "abs", "sign",
    "maximum", "minimum", "clip",
    "exp", "expm1", "log", "log1p", "sqrt", "rsqrt", "square", "reciprocal", "power", "sin", "cos", "tan", "erf",
    "floor", "ceil", "round",
    "greater", "greater_equal", "less", "less_equal", "equal", "not_equal",
    "logical_and", "logical_or", "logical_xor", "logical_not", "isfinite", "isinf", "isnan", "where", "cast",
    "tanh", "sigmoid", "relu", "leaky_relu", "prelu", "elu", "selu", "celu", "gelu", "silu", "mish",
    "softplus", "softsign", "logsigmoid", "relu6", "hardtanh", "hardsigmoid", "hardswish",
    "hardshrink", "softshrink", "tanhshrink", "threshold", "glu",
    "conv", "conv_transpose", "linear", "matmul", "batch_norm",
    "dropout", "feature_dropout", "alpha_dropout", "drop_path",
    "layer_norm", "channel_layer_norm", "group_norm", "instance_norm", "rms_norm", "local_response_norm",
    "max_pool", "avg_pool", "lp_pool", "global_avg_pool", "global_max_pool", "adaptive_avg_pool", "adaptive_max_pool",
    "max_unpool",
    "interpolate", "pixel_shuffle", "pixel_unshuffle", "channel_shuffle",
    "reshape", "flatten", "unflatten", "squeeze", "unsqueeze", "transpose", "permute", "moveaxis", "swapaxes",
    "concat", "stack", "split", "chunk", "unbind", "take", "flip", "roll", "broadcast_to", "expand", "tile", "repeat",
    "pad",
    "sum", "mean", "moments", "var", "std", "norm", "max", "min", "prod", "argmax", "argmin", "logsumexp", "any", "all",
    "numel",
    "softmax", "log_softmax", "softmin",
    "normalize", "cosine_similarity", "pairwise_distance",
    "cross_entropy", "nll_loss", "multi_margin_loss", "binary_cross_entropy", "binary_cross_entropy_with_logits",
    "mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "kl_div", "soft_margin_loss", "multilabel_soft_margin_loss",
    "hinge_embedding_loss", "margin_ranking_loss", "poisson_nll_loss", "gaussian_nll_loss",
    "triplet_margin_loss", "cosine_embedding_loss", "multilabel_margin_loss",
]  # fmt: skip

known_operations.update(__all__)
