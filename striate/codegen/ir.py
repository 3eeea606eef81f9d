"""Writes the LLVM IR of one function as text, one line per instruction.

    b = Builder("twice", I32, {"x": POINTER})
    x = b.load(b.arguments[0], I32)
    b.store(b.add(x, x), b.arguments[0])
    b.ret(I32(0))
    b.text()      # a module with this function

This module has those parts of ``llvmlite.ir`` that kernels need, under the same names. It is ten times faster, because
it writes text at once and makes no objects for instructions. Functions other than kernels use ``llvmlite.ir`` itself.

A method that "returns a + b" writes the instruction that computes a + b, and returns the LLVM value of the sum. The
types of the operands are not checked here, but by LLVM.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager


class Type:
    """A type of LLVM: ``text`` is its name in IR, ``mangled`` its spelling in names of intrinsic functions."""

    __slots__ = ("mangled", "text")

    def __init__(self, text: str, mangled: str = "") -> None:
        self.text = text
        self.mangled = mangled or text

    def __str__(self) -> str:
        return self.text

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Type) and self.text == other.text)

    def __hash__(self) -> int:
        return hash(self.text)


class IntType(Type):
    """The type of integers with ``width`` bits; calling the type with a Python int returns a constant."""

    __slots__ = ("width",)

    def __init__(self, width: int) -> None:
        super().__init__(f"i{width}")
        self.width = width

    def __call__(self, value: int) -> Value:
        return Value(self, str(value))


class FloatType(Type):
    """A floating-point type; calling it with a Python float returns a constant, rounded to the type."""

    __slots__ = ()

    def __call__(self, value: float) -> Value:
        return Value(self, _number(self, value))


class VectorType(Type):
    """The type of vectors of ``count`` elements of the type ``element``."""

    __slots__ = ("count", "element")

    def __init__(self, element: Type, count: int) -> None:
        super().__init__(f"<{count} x {element.text}>", f"v{count}{element.mangled}")
        self.element, self.count = element, count


VOID = Type("void")
POINTER = Type("ptr", "p0")
I1, I8, I16, I32, I64 = (IntType(width) for width in (1, 8, 16, 32, 64))
FLOAT, DOUBLE = FloatType("float", "f32"), FloatType("double", "f64")
BFLOAT = FloatType("bfloat", "bf16")


class Value:
    """A value of LLVM: the result of an instruction, an argument, a constant, or the address of a global.

    ``text`` is its name or numeral, and ``typed`` is its type followed by ``text``, as in "i64 %v7".
    """

    __slots__ = ("text", "type", "typed")

    def __init__(self, type: Type, text: str) -> None:
        self.type = type
        self.text = text
        self.typed = f"{type.text} {text}"

    def __str__(self) -> str:
        return self.typed


class Truth(Value):
    """A bool stored as a byte (0 or 1), or a vector of such bytes, made from an LLVM condition (type i1).

    ``value`` has the bytes. The attribute ``condition`` is the condition from which the bytes were made.
    """

    __slots__ = ("condition",)

    def __init__(self, value: Value, condition: Value) -> None:
        super().__init__(value.type, value.text)
        self.condition = condition


def element_of(type: Type) -> Type:
    """Return the type of the elements of a vector type; any other type is returned unchanged."""
    return type.element if isinstance(type, VectorType) else type


def is_vector(value: Value) -> bool:
    """Return whether ``value`` is a vector, as opposed to a scalar."""
    return isinstance(value.type, VectorType)


def like(type: Type, element: Type) -> Type:
    """Return the type ``type`` with its element type replaced by ``element``.

    For a vector type, the result is the type of vectors of the same length. For a scalar type, it is ``element``.
    """
    return VectorType(element, type.count) if isinstance(type, VectorType) else element


def undefined(type: Type) -> Value:
    """Return the undefined value of the type ``type``."""
    return Value(type, "undef")


def zero(type: Type) -> Value:
    """Return the vector of the vector type ``type`` in which every element is 0."""
    return Value(type, "zeroinitializer")


def splat(type: Type, number: float) -> Value:
    """Return ``number`` as a constant of the type ``type``; for a vector type, every element is ``number``."""
    return _splat(type, repr(number), type.text)


@functools.lru_cache(4096)
def _splat(type: Type, number: str, _: str) -> Value:
    """Return ``splat`` of the number that the text spells; as keys of the cache, 0.0 and -0.0 are the same number."""
    element = element_of(type)
    text = _number(element, float(number) if isinstance(element, FloatType) else int(number))
    return Value(type, f"splat ({element.text} {text})" if isinstance(type, VectorType) else text)


def vector(element: Type, numbers: Sequence[float]) -> Value:
    """Return a constant vector of ``numbers``, with elements of the type ``element``."""
    return Value(VectorType(element, len(numbers)), f"<{_listed(element, numbers)}>")


def _listed(element: Type, numbers: Sequence[float]) -> str:
    return ", ".join([f"{element.text} {_number(element, number)}" for number in numbers])


def _number(type: Type, number: float) -> str:
    """Return a number as IR: floats as the bits of a float64, in hexadecimal, after rounding to the type."""
    if isinstance(type, IntType):
        return str(number)
    if type is FLOAT:
        number = _rounded(number)
    (bits,) = struct.unpack("<Q", struct.pack("<d", number))
    return f"0x{bits:x}"


def _rounded(number: float) -> float:
    """Return the nearest float32; numbers beyond the largest one become infinite."""
    try:
        (rounded,) = struct.unpack("<f", struct.pack("<f", number))
    except OverflowError:
        return float("inf") if number > 0 else float("-inf")
    return rounded


class Block:
    """A basic block: instructions as lines of IR, and the jump at its end.

    The attribute ``terminator`` is the line of the jump, or "" if none has been written yet.
    """

    __slots__ = ("lines", "name", "terminator")

    def __init__(self, name: str) -> None:
        self.name = name
        self.lines: list[str | Phi] = []
        self.terminator = ""


class Phi(Value):
    """A phi node of LLVM: its value depends on the block from which control came (see ``add_incoming``)."""

    __slots__ = ("incoming",)

    def __init__(self, type: Type, text: str) -> None:
        super().__init__(type, text)
        self.incoming: list[str] = []

    def add_incoming(self, value: Value, block: Block) -> None:
        """Make this node equal to ``value`` if control comes from ``block``."""
        self.incoming.append(f"[ {value.text}, %{block.name} ]")

    def line(self) -> str:
        """Return the phi instruction as a line of IR."""
        return f"{self.text} = phi {self.type.text} {', '.join(self.incoming)}"


class Function:
    """A declared function of LLVM or of a library: its name and the type of its result, for ``Builder.call``."""

    __slots__ = ("name", "result")

    def __init__(self, name: str, result: Type) -> None:
        self.name, self.result = name, result


_SIGNS = {"==": "eq", "!=": "ne", "<": "lt", "<=": "le", ">": "gt", ">=": "ge"}
_SIGNED = {sign: f"icmp {name if name in ('eq', 'ne') else 's' + name}" for sign, name in _SIGNS.items()}
_UNSIGNED = {sign: f"icmp {name if name in ('eq', 'ne') else 'u' + name}" for sign, name in _SIGNS.items()}
_ORDERED = {sign: f"fcmp o{name}" for sign, name in _SIGNS.items()}
_UNORDERED = {sign: f"fcmp u{name}" for sign, name in _SIGNS.items()} | {"uno": "fcmp uno"}


def _aligned(align: int) -> str:
    return f", align {align}" if align else ""


class Builder:
    """Writes one function in LLVM IR: each method appends an instruction and returns its result as an LLVM value.

    ``symbol`` is the name of the function, ``result`` the type of its result, and ``arguments`` has the types of its
    arguments by name. Instructions are appended to the attribute ``block``.
    """

    def __init__(self, symbol: str, result: Type, arguments: Mapping[str, Type]) -> None:
        self.symbol = symbol
        self.arguments = [Value(type, f"%{name}") for name, type in arguments.items()]
        self._result = result
        self._blocks: list[Block] = []
        self._globals: list[str] = []
        self._declared: dict[str, Function] = {}
        self._declarations: list[str] = []
        self._number = 0
        self._has_nontemporal = False
        self.block = self.append_basic_block("entry")

    def text(self) -> str:
        """Return an LLVM module, as text, with the function and the declarations and constants that it needs."""
        symbol = self.symbol
        lines = [f'; ModuleID = "{symbol}"', 'target triple = "unknown-unknown-unknown"', 'target datalayout = ""', ""]
        lines.append(f'define {self._result.text} @"{symbol}"({", ".join(a.typed for a in self.arguments)})')
        lines.append("{")
        for block in self._blocks:
            lines.append(f"{block.name}:")
            lines += [line if isinstance(line, str) else line.line() for line in block.lines]
            lines.append(block.terminator)
        lines.append("}")
        lines += self._globals
        lines += self._declarations
        if self._has_nontemporal:
            lines.append("!0 = !{ i32 1 }")
        return "\n".join(lines) + "\n"

    # -- module --

    def declare(self, name: str, result: Type, arguments: Sequence[Type]) -> Function:
        """Return the function ``name`` of LLVM or of a library, and declare it in the module at its first use."""
        found = self._declared.get(name)
        if found is None:
            found = self._declared[name] = Function(name, result)
            self._declarations.append(f'declare {result.text} @"{name}"({", ".join(one.text for one in arguments)})')
        return found

    def intrinsic(self, name: str, *values: Value) -> Value:
        """Call LLVM's intrinsic function ``name`` with the arguments ``values``, and return its result.

        All arguments must have the same type; the result has this type, too.
        """
        type = values[0].type
        return self.call(self.declare(f"{name}.{type.mangled}", type, [value.type for value in values]), values)

    def table(self, element: Type, numbers: Sequence[float]) -> Value:
        """Add a constant array of ``numbers`` to the module, and return its address.

        ``element`` is the type of the elements.
        """
        name = f"{self.symbol}_table{len(self._globals)}"
        listed = f"[{len(numbers)} x {element.text}] [{_listed(element, numbers)}]"
        self._globals.append(f'@"{name}" = private constant {listed}')
        return Value(POINTER, f'@"{name}"')

    # -- blocks and jumps --

    def append_basic_block(self, name: str) -> Block:
        """Return a new block at the end of the function; the block's name begins with ``name``."""
        block = Block(f"{name}{len(self._blocks)}" if self._blocks else name)
        self._blocks.append(block)
        return block

    def position_at_end(self, block: Block) -> None:
        """Append the following instructions to ``block``, before the jump at its end if it has one already."""
        self.block = block

    def branch(self, target: Block) -> None:
        """End the current block with a jump to ``target``."""
        self.block.terminator = f"br label %{target.name}"

    def cbranch(self, condition: Value, then: Block, otherwise: Block) -> None:
        """End the current block with a jump to ``then`` if the condition holds, else to ``otherwise``."""
        self.block.terminator = f"br i1 {condition.text}, label %{then.name}, label %{otherwise.name}"

    @contextmanager
    def if_then(self, condition: Value) -> Generator[None]:
        """Write a branch: the instructions of this ``with`` block run if the condition holds."""
        then = self.append_basic_block("if")
        after = self.append_basic_block("endif")
        self.cbranch(condition, then, after)
        self.block = then
        yield
        if not self.block.terminator:
            self.branch(after)
        self.block = after

    def ret(self, value: Value) -> None:
        """End the current block with a return from the function, which returns ``value``."""
        self.block.terminator = f"ret {value.typed}"

    def ret_void(self) -> None:
        """End the current block with a return from a function that has no result."""
        self.block.terminator = "ret void"

    def unreachable(self) -> None:
        """End the current block with ``unreachable``: LLVM may assume that this instruction is never reached."""
        self.block.terminator = "unreachable"

    def phi(self, type: Type) -> Phi:
        """Return a value that depends on the block from which control came; ``Phi.add_incoming`` adds the cases."""
        self._number += 1
        phi = Phi(type, f"%v{self._number}")
        self.block.lines.append(phi)
        return phi

    # -- memory --

    def alloca(self, type: Type, align: int) -> Value:
        """Return the address of a new variable on the stack, aligned to ``align`` bytes."""
        return self._write(POINTER, f"alloca {type.text}, align {align}")

    def load(self, pointer: Value, type: Type, align: int = 0) -> Value:
        """Return the value of the type ``type`` in memory at the address ``pointer``.

        The address must be a multiple of ``align`` bytes; 0 means the alignment that LLVM gives to variables of the
        type.
        """
        return self._write(type, f"load {type.text}, ptr {pointer.text}{_aligned(align)}")

    def store(self, value: Value, pointer: Value, align: int = 0, nontemporal: bool = False) -> None:
        """Store ``value`` at the address ``pointer``; ``nontemporal`` bypasses the caches.

        The address must be a multiple of ``align`` bytes; 0 means the alignment that LLVM gives to variables of the
        type.
        """
        end = ""
        if nontemporal:
            self._has_nontemporal = True
            end = ", !nontemporal !0"
        self.block.lines.append(f"store {value.typed}, ptr {pointer.text}{_aligned(align)}{end}")

    def gep(self, pointer: Value, index: Value, element: Type) -> Value:
        """Return ``pointer`` advanced by ``index`` elements of the type ``element``."""
        return self._write(POINTER, f"getelementptr {element.text}, ptr {pointer.text}, {index.typed}")

    def fence(self, ordering: str) -> None:
        """Write a memory fence; ``ordering`` is an atomic ordering of LLVM, such as "acquire"."""
        self.block.lines.append(f"fence {ordering}")

    def call(self, function: Function, arguments: Sequence[Value]) -> Value:
        """Call ``function`` with ``arguments``, and return its result, which is undefined for the type void."""
        text = f'call {function.result.text} @"{function.name}"({", ".join([one.typed for one in arguments])})'
        if function.result is VOID:
            self.block.lines.append(text)
            return undefined(VOID)
        return self._write(function.result, text)

    # -- arithmetic --

    def add(self, a: Value, b: Value) -> Value:
        return self._write(a.type, f"add {a.typed}, {b.text}")

    def sub(self, a: Value, b: Value) -> Value:
        return self._write(a.type, f"sub {a.typed}, {b.text}")

    def mul(self, a: Value, b: Value) -> Value:
        return self._write(a.type, f"mul {a.typed}, {b.text}")

    def udiv(self, a: Value, b: Value) -> Value:
        return self._write(a.type, f"udiv {a.typed}, {b.text}")

    def urem(self, a: Value, b: Value) -> Value:
        return self._write(a.type, f"urem {a.typed}, {b.text}")

    def shl(self, a: Value, b: Value) -> Value:
        return self._write(a.type, f"shl {a.typed}, {b.text}")

    def lshr(self, a: Value, b: Value) -> Value:
        return self._write(a.type, f"lshr {a.typed}, {b.text}")

    def and_(self, a: Value, b: Value) -> Value:
        return self._write(a.type, f"and {a.typed}, {b.text}")

    def or_(self, a: Value, b: Value) -> Value:
        return self._write(a.type, f"or {a.typed}, {b.text}")

    def xor(self, a: Value, b: Value) -> Value:
        return self._write(a.type, f"xor {a.typed}, {b.text}")

    def not_(self, a: Value) -> Value:
        return self.xor(a, splat(a.type, -1))

    def fadd(self, a: Value, b: Value) -> Value:
        return self._write(a.type, f"fadd {a.typed}, {b.text}")

    def fsub(self, a: Value, b: Value) -> Value:
        return self._write(a.type, f"fsub {a.typed}, {b.text}")

    def fmul(self, a: Value, b: Value) -> Value:
        return self._write(a.type, f"fmul {a.typed}, {b.text}")

    def fdiv(self, a: Value, b: Value) -> Value:
        return self._write(a.type, f"fdiv {a.typed}, {b.text}")

    def fneg(self, a: Value) -> Value:
        return self._write(a.type, f"fneg {a.typed}")

    # -- comparisons and choice --

    def icmp_signed(self, sign: str, a: Value, b: Value) -> Value:
        """Return a ``sign`` b for signed integers; ``sign`` is "==", "!=", "<", "<=", ">" or ">="."""
        return self._write(like(a.type, I1), f"{_SIGNED[sign]} {a.typed}, {b.text}")

    def icmp_unsigned(self, sign: str, a: Value, b: Value) -> Value:
        """Return a ``sign`` b for unsigned integers; ``sign`` is "==", "!=", "<", "<=", ">" or ">="."""
        return self._write(like(a.type, I1), f"{_UNSIGNED[sign]} {a.typed}, {b.text}")

    def fcmp_ordered(self, sign: str, a: Value, b: Value) -> Value:
        """Return a ``sign`` b for floats, false if a or b is NaN; ``sign`` is "==", "!=", "<", "<=", ">" or ">="."""
        return self._write(like(a.type, I1), f"{_ORDERED[sign]} {a.typed}, {b.text}")

    def fcmp_unordered(self, sign: str, a: Value, b: Value) -> Value:
        """Return a ``sign`` b for floats, true if a or b is NaN; ``sign`` is "==", "!=", "<", "<=", ">" or ">=".

        The ``sign`` "uno" returns whether a or b is NaN.
        """
        return self._write(like(a.type, I1), f"{_UNORDERED[sign]} {a.typed}, {b.text}")

    def select(self, condition: Value, a: Value, b: Value) -> Value:
        """Return a where ``condition`` holds, and b elsewhere."""
        return self._write(a.type, f"select {condition.typed}, {a.typed}, {b.typed}")

    # -- conversions; a value that has the type already is returned as it is --

    def trunc(self, a: Value, type: Type) -> Value:
        return self._convert("trunc", a, type)

    def zext(self, a: Value, type: Type) -> Value:
        return self._convert("zext", a, type)

    def sext(self, a: Value, type: Type) -> Value:
        return self._convert("sext", a, type)

    def fptrunc(self, a: Value, type: Type) -> Value:
        return self._convert("fptrunc", a, type)

    def fpext(self, a: Value, type: Type) -> Value:
        return self._convert("fpext", a, type)

    def fptoui(self, a: Value, type: Type) -> Value:
        return self._convert("fptoui", a, type)

    def fptosi(self, a: Value, type: Type) -> Value:
        return self._convert("fptosi", a, type)

    def uitofp(self, a: Value, type: Type) -> Value:
        return self._convert("uitofp", a, type)

    def sitofp(self, a: Value, type: Type) -> Value:
        return self._convert("sitofp", a, type)

    def bitcast(self, a: Value, type: Type) -> Value:
        return self._convert("bitcast", a, type)

    # -- vectors --

    def extract_element(self, a: Value, lane: Value) -> Value:
        """Return element number ``lane`` of the vector a."""
        return self._write(element_of(a.type), f"extractelement {a.typed}, {lane.typed}")

    def insert_element(self, a: Value, element: Value, lane: Value) -> Value:
        """Return the vector a with element number ``lane`` replaced by ``element``."""
        return self._write(a.type, f"insertelement {a.typed}, {element.typed}, {lane.typed}")

    def shuffle_vector(self, a: Value, b: Value, lanes: Value) -> Value:
        """Return a vector whose element i is element ``lanes[i]`` of the vectors a and b joined together.

        ``lanes`` is a constant vector of integers.
        """
        assert isinstance(lanes.type, VectorType)
        type = VectorType(element_of(a.type), lanes.type.count)
        if a.text == b.text and a.text.startswith("splat "):
            # LLVM folds such a shuffle after it has checked types, and aborts if the result is then made bfloat16.
            return Value(type, a.text)
        return self._write(type, f"shufflevector {a.typed}, {b.typed}, {lanes.typed}")

    def _convert(self, instruction: str, a: Value, type: Type) -> Value:
        return a if a.type == type else self._write(type, f"{instruction} {a.typed} to {type.text}")

    def _write(self, type: Type, text: str) -> Value:
        """Append an instruction with a result of the type ``type``, and return the result."""
        self._number += 1
        name = f"%v{self._number}"
        self.block.lines.append(f"{name} = {text}")
        return Value(type, name)
