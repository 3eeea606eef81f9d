"""Kernel: writes a native function as LLVM IR.

Every kernel has one signature,

    i32 kernel(i64 chunk, i64 n, ptr operands, ptr scratch)

``chunk`` says which part of the work to do, ``n`` is the run-time batch size, ``operands`` is an array of pointers and
``scratch`` the memory of the calling thread. The writer is built in layers, one file each:

    control.py              loops, branches, index arithmetic
    vector_arithmetic.py    computing with vectors in registers
    memory_access.py        loads and stores
    kernel.py               operands, and the end of the function
"""

from __future__ import annotations

from typing import Any

from striate.codegen.ir import I32, I64, POINTER
from striate.codegen.lanes import Index, index_constant
from striate.codegen.memory_access import MemoryAccess


class Kernel(MemoryAccess):
    """Writes one kernel (a native function): each method appends instructions and returns their result.

    ``symbol`` is the name of the function. Its arguments are ``chunk`` (the number of the part of the work to do),
    ``n`` (the batch size), the operands, and ``scratch`` (the address of the calling thread's scratch memory). A method
    that "returns a + b" writes the instructions that compute a + b, and returns the LLVM value of the result.
    """

    def __init__(self, symbol: str) -> None:
        super().__init__(symbol)
        self._pointers: dict[int, Any] = {}
        self._zero: Index = None

    def operand(self, number: int) -> Any:
        """Return the address of the array that is operand ``number`` of the kernel."""
        if number not in self._pointers:
            with self.at_entry():
                slot = self.builder.gep(self._operands, index_constant(number), POINTER)
                self._pointers[number] = self.builder.load(slot, POINTER)
        return self._pointers[number]

    @property
    def hidden_zero(self) -> Index:
        """The index 0, as a value that LLVM cannot recognize as 0.

        Add this index to an address from which a value was loaded before. LLVM then loads the value again, instead of
        keeping it in a register.
        """
        if self._zero is None:
            with self.at_entry():
                self._zero = self.builder.lshr(self.as_index(self.n), I64(63))
        return self._zero

    def finish(self, status: Any = 0) -> str:
        """End the function, which returns ``status`` (0: success), and return the module's LLVM IR as text."""
        if self._streams:
            # The barrier's atomic operations do not order the stores that bypass the caches.
            self.builder.fence("seq_cst")
        self.builder.ret(I32(status) if isinstance(status, int) else status)
        return self.builder.text()
