"""Read PyTorch's pickles with a small interpreter that runs only an allowed list of instructions.

A pickle is a program for a stack machine, and may ask for any function of any module to be called. Here, a name is only
a key of the table ``CALLABLES``, whose functions build plain records: tensors that refer to their storage,
dictionaries, tuples. Nothing else is imported or called; any other name or instruction raises an error that names it.

The length of the pickle bounds the sizes of everything that is built: a string longer than the rest of the pickle is an
error before memory is allocated.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import BinaryIO, cast

from striate.errors import ModelFileError
from striate.persistence.element import Element

LARGEST_PICKLE = 64_000_000
"""Bytes. The pickle of a thousand tensors takes 100 KB, since their numbers are stored outside of it."""

MOST_INSTRUCTIONS = 5_000_000
MOST_AXES = 32


@dataclass(frozen=True)
class Storage:
    """A block of memory that tensors are views of: ``length`` elements of type ``element``.

    ``key`` is the name under which the file stores the bytes of the block.
    """

    key: str
    element: Element
    length: int


@dataclass(frozen=True)
class StridedTensor:
    """A tensor of this shape that is a view of a storage.

    The element with the indices iₐ along the axes a is element ``offset`` + Σₐ iₐ · ``stride``ₐ of the storage.
    """

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


@dataclass(frozen=True)
class Global:
    """The name ``module.name`` in a pickle, which stands for a function or class; nothing is imported for it.

    The pickle can only call names that are keys of ``CALLABLES``.
    """

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"[:120]


@dataclass(frozen=True)
class _Mark:
    """The stack entry below the arguments of a later instruction."""


@dataclass(frozen=True)
class Pickled:
    """The object that a pickle describes, ``content``, and all storages that it refers to, by key."""

    content: object
    storages: Mapping[str, Storage]


STORAGES: Mapping[str, Element] = {
    "DoubleStorage": Element.float64, "FloatStorage": Element.float32, "HalfStorage": Element.float16,
    "BFloat16Storage": Element.bfloat16, "LongStorage": Element.int64, "IntStorage": Element.int32,
    "ShortStorage": Element.int16, "CharStorage": Element.int8, "ByteStorage": Element.uint8,
    "BoolStorage": Element.bool,
}  # fmt: skip
"""The names of ``torch``'s storage classes, and the element type of each."""


# The functions that a pickle may call


def _ordered(*arguments: object) -> dict[object, object]:
    if not arguments:
        return {}
    if len(arguments) != 1 or not isinstance(arguments[0], list):
        raise ModelFileError("OrderedDict takes a list of pairs")
    found: dict[object, object] = {}
    for pair in cast("list[object]", arguments[0]):
        if not isinstance(pair, list | tuple) or len(cast("tuple[object, ...]", pair)) != 2:
            raise ModelFileError("OrderedDict takes a list of pairs")
        key, value = cast("tuple[object, object]", pair)
        found[_key(key)] = value
    return found


def _size(*arguments: object) -> tuple[int, ...]:
    return _sizes(arguments[0] if len(arguments) == 1 else None, "torch.Size")


def _tensor(*arguments: object) -> StridedTensor:
    """Build a tensor from the arguments of ``torch._utils._rebuild_tensor`` or ``_rebuild_tensor_v2``.

    They are storage, offset, size, stride, requires_grad, hooks and metadata; the last three are optional and ignored.
    """
    if not 4 <= len(arguments) <= 7:
        raise ModelFileError(f"a tensor has 4 to 7 parts, not {len(arguments)}")
    storage, offset = arguments[0], arguments[1]
    if not isinstance(storage, Storage):
        raise ModelFileError(f"a tensor views a storage, not {_kind(storage)}")
    return strided(storage, offset, arguments[2], arguments[3])


def strided(storage: Storage, offset: object, shape: object, stride: object) -> StridedTensor:
    """Return a tensor that is a view of a storage; offset, shape and strides, in elements, come from the pickle.

    Raises ``ModelFileError`` unless they are valid and all elements lie in the storage.
    """
    sizes, steps = _sizes(shape, "the shape of a tensor"), _sizes(stride, "the strides of a tensor")
    if not isinstance(offset, int) or isinstance(offset, bool) or offset < 0:
        raise ModelFileError(f"a tensor begins at {str(offset)[:40]} of its storage; expected a whole number from 0")
    if len(sizes) != len(steps):
        raise ModelFileError(f"a tensor of {len(sizes)} axes has {len(steps)} strides")
    if 0 not in sizes:
        last = offset + sum((size - 1) * step for size, step in zip(sizes, steps))
        if last >= storage.length:
            raise ModelFileError(
                f"a tensor of shape {sizes} and strides {steps} reads element {last:,} of storage "
                f"{storage.key[:80]!r}, which has {storage.length:,}"
            )
        count = 1
        for size in sizes:
            count *= size
        if count > max(storage.length, 1):
            raise ModelFileError(
                f"a tensor of shape {sizes} has more elements than its storage {storage.key[:80]!r}, "
                f"which has {storage.length:,}: its strides {steps} repeat them"
            )
    return StridedTensor(storage, offset, sizes, steps)


def _parameter(*arguments: object) -> StridedTensor:
    if not arguments or not isinstance(arguments[0], StridedTensor):
        raise ModelFileError("a parameter holds a tensor")
    return arguments[0]


CALLABLES: Mapping[str, Callable[..., object]] = {
    "collections.OrderedDict": _ordered,
    "torch.Size": _size,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
}
"""The only names that a pickle can call, and the functions that replace them."""


def _sizes(given: object, what: str) -> tuple[int, ...]:
    if not isinstance(given, tuple | list) or len(cast("tuple[object, ...]", given)) > MOST_AXES:
        raise ModelFileError(f"{what}: expected up to {MOST_AXES} whole numbers")
    numbers = cast("tuple[object, ...]", given)
    if not all(isinstance(one, int) and not isinstance(one, bool) and 0 <= one < 2**62 for one in numbers):
        raise ModelFileError(f"{what}: expected whole numbers from 0, found {', '.join(str(n)[:24] for n in numbers)}")
    return cast("tuple[int, ...]", tuple(numbers))


def _key(key: object) -> object:
    """Return a dictionary key if it is a string, a number or None; hashing nested tuples could take for ever."""
    if not isinstance(key, str | int | float | None):
        raise ModelFileError(f"a dictionary has {_kind(key)} as a key; expected a string or a number")
    return key


def _kind(thing: object) -> str:
    match thing:
        case Global():
            return str(thing)
        case StridedTensor():
            return "a tensor"
        case None:
            return "None"
        case _:
            return f"a {type(thing).__name__}"


# The machine


def read_pickle(stream: BinaryIO, limit: int, where: str) -> Pickled:
    """Read the pickle at the stream's position, and leave the stream after the last byte of the pickle.

    ``limit`` is the largest size of the pickle in bytes, and ``where`` the beginning of error messages. Raises
    ``ModelFileError`` for a pickle that is damaged or longer, and for a name or an instruction that is not allowed.
    """
    reader = _Reader(stream, min(limit, LARGEST_PICKLE), where)
    content = reader.run()
    return Pickled(content, reader.storages)


class _Reader:
    def __init__(self, stream: BinaryIO, left: int, where: str) -> None:
        self._stream = stream
        self._left = left
        self._where = where
        self._stack: list[object] = []
        self._memo: dict[int, object] = {}
        self.storages: dict[str, Storage] = {}

    def error(self, problem: str, cure: str = "the file is damaged or hostile; save it again") -> ModelFileError:
        return ModelFileError(f"{self._where}: {problem}\n  help: {cure}")

    def _take(self, count: int) -> bytes:
        if count > self._left:
            raise self.error(f"it claims {count:,} bytes more, {self._left:,} are left")
        self._left -= count
        content = self._stream.read(count)
        if len(content) != count:
            raise self.error("it ends early")
        return content

    def _unsigned(self, count: int) -> int:
        return int.from_bytes(self._take(count), "little")

    def _line(self) -> str:
        """Read a string that ends with a line feed, as old instructions store it."""
        content = bytearray()
        while (byte := self._take(1)) != b"\n":
            content += byte
            if len(content) > 1000:
                raise self.error("a name has more than 1000 characters")
        return self._text(bytes(content))

    def _text(self, content: bytes) -> str:
        try:
            return content.decode("utf-8")
        except UnicodeDecodeError as error:
            raise self.error(f"a text is not UTF-8: {error.reason}") from error

    def run(self) -> object:
        for _ in range(MOST_INSTRUCTIONS):
            code = self._take(1)[0]
            if code == 0x2E:  # STOP
                return self._pop()
            try:
                self._step(code)
            except ModelFileError as error:
                raise error if str(error).startswith(self._where) else self.error(str(error)) from error
        raise self.error(f"more than {MOST_INSTRUCTIONS:,} instructions")

    def _step(self, code: int) -> None:
        simple = _SIMPLE.get(code)
        if simple is not None:
            self._stack.append(simple())
            return
        action = _ACTIONS.get(code)
        if action is None:
            name = _OTHERS.get(code, f"0x{code:02x}")
            raise self.error(
                f"the instruction {name} is refused: only tensors, numbers, strings and dictionaries are read",
                "in PyTorch, torch.save(model.state_dict(), FILE) writes a file that can be read",
            )
        action(self)

    def _pop(self) -> object:
        if not self._stack or isinstance(self._stack[-1], _Mark):
            raise self.error("an instruction lacks its argument")
        return self._stack.pop()

    def _top(self) -> object:
        if not self._stack:
            raise self.error("an instruction lacks its argument")
        return self._stack[-1]

    def _marked(self) -> list[object]:
        for place in range(len(self._stack) - 1, -1, -1):
            if isinstance(self._stack[place], _Mark):
                found = self._stack[place + 1 :]
                del self._stack[place:]
                return found
        raise self.error("an instruction lacks its mark")

    # Numbers and texts

    def protocol(self) -> None:
        if (version := self._unsigned(1)) > 5:
            raise self.error(f"protocol {version} of pickles is unknown", "update striate")

    def frame(self) -> None:
        if self._unsigned(8) > self._left:
            raise self.error("a frame is longer than the file")

    def number(self, count: int, signed: bool) -> None:
        self._stack.append(int.from_bytes(self._take(count), "little", signed=signed))

    def long(self, width: int) -> None:
        count = self._unsigned(width)
        if count > 32:
            raise self.error(f"a whole number of {count:,} bytes is refused")
        self.number(count, True)

    def float(self) -> None:
        self._stack.append(struct.unpack(">d", self._take(8))[0])

    def text(self, width: int) -> None:
        self._stack.append(self._text(self._take(self._unsigned(width))))

    def raw(self, width: int) -> None:
        self._stack.append(self._take(self._unsigned(width)))

    # Containers

    def mark(self) -> None:
        self._stack.append(_Mark())

    def tuple_of(self, count: int | None) -> None:
        if count is None:
            self._stack.append(tuple(self._marked()))
            return
        items = [self._pop() for _ in range(count)]
        self._stack.append(tuple(reversed(items)))

    def append(self, many: bool) -> None:
        items = self._marked() if many else [self._pop()]
        target = self._top()
        if not isinstance(target, list):
            raise self.error(f"items are appended to {_kind(target)}")
        cast("list[object]", target).extend(items)

    def set_items(self, many: bool) -> None:
        if many:
            items = self._marked()
        else:
            value, key = self._pop(), self._pop()
            items = [key, value]
        target = self._top()
        if not isinstance(target, dict):
            raise self.error(f"keys and values are put into {_kind(target)}")
        if len(items) % 2:
            raise self.error(f"{len(items)} keys and values are put into a dictionary")
        entries = cast("dict[object, object]", target)
        for key, value in zip(items[::2], items[1::2]):
            if _key(key) in entries:
                raise self.error(f"the key {str(key)[:80]!r} is given twice")
            entries[key] = value

    # The memo

    def put(self, width: int) -> None:
        self._memo[self._unsigned(width)] = self._top()

    def memoize(self) -> None:
        self._memo[len(self._memo)] = self._top()

    def get(self, width: int) -> None:
        place = self._unsigned(width)
        if place not in self._memo:
            raise self.error(f"place {place} of the memo is empty")
        self._stack.append(self._memo[place])

    # Names and calls

    def name(self) -> None:
        module = self._line()
        self._named(module, self._line())

    def stacked_name(self) -> None:
        name, module = self._pop(), self._pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise self.error("a name is not a text")
        self._named(module, name)

    def _named(self, module: str, name: str) -> None:
        found = Global(module, name)
        if str(found) not in CALLABLES and not (module == "torch" and name in STORAGES):
            raise self.error(
                f"it names {str(found)!r}, which is refused: only tensors, numbers, strings and dictionaries are read",
                "in PyTorch, torch.save(model.state_dict(), FILE) writes a file that can be read",
            )
        self._stack.append(found)

    def call(self) -> None:
        arguments, function = self._pop(), self._pop()
        if not isinstance(function, Global) or not isinstance(arguments, tuple) or str(function) not in CALLABLES:
            raise self.error(f"{_kind(function)} is called, which is refused")
        self._stack.append(CALLABLES[str(function)](*cast("tuple[object, ...]", arguments)))

    def build(self) -> None:
        """Drop the attributes of an OrderedDict, which PyTorch sets (``_metadata``)."""
        state = self._pop()
        target = self._top()
        if not isinstance(target, dict):
            raise self.error(f"{_kind(target)} is given attributes, which is refused")
        if not isinstance(state, dict):
            raise self.error(f"attributes are {_kind(state)}, not a dictionary")

    def persistent(self) -> None:
        """Push the storage that the tuple on the stack describes: ('storage', class, key, device, length[, view]).

        The numbers of a storage are the only data that PyTorch keeps outside of the pickle.
        """
        parts = self._pop()
        if not isinstance(parts, tuple):
            raise self.error("a storage is not described by a tuple")
        match cast("tuple[object, ...]", parts):
            case ("storage", Global(module="torch", name=name), str(key), str(), int(length), *views) if (
                name in STORAGES and len(key) <= 200 and 0 <= length < 2**62 and views in ([], [None])
            ):
                storage = Storage(key, STORAGES[name], length)
                if (known := self.storages.setdefault(key, storage)) != storage:
                    raise self.error(
                        f"storage {key[:80]!r} is described in two ways: {known.length:,} of {known.element.value}, "
                        f"and {length:,} of {storage.element.value}"
                    )
                self._stack.append(storage)
            case _:
                raise self.error("a storage is not ('storage', class, key, device, length)")


_Action = Callable[[_Reader], None]


def _with_width(method: Callable[[_Reader, int], None], width: int) -> _Action:
    return lambda reader: method(reader, width)


_SIMPLE: Mapping[int, Callable[[], object]] = {
    0x4E: lambda: None, 0x88: lambda: True, 0x89: lambda: False,  # NONE NEWTRUE NEWFALSE
    0x7D: dict, 0x5D: list, 0x29: tuple,  # EMPTY_DICT EMPTY_LIST EMPTY_TUPLE
}  # fmt: skip

_ACTIONS: Mapping[int, _Action] = {
    0x80: _Reader.protocol, 0x95: _Reader.frame, 0x28: _Reader.mark,
    0x4A: lambda r: r.number(4, True), 0x4B: lambda r: r.number(1, False), 0x4D: lambda r: r.number(2, False),
    0x8A: _with_width(_Reader.long, 1), 0x8B: _with_width(_Reader.long, 4), 0x47: _Reader.float,
    0x8C: _with_width(_Reader.text, 1), 0x58: _with_width(_Reader.text, 4), 0x8D: _with_width(_Reader.text, 8),
    0x55: _with_width(_Reader.text, 1), 0x54: _with_width(_Reader.text, 4),  # strings of Python 2
    0x43: _with_width(_Reader.raw, 1), 0x42: _with_width(_Reader.raw, 4),
    0x74: lambda r: r.tuple_of(None), 0x85: lambda r: r.tuple_of(1), 0x86: lambda r: r.tuple_of(2),
    0x87: lambda r: r.tuple_of(3),
    0x61: lambda r: r.append(False), 0x65: lambda r: r.append(True),
    0x73: lambda r: r.set_items(False), 0x75: lambda r: r.set_items(True),
    0x71: _with_width(_Reader.put, 1), 0x72: _with_width(_Reader.put, 4), 0x94: _Reader.memoize,
    0x68: _with_width(_Reader.get, 1), 0x6A: _with_width(_Reader.get, 4),
    0x63: _Reader.name, 0x93: _Reader.stacked_name, 0x52: _Reader.call, 0x62: _Reader.build,
    0x51: _Reader.persistent,
}  # fmt: skip
"""The supported instructions, by opcode."""

_OTHERS: Mapping[int, str] = {
    0x49: "INT", 0x4C: "LONG", 0x53: "STRING", 0x56: "UNICODE", 0x46: "FLOAT", 0x6C: "LIST", 0x64: "DICT",
    0x8F: "EMPTY_SET", 0x90: "ADDITEMS", 0x91: "FROZENSET", 0x30: "POP", 0x32: "DUP", 0x31: "POP_MARK",
    0x67: "GET", 0x70: "PUT", 0x82: "EXT1", 0x83: "EXT2", 0x84: "EXT4", 0x69: "INST", 0x6F: "OBJ",
    0x81: "NEWOBJ", 0x92: "NEWOBJ_EX", 0x50: "PERSID", 0x8E: "BINBYTES8", 0x96: "BYTEARRAY8",
    0x97: "NEXT_BUFFER", 0x98: "READONLY_BUFFER",
}  # fmt: skip
"""The names of the unsupported instructions, by opcode, for error messages."""
