"""Artefacts: a compiled network as one object file with a C interface, which needs no library and no Python.

    int NAME_run(input, output, scratch, parallel)

``parallel`` is the caller's parallel loop, or NULL to run on the calling thread alone. The function returns a
``Status``.

The object file contains the kernels (native functions), the constant arrays (packed weights), and three tables. A
*phase* runs one kernel once for each *chunk*, a part of the work. A phase has ``per`` chunks if ``group`` is 0, else
per · ⌈N / group⌉ for N samples. A *level* is an instruction set, such as that of x86-64-v3. A run uses the best level
that the processor supports.

    programs     │ first phase, end │ …        one for each level and input type, for N = 1 and for N > 1
    phases       │ kernel, per, group, first operand, operands │ …          kernel: its distance from this table
    operands     │ base << 56 | offset │ …     base: scratch memory, constants, input or output

Apart from the output, a run writes only to the caller's scratch memory, which contains, in this order, the state of the
run (``STATE``), the intermediate arrays, and the scratch memory of each thread. So several runs with different scratch
memory can be in progress at the same time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum

from striate.codegen.jit import KernelSource
from striate.codegen.target import Target

ABI_VERSION = 1
ALIGNMENT = 64
CONSTANTS_SECTION = ".rodata.striate.constants"
WEIGHTS_HEADER = 64
"""Bytes before the arrays in a file of external weights: a magic text, and the fingerprint of the artefact."""


class Status(IntEnum):
    """The result of a run of an artefact (a network as an object file with C functions): OK, or why it failed.

    ``STATUS_TEXTS`` maps each status to a text that describes it.
    """

    OK = 0
    PROCESSOR = 1
    POINTER = 2
    ALIGNMENT = 3
    COUNT = 4
    PARALLEL = 5
    WEIGHTS = 6
    INPUT = 7


STATUS_TEXTS = {
    Status.OK: "no error",
    Status.PROCESSOR: "this processor or operating system lacks instructions that the network was compiled for",
    Status.POINTER: "the input, output, scratch memory or weights are NULL",
    Status.ALIGNMENT: f"the scratch memory or the weights are not aligned to {ALIGNMENT} bytes",
    Status.COUNT: "the number of samples is not between 1 and the largest batch",
    Status.PARALLEL: "the caller's parallel loop did not run all its iterations",
    Status.WEIGHTS: "the weights are not those of this network",
    Status.INPUT: "the input contains a value that the network cannot process",
}


class Base(IntEnum):
    """The kinds of memory in which an operand (an array) of a kernel can lie.

    The place of an operand is a pair: one of these kinds, and an offset in bytes from the start of that memory.
    """

    SCRATCH = 0
    CONSTANTS = 1
    INPUT = 2
    OUTPUT = 3


@dataclass(frozen=True)
class ArtefactPhase:
    """One phase of a compiled network: a kernel, which runs once for each chunk (part) of its work.

    ``operands`` has the place of each array that the kernel gets, as (memory, offset in bytes). The number of chunks is
    ``per`` if ``group`` is 0, else per · ⌈N / group⌉ for N samples.
    """

    kernel: KernelSource
    operands: tuple[tuple[Base, int], ...]
    per: int
    group: int


ArtefactProgram = tuple[ArtefactPhase, ...]


@dataclass(frozen=True)
class Entry:
    """An exported function that runs the network on inputs of one element type.

    ``suffix`` is appended to the function's name: "_uint8" for uint8, otherwise "". ``programs`` has a pair of programs
    for each level (a set of processor instructions): one for a single sample, and one for several samples.
    """

    suffix: str
    programs: tuple[tuple[ArtefactProgram, ArtefactProgram], ...]


STATE = {
    "token": 0,
    "scratch": 8, "constants": 9, "input": 10, "output": 11,
    "kernel": 12, "count": 13, "chunks": 14, "threads": 15,
    "next": 24,
    "failure": 32, "finished": 33,
    "operands": 40,
}  # fmt: skip
"""The words at the start of the scratch memory. *token* remembers the level that a check of the processor found,
because in a virtual machine such a check can take longer than a small network. *next*, *failure* and *finished* are
written by all threads, *threads* is the address of the threads' scratch memory."""


def aligned(size: int) -> int:
    """Return ``size``, a number of bytes, rounded up to a multiple of 64."""
    return -(-size // ALIGNMENT) * ALIGNMENT


@dataclass(frozen=True)
class Artefact:
    """Everything from which the object file of a compiled network is written.

    name            the prefix of the functions
    levels          the target processors, in ascending order of their instruction sets; all of one architecture
    level_names     their names, such as "x86-64-v4 (znver5)"
    entries         the functions that run the network, one for each element type of the input
    batch           the largest number of samples
    arena           bytes of scratch memory for the intermediate arrays
    thread_scratch  bytes of scratch memory for each thread
    constants       the contents of the constant arrays
    fingerprint     eight bytes that identify the network, its sizes and its constants
    external        whether the caller passes the constants to each run; otherwise they are part of the object file
    classes         the names of the classes, or ()
    input_shape     the sizes of one sample, and ``output_shape`` those of its output
    """

    name: str
    levels: tuple[Target, ...]
    level_names: tuple[str, ...]
    entries: tuple[Entry, ...]
    batch: int
    arena: int
    thread_scratch: int
    constants: bytes
    fingerprint: bytes
    external: bool
    classes: tuple[str, ...]
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]

    @property
    def functions(self) -> list[str]:
        """The names of the functions that the object file exports."""
        runs = [f"{run}{entry.suffix}" for entry in self.entries for run in ("run", "run_batch")]
        others = ("scratch_size", "level", "target", "class_name", "status_text", "input_shape", "output_shape")
        return [f"{self.name}_{one}" for one in (*runs, *others, *self.numbers)]

    @property
    def numbers(self) -> dict[str, int]:
        """The sizes and limits that the object file exports as functions without arguments, by function name.

        They include the largest batch, the alignment of memory in bytes, and the number of elements of one input.
        """
        return {
            "abi_version": ABI_VERSION, "alignment": ALIGNMENT, "batch": self.batch,
            "input_size": math.prod(self.input_shape), "input_rank": len(self.input_shape),
            "output_size": math.prod(self.output_shape), "output_rank": len(self.output_shape),
            "classes": len(self.classes), "levels": len(self.levels),
        }  # fmt: skip

    @property
    def most_operands(self) -> int:
        """The number of operands of the kernel that has the most."""
        return max(len(phase.operands) for phase in self._all_phases())

    @property
    def arena_offset(self) -> int:
        """The offset in bytes at which the intermediate arrays begin in the scratch memory of a run."""
        return aligned(8 * (STATE["operands"] + self.most_operands))

    def scratch_size(self, threads: int = 1) -> int:
        """Return how many bytes of scratch memory a run on ``threads`` threads needs."""
        return self.arena_offset + aligned(self.arena) + max(1, threads) * aligned(self.thread_scratch)

    def _all_phases(self) -> list[ArtefactPhase]:
        return [
            phase for entry in self.entries for both in entry.programs for program in both for phase in program
        ]  # fmt: skip
