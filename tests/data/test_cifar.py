"""CIFAR-10 from an archive and from a folder, and the errors for invalid ones."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from striate import settings
from striate.data import load_cifar10, open_dataset
from striate.data.cifar import CLASSES
from striate.errors import DataError, OptionError


def picture(seed: int, size: tuple[int, int] = (32, 32)) -> bytes:
    written = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(written, "PNG")
    return written.getvalue()


def members(count: int = 2) -> dict[str, bytes]:
    return {
        f"cifar10/{part}/{name}/{place:04}.png": picture(1000 * place + 10 * label + len(part))
        for part in ("train", "test")
        for label, name in enumerate(CLASSES)
        for place in range(count)
    }


def archive(folder: Path, files: dict[str, bytes]) -> Path:
    path = folder / "cifar10.zip"
    with zipfile.ZipFile(path, "w") as file:
        for name, content in files.items():
            file.writestr(name, content)
    return path


def test_archive_and_folder_give_the_same(tmp_path: Path) -> None:
    files = members()
    path = archive(tmp_path, files)
    with zipfile.ZipFile(path) as file:
        file.extractall(tmp_path / "unpacked")
    packed, unpacked = load_cifar10("train", path), load_cifar10("train", tmp_path / "unpacked")
    assert packed.images.shape == (20, 3, 32, 32)
    assert packed.labels.tolist() == [*range(10)] * 2  # classes alternate
    assert packed.classes == CLASSES
    np.testing.assert_array_equal(packed.images, unpacked.images)
    with Image.open(io.BytesIO(files["cifar10/train/bird/0001.png"])) as image:
        np.testing.assert_array_equal(packed.images[12], np.asarray(image).transpose(2, 0, 1))
    assert len(load_cifar10("test", path, most=1)) == 10


def test_found_through_the_settings(tmp_path: Path) -> None:
    archive(tmp_path, members(1))
    before = settings.override(data=tmp_path)
    try:
        assert len(open_dataset("cifar10", "test")) == 10
        settings.override(data=None)
        with pytest.raises(DataError, match="STRIATE_DATA"):
            open_dataset("cifar10")
    finally:
        settings.restore(before)


def without_frogs(files: dict[str, bytes]) -> None:
    for name in [name for name in files if "/frog/" in name]:
        del files[name]


def too_large(files: dict[str, bytes]) -> None:
    files["cifar10/train/cat/0000.png"] = bytes(2_000_000)


def of_another_size(files: dict[str, bytes]) -> None:
    files["cifar10/train/cat/0000.png"] = picture(1, (16, 32))


def no_picture(files: dict[str, bytes]) -> None:
    files["cifar10/train/cat/0000.png"] = b"not a picture"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (without_frogs, "no pictures of frog to train"),
        (too_large, "2,000,000 bytes for a picture of 32×32"),
        (of_another_size, "32×16; expected 32×32"),
        (no_picture, "0000.png: not a picture"),
    ],
)
def test_what_is_refused(damage: Callable[[dict[str, bytes]], None], message: str, tmp_path: Path) -> None:
    files = members(1)
    damage(files)
    with pytest.raises(DataError, match=message):
        load_cifar10("train", archive(tmp_path, files))


def test_damaged_archives_and_wrong_options(tmp_path: Path) -> None:
    path = tmp_path / "cifar10.zip"
    path.write_bytes(b"PK\x03\x04 and nothing more")
    with pytest.raises(DataError, match="not a zip or tar archive that can be read"):
        load_cifar10("train", path)
    with pytest.raises(DataError, match="no such archive"):
        load_cifar10("train", tmp_path / "none")
    with pytest.raises(OptionError, match="most=0"):
        load_cifar10("train", path, most=0)


@pytest.mark.slow
def test_the_real_one() -> None:
    data = settings.current().data
    if data is None or not (data / "cifar10.zip").is_file():
        pytest.skip("real CIFAR-10 is found through STRIATE_DATA, which names no folder with cifar10.zip here")
    some = load_cifar10("test", most=20)
    assert some.images.shape == (200, 3, 32, 32)
    assert 100 < some.images.mean() < 140
