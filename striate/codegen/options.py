"""The options of a compilation: everything that the compiler's stages depend on besides the graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from striate.dtypes import Precision

if TYPE_CHECKING:
    from striate.codegen.target import Target  # not at run time: it imports LLVM, which `import striate` must not


@dataclass(frozen=True)
class CompileOptions:
    """The options of one compilation, which every stage and every operation can read.

        target           the processor whose instructions are used
        winograd         whether convolutions may use Winograd's minimal filtering
        precision        how activations are stored, and to what type the operands of contractions are rounded
        capacity         the size of the largest batch, for which memory is planned, or 0 if it is not known
        single_sample    whether N is always 1
        single_threaded  whether the program is so small that the calling thread runs it alone
        constant_inputs  names of inputs that rarely change; work that depends only on them runs only when they change

    N is the batch size, and contractions are convolutions and matrix products. Only ``target``, ``winograd``,
    ``precision`` and ``single_sample`` can change the bits of a result.
    """

    target: Target
    winograd: bool = True
    precision: Precision = Precision.full
    capacity: int = 0
    single_sample: bool = False
    single_threaded: bool = False
    constant_inputs: frozenset[str] = frozenset()
