"""The reader of tar archives lists what Python's ``tarfile`` lists, in all formats."""

from __future__ import annotations

import io
import tarfile

import pytest

from striate.data.tar import Form, members
from striate.errors import DataError

NAMES = ("a.png", "folder/b.png", "long" * 35 + "/c.png", "deep/" * 40 + "d.png", "é/ü.png", "x" * 300, "folder/")


def packed(format: int) -> bytes:
    with io.BytesIO() as stream:
        with tarfile.open(fileobj=stream, mode="w", format=format) as archive:
            for number, name in enumerate(NAMES):
                info = tarfile.TarInfo(name)
                if format == tarfile.USTAR_FORMAT and len(name) > 250:
                    continue
                info.size = 0 if name.endswith("/") else 37 * number
                info.type = tarfile.DIRTYPE if name.endswith("/") else tarfile.REGTYPE
                archive.addfile(info, io.BytesIO(bytes([number]) * info.size))
            link = tarfile.TarInfo("link")
            link.type, link.linkname = tarfile.SYMTYPE, "a.png"
            archive.addfile(link)
        return stream.getvalue()


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_members_are_those_of_tarfile(format: int) -> None:
    content = packed(format)
    found = list(members(io.BytesIO(content), len(content), "t.tar"))
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        expected = list(archive)
    assert [one.name.rstrip("/") for one in found] == [one.name for one in expected]
    assert [(one.start, one.size) for one in found] == [(one.offset_data, one.size) for one in expected]
    forms = [Form.file if one.isreg() else Form.folder if one.isdir() else Form.other for one in expected]
    assert [one.form for one in found] == forms


def test_every_truncation_and_every_damaged_header_byte_is_refused_or_ends() -> None:
    content = packed(tarfile.PAX_FORMAT)
    whole = len(list(members(io.BytesIO(content), len(content), "t.tar")))
    for end in range(0, len(content), 211):
        try:
            assert len(list(members(io.BytesIO(content[:end]), end, "t.tar"))) <= whole
        except DataError as error:
            assert "t.tar: " in str(error)
    for place in range(0, 512, 7):
        damaged = bytearray(content)
        damaged[place] ^= 0x55
        if 148 <= place < 156 and damaged[place] in b" \0":
            continue
        with pytest.raises(DataError, match="damaged"):
            list(members(io.BytesIO(bytes(damaged)), len(damaged), "t.tar"))
