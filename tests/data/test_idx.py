"""IDX files, well-formed and malicious."""

from __future__ import annotations

import gzip
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from striate.data.idx import read_idx
from striate.errors import DataError


def _idx(shape: tuple[int, ...], elements: bytes, kind: int = 8) -> bytes:
    return bytes([0, 0, kind, len(shape)]) + struct.pack(f">{len(shape)}I", *shape) + elements


def _write(folder: Path, content: bytes) -> Path:
    path = folder / "file"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_reads_what_was_written(tmp_path: Path, pack: object) -> None:
    expected = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)
    path = _write(tmp_path, pack(_idx((2, 3, 4), expected.tobytes())))  # type: ignore[operator]
    assert np.array_equal(read_idx(path, 3), expected)


WHOLE = _idx((2, 3, 4), bytes(24))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not an IDX file"),
        (b"\0\0\x08", "not an IDX file"),
        (b"\x89PNG\r\n\x1a\n", "not an IDX file"),
        (WHOLE[:9], "truncated within its header"),
        (WHOLE[:-1], "2 × 3 × 4 elements make 40 bytes, but the file has 39"),
        (WHOLE + b"\0", "make 40 bytes, but the file has 41"),
        (_idx((24,), bytes(24)), "rank 1.*labels where pictures"),
        (_idx((2, 3, 4), bytes(96), kind=13), "type 13"),
        (_idx((0, 28, 28), b""), "empty"),
        (_idx((2**31, 2**31, 4), b""), "are more than"),
        (_idx((10**4, 200, 200), b""), "but the file has 16"),
    ],
    ids=range(11),
)
def test_damaged_files_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_idx(_write(tmp_path, content), 3)


def _packed(content: bytes) -> bytes:
    """Compress bytes reproducibly, since parallel test workers compare the names of tests."""
    return gzip.compress(content, mtime=0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x1f\x8b", "gzip file of 2 bytes"),
        (_packed(WHOLE)[:-6], "cannot be read|ends with"),
        (_packed(WHOLE)[:-8] + bytes(4) + _packed(WHOLE)[-4:], "CRC"),
        (b"\x1f\x8b" + bytes(40), "cannot be read"),
        (_packed(b"no header at all"), "not an IDX file"),
        (_packed(WHOLE[:-1]), "ends with the length 39"),
        (_packed(WHOLE + bytes(5)), "ends with the length 45"),
        (_packed(WHOLE) + _packed(b"more of the same" * 3)[:-4] + struct.pack("<I", 40), "continues after"),
        (_packed(_idx((10**4, 200, 200), b""))[:-4] + struct.pack("<I", 4 * 10**8 + 16), "400000016|400,000,016"),
    ],
    ids=range(9),  # contents as names would depend on the release of zlib
)
def test_damaged_gzip_files_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_idx(_write(tmp_path, content), 3)


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_huge_declared_shape_allocates_nothing(tmp_path: Path, pack: object) -> None:
    content = pack(_idx((50_000, 200, 200), bytes(3_000_000)))  # type: ignore[operator]
    if pack is gzip.compress:
        content = content[:-4] + struct.pack("<I", 50_000 * 200 * 200 + 16)
    path = _write(tmp_path, content)
    tracemalloc.start()
    try:
        with pytest.raises(DataError):
            read_idx(path, 3)
        assert tracemalloc.get_traced_memory()[1] < 16_000_000
    finally:
        tracemalloc.stop()


def test_missing_files_and_folders_are_named(tmp_path: Path) -> None:
    for path in (tmp_path / "absent", tmp_path):
        with pytest.raises(DataError, match=str(path)):
            read_idx(path, 3)


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@given(data=st.data())
def test_any_change_gives_data_or_a_data_error(
    tmp_path_factory: pytest.TempPathFactory, pack: object, data: st.DataObject
) -> None:
    content = bytearray(pack(WHOLE))  # type: ignore[operator]
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=4)):
        content[place] = data.draw(st.integers(0, 255))
    end = data.draw(st.integers(0, len(content)))
    path = _write(tmp_path_factory.mktemp("idx"), bytes(content[:end]))
    try:
        assert read_idx(path, 3).size > 0
    except DataError as error:
        assert str(path) in str(error)
