"""The base class of operations that have their own kernels, such as convolution and pooling.

The compiler makes such an operation the *anchor* of a loop: elementwise operations next to it in the graph are fused
into its loop. The fused operations after it form the *epilogue*, which runs on every tile of the result while it is in
registers. Some operations also accept a *prologue*, which computes their input from other arrays instead of loading it.
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
    """The algorithm by which an operation is computed.

    The compiler chooses it together with the memory layouts. An operation with only one algorithm uses this base class
    itself, unless that algorithm needs other values of the properties. ``batch_specialized`` says whether a program for
    a single sample uses another algorithm than a program for many samples.
    """

    batch_specialized: bool = False

    @property
    def sums(self) -> bool:
        """Whether reductions of the result, such as a mean for batch normalization, may be fused into the kernel."""
        return True

    @property
    def sums_per_sample(self) -> bool:
        """Whether reductions within each sample of the result, such as its mean, may be fused into the kernel."""
        return True


ONLY = Algorithm()
"""The algorithm of every operation that has only one."""


@dataclass
class LoweringContext:
    """What an operation has to know to create its launches, which are kernels with their operands.

    ``node`` is the operation in the graph, ``algorithm`` the algorithm chosen for it, and ``options`` are the options
    of the compilation. ``storage_of`` maps a value to its memory layout. ``region`` describes the elementwise
    operations on the result that are fused into the kernel (the epilogue), and ``region_operands`` are the arrays that
    these operations read and write. ``prologue`` describes the fused operations that compute the input from the arrays
    ``prologue_operands``. ``prologue`` is None if the input is loaded from memory. ``batch_specialized`` is a list to
    which ``Anchor.lower`` adds the node if the launches in a program for a single sample differ from those in a program
    for many samples.
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
        """The positions and channels of the first output, over which the fused elementwise operations loop."""
        return self.region.domain

    def storage(self, value: Value) -> Storage:
        """Return the memory layout of a value: channel blocks, strides, border of zeros (halo) and dtype."""
        return self.storage_of(value)

    def is_constant(self, value: Value) -> bool:
        """Whether the value is an input that is the same in every run, such as a weight in inference."""
        return isinstance(value.node.op, Input) and value.node.op.name in self.options.constant_inputs

    def buffer(self, name: str, fixed: int = 0, per_group: int = 0, group: int = 1) -> Buffer:
        """Return a new buffer in scratch memory: ``fixed`` bytes plus ``per_group`` bytes for every ``group`` samples.

        The last group may have fewer samples. ``name`` appears in printed memory plans.
        """
        return Buffer(name, fixed, per_group, group)


@dataclass(frozen=True)
class Anchor(Op):
    """Base class of operations that have their own kernels (abstract).

    Subclasses define ``lower``, which chooses the kernels. Their other methods say which memory layouts the kernels
    read and write, and what the compiler may fuse into the kernels.
    """

    has_epilogue: ClassVar[bool] = False
    """Whether elementwise operations on the first output may be fused into the kernel's loop."""
    planar_outputs: ClassVar[bool] = False
    """Whether the kernel writes outputs in plain (NumPy) order row by row, not as one contiguous run."""
    contiguous_inputs: ClassVar[bool] = False
    """Whether the kernel reads inputs in plain (NumPy) order as one contiguous run, without a halo."""

    def accepts_prologue(self) -> bool:
        """Whether the kernel can compute its only input from other arrays (a prologue) instead of loading it.

        This is worthwhile only if the kernel reads each element of the input about once.
        """
        return False

    def reads_bfloat16(self, inputs: Sequence[Value], value: Value) -> bool:
        """Whether the kernel can read ``value``, one of ``inputs``, if it is stored in memory as bfloat16."""
        return False

    def algorithm(self, inputs: Sequence[TensorType], stored: Sequence[DType], options: CompileOptions) -> Algorithm:
        """Return the algorithm by which the operation is computed for inputs of the types ``inputs``.

        ``stored`` are the dtypes of the inputs in memory, and ``options`` are the options of the compilation. The
        choice depends only on the arguments.
        """
        return ONLY

    def input_layouts(
        self, inputs: Sequence[TensorType], blocks: Sequence[int], algorithm: Algorithm
    ) -> tuple[InputLayout, ...]:
        """Return the memory layout that the kernel requires of each input.

        ``inputs`` are the types of the inputs. ``blocks`` are the channel blocks that the inputs have at present: 16
        (blocked: 16 channels of a position are adjacent) or 1 (plain, NumPy's order). ``algorithm`` is the algorithm
        chosen for the operation. A layout consists of the channel blocks that the kernel can read and the width of the
        halo, a border of zeros around each plane. By default, every input must be blocked.
        """
        return tuple(InputLayout((BLOCK,)) for _ in inputs)

    def output_layouts(self, inputs: Sequence[TensorType], blocks: Sequence[int]) -> tuple[int, ...]:
        """Return the channel block of each output: 16 (blocked, the default) or 1 (plain, NumPy's order).

        ``inputs`` are the types of the inputs, and ``blocks`` their channel blocks.
        """
        return tuple(BLOCK for _ in self.infer(*inputs))

    def lower(self, context: LoweringContext) -> list[Launch]:
        """Return the launches that compute the node and the operations fused into its kernels.

        A launch is a kernel with its operands. ``context`` holds the node and everything else that the choice of
        kernels depends on.
        """
        raise NotImplementedError
