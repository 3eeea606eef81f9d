"""Translations of functions that change shapes: views, permutations, slices, joins and padding."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from striate import ops
from striate.graph.value import Batch, Dim, Value
from striate.torch.table import require, translates


def _sizes(given: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return sizes that were given one by one, or as one sequence."""
    return tuple(given[0]) if len(given) == 1 and isinstance(given[0], Sequence) else given


def shaped(input: Value, shape: Sequence[Any]) -> Value:
    """Return ``input`` in the shape ``shape``, in which one size may be −1: it follows from the number of elements."""
    sizes = list(shape)
    if -1 in sizes and not (input.type.batched and isinstance(sizes[0], Batch)):
        return ops.reshape(input, tuple(sizes))
    if -1 in sizes:  # N, …, -1: the sizes of one sample decide
        known = math.prod(size for size in sizes[1:] if size != -1)
        sizes[sizes.index(-1)] = input.type.size() // known if known else 0
    return ops.reshape(input, tuple(sizes))


@translates("view", "reshape")
def _view(input: Value, *shape: Any) -> Value:
    return shaped(input, _sizes(shape))


@translates("view_as", "reshape_as")
def _view_as(input: Value, other: Value) -> Value:
    return shaped(input, other.shape)


@translates("flatten")
def _flatten(input: Value, start_dim: int = 0, end_dim: int = -1) -> Value:
    return ops.flatten(input, start_dim, end_dim)


@translates("unflatten")
def _unflatten(input: Value, dim: int, sizes: Sequence[int]) -> Value:
    return ops.unflatten(input, dim, sizes)


@translates("squeeze")
def _squeeze(input: Value, dim: Any = None) -> Value:
    if not input.ndim:
        return input  # PyTorch gives a scalar an axis 0
    axes = (
        range(input.ndim)
        if dim is None
        else [one % input.ndim for one in (dim if isinstance(dim, Sequence) else [dim])]
    )
    ones = tuple(axis for axis in axes if input.shape[axis] == 1)
    return ops.squeeze(input, ones) if ones else input


@translates("unsqueeze")
def _unsqueeze(input: Value, dim: int) -> Value:
    return ops.unsqueeze(input, dim)


@translates("transpose", "swapaxes", "swapdims")
def _transpose(input: Value, dim0: int, dim1: int) -> Value:
    return ops.swapaxes(input, dim0, dim1)


@translates("permute")
def _permute(input: Value, *dims: Any) -> Value:
    return ops.permute(input, tuple(one % input.ndim for one in _sizes(dims)))


@translates("movedim", "moveaxis")
def _movedim(input: Value, source: Any, destination: Any) -> Value:
    return ops.moveaxis(input, source, destination)


@translates("t")
def _t(input: Value) -> Value:
    return input if input.ndim < 2 else ops.transpose(input)


@translates("cat", "concat", "concatenate")
def _cat(tensors: Sequence[Value], dim: int = 0) -> Value:
    return ops.concat([one for one in tensors if one.shape != (0,)], dim)


@translates("stack")
def _stack(tensors: Sequence[Value], dim: int = 0) -> Value:
    return ops.stack(list(tensors), dim)


@translates("split", "split_with_sizes")
def _split(input: Value, split_size: Any, dim: int = 0) -> tuple[Value, ...]:
    return ops.split(input, split_size, dim)


@translates("chunk")
def _chunk(input: Value, chunks: int, dim: int = 0) -> tuple[Value, ...]:
    return ops.chunk(input, chunks, dim)


@translates("unbind")
def _unbind(input: Value, dim: int = 0) -> tuple[Value, ...]:
    return ops.unbind(input, dim)


@translates("narrow")
def _narrow(input: Value, dim: int, start: int, length: int) -> Value:
    return _along(input, dim, slice(start, start + length))


@translates("select")
def _select(input: Value, dim: int, index: int) -> Value:
    return _along(input, dim, index)


def _along(input: Value, dim: int, key: Any) -> Value:
    return input[(*(slice(None),) * (dim % input.ndim), key)]


@translates("getitem")
def _getitem(input: Any, key: Any) -> Any:
    keys = key if isinstance(key, tuple) else (key,)
    require(
        not isinstance(input, Value) or not any(isinstance(one, Value | list) for one in keys), "an index by a tensor"
    )
    return input[key]


@translates("expand")
def _expand(input: Value, *sizes: Any) -> Value:
    return ops.expand(input, *_sizes(sizes))


@translates("expand_as")
def _expand_as(input: Value, other: Value) -> Value:
    return ops.broadcast_to(input, other.shape)


@translates("broadcast_to")
def _broadcast_to(input: Value, size: Any) -> Value:
    return ops.expand(input, *size)


@translates("repeat", "tile")
def _repeat(input: Value, *repeats: Any) -> Value:
    return ops.tile(input, tuple(_sizes(repeats)))


@translates("flip")
def _flip(input: Value, *dims: Any) -> Value:
    return ops.flip(input, tuple(_sizes(dims)))


@translates("roll")
def _roll(input: Value, shifts: Any, dims: Any = None) -> Value:
    require(dims is not None, "roll of all elements")
    return ops.roll(input, shifts, dims)


@translates("pad")
def _pad(input: Value, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Value:
    return ops.pad(input, tuple(pad), mode, value)


@translates("pixel_shuffle")
def _pixel_shuffle(input: Value, upscale_factor: int) -> Value:
    return ops.pixel_shuffle(input, upscale_factor)


@translates("pixel_unshuffle")
def _pixel_unshuffle(input: Value, downscale_factor: int) -> Value:
    return ops.pixel_unshuffle(input, downscale_factor)


@translates("channel_shuffle", "native_channel_shuffle")
def _channel_shuffle(input: Value, groups: int) -> Value:
    return ops.channel_shuffle(input, groups)


@translates("repeat_interleave")
def _repeat_interleave(input: Value, repeats: Any, dim: int | None = None, *, output_size: int | None = None) -> Value:
    require(isinstance(repeats, int) and dim is not None, "repeats that differ, or of a flat tensor")
    assert dim is not None
    return ops.repeat(input, repeats, dim % input.ndim)


@translates("size")
def _size(input: Value, dim: int | None = None) -> tuple[Dim, ...] | Dim:
    return input.shape if dim is None else input.shape[dim]


@translates("getattr")
def _getattr(input: Value, name: str) -> Any:
    known = {
        "shape": lambda: input.shape,
        "ndim": lambda: input.ndim,
        "T": lambda: _t(input),
        "mT": lambda: ops.swapaxes(input, -1, -2),
    }
    require(isinstance(input, Value) and name in known, f"the attribute {name}")
    return known[name]()


@translates("dim")
def _dim(input: Value) -> int:
    return input.ndim
