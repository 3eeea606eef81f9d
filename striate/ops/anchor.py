"""Operations that have their own kernels: what the compiler asks them, and what it passes to them.

Such an operation *anchors* a loop. Elementwise work of its neighbours is fused into this loop as the epilogue, a region
that runs on every tile of the result. Some operations also accept a prologue, which computes the input where it is
loaded.
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
    """How an operation is computed, decided once when layouts are chosen (this base class: there is only one way).

    ``batch_specialized`` says that a program for a single sample makes a different choice than one for many samples.
    """

    batch_specialized: bool = False

    @property
    def sums(self) -> bool:
        """Whether a reduction may run in the epilogue."""
        return True

    @property
    def sums_per_sample(self) -> bool:
        """Whether a reduction that keeps samples separate may run in the epilogue."""
        return True


ONLY = Algorithm()


@dataclass
class LoweringContext:
    """What an operation needs to know to create its launches.

    ``region`` is the epilogue, with its operands. The last value of ``prologue``, where there is one, is the node's
    input. ``batch_specialized`` collects the nodes that are lowered differently for one sample than for many.
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
        """The processor that the kernels are for."""
        return self.options.target

    @property
    def domain(self) -> Domain:
        """The domain of the epilogue."""
        return self.region.domain

    def storage(self, value: Value) -> Storage:
        """Where a value's elements lie."""
        return self.storage_of(value)

    def is_constant(self, value: Value) -> bool:
        """Whether the value is an input that does not change from run to run."""
        return isinstance(value.node.op, Input) and value.node.op.name in self.options.constant_inputs

    def buffer(self, name: str, fixed: int = 0, per_group: int = 0, group: int = 1) -> Buffer:
        """New scratch memory."""
        return Buffer(name, fixed, per_group, group)


@dataclass(frozen=True)
class Anchor(Op):
    """Base of operations with their own kernels (abstract)."""

    has_epilogue: ClassVar[bool] = False
    """Whether elementwise work on the first output may run in the kernel's loop."""
    planar_outputs: ClassVar[bool] = False
    """Whether the kernel writes plain outputs row by row instead of as one run of elements."""
    contiguous_inputs: ClassVar[bool] = False
    """Whether the kernel reads plain inputs as one run of elements, which cannot have a halo."""

    def accepts_prologue(self) -> bool:
        """Whether the only input may be computed where the kernel loads it, once or little more per element."""
        return False

    def reads_bfloat16(self, inputs: Sequence[Value], value: Value) -> bool:
        """Whether the kernel can read this input when it is stored in bfloat16."""
        return False

    def algorithm(self, inputs: Sequence[TensorType], stored: Sequence[DType], options: CompileOptions) -> Algorithm:
        """How to compute it: a function of the types, the dtypes in which the inputs are stored, and the options."""
        return ONLY

    def input_layouts(
        self, inputs: Sequence[TensorType], blocks: Sequence[int], algorithm: Algorithm
    ) -> tuple[InputLayout, ...]:
        """The required layout of each input, given the inputs' channel blocks; by default every input is blocked."""
        return tuple(InputLayout((BLOCK,)) for _ in inputs)

    def output_layouts(self, inputs: Sequence[TensorType], blocks: Sequence[int]) -> tuple[int, ...]:
        """The channel block of each output, given the inputs' blocks; by default every output is blocked."""
        return tuple(BLOCK for _ in self.infer(*inputs))

    def lower(self, context: LoweringContext) -> list[Launch]:
        """The launches that compute the node and run the context's region."""
        raise NotImplementedError
