"""ONNX's normalization layers and softmax."""

from __future__ import annotations

import math

from striate import ops
from striate.graph.value import Value
from striate.ops.normalization import batch_axes, batch_norm_with_statistics
from striate.persistence.onnx.call import Call, Operand, Result, operator


@operator("BatchNormalization")
def batch_normalization(call: Call) -> Result:
    """Return the batch normalization of x (operand 0) with scale, bias, mean and variance (operands 1 to 4).

    Prediction normalizes with the running statistics. Training normalizes with the statistics of the batch, and updates
    the running statistics:

        running ← momentum · running + (1 − momentum) · batch

    PyTorch's momentum is 1 − this momentum. By default, the update uses the biased variance of the batch, as ONNX and
    Keras do; if ``call.unbiased`` is True, it uses the unbiased variance, as PyTorch does.
    """
    x, weight, bias, mean, variance = (call.value(place) for place in range(5))
    eps, momentum = call.float("epsilon", 1e-5), call.float("momentum", 0.9)
    declared = call.int("training_mode")
    if not call.trace.training and not declared:
        return ops.batch_norm(x, mean, variance, weight, bias, eps=eps)
    y, batch_mean, batch_variance = batch_norm_with_statistics(x, weight, bias, eps)
    tracked = batch_variance
    if call.unbiased:
        count = ops.numel(x, batch_axes(x.type.rank))
        tracked = batch_variance * (count / (count - 1.0))
    new = [old * momentum + one * (1 - momentum) for old, one in ((mean, batch_mean), (variance, tracked))]
    if call.trace.training:
        call.update(3, new[0])
        call.update(4, new[1])
    return [y, *new][: max(call.count, 1)]


@operator("InstanceNormalization")
def instance_normalization(call: Call) -> Operand:
    x, weight, bias = (call.value(place) for place in range(3))
    return ops.instance_norm(x, weight=weight, bias=bias, eps=call.float("epsilon", 1e-5))


@operator("LayerNormalization")
def layer_normalization(call: Call) -> Result:
    x, weight, bias = call.value(0), call.value(1), call.optional(2)
    axes = tuple(range(call.axis(call.int("axis", -1), x.type.rank), x.type.rank))
    mean, variance = ops.moments(x, axes, keepdims=True)
    inverse = 1.0 / ops.sqrt(variance + call.float("epsilon", 1e-5))
    y = (x - mean) * inverse * weight
    return [y if bias is None else y + bias, mean, inverse][: max(call.count, 1)]


@operator("RMSNormalization")
def rms_normalization(call: Call) -> Operand:
    x, weight = call.value(0), call.value(1)
    axes = tuple(range(call.axis(call.int("axis", -1), x.type.rank), x.type.rank))
    return x / ops.sqrt(ops.mean(x * x, axes, keepdims=True) + call.float("epsilon", 1e-5)) * weight


@operator("GroupNormalization")
def group_normalization(call: Call) -> Operand:
    """Return the group normalization of x (operand 0) with scale and bias (operands 1 and 2).

    The scale and the bias have an element per group before opset 21, and per channel from then on.
    """
    x, weight, bias = (call.value(place) for place in range(3))
    groups, channels, eps = call.int("num_groups"), x.type.concrete(1)[1], call.float("epsilon", 1e-5)
    if call.opset < 21 and groups > 0 and channels % groups == 0 and weight.shape == (groups,):
        weight, bias = (_repeated(vector, channels // groups) for vector in (weight, bias))
    return ops.group_norm(x, groups, weight, bias, eps)


def _repeated(vector: Value, times: int) -> Value:
    """Return a vector with each element repeated ``times`` times in a row."""
    (count,) = vector.type.concrete(1)
    return ops.reshape(ops.broadcast_to(ops.reshape(vector, (count, 1)), (count, times)), (count * times,))


@operator("LRN")
def local_response_normalization(call: Call) -> Operand:
    options = (call.int("size", 1), call.float("alpha", 1e-4), call.float("beta", 0.75), call.float("bias", 1.0))
    return ops.local_response_norm(call.value(0), *options)


@operator("Softmax", "LogSoftmax")
def softmax(call: Call) -> Operand:
    """Return the softmax of x (operand 0), or its logarithm for LogSoftmax, over the axis in the attribute ``axis``.

    Before opset 13, the softmax is over that axis and all later axes together. If x has the batch size N,
    ``ModelFileError`` is then raised unless ``axis`` is 1 or the last axis.
    """
    x = call.value(0)
    function = ops.softmax if call.node.operator == "Softmax" else ops.log_softmax
    axis = call.axis(call.int("axis", 1 if call.opset < 13 else -1), x.type.rank)
    if call.opset < 13 and axis < x.type.rank - 1:
        sizes = x.type.concrete(1)
        if x.type.batched and axis != 1:
            raise call.error(f"over the axes from {axis} on of {x.type}; those from 1 on are computed")
        rows = x.shape[0] if x.type.batched else math.prod(sizes[:axis])
        return ops.reshape(function(ops.reshape(x, (rows, math.prod(sizes[axis:]))), 1), x.shape)
    return function(x, axis)
