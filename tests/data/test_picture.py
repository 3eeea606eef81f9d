from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from striate.data import load_digits
from striate.data.picture import read_picture
from striate.errors import DataError, OptionError

SEVEN = Path(__file__).parents[2] / "examples" / "seven.png"


def _png_chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def test_the_example_is_a_held_out_seven() -> None:
    held_out = load_digits("test")
    seven = read_picture(SEVEN, 1, (8, 8))
    (place,) = np.flatnonzero((held_out.images == seven).all(axis=(1, 2, 3)))
    assert held_out.classes[held_out.labels[place]] == "7"


def test_colours_sizes_and_proportions(tmp_path: Path) -> None:
    path = tmp_path / "red.png"
    Image.new("RGB", (30, 20), (255, 0, 0)).save(path)
    colour = read_picture(path, 3, (10, 12))
    assert colour.shape == (3, 10, 12)
    assert colour.dtype == np.uint8
    assert (colour[0] == 255).all()
    assert (colour[1:] == 0).all()
    assert (read_picture(path, 1, (64, 64)) == 76).all()


def test_jpeg_is_turned_by_its_orientation(tmp_path: Path) -> None:
    picture = Image.new("L", (32, 32))
    picture.paste(255, (0, 0, 32, 16))
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    picture.save(tmp_path / "half.jpg", exif=exif)
    assert read_picture(tmp_path / "half.jpg", 1, (2, 1)).ravel().tolist() == [0, 255]


def test_transparency_is_paper_and_sixteen_bits_are_scaled(tmp_path: Path) -> None:
    Image.new("RGBA", (4, 4), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    assert (read_picture(tmp_path / "clear.png", 1, (2, 2)) == 255).all()
    Image.fromarray(np.full((4, 4), 128 * 257, np.uint16)).save(tmp_path / "deep.png")
    assert (read_picture(tmp_path / "deep.png", 1, (2, 2)) == 128).all()


@pytest.mark.parametrize("content", [b"", b"no picture", b"GIF89a" + bytes(20), b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"])
def test_what_is_no_picture_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file.png"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"file\.png: not a picture that can be read"):
        read_picture(path, 1, (8, 8))


def test_missing_and_unknown(tmp_path: Path) -> None:
    for path, what in ((tmp_path / "absent.png", "no such file"), (tmp_path, "a folder, not a picture")):
        with pytest.raises(DataError, match=what):
            read_picture(path, 1, (8, 8))
    with pytest.raises(OptionError, match="channels=2"):
        read_picture(SEVEN, 2, (8, 8))


@pytest.mark.parametrize("side", [9_000, 12_000, 60_000])
def test_a_bomb_is_refused_by_its_header(tmp_path: Path, side: int) -> None:
    header = _png_chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 6, 0, 0, 0))
    path = tmp_path / "bomb.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + _png_chunk(b"IDAT", zlib.compress(bytes(1000))))
    with pytest.raises(DataError, match=r"bomb\.png"):
        read_picture(path, 1, (8, 8))


@pytest.mark.parametrize("ending", ["png", "jpg"])
@given(data=st.data())
def test_any_change_gives_a_picture_or_a_data_error(
    tmp_path_factory: pytest.TempPathFactory, ending: str, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("picture") / f"file.{ending}"
    Image.new("RGB", (12, 9), (200, 100, 0)).save(path)
    content = bytearray(path.read_bytes())
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=6)):
        content[place] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        assert read_picture(path, 1, (4, 4)).shape == (1, 4, 4)
    except DataError as error:
        assert str(path) in str(error)
