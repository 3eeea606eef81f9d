"""The reader of .npy files returns what NumPy's own reader returns."""

from __future__ import annotations

import io

import numpy as np
import pytest

from striate.data.npy import read_npy
from striate.errors import DataError


@pytest.mark.parametrize("kind", ["|b1", "|u1", "<u2", ">u2", "<i8", "<f2", "<f4", ">f8", "<f8", "<U3", "|S4", "<c8"])
@pytest.mark.parametrize("shape", [(), (0,), (5,), (2, 3), (2, 0, 3), (1, 2, 3, 4)])
@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_arrays_are_those_of_numpy(kind: str, shape: tuple[int, ...], version: tuple[int, int]) -> None:
    for order in ("C", "F"):
        array = np.asarray(np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(kind), order=order)
        with io.BytesIO() as stream:
            np.lib.format.write_array(stream, array, version)
            content = stream.getvalue()
        found = read_npy(io.BytesIO(content), len(content), "x.npy")
        assert found.dtype == array.dtype
        np.testing.assert_array_equal(found, array)


def test_objects_records_and_short_files_are_refused() -> None:
    cases = (
        (np.array([{}], object), "pickled"),
        (np.zeros(2, [("a", "f4")]), "records"),
        (np.zeros(9), "follow the header"),
    )
    for array, message in cases:
        with io.BytesIO() as stream:
            np.save(stream, array, allow_pickle=True)
            content = stream.getvalue()
        content = content[:-1] if message.startswith("follow") else content
        with pytest.raises(DataError, match=message):
            read_npy(io.BytesIO(content), len(content), "x.npy")


@pytest.mark.parametrize("shape", ["9" * 100 + "x", "1, " * 900 + "-1", " " * 3000 + "x", "7 " * 900])
def test_a_damaged_header_is_refused_at_once(shape: str) -> None:
    """It once took time that doubled with every digit."""
    text = f"{{'descr': '<f8', 'fortran_order': False, 'shape': ({shape}), }}".encode()
    content = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text
    with pytest.raises(DataError, match="its header is damaged"):
        read_npy(io.BytesIO(content), len(content), "x.npy")
