"""The base class of operations that have their own kernels, such as convolution and pooling.

The compiler makes such an operation the *anchor* of a loop: elementwise operations next to it in the graph are fused
into its loop. Those after it form the *epilogue*, which runs on every tile of the result while it is in registers. Some
operations also accept a *prologue*, which computes their input from other arrays where the kernel would load it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from striate.codegen.launch import Buffer, Launch, Operand
from striate.codegen.options import CompileOptions
from striate.codegen.region import Domain, Region
from striate.codegen.storage import BLOCK, InputLayout, Storage
from striate.dtypes import DType
from striate.graph.graph import Input
from striate.graph.op import Node, Op
from striate.graph.value import TensorType, Value

if TYPE_CHECKING:
    from striate.codegen.target import Target  # it loads LLVM, which `import striate` does not need


@dataclass(frozen=True)
class Algorithm:
    """The algorithm that computes an operation.

    It is chosen once, in the stage that chooses memory layouts. Most operations that have only one algorithm use this
    base class itself. ``batch_specialized`` says whether a program for a single sample uses another algorithm than a
    program for many samples.
    """

    batch_specialized: bool = False

    @property
    def sums(self) -> bool:
        """Whether reductions of the result, such as a mean for batch normalization, may be fused into the kernel."""
        return True

    @property
    def sums_per_sample(self) -> bool:
        """Whether reductions of the result that keep samples separate may be fused into the kernel."""
        return True


ONLY = Algorithm()
"""The algorithm of every operation that has only one."""


@dataclass
class LoweringContext:
    """The information from which an operation creates its launches, which are kernels with their operands.

    ``node`` is the operation in the graph, and ``algorithm`` is the one that was chosen for it. ``storage_of`` maps a
    value to its memory layout. ``region`` is the epilogue, and ``region_operands`` are the arrays that it reads and
    writes. ``prologue`` is None if the input is loaded from memory; otherwise it computes the input from the arrays
    ``prologue_operands``. ``options`` are those of the compilation. ``batch_specialized`` is a list to which ``lower``
    adds the node if a program for a single sample is lowered differently from a program for many.
    """

    node: Node
    algorithm: Algorithm
    options: CompileOptions
    storage_of: Callable[[Value], Storage]
    region: Region
    region_operands: tuple[Operand, ...]
    prologue: Region | None
    prologue_operands: tuple[Operand, ...]
    batch_specialized: list[Node]

    @property
    def target(self) -> Target:
        """The processor for which the kernels are compiled."""
        return self.options.target

    @property
    def domain(self) -> Domain:
        """The positions and channels of the first output, over which the fused elementwise work runs."""
        return self.region.domain

    def storage(self, value: Value) -> Storage:
        """Return the memory layout of a value: channel blocks, strides, halo and dtype."""
        return self.storage_of(value)

    def is_constant(self, value: Value) -> bool:
        """Whether the value is an input that is the same in every run, such as a weight in inference."""
        return isinstance(value.node.op, Input) and value.node.op.name in self.options.constant_inputs

    def buffer(self, name: str, fixed: int = 0, per_group: int = 0, group: int = 1) -> Buffer:
        """Return new scratch memory of ``fixed`` bytes plus ``per_group`` bytes for every ``group`` samples.

        The last group may have fewer samples. ``name`` appears in printed memory plans.
        """
        return Buffer(name, fixed, per_group, group)


@dataclass(frozen=True)
class Anchor(Op):
    """Base class of operations that have their own kernels (abstract).

    Subclasses define ``lower``, which chooses the kernels, and say which memory layouts the kernels read and write and
    what the compiler may fuse into them.
    """

    has_epilogue: ClassVar[bool] = False
    """Whether elementwise operations on the first output may be fused into the kernel's loop."""
    planar_outputs: ClassVar[bool] = False
    """Whether the kernel writes outputs in plain (NumPy) order row by row, not as one contiguous run."""
    contiguous_inputs: ClassVar[bool] = False
    """Whether the kernel reads inputs in plain (NumPy) order as one contiguous run, without a halo."""

    def accepts_prologue(self) -> bool:
        """Whether a prologue may compute the only input in the kernel, in place of loading the input from memory.

        This is worthwhile only if the kernel reads each element about once.
        """
        return False

    def reads_bfloat16(self, inputs: Sequence[Value], value: Value) -> bool:
        """Whether the kernel can read ``value``, one of ``inputs``, if it is stored in memory as bfloat16."""
        return False

    def algorithm(self, inputs: Sequence[TensorType], stored: Sequence[DType], options: CompileOptions) -> Algorithm:
        """Return the algorithm for inputs of these types.

        ``stored`` are the dtypes of the inputs in memory, and ``options`` are those of the compilation. The choice
        depends only on the arguments.
        """
        return ONLY

    def input_layouts(
        self, inputs: Sequence[TensorType], blocks: Sequence[int], algorithm: Algorithm
    ) -> tuple[InputLayout, ...]:
        """Return the memory layout that the kernel requires of each input.

        A layout consists of the channel blocks that the kernel can read and the width of the halo, a border of zeros
        around each plane. ``blocks`` are the channel blocks of the inputs in memory so far: 16 (blocked, which means
        that 16 channels of a position are adjacent) or 1 (plain, NumPy's order). By default, every input must be
        blocked. ``algorithm`` is the one that was chosen for the operation.
        """
        return tuple(InputLayout((BLOCK,)) for _ in inputs)

    def output_layouts(self, inputs: Sequence[TensorType], blocks: Sequence[int]) -> tuple[int, ...]:
        """Return the channel block of each output: 16 (blocked, the default) or 1 (plain, NumPy's order).

        ``blocks`` are the channel blocks of the inputs.
        """
        return tuple(BLOCK for _ in self.infer(*inputs))

    def lower(self, context: LoweringContext) -> list[Launch]:
        """Return the launches, kernels with their operands, that compute the node and the work fused into it.

        ``context`` holds the node and everything else that the choice of kernels depends on.
        """
        raise NotImplementedError
