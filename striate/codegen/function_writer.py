"""Writes native functions other than kernels, such as those of the driver, as LLVM IR."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from llvmlite import ir

from striate.errors import EngineError

I32, I64 = ir.IntType(32), ir.IntType(64)
POINTER = ir.PointerType()
WORDS = I64.as_pointer()
KERNEL = ir.FunctionType(I32, [I64, I64, POINTER, POINTER])
"""The type of every kernel: status = kernel(chunk, n, operands, scratch of the thread)."""


@dataclass(frozen=True)
class Machine:
    """The architecture and operating system for which native code is written, as an LLVM triple names them.

    ``arm`` is whether the architecture is 64-bit ARM, and ``windows`` whether the operating system is Windows.
    """

    triple: str

    @property
    def arm(self) -> bool:
        return self.triple.startswith(("aarch64", "arm64"))

    @property
    def windows(self) -> bool:
        return "windows" in self.triple

    def check(self) -> None:
        """Raise ``EngineError`` unless the processor is x86-64 or 64-bit ARM."""
        if not self.arm and not self.triple.startswith(("x86_64", "amd64")):
            raise EngineError(f"no driver is written for {self.triple}; STRIATE_ENGINE=reference runs in NumPy")


class FunctionWriter:
    """Writes one native function, with branches and loops as ``with`` blocks.

    The function ``name`` is added to the LLVM module. ``result`` is the type of its result, and ``arguments`` are the
    types of its arguments. Unless ``public``, the function is visible only inside the module. The attribute
    ``arguments`` of the writer holds the function's arguments as LLVM values.
    """

    def __init__(self, module: ir.Module, name: str, result: ir.Type, arguments: list[ir.Type], public: bool = False):
        self.module = module
        self.function = ir.Function(module, ir.FunctionType(result, arguments), name)
        if not public:
            self.function.linkage = "internal"
        self.arguments: tuple[Any, ...] = self.function.args
        self.builder: Any = ir.IRBuilder(self.function.append_basic_block("entry"))
        self.machine = Machine(str(module.triple))

    def intrinsic(self, name: str, result: ir.Type, arguments: list[Any]) -> Any:
        """Write a call of LLVM's intrinsic ``name``, declared at its first use; return the value of the call.

        ``result`` is the type of this value, and ``arguments`` are LLVM values.
        """
        function = self.module.globals.get(name)
        if function is None:
            function = ir.Function(self.module, ir.FunctionType(result, [a.type for a in arguments]), name)
        return self.builder.call(function, arguments)

    # Memory

    def word(self, base: Any, index: Any) -> Any:
        """Return the address of the 64-bit word number ``index`` of an array of words that begins at ``base``."""
        return self.builder.gep(base, [index if isinstance(index, ir.Value) else I64(index)])

    def acquire(self, address: Any) -> Any:
        """Return the 64-bit word at ``address``, read by an atomic load with acquire ordering.

        Later accesses of this thread see what another thread wrote before it stored the word with ``release``.
        """
        return self.builder.load_atomic(address, "acquire", 8, typ=I64)

    def release(self, value: Any, address: Any) -> None:
        """Store ``value`` to the 64-bit word at ``address``, by an atomic store with release ordering.

        A thread that loads the word with ``acquire`` also sees all earlier writes of this thread.
        """
        self.builder.store_atomic(value, address, "release", 8)

    def variable(self, value: Any) -> Any:
        """Return the address of a new variable on the stack, with the initial value ``value``."""
        with self.builder.goto_entry_block():
            slot = self.builder.alloca(value.type)
        self.builder.store(value, slot)
        return slot

    # Control

    def is_(self, comparison: str, left: Any, right: Any) -> Any:
        """Return the result of a comparison of two unsigned integers, as an LLVM value of type i1.

        ``comparison`` is "==", "!=", "<", "<=", ">" or ">=". ``right`` may be a Python int.
        """
        return self.builder.icmp_unsigned(comparison, left, left.type(right) if isinstance(right, int) else right)

    @contextmanager
    def loop(self) -> Generator[Loop]:
        """Write an endless loop around the instructions of this ``with`` block.

        The block gets a ``Loop``, whose methods leave the loop or start its next iteration.
        """
        head = self.function.append_basic_block("loop")
        after = self.function.append_basic_block("after")
        self.builder.branch(head)
        self.builder.position_at_end(head)
        yield Loop(self, head, after)
        if not self.builder.block.is_terminated:
            self.builder.branch(head)
        self.builder.position_at_end(after)

    # The machine

    def cycles(self) -> Any:
        """Write code that reads the processor's clock, and return the time in ticks of that clock."""
        if self.machine.arm:
            # Programs may not read ARM's cycle counter. They may read its timer, which has fewer ticks per second.
            register = self.module.add_metadata(["cntvct_el0"])
            return self.intrinsic("llvm.read_volatile_register.i64", I64, [register])
        return self.intrinsic("llvm.readcyclecounter", I64, [])

    def pause(self) -> None:
        """Write the instruction that tells the processor that the thread is waiting in a loop."""
        if self.machine.arm:
            self.intrinsic("llvm.aarch64.hint", ir.VoidType(), [I32(1)])
        else:
            self.intrinsic("llvm.x86.sse2.pause", ir.VoidType(), [])

    def flush_denormals(self) -> Callable[[], None]:
        """Write code that sets the floating-point control: round to nearest, no traps, denormals are 0.

        Returns a Python function. Call it to write the code that restores the previous control word.
        """
        if self.machine.arm:
            before = self.intrinsic("llvm.aarch64.get.fpcr", I64, [])
            self.intrinsic("llvm.aarch64.set.fpcr", ir.VoidType(), [I64(1 << 24)])
            return lambda: self.intrinsic("llvm.aarch64.set.fpcr", ir.VoidType(), [before])
        saved = self.variable(I32(0))
        ours = self.variable(I32(0x1F80 | 0x8000 | 0x0040))
        self.intrinsic("llvm.x86.sse.stmxcsr", ir.VoidType(), [saved])
        self.intrinsic("llvm.x86.sse.ldmxcsr", ir.VoidType(), [ours])
        return lambda: self.intrinsic("llvm.x86.sse.ldmxcsr", ir.VoidType(), [saved])


@dataclass(frozen=True)
class Loop:
    """An endless loop that is being written; its methods write branches out of it and back to its start.

    ``writer`` writes the function that contains the loop. ``head`` is the LLVM block at the start of the loop, and
    ``after`` the block behind the loop.
    """

    writer: FunctionWriter
    head: Any
    after: Any

    def leave_if(self, condition: Any) -> None:
        """Write a branch that leaves the loop if ``condition`` is true."""
        self._jump_if(condition, self.after)

    def again_if(self, condition: Any) -> None:
        """Write a branch that starts the next iteration if ``condition`` is true."""
        self._jump_if(condition, self.head)

    def again(self) -> None:
        """Write a jump that starts the next iteration."""
        self.writer.builder.branch(self.head)

    def _jump_if(self, condition: Any, target: Any) -> None:
        following = self.writer.function.append_basic_block("on")
        self.writer.builder.cbranch(condition, target, following)
        self.writer.builder.position_at_end(following)
