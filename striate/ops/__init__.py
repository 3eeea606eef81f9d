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
from striate.ops.linear import linear
from striate.ops.loss import cross_entropy, log_softmax, mse_loss, softmax
from striate.ops.normalization import batch_norm
from striate.ops.padding import pad
from striate.ops.pooling import avg_pool, global_avg_pool, max_pool
from striate.ops.random import dropout
from striate.ops.reduction import max, mean, moments, numel, sum
from striate.ops.shaping import broadcast_to, concat, flatten
from striate.ops.transposed_convolution import conv_transpose

__all__ = [
    "add", "subtract", "multiply", "divide", "negative", "abs", "exp", "log", "sqrt", "maximum", "minimum",
    "greater", "where", "isfinite", "cast",
    "tanh", "sigmoid", "relu", "leaky_relu",
    "conv", "conv_transpose", "linear", "batch_norm", "dropout",
    "max_pool", "avg_pool", "global_avg_pool",
    "reshape", "flatten", "concat", "broadcast_to", "pad",
    "sum", "mean", "moments", "max", "numel",
    "softmax", "log_softmax", "cross_entropy", "mse_loss",
]  # fmt: skip

known_operations.update(__all__)
