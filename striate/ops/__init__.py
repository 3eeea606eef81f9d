"""The operations, one family a file, and the functions that apply them to values."""

from striate.graph.arithmetic import reshape
from striate.graph.refusal import known_operations
from striate.ops.activation import (
    absolute,
    add,
    cast,
    divide,
    exp,
    greater,
    is_finite,
    leaky_relu,
    log,
    maximum,
    minimum,
    multiply,
    negate,
    relu,
    sigmoid,
    sqrt,
    subtract,
    tanh,
    where,
)
from striate.ops.convolution import conv
from striate.ops.linear import linear
from striate.ops.loss import cross_entropy, log_softmax, mse_loss, softmax
from striate.ops.normalization import batch_norm, normalize
from striate.ops.pooling import avg_pool, global_avg_pool, max_pool
from striate.ops.random import dropout
from striate.ops.reduction import mean, moments, numel, peak, sum
from striate.ops.shaping import concatenate, expand, flatten

__all__ = [
    "add", "subtract", "multiply", "divide", "negate", "absolute", "exp", "log", "sqrt", "maximum", "minimum",
    "greater", "where", "is_finite", "cast",
    "tanh", "sigmoid", "relu", "leaky_relu",
    "convolution", "linear", "batch_normalization", "normalize", "dropout",
    "max_pooling", "average_pooling", "global_average_pooling",
    "reshape", "flatten", "concatenate", "expand",
    "sum", "mean", "moments", "peak", "extent",
    "softmax", "log_softmax", "cross_entropy", "mean_squared_error",
]  # fmt: skip

known_operations.update(__all__)
