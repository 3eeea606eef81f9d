"""The options of a compilation: everything besides the graph itself that the compiler's stages depend on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from striate.dtypes import Precision

if TYPE_CHECKING:
    from striate.codegen.target import Target  # it opens LLVM, which `import striate` does without


@dataclass(frozen=True)
class CompileOptions:
    """One frozen value that every stage and every operation reads.

    target           the processor whose instructions are used
    winograd         whether convolutions may use Winograd's minimal filtering
    precision        how activations are stored and what contractions multiply
    capacity         the largest batch, where it is known, else 0: it plans memory and the stores past the caches
    single_sample    whether N is always 1
    single_threaded  whether the program is so little work that the caller's thread runs it without the others
    constant_inputs  inputs that stay as they are from run to run: what depends on them alone is kept apart

    None of them changes a bit of any result but ``winograd``, ``precision``, the target's kind and, where it makes
    another algorithm the better one, ``single_sample``.
    """

    target: Target
    winograd: bool = True
    precision: Precision = Precision.full
    capacity: int = 0
    single_sample: bool = False
    single_threaded: bool = False
    constant_inputs: frozenset[str] = frozenset()
