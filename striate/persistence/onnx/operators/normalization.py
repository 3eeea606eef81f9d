"""Normalizations and softmax of ONNX."""

from __future__ import annotations

import math

from striate import ops
from striate.graph.value import Value
from striate.ops.normalization import batch_axes, batch_norm_with_statistics
from striate.persistence.onnx.call import Call, Operand, Result, operator


@operator("BatchNormalization")
def batch_normalization(call: Call) -> Result:
    """Running statistics when predicting; when training, those of the batch, and the running ones are updated.

    running ← momentum · running + (1 − momentum) · batch, where ONNX, like Keras, takes the biased variance, and
    PyTorch the unbiased one, and where PyTorch's momentum is 1 − momentum.
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


def _standardized(x: Value, axes: tuple[int, ...], eps: float) -> Value:
    mean, variance = ops.moments(x, axes, keepdims=True)
    return (x - mean) / ops.sqrt(variance + eps)


def _channels(vector: Value, rank: int) -> Value:
    return ops.reshape(vector, (1, *vector.shape, *(1,) * (rank - 2)))


@operator("InstanceNormalization")
def instance_normalization(call: Call) -> Operand:
    x, weight, bias = (call.value(place) for place in range(3))
    rank = x.type.rank
    y = _standardized(x, tuple(range(2, rank)), call.float("epsilon", 1e-5))
    return y * _channels(weight, rank) + _channels(bias, rank)


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
    """One scale for each group before opset 21, one for each channel from then on."""
    x, weight, bias = (call.value(place) for place in range(3))
    groups, (channels, *size) = call.int("num_groups"), x.type.concrete(1)[1:]
    if groups < 1 or channels % groups:
        raise call.error(f"{channels} channels do not split into {groups} groups")
    parts = ops.reshape(x, (x.shape[0], groups, channels // groups, *size))
    y = _standardized(parts, tuple(range(2, parts.type.rank)), call.float("epsilon", 1e-5))
    if call.opset < 21 and weight.shape == (groups,):
        shape = (1, groups, *(1,) * (parts.type.rank - 2))
        return ops.reshape(y * ops.reshape(weight, shape) + ops.reshape(bias, shape), x.shape)
    return ops.reshape(y, x.shape) * _channels(weight, x.type.rank) + _channels(bias, x.type.rank)


@operator("LRN")
def local_response(call: Call) -> Operand:
    raise call.error("local response normalization is not computed")


@operator("Softmax", "LogSoftmax")
def softmax(call: Call) -> Operand:
    """Over one axis; before opset 13, over all axes from that one on."""
    x = call.value(0)
    function = ops.softmax if call.node.operator == "Softmax" else ops.log_softmax
    axis = call.axis(call.int("axis", 1 if call.opset < 13 else -1), x.type.rank)
    if call.opset < 13 and axis < x.type.rank - 1:
        sizes = x.type.concrete(1)
        if axis != 1:
            raise call.error(f"over the axes from {axis} on; those from 1 on are computed")
        return ops.reshape(function(ops.reshape(x, (x.shape[0], math.prod(sizes[1:])))), x.shape)
    return over_axis(call, function, x, axis)


def over_axis(call: Call, function: object, x: Value, axis: int) -> Value:
    """A function of the channels, axis 1, applied over another axis."""
    assert callable(function)
    if axis == 1:
        return function(x)
    sizes = x.type.concrete(1)
    if axis == x.type.rank - 1 and axis > 0 and not x.type.batched:
        return ops.reshape(function(ops.reshape(x, (math.prod(sizes[:-1]), sizes[-1]))), x.shape)
    raise call.error(f"over axis {axis} of {x.type}, which is not computed")
