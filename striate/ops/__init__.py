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
    clip,
    divide,
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
from striate.ops.linear import linear
from striate.ops.loss import cross_entropy, log_softmax, mse_loss, softmax
from striate.ops.normalization import batch_norm
from striate.ops.pooling import avg_pool, global_avg_pool, max_pool
from striate.ops.random import dropout
from striate.ops.reduction import max, mean, moments, numel, sum
from striate.ops.shaping import broadcast_to, concat, flatten

__all__ = [
    "add", "subtract", "multiply", "divide", "negative", "abs", "sign", "maximum", "minimum", "clip",
    "exp", "expm1", "log", "log1p", "sqrt", "rsqrt", "square", "reciprocal", "power", "sin", "cos", "tan", "erf",
    "floor", "ceil", "round",
    "greater", "greater_equal", "less", "less_equal", "equal", "not_equal",
    "logical_and", "logical_or", "logical_xor", "logical_not", "isfinite", "isinf", "isnan", "where", "cast",
    "tanh", "sigmoid", "relu", "leaky_relu",
    "conv", "linear", "batch_norm", "dropout",
    "max_pool", "avg_pool", "global_avg_pool",
    "reshape", "flatten", "concat", "broadcast_to",
    "sum", "mean", "moments", "max", "numel",
    "softmax", "log_softmax", "cross_entropy", "mse_loss",
]  # fmt: skip

known_operations.update(__all__)
