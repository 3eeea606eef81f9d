"""Three picture sets made of real data, with planted faults: the scan names every one, and nothing else."""

from __future__ import annotations

import io
import os
import shutil
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from striate.data import load_mnist, open_data, scan_data
from striate.data.dataset import Array
from striate.data.picture import image_of
from striate.errors import DataError

pytestmark = pytest.mark.slow
HTML = b"<!DOCTYPE html><html><body>404 Not Found</body></html>"


@pytest.fixture(scope="module")
def photographs() -> zipfile.ZipFile:
    path = Path(os.environ.get("STRIATE_DATA", "")) / "cifar10.zip"
    if not path.is_file():
        pytest.skip("real CIFAR-10 is found through STRIATE_DATA, which names no folder with cifar10.zip here")
    return zipfile.ZipFile(path)


def found_in(path: Path) -> list[tuple[str, ...]]:
    return sorted((one.kind, *sorted(one.samples)) for one in scan_data(path).problems)


def bomb(side: int) -> bytes:
    """Return a PNG file of a few bytes whose header promises ``side``² pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b"")
    )


def save(image: Array, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image_of(image).save(path)


def test_digits_in_given_parts(mnist_folder: Path, tmp_path: Path) -> None:
    """PNG files of MNIST in train and test folders."""
    for part, count in (("train", 30), ("test", 8)):
        data = load_mnist(part, mnist_folder)
        for name in range(5):
            for number, place in enumerate(np.flatnonzero(data.labels == name)[:count]):
                save(data.images[place], tmp_path / part / str(name) / f"{number}.png")
    assert found_in(tmp_path) == []

    train, test = tmp_path / "train", tmp_path / "test"
    (train / "0" / "notes.jpg").write_text("an essay about zeros")
    (train / "1" / "zero bytes.png").write_bytes(b"")
    (train / "2" / "page.png").write_bytes(HTML)
    (test / "3" / "bomb.png").write_bytes(bomb(60_000))
    shutil.copy(train / "4" / "7.png", test / "4" / "leaked.png")
    shutil.copy(train / "1" / "3.png", train / "2" / "wrong.png")
    lighter = ImageEnhance.Brightness(Image.open(train / "3" / "5.png")).enhance(0.8)
    lighter.save(test / "3" / "lighter.jpg", quality=90)
    Image.new("L", (28, 28), 9).save(train / "0" / "empty.png")
    (tmp_path / "train" / ".ipynb_checkpoints").mkdir()
    (train / ".ipynb_checkpoints" / "1.png").write_bytes(b"clutter is no data")
    (train / "0" / "Thumbs.db").write_bytes(b"clutter")
    shutil.rmtree(test / "2")
    assert found_in(tmp_path) == [
        ("absent class", "2"),
        ("bad file", "test/3/bomb.png"),
        ("bad file", "train/0/notes.jpg"),
        ("bad file", "train/1/zero bytes.png"),
        ("bad file", "train/2/page.png"),
        ("constant sample", "train/0/empty.png"),
        ("equal across parts", "test/4/leaked.png", "train/4/7.png"),
        ("equal under two labels", "train/1/3.png", "train/2/wrong.png"),
        ("nearly equal across parts", "test/3/lighter.jpg", "train/3/5.png"),
    ]


def test_photographs_in_folders_of_classes(photographs: zipfile.ZipFile, tmp_path: Path) -> None:
    """JPEG files of CIFAR-10, without parts."""
    for name in ("airplane", "frog", "ship"):
        for number in range(60):
            target = tmp_path / name / f"{number:04d}.jpg"
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(photographs.read(f"cifar10/train/{name}/{number:04d}.jpg"))
    assert found_in(tmp_path) == []

    whole = (tmp_path / "ship" / "0002.jpg").read_bytes()
    (tmp_path / "ship" / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "frog" / "nowhere.jpg").symlink_to(tmp_path / "gone.jpg")
    shutil.copy(tmp_path / "frog" / "0003.jpg", tmp_path / "frog" / "again.jpg")
    shutil.copy(tmp_path / "frog" / "0004.jpg", tmp_path / "ship" / "frog.jpg")
    large = Image.open(tmp_path / "airplane" / "0005.jpg").resize((64, 64), Image.Resampling.BICUBIC)
    large.save(tmp_path / "airplane" / "large.jpg", quality=85)
    (tmp_path / "Ship").mkdir()
    shutil.copy(tmp_path / "ship" / "0007.jpg", tmp_path / "Ship" / "7.jpg")
    (tmp_path / "horse").mkdir()  # an empty folder is no class
    found = found_in(tmp_path)
    assert found == [
        ("absent class", "Ship"),
        ("bad file", "frog/nowhere.jpg"),
        ("bad file", "ship/cut.jpg"),
        ("equal", "frog/0003.jpg", "frog/again.jpg"),
        ("equal under two labels", "Ship/7.jpg", "ship/0007.jpg"),
        ("equal under two labels", "frog/0004.jpg", "ship/frog.jpg"),
        ("nearly equal", "airplane/0005.jpg", "airplane/large.jpg"),
        ("similar names", "Ship", "ship"),
    ]
    assert "horse" not in scan_data(tmp_path).counts
    shutil.rmtree(tmp_path / "Ship")
    for file in ("ship/cut.jpg", "frog/nowhere.jpg"):
        (tmp_path / file).unlink()
    with pytest.raises(DataError, match="2 different sizes"):
        open_data(tmp_path)  # different sizes without a size to bring them to


def test_photographs_of_a_table_in_an_archive(photographs: zipfile.ZipFile, tmp_path: Path) -> None:
    """JPEG files of CIFAR-10 in a zip archive, with a table of files, labels and parts."""
    path = tmp_path / "set.zip"
    rows = ["file,label,split"]
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("cat", "dog"):
            for number in range(40):
                rows.append(f"{name}{number}.jpg,{name},{'train' if number < 30 else 'test'}")
                archive.writestr(f"{name}{number}.jpg", photographs.read(f"cifar10/test/{name}/{number:04d}.jpg"))
        clean = "\n".join(rows)
        archive.writestr("labels.csv", clean)
    assert found_in(path) == []

    grey = Image.open(io.BytesIO(photographs.read("cifar10/test/cat/0001.jpg"))).convert("L")
    stream = io.BytesIO()
    grey.save(stream, "PNG")
    planted = {
        "same.jpg": (photographs.read("cifar10/test/dog/0002.jpg"), "dog,test"),
        "wrong.jpg": (photographs.read("cifar10/test/dog/0003.jpg"), "cat,train"),
        "page.jpg": (HTML, "cat,train"),
        "grey.png": (stream.getvalue(), "cat,test"),
    }
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("cat", "dog"):
            for number in range(40):
                archive.writestr(f"{name}{number}.jpg", photographs.read(f"cifar10/test/{name}/{number:04d}.jpg"))
        for name, (content, row) in planted.items():
            archive.writestr(name, content)
            rows.append(f"{name},{row}")
        archive.writestr("labels.csv", "\n".join(rows))
    assert found_in(path) == [
        ("bad file", "page.jpg"),
        ("equal across parts", "dog2.jpg", "same.jpg"),
        ("equal under two labels", "dog3.jpg", "wrong.jpg"),
        ("nearly equal across parts", "cat1.jpg", "grey.png"),
    ]
