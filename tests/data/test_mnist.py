from __future__ import annotations

import gzip
import hashlib
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from striate import settings
from striate.data import load_cifar10, load_idx_folder, load_mnist, open_dataset
from striate.errors import DataError, LabelError, OptionError


def _small_set(folder: Path, labels: bytes = bytes([0, 1, 2]), pictures: int = 3, ending: str = "-idx") -> Path:
    folder.mkdir(exist_ok=True)
    for prefix in ("train", "t10k"):
        image_file = bytes([0, 0, 8, 3]) + struct.pack(">3I", pictures, 6, 5) + bytes(pictures * 30)
        label_file = bytes([0, 0, 8, 1]) + struct.pack(">I", len(labels)) + labels
        (folder / f"{prefix}-images{ending}3-ubyte.gz").write_bytes(gzip.compress(image_file))
        (folder / f"{prefix}-labels{ending}1-ubyte").write_bytes(label_file)
    return folder


@pytest.mark.parametrize("ending", ["-idx", ".idx"])
def test_a_folder_raw_or_packed(tmp_path: Path, ending: str) -> None:
    folder = _small_set(tmp_path / "shapes", ending=ending)
    data = open_dataset(folder, "test")
    assert data.images.shape == (3, 1, 6, 5)
    assert data.labels.tolist() == [0, 1, 2]
    assert data.classes == ("0", "1", "2")
    assert data.name == "shapes"


def test_classes_come_from_the_training_part(tmp_path: Path) -> None:
    folder = _small_set(tmp_path / "set")
    (folder / "t10k-labels-idx1-ubyte").write_bytes(bytes([0, 0, 8, 1]) + struct.pack(">I", 3) + bytes([0, 1, 3]))
    with pytest.raises(LabelError, match=r"t10k-labels(.|\n)*labels\[2\] = 3"):
        load_idx_folder(folder, "test")


def test_counts_must_agree(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"4 pictures, but .* has 3 labels"):
        load_mnist("train", _small_set(tmp_path / "set", pictures=4))


def test_a_label_beyond_nine(tmp_path: Path) -> None:
    with pytest.raises(LabelError, match=r"labels\[1\] = 10"):
        load_mnist("train", _small_set(tmp_path / "set", labels=bytes([0, 10, 1])))


def test_missing_data_says_what_to_do(tmp_path: Path, kept_settings: settings.Settings) -> None:
    settings.restore(replace(kept_settings, data=None))
    with pytest.raises(DataError, match="set STRIATE_DATA"):
        open_dataset("mnist")
    settings.restore(replace(kept_settings, data=tmp_path))
    with pytest.raises(DataError, match="no such folder"):
        open_dataset("mnist")
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist" / "readme").touch()
    with pytest.raises(DataError, match=r"neither train-images-idx3-ubyte nor(.|\n)*found: readme"):
        open_dataset("mnist")


def test_an_unknown_name_lists_the_known(tmp_path: Path) -> None:
    with pytest.raises(
        OptionError, match=r"did you mean 'mnist'(.|\n)*known by name: digits, mnist, fashion_mnist, cifar10"
    ):
        open_dataset("mnits")
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"file: not a data set\n  known by name"):
        open_dataset(tmp_path / "file")
    assert len(open_dataset("digits", "test")) == 355


@pytest.mark.parametrize("path", [None, 3, ["digits"], "", True])
def test_what_is_not_a_path_is_refused(path: Any) -> None:
    for read in (open_dataset, load_idx_folder):
        with pytest.raises(OptionError, match="expected a path, as text"):
            read(path)
    if path is not None:
        with pytest.raises(OptionError, match=r"source=.*; expected a path"):
            load_cifar10("train", path)
        with pytest.raises(OptionError, match=r"folder=.*; expected a path"):
            load_mnist("train", path)


def test_real_mnist(mnist_folder: Path) -> None:
    train, test = load_mnist("train", mnist_folder), load_mnist("test", mnist_folder)
    assert train.images.shape == (60_000, 1, 28, 28)
    assert test.images.shape == (10_000, 1, 28, 28)
    assert np.bincount(test.labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    for data, digest in ((train, "6bbc9ace898e44ae57da46a324031adb"), (test, "2646ac647ad5339dbf082846283269ea")):
        header = bytes([0, 0, 8, 3]) + struct.pack(">3I", len(data), 28, 28)
        assert hashlib.md5(header + data.images.tobytes()).hexdigest() == digest
