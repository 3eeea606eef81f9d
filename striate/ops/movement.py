"""The base classes of operations that move elements without changing them: transposition, slices, concatenation.

The kernel of such an operation loops over the elements of the input or the output, and accesses the other array with
suitable strides. Arrays may be stored in blocks of 16 channels if the operation keeps these blocks together. Otherwise,
they are in NumPy's order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, cast

from striate.codegen.elementwise import ElementwiseKernel
from striate.codegen.launch import Launch
from striate.codegen.region import FLAT_CHUNK, AnchorResult, Domain, Load, Space, Store
from striate.codegen.storage import BLOCK, PLAIN, InputLayout, Storage, spatial
from striate.graph.op import Kind
from striate.graph.value import TensorType
from striate.ops.anchor import Algorithm, Anchor, LoweringContext

Five = tuple[int, int, int, int, int]
"""Strides in elements of (n, channel block, d, h, w)."""


@dataclass(frozen=True)
class Movement(Anchor):
    """Base class of operations that move elements without changing them, such as slices and transposes (abstract)."""

    kind: ClassVar[Kind] = Kind.GATHER
    planar_outputs: ClassVar[bool] = True

    def moves_whole_blocks(self, inputs: Sequence[TensorType]) -> bool:
        """Return whether blocks of 16 channels stay together, so that arrays stored in blocks can be moved directly."""
        raise NotImplementedError

    def keeps_positions(self) -> bool:
        """Return whether every element keeps its index on all axes after the channels, that is, on axes 2 and later."""
        return False

    def input_layouts(
        self, inputs: Sequence[TensorType], blocks: Sequence[int], algorithm: Algorithm
    ) -> tuple[InputLayout, ...]:
        """Return the required layout of each input, which is the same for all: blocks of 16 channels or NumPy's order.

        ``inputs`` are the types of the inputs, and ``blocks`` are the channel blocks that the inputs have at present:
        16, or 1 for NumPy's order. Blocks are required if an input has them already and ``moves_whole_blocks`` is true.
        """
        whole = BLOCK in blocks and self.moves_whole_blocks(inputs)
        return tuple(InputLayout((BLOCK if whole else PLAIN,)) for _ in inputs)

    def output_layouts(self, inputs: Sequence[TensorType], blocks: Sequence[int]) -> tuple[int, ...]:
        """Return the channel block of the output, 16 or 1 (NumPy's order): the same as for the first input.

        ``blocks`` are the channel blocks of the inputs.
        """
        return (blocks[0],)


def axis_strides(storage: Storage, rank: int) -> list[int]:
    """Return the stride of each axis of an array, in elements.

    The stride of axis 1 is the distance from one block of channels to the next; in NumPy's order, a block is one
    channel. ``storage`` is the memory layout of the array, and ``rank`` its number of axes.
    """
    if rank == 1:
        return [storage.strides[4]]
    return [storage.strides[0], storage.strides[1], *storage.strides[5 - (rank - 2) :]]


def box_domain(type: TensorType, block: int) -> Domain:
    """Return the iteration space over all elements of an array of this type, stored in blocks of ``block`` channels."""
    shape = type.concrete(1)
    if block == BLOCK:
        return Domain(Space.BLOCKED, type.samples, shape[1], spatial(shape[2:]))
    if type.rank == 1:
        return Domain(Space.FLAT, 1, 1, (1, 1, shape[0]))
    if type.rank == 2:
        return Domain(Space.PLANAR, type.samples, 1, (1, 1, shape[1]))
    return Domain(Space.PLANAR, type.samples, shape[1], spatial(shape[2:]))


def five_strides(strides: Sequence[int], space: Space) -> Five:
    """Return the strides of five nested loops (n, channel block, d, h, w) from the strides of an array's axes.

    The loops run over a domain from ``box_domain``; ``space`` is the kind of this domain: blocks of channels, planes or
    a flat vector.
    """
    if space is Space.FLAT:
        return (FLAT_CHUNK * strides[0], 0, 0, 0, strides[0])
    if space is Space.PLANAR and len(strides) == 2:
        return (strides[0], 0, 0, 0, strides[1])
    missing = 5 - len(strides)
    return cast(Five, (*strides[:2], *(0,) * missing, *strides[2:]))


def strided_load(operand: int, storage: Storage, strides: Sequence[int], moved: int, space: Space) -> Load:
    """Return the instruction that loads from operand number ``operand`` of the kernel with given strides.

    ``strides`` has one stride for each axis, in elements. Loading starts ``moved`` elements after the first element of
    the array; ``storage`` is the array's memory layout, and ``space`` the kind of domain, as in ``five_strides``.
    """
    five = five_strides(strides, space)
    lane_stride = 1 if space is Space.BLOCKED else five[4]
    return Load(operand, storage.dtype, five, storage.origin + moved, True, 0, lane_stride)


def strided_store(operand: int, storage: Storage, strides: Sequence[int], moved: int, space: Space) -> Store:
    """Return the instruction that stores the loop's first value to operand number ``operand`` with given strides.

    The arguments are as in ``strided_load``.
    """
    five = five_strides(strides, space)
    lane_stride = 1 if space is Space.BLOCKED else five[4]
    return Store(0, operand, storage.dtype, five, storage.origin + moved, lane_stride=lane_stride)


@dataclass(frozen=True)
class StridedRead(Movement):
    """Base class of operations that read the input with other strides, such as transposition and slices (abstract).

    Each output element is one input element, whose address is a linear function of the output index.
    """

    has_epilogue: ClassVar[bool] = True

    def read(self, strides: Sequence[int], block: int) -> tuple[list[int], int]:
        """Return (the stride in the input along each output axis, the offset of the first element that is read).

        ``strides`` are the input's own strides along its axes. All strides and the offset are in elements. ``block`` is
        the number of channels per block in the input's memory layout.
        """
        raise NotImplementedError

    def lower(self, context: LoweringContext) -> list[Launch]:
        (x,) = context.node.inputs
        storage, region = context.storage(x), context.region
        strides, moved = self.read(axis_strides(storage, x.type.rank), storage.block)
        load = strided_load(len(context.region_operands), storage, strides, moved, region.domain.space)
        instructions = tuple(load if isinstance(item, AnchorResult) else item for item in region.instructions)
        kernel = ElementwiseKernel(replace(region, instructions=instructions))
        operands = (*context.region_operands, x)
        return [Launch(self.call_name(), context.node.path, kernel, operands, region.domain.chunks)]
