"""Writes artefacts, compiled networks as one object file: the functions and tables around the kernels.

``artefact.py`` describes the result.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llvmlite import ir

from striate.codegen import elf, jit
from striate.codegen.artefact import (
    ALIGNMENT,
    CONSTANTS_SECTION,
    STATE,
    STATUS_TEXTS,
    WEIGHTS_HEADER,
    Artefact,
    Entry,
    Status,
    aligned,
)
from striate.codegen.function_writer import I32, I64, KERNEL, POINTER, FunctionWriter
from striate.codegen.jit import KernelSource
from striate.codegen.processor_check import write_level_check
from striate.codegen.soft_fma import write_soft_fma
from striate.codegen.target import Target, baseline, has_fma

_NO_FAILURE = 2**64 - 1
_OFFSET_BITS = 56
_PARALLEL = ir.LiteralStructType([POINTER, I32, POINTER])  # context, threads, run


def compile_artefact(artefact: Artefact) -> bytes:
    """Return the object file of ``artefact``, a compiled network, as bytes.

    Raises ``GraphError`` if the code calls a function of a library.
    """
    return _ObjectWriter(artefact).compile()


class _StateWriter(FunctionWriter):
    """Writes a function with access to the state of a run."""

    def get(self, state: Any, name: str) -> Any:
        return self.builder.load(self.word(state, STATE[name]), typ=I64)

    def put(self, state: Any, name: str, value: Any) -> None:
        self.builder.store(value, self.word(state, STATE[name]))

    def word(self, base: Any, index: Any) -> Any:
        position = index if isinstance(index, ir.Value) else I64(index)
        return self.builder.gep(base, [position], source_etype=I64)

    def bytes_from(self, pointer: Any, offset: Any) -> Any:
        position = offset if isinstance(offset, ir.Value) else I64(offset)
        return self.builder.gep(pointer, [position], source_etype=ir.IntType(8))

    def call_kernel(self, state: Any, chunk: Any, scratch: Any) -> Any:
        kernel = self.builder.inttoptr(self.get(state, "kernel"), KERNEL.as_pointer())
        return self.builder.call(
            kernel, [chunk, self.get(state, "count"), self.word(state, STATE["operands"]), scratch]
        )


class _ObjectWriter:
    """Writes the functions and tables of an artefact around its kernels."""

    def __init__(self, artefact: Artefact) -> None:
        self.artefact = artefact
        self.base = baseline(artefact.levels[0])
        self.module = ir.Module(artefact.name)
        self.module.triple = self.base.triple
        self.texts: dict[str, str] = {}  # symbol of a kernel → its IR
        self.kernels: dict[str, str] = {}  # symbol of a kernel at a level → its IR for that level

    def compile(self) -> bytes:
        self.write_tables()
        self.serial = self.write_serial()
        self.work = self.write_work()
        self.walk = self.write_walk()
        self.level = write_level_check(self.module, self.artefact.level_names)
        self.check = self.write_remembered_check()
        for number, entry in enumerate(self.artefact.entries):
            self.write_runs(number, entry)
        self.write_information()
        if any(not has_fma(level) for level in self.artefact.levels):
            write_soft_fma(self.module)
        texts = [str(self.module), *self.kernels.values()]
        data = jit.compile_linked(texts, self.base, self.artefact.functions)
        elf.require_self_contained(data)
        if self.artefact.external:
            return data
        return elf.with_section(data, CONSTANTS_SECTION, self.artefact.constants)

    # -- tables -------------------------------------------------------------------------------------------------

    def constant(self, name: str, element: ir.Type, values: Sequence[Any]) -> ir.GlobalVariable:
        type = ir.ArrayType(element, max(1, len(values)))
        found = ir.GlobalVariable(self.module, type, name)
        found.global_constant, found.linkage = True, "internal"
        found.initializer = ir.Constant(type, [element(v) if isinstance(v, int) else v for v in values] or None)
        return found

    def write_tables(self) -> None:
        programs: list[int] = []
        rows: list[Any] = []
        operands: list[int] = []
        for number, level in enumerate(self.artefact.levels):
            for entry in self.artefact.entries:
                for program in entry.programs[number]:
                    programs += [len(rows) // 5, len(rows) // 5 + len(program)]
                    for phase in program:
                        kernel = self.relative(self.kernel(phase.kernel, level, number))
                        rows += [kernel, phase.per, phase.group, len(operands), len(phase.operands)]
                        operands += [base << _OFFSET_BITS | offset for base, offset in phase.operands]
        self.programs = self.constant("programs", I32, programs)
        self.operands = self.constant("operands", I64, operands)
        self.phases = self.constant("phases", I32, rows)
        if not self.artefact.external:
            type = ir.ArrayType(ir.IntType(8), max(1, len(self.artefact.constants)))
            self.constants = ir.GlobalVariable(self.module, type, "constants")
            self.constants.global_constant, self.constants.linkage = True, "internal"
            self.constants.initializer = ir.Constant(type, None)  # written into the finished object: IR would be huge
            self.constants.align, self.constants.section = ALIGNMENT, CONSTANTS_SECTION

    def kernel(self, source: KernelSource, level: Target, number: int) -> str:
        """Return the symbol of a kernel compiled for a level, and remember its IR."""
        symbol = f"{source.symbol}.{number}"
        if symbol not in self.kernels:
            ir.Function(self.module, KERNEL, symbol)
            if source.symbol not in self.texts:
                self.texts[source.symbol] = source.ir()
            self.kernels[symbol] = jit.for_target(self.texts[source.symbol], source.symbol, symbol, level)
        return symbol

    @staticmethod
    def relative(symbol: str) -> Any:
        """Return the distance from the table of phases to a kernel, which does not depend on the load address."""
        distance = f'i64 sub (i64 ptrtoint (ptr @"{symbol}" to i64), i64 ptrtoint (ptr @"phases" to i64))'
        return ir.FormattedConstant(I32, f"trunc ({distance} to i32)")

    # -- running ------------------------------------------------------------------------------------------------

    def write_serial(self) -> ir.Function:
        """Write serial(state), which runs all chunks of the current phase up to the first failure."""
        w = _StateWriter(self.module, "serial", ir.VoidType(), [POINTER])
        (state,) = w.arguments
        restore = w.flush_denormals()
        chunks = w.get(state, "chunks")
        scratch = w.builder.inttoptr(w.get(state, "threads"), POINTER)
        slot = w.variable(I64(0))
        with w.loop() as loop:
            chunk = w.builder.load(slot, typ=I64)
            loop.leave_if(w.is_(">=", chunk, chunks))
            status = w.call_kernel(state, chunk, scratch)
            with w.builder.if_then(w.is_("!=", status, 0), likely=False):
                w.put(state, "failure", w.builder.zext(status, I64))
                w.builder.store(chunks, slot)
                loop.again()
            w.builder.store(w.builder.add(chunk, I64(1)), slot)
        restore()
        w.builder.ret_void()
        return w.function

    def write_work(self) -> ir.Function:
        """Write work(state, index), one iteration of the caller's loop: it runs chunks until none is left.

        Iterations may run at the same time or one after the other. Each has its own scratch memory, by ``index``.
        """
        w = _StateWriter(self.module, "work", ir.VoidType(), [POINTER, I32])
        b = w.builder
        state, index = w.arguments
        restore = w.flush_denormals()
        size = aligned(self.artefact.thread_scratch)
        threads = b.inttoptr(w.get(state, "threads"), POINTER)
        scratch = w.bytes_from(threads, b.mul(b.zext(index, I64), I64(size)))
        chunks = w.get(state, "chunks")
        slot = w.variable(I64(0))
        with w.loop() as loop:
            chunk = b.atomic_rmw("add", w.word(state, STATE["next"]), I64(1), "monotonic")
            loop.leave_if(w.is_(">=", chunk, chunks))
            status = w.call_kernel(state, chunk, scratch)
            with b.if_then(w.is_("!=", status, 0), likely=False):
                failure = b.or_(b.shl(chunk, I64(32)), b.zext(status, I64))
                b.atomic_rmw("umin", w.word(state, STATE["failure"]), failure, "monotonic")
            b.store(b.add(b.load(slot, typ=I64), I64(1)), slot)
        b.atomic_rmw("add", w.word(state, STATE["finished"]), b.load(slot, typ=I64), "release")
        restore()
        b.ret_void()
        return w.function

    def write_walk(self) -> ir.Function:
        """Write walk(state, program, parallel), which runs the phases of a program and returns the status."""
        w = _StateWriter(self.module, "walk", I32, [POINTER, I64, POINTER])
        b = w.builder
        state, program, parallel = w.arguments

        def entry(table: ir.GlobalVariable, element: ir.Type, index: Any) -> Any:
            return b.load(b.gep(table, [index], source_etype=element), typ=element)

        first = b.zext(entry(self.programs, I32, b.shl(program, I64(1))), I64)
        end = b.zext(entry(self.programs, I32, b.or_(b.shl(program, I64(1)), I64(1))), I64)
        threads = self.threads_of(w, parallel)
        phase_slot, operand_slot = w.variable(first), w.variable(I64(0))
        with w.loop() as loop:
            phase = b.load(phase_slot, typ=I64)
            loop.leave_if(w.is_("==", phase, end))
            row = b.mul(phase, I64(5))
            fields = [b.sext(entry(self.phases, I32, b.add(row, I64(i))), I64) for i in range(5)]
            distance, per, group, first_operand, count = fields
            kernel = b.ptrtoint(w.bytes_from(self.phases, distance), I64)
            safe_group = b.select(w.is_("==", group, 0), I64(1), group)
            n = w.get(state, "count")
            groups = b.udiv(b.add(n, b.sub(safe_group, I64(1))), safe_group)
            chunks = b.select(w.is_("==", group, 0), per, b.mul(per, groups))
            b.store(I64(0), operand_slot)
            with w.loop() as operand_loop:
                place = b.load(operand_slot, typ=I64)
                operand_loop.leave_if(w.is_("==", place, count))
                code = entry(self.operands, I64, b.add(first_operand, place))
                base = b.add(b.lshr(code, I64(_OFFSET_BITS)), I64(STATE["scratch"]))
                address = b.add(
                    b.load(w.word(state, base), typ=I64), b.and_(code, I64((1 << _OFFSET_BITS) - 1))
                )  # fmt: skip
                b.store(address, w.word(state, b.add(place, I64(STATE["operands"]))))
                b.store(b.add(place, I64(1)), operand_slot)
            w.put(state, "kernel", kernel)
            w.put(state, "chunks", chunks)
            w.put(state, "failure", I64(_NO_FAILURE))
            alone = b.or_(w.is_("<=", chunks, 1), w.is_("<=", threads, 1))
            with b.if_else(alone) as (serially, together):
                with serially:
                    b.call(self.serial, [state])
                with together:
                    self.write_parallel(w, state, parallel, chunks, threads)
            with b.if_then(w.is_("!=", w.get(state, "failure"), _NO_FAILURE), likely=False):
                b.ret(I32(Status.INPUT))
            b.store(b.add(phase, I64(1)), phase_slot)
        b.ret(I32(Status.OK))
        return w.function

    def threads_of(self, w: _StateWriter, parallel: Any) -> Any:
        """Return the number of threads of the caller's loop: 1 if there is no loop."""
        b = w.builder
        slot = w.variable(I64(1))
        with b.if_then(w.is_("!=", b.ptrtoint(parallel, I64), 0)):
            found = b.load(b.gep(parallel, [I32(0), I32(1)], source_etype=_PARALLEL), typ=I32)
            run = b.load(b.gep(parallel, [I32(0), I32(2)], source_etype=_PARALLEL), typ=I64)
            with b.if_then(b.and_(b.icmp_signed(">", found, I32(1)), w.is_("!=", run, 0))):
                b.store(b.zext(found, I64), slot)
        return b.load(slot, typ=I64)

    def write_parallel(self, w: _StateWriter, state: Any, parallel: Any, chunks: Any, threads: Any) -> None:
        """Write the code that runs a phase in the caller's loop of min(threads, chunks) iterations."""
        b = w.builder
        w.put(state, "next", I64(0))
        w.put(state, "finished", I64(0))
        context = b.load(b.gep(parallel, [I32(0), I32(0)], source_etype=_PARALLEL), typ=POINTER)
        run = b.load(b.gep(parallel, [I32(0), I32(2)], source_etype=_PARALLEL), typ=I64)
        kind = ir.FunctionType(ir.VoidType(), [POINTER, I32, POINTER, POINTER])
        count = b.trunc(b.select(w.is_("<", chunks, threads), chunks, threads), I32)
        b.call(b.inttoptr(run, kind.as_pointer()), [context, count, self.work, state])
        finished = w.acquire(w.word(state, STATE["finished"]))
        with b.if_then(w.is_("!=", finished, chunks), likely=False):
            b.ret(I32(Status.PARALLEL))

    def write_remembered_check(self) -> ir.Function:
        """Write check(state), which returns the level to run, or -1, and remembers a level in the state.

        A token is the fingerprint of the artefact plus the level. So scratch memory with any contents is accepted: the
        check runs unless they are the token by chance.
        """
        w = _StateWriter(self.module, "check", I64, [POINTER])
        b = w.builder
        (state,) = w.arguments
        fingerprint = I64(int.from_bytes(self.artefact.fingerprint, "little"))
        known = b.sub(w.get(state, "token"), fingerprint)
        with b.if_then(w.is_("<", known, len(self.artefact.levels)), likely=True):
            b.ret(known)
        level = b.sext(b.call(self.level, []), I64)
        with b.if_then(b.icmp_signed(">=", level, I64(0)), likely=True):
            w.put(state, "token", b.add(level, fingerprint))
        b.ret(level)
        return w.function

    def write_runs(self, number: int, entry: Entry) -> None:
        """Write NAME_run_batch, for a given number of samples, and NAME_run, for the largest."""
        name, batch = f"{self.artefact.name}_run_batch{entry.suffix}", self.artefact.batch
        extra = [POINTER] if self.artefact.external else []
        w = _StateWriter(self.module, name, I32, [*extra, I32, POINTER, POINTER, POINTER, POINTER], public=True)
        b = w.builder
        *weights, count, given, output, scratch, parallel = w.arguments

        def refuse(condition: Any, status: Status) -> None:
            with b.if_then(condition, likely=False):
                b.ret(I32(status))

        addresses = [b.ptrtoint(pointer, I64) for pointer in (given, output, scratch, *weights)]
        for address in addresses:
            refuse(w.is_("==", address, 0), Status.POINTER)
        for address in addresses[2:]:
            refuse(w.is_("!=", b.and_(address, I64(ALIGNMENT - 1)), 0), Status.ALIGNMENT)
        refuse(w.is_(">=", b.sub(count, I32(1)), batch), Status.COUNT)
        constants: Any
        if weights:
            expected = int.from_bytes(self.artefact.fingerprint, "little")
            refuse(w.is_("!=", b.load(w.word(weights[0], 1), typ=I64), expected), Status.WEIGHTS)
            constants = b.add(addresses[3], I64(WEIGHTS_HEADER))
        else:
            constants = b.ptrtoint(self.constants, I64)
        level = b.call(self.check, [scratch])
        refuse(b.icmp_signed("<", level, I64(0)), Status.PROCESSOR)
        arena = b.add(addresses[2], I64(self.artefact.arena_offset))
        w.put(scratch, "scratch", arena)
        w.put(scratch, "constants", constants)
        w.put(scratch, "input", addresses[0])
        w.put(scratch, "output", addresses[1])
        w.put(scratch, "count", b.zext(count, I64))
        w.put(scratch, "threads", b.add(arena, I64(aligned(self.artefact.arena))))
        several = b.zext(w.is_("!=", count, 1), I64)
        row = b.add(b.mul(level, I64(len(self.artefact.entries))), I64(number))
        b.ret(b.call(self.walk, [scratch, b.add(b.shl(row, I64(1)), several), parallel]))

        name = f"{self.artefact.name}_run{entry.suffix}"
        whole = FunctionWriter(self.module, name, I32, [*extra, *[POINTER] * 4], public=True)
        arguments = list(whole.arguments)
        arguments.insert(len(extra), I32(batch))
        whole.builder.ret(whole.builder.call(w.function, arguments))

    # -- information --------------------------------------------------------------------------------------------

    def write_information(self) -> None:
        """Write the functions that describe the artefact."""
        prefix = self.artefact.name
        for name, value in self.artefact.numbers.items():
            number = FunctionWriter(self.module, f"{prefix}_{name}", I32, [], public=True)
            number.builder.ret(I32(value))
        for name, shape in (("input_shape", self.artefact.input_shape), ("output_shape", self.artefact.output_shape)):
            sizes = self.constant(f"{name}.sizes", I32, shape)
            pointer = FunctionWriter(self.module, f"{prefix}_{name}", POINTER, [], public=True)
            pointer.builder.ret(sizes)
        w = FunctionWriter(self.module, f"{prefix}_scratch_size", I64, [I32], public=True)
        (threads,) = w.arguments
        least = w.builder.select(w.builder.icmp_signed(">", threads, I32(1)), threads, I32(1))
        size = aligned(self.artefact.thread_scratch)
        fixed = self.artefact.scratch_size() - size
        w.builder.ret(w.builder.add(I64(fixed), w.builder.mul(w.builder.zext(least, I64), I64(size))))
        w = FunctionWriter(self.module, f"{prefix}_level", I32, [], public=True)
        w.builder.ret(w.builder.call(self.level, []))
        self.write_text_function(f"{prefix}_target", self.artefact.level_names)
        self.write_text_function(f"{prefix}_class_name", self.artefact.classes)
        self.write_text_function(f"{prefix}_status_text", [STATUS_TEXTS[status] for status in Status])

    def write_text_function(self, name: str, texts: Sequence[str]) -> None:
        """Write a function that returns text number i, or NULL if there is no such text."""
        offsets, content = [0], b""
        for text in texts:
            content += text.encode() + b"\0"
            offsets.append(len(content))
        table = self.constant(f"{name}.offsets", I32, offsets)
        letters = self.constant(f"{name}.letters", ir.IntType(8), list(content))
        w = _StateWriter(self.module, name, POINTER, [I32], public=True)
        b = w.builder
        (number,) = w.arguments
        with b.if_then(w.is_(">=", number, len(texts)), likely=False):
            b.ret(ir.Constant(POINTER, None))
        offset = b.load(b.gep(table, [b.zext(number, I64)], source_etype=I32), typ=I32)
        b.ret(w.bytes_from(letters, b.zext(offset, I64)))
