"""Malicious ``.pth`` files: each is refused by name; nothing is executed, and no memory is allocated for it."""

from __future__ import annotations

import io
import pickle
import resource
import struct
import tracemalloc
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from striate.errors import ModelFileError
from striate.persistence.torch import encode_state, read_state

STATE = {"a.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "a.count": np.int64(7).reshape(())}


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def number(value: int) -> bytes:
    return b"\x8a\x08" + struct.pack("<q", value)


def storage(length: int = 6, kind: str = "FloatStorage", key: str = "0") -> bytes:
    return b"(" + text("storage") + f"ctorch\n{kind}\n".encode() + text(key) + text("cpu") + number(length) + b"tQ"


def numbers(*values: int) -> bytes:
    return b"(" + b"".join(number(value) for value in values) + b"t"


def tensor(
    shape: tuple[int, ...] = (2, 3), stride: tuple[int, ...] = (3, 1), offset: int = 0, held: bytes | None = None
) -> bytes:
    parts = [held or storage(), number(offset), numbers(*shape), numbers(*stride), b"\x89", b"}"]
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + b"".join(parts) + b"tR"


def dictionary(*items: bytes) -> bytes:
    return b"\x80\x02}(" + b"".join(items) + b"u."


def archive(pickled: bytes, data: bytes = bytes(24), **options: Any) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", options.get("method", zipfile.ZIP_STORED)) as made:
        made.writestr("archive/data.pkl", pickled)
        made.writestr("archive/data/0", data)
        for name, more in options.get("more", {}).items():
            made.writestr(name, more)
    return content.getvalue()


def state_of(value: bytes, data: bytes = bytes(24)) -> bytes:
    return archive(dictionary(text("w"), value), data)


class Evil:
    def __reduce__(self) -> Any:
        import os

        return os.system, ("echo executed",)


def bomb(levels: int) -> bytes:
    """Return dictionaries that each contain the previous one ten times: 10^levels paths in a few hundred bytes."""
    parts = [b"\x80\x02}q\x00"]
    for level in range(levels):
        parts += [b"}(", *(text(str(i)) + b"h" + bytes([level]) for i in range(10)), b"u", b"q", bytes([level + 1])]
    return b"".join([*parts, b"."])


def directory_entry(content: bytes, name: bytes) -> int:
    """Return the offset of an entry's record in the zip directory."""
    return content.rindex(b"PK\x01\x02", 0, content.rindex(name))


def with_size(content: bytes, size: int) -> bytes:
    """Return the file with another size of the storage in the zip directory."""
    place = directory_entry(content, b"archive/data/0")
    return content[: place + 20] + struct.pack("<II", size, size) + content[place + 28 :]


def with_start(content: bytes, name: bytes, start: int) -> bytes:
    place = directory_entry(content, name)
    return content[: place + 42] + struct.pack("<I", start) + content[place + 46 :]


def doubled() -> bytes:
    with pytest.warns(UserWarning, match="Duplicate name"):
        return archive(dictionary(text("w"), tensor()), more={"archive/data/0": bytes(24)})


def legacy(pickled: bytes, keys: list[str], data: bytes) -> bytes:
    head = [pickle.dumps(part, 2) for part in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})]
    return b"".join([*head, pickled, pickle.dumps(keys, 2), data])


GOOD = state_of(tensor())
CASES: dict[str, tuple[bytes, str]] = {
    "a call of os.system": (archive(pickle.dumps({"w": Evil()}, 2)), r"names '(posix|nt)\.system', which is refused"),
    "protocol 4": (archive(pickle.dumps({"w": Evil()}, 4)), r"names '(posix|nt)\.system', which is refused"),
    "eval": (archive(b"\x80\x02c__builtin__\neval\n(" + text("1") + b"tR."), r"names '__builtin__\.eval'"),
    "an instance": (archive(b"\x80\x02(ios\nsystem\n."), "instruction INST is refused"),
    "a new object": (archive(b"\x80\x02ccollections\nOrderedDict\n)\x81."), "instruction NEWOBJ is refused"),
    "an extension": (archive(b"\x80\x02\x82\x01."), "instruction EXT1 is refused"),
    "an unknown instruction": (archive(b"\x80\x02\xff."), "instruction 0xff is refused"),
    "a call of a tensor": (archive(dictionary(text("w"), tensor() + b")R")), "a tensor is called, which is refused"),
    "a class of storage called": (archive(b"\x80\x02ctorch\nFloatStorage\n)R."), r"torch\.FloatStorage is called"),
    "no mark": (archive(b"\x80\x02t."), "lacks its mark"),
    "no argument": (archive(b"\x80\x02R."), "lacks its argument"),
    "a place of the memo": (archive(b"\x80\x02h\x07."), "place 7 of the memo is empty"),
    "a text longer than the file": (archive(b"\x80\x02X\xff\xff\xff\xffab."), "claims 4,294,967,295 bytes more"),
    "bytes of 8 EB": (archive(b"\x80\x02\x8d\xff\xff\xff\xff\xff\xff\xff\x7f."), "bytes more"),
    "a huge whole number": (archive(b"\x80\x02\x8b\xff\xff\xff\x7f."), "a whole number of 2,147,483,647 bytes"),
    "a bomb of the memo": (archive(bomb(40)), "than 100,000 entries"),
    "a list that holds itself": (archive(b"\x80\x02]q\x00h\x00a."), "it holds a list, not a dictionary"),
    "a dictionary that holds itself": (archive(b"\x80\x02}q\x00" + text("w") + b"h\x00s."), "deeper than 64"),
    "a tuple as a key": (archive(b"\x80\x02}))s."), "a tuple as a key"),
    "a key given twice": (archive(dictionary(text("w"), b"N", text("w"), b"N")), "the key 'w' is given twice"),
    "no tensors": (archive(dictionary(text("w"), b"N")), "no tensor among its 1 entries: w"),
    "an unknown storage": (state_of(tensor(held=storage(6, "QUInt8Storage"))), r"names 'torch\.QUInt8Storage'"),
    "a negative size": (state_of(tensor((-2, 3))), "expected whole numbers from 0, found -2, 3"),
    "a negative stride": (state_of(tensor((2, 3), (3, -1))), "expected whole numbers from 0, found 3, -1"),
    "a negative offset": (state_of(tensor(offset=-1)), "begins at -1 of its storage"),
    "an offset at the end": (state_of(tensor(offset=1)), "reads element 6 of storage '0', which has 6"),
    "a huge shape": (state_of(tensor((2**40, 2**20), (2**20, 1))), "reads element 1,152,921,504,606,846,975"),
    "a huge shape of strides 0": (state_of(tensor((2**40,), (0,))), "more elements than its storage"),
    "a storage of 4 EB": (state_of(tensor(held=storage(2**60))), "claims 1,152,921,504,606,846,976 elements"),
    "a storage of another type": (state_of(tensor(held=storage(6, "DoubleStorage"))), "claims 6 elements of float64"),
    "one storage of two types": (
        archive(dictionary(text("a"), tensor(), text("b"), tensor(held=storage(3, "DoubleStorage")))),
        "storage '0' is described in two ways",
    ),
    "a storage that is missing": (state_of(tensor(held=storage(key="../1"))), r"'archive/data/\.\./1' is missing"),
    "a compressed archive": (archive(GOOD, method=zipfile.ZIP_DEFLATED), "is compressed"),
    "a zip bomb": (archive(b"", bytes(2**24), method=zipfile.ZIP_DEFLATED), "is compressed"),
    "two entries of a name": (doubled(), "two entries are named 'archive/data/0'"),
    "no pickle": (archive(b"").replace(b"data.pkl", b"data.txt"), r"it has no data\.pkl"),
    "a TorchScript program": (archive(dictionary(), more={"b/data.pkl": b"", "b/constants.pkl": b""}), "TorchScript"),
    "a size beyond the file": (with_size(GOOD, 2**31), "overlaps the directory|lie outside"),
    "entries that overlap": (with_start(GOOD, b"archive/data/0", 0), "has another name in the directory"),
    "an entry outside": (with_start(GOOD, b"archive/data/0", 2**31), "lie outside of the file"),
    "another checksum": (GOOD.replace(bytes(24), bytes(23) + b"x"), "the checksum of entry 'archive/data/0'"),
    "an unknown byte order": (
        archive(dictionary(text("w"), tensor()), more={"archive/byteorder": b"middle"}), "byte order b'middle'",
    ),
    "older, evil": (legacy(pickle.dumps({"w": Evil()}, 2), [], b""), r"names '(posix|nt)\.system'"),
    "older, truncated": (legacy(dictionary(text("w"), tensor()), ["0"], struct.pack("<q", 6)), "but 0 bytes are there"),
    "older, a lie": (legacy(dictionary(text("w"), tensor()), ["0"], struct.pack("<q", 2**50)), "claims 6 elements"),
    "older, no key": (legacy(dictionary(text("w"), tensor()), [], b""), "not that of its tensors"),
    "older, another key": (legacy(dictionary(text("w"), tensor()), ["1"], b""), "not that of its tensors"),
    "a pickle of something else": (pickle.dumps([1, 2], 2), "a pickle that torch.save did not write"),
    "a line that never ends": (archive(b"\x80\x02c" + b"a" * 5000), "a name has more than 1000 characters"),
}  # fmt: skip


@pytest.fixture
def little_memory() -> Iterator[None]:
    """Limit the memory of the test, so that allocating more than 256 MB fails."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (256 << 20), before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


def test_the_good_file_is_good(tmp_path: Path) -> None:
    for content in (GOOD, legacy(dictionary(text("w"), tensor()), ["0"], struct.pack("<q", 6) + bytes(24))):
        (tmp_path / "w.pth").write_bytes(content)
        assert np.array_equal(read_state(tmp_path / "w.pth")["w"], np.zeros((2, 3)))


@pytest.mark.parametrize("case", CASES)
@pytest.mark.usefixtures("little_memory")
def test_hostile_files_are_refused_by_name(case: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    content, message = CASES[case]
    path = tmp_path / "w.pth"
    path.write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(ModelFileError, match=message) as caught:
            read_state(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert str(path) in str(caught.value)
    assert peak < (1 << 25 if "bomb" in case else 1 << 20)
    assert "executed" not in capfd.readouterr().out


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    older = legacy(dictionary(text("w"), tensor()), ["0"], struct.pack("<q", 6) + bytes(24))
    for content in (encode_state(STATE), older):
        for length in range(0, len(content), 7):
            path.write_bytes(content[:length])
            with pytest.raises(ModelFileError):
                read_state(path)


def checked(content: bytes, path: Path) -> None:
    """Load arbitrary bytes: the result is a state of small arrays, or a ``ModelFileError``."""
    path.write_bytes(content)
    try:
        found = read_state(path)
    except ModelFileError:
        return
    assert all(isinstance(name, str) and array.size <= len(content) for name, array in found.items())


def mended(content: bytes) -> bytes:
    """Return the archive with corrected checksums, so that changed contents reach the pickle reader."""
    found = bytearray(content)
    place = -1
    while (place := content.find(b"PK\x01\x02", place + 1)) >= 0:
        size, start = struct.unpack("<I", content[place + 24 : place + 28])[0], content[place + 42 : place + 46]
        begin = struct.unpack("<I", start)[0]
        begin += 30 + sum(struct.unpack("<HH", content[begin + 26 : begin + 30]))
        found[place + 16 : place + 20] = struct.pack("<I", zlib.crc32(content[begin : begin + size]))
    return bytes(found)


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_mutations_are_read_or_refused(data: st.DataObject, tmp_path: Path) -> None:
    content = encode_state(STATE)
    start = content.index(b"\x80\x02")
    stop = content.index(b"PK", start)
    changed = bytearray(content)
    for _ in range(data.draw(st.integers(1, 6))):
        place = data.draw(st.one_of(st.integers(start, stop - 1), st.integers(0, len(content) - 1)))
        changed[place] = data.draw(st.one_of(st.integers(0, 255), st.sampled_from(b".()RQtubhqXJ\x8a\x80}]cU")))
    whole = bytes(changed)
    checked(
        mended(whole) if changed[:start] == content[:start] and changed[stop:] == content[stop:] else whole,
        tmp_path / "w",
    )


PIECES = st.one_of(
    st.sampled_from(
        [b"}", b"]", b")", b"(", b"t", b"u", b"s", b"a", b"e", b"R", b"Q", b"b", b"N", b"\x88", b"\x85", b"\x86"]
    ),
    st.sampled_from([tensor(), storage(), text("w"), text("storage"), numbers(2, 3), b"ccollections\nOrderedDict\n"]),
    st.integers(-(2**63), 2**63 - 1).map(number),
    st.integers(0, 3).map(lambda place: b"q" + bytes([place])),
    st.integers(0, 3).map(lambda place: b"h" + bytes([place])),
    st.tuples(
        st.lists(st.integers(-1, 4), max_size=3), st.lists(st.integers(-1, 4), max_size=3), st.integers(-1, 7)
    ).map(lambda parts: tensor(tuple(parts[0]), tuple(parts[1]), parts[2])),
    st.binary(max_size=3),
)


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pieces=st.lists(PIECES, max_size=20))
def test_programs_of_valid_pieces_are_read_or_refused(pieces: list[bytes], tmp_path: Path) -> None:
    checked(archive(b"\x80\x02" + b"".join(pieces) + b"."), tmp_path / "w.pth")
    checked(archive(dictionary(text("w"), tensor(), text("x"), *pieces)), tmp_path / "w.pth")
