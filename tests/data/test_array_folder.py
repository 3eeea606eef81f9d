"""Folders of classes with a .npy file for each sample."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from striate.data import open_data
from striate.data.number_options import Kind, NumberOptions, Task
from striate.data.numbers import read_inputs, read_labelled
from striate.data.scan import scan_data
from striate.errors import DataError, OptionError

RANDOM = np.random.default_rng(0)


def write(root: Path, shape: tuple[int, ...], dtype: str = "int16", parts: tuple[str, ...] = ("",)) -> Path:
    for part in parts:
        for name in ("10", "9"):
            (root / part / name).mkdir(parents=True)
            for number in range(5):
                array = RANDOM.integers(-1000, 3000, shape).astype(dtype)
                np.save(root / part / name / f"{number}.npy", array)
    return root


@pytest.mark.parametrize(
    ("shape", "dtype", "kind", "sample"),
    [
        ((6, 7, 8), "int16", Kind.volumes, (1, 6, 7, 8)),
        ((2, 6, 7, 8), "float32", Kind.volumes, (2, 6, 7, 8)),
        ((40,), "float64", Kind.signals, (1, 40)),
        ((3, 40), "float32", Kind.signals, (3, 40)),
        ((40, 3), "float32", Kind.signals, (3, 40)),
        ((9, 12), "uint8", Kind.pictures, (1, 9, 12)),
    ],
)
def test_each_file_is_a_sample(tmp_path: Path, shape: tuple[int, ...], dtype: str, kind: Kind, sample: object) -> None:
    folder = write(tmp_path / "scans", shape, dtype)
    found = open_data(folder)
    assert isinstance(found.options, NumberOptions)
    assert (found.options.kind, found.options.task, found.train.classes) == (kind, Task.classify, ("9", "10"))
    assert (len(found.train), len(found.held_out), found.train.images.shape[1:]) == (8, 2, sample)
    name = found.held_out_files[0]
    again = read_inputs(folder / name, found.options)
    np.testing.assert_array_equal(again.values[0], found.held_out.images[0])
    assert again.places == (Path(name).name,)
    whole = read_labelled(folder, found.options)
    assert (len(whole), whole.classes) == (10, ("9", "10"))
    for path in (folder / "9").iterdir():
        path.unlink()
    assert set(read_labelled(folder, found.options).labels.tolist()) == {1}  # one class can be evaluated


def test_parts_may_be_given_and_signals_differ_in_length(tmp_path: Path) -> None:
    folder = write(tmp_path, (2, 40), "float32", ("train", "test"))
    np.save(folder / "train" / "9" / "longer.npy", np.zeros((2, 50), np.float32))
    found = open_data(folder)
    assert found.given_parts
    assert (len(found.train), len(found.held_out), found.train.images.shape[1:]) == (11, 10, (2, 50))
    assert {Path(file).parts[0] for file in found.held_out_files} == {"test"}
    assert scan_data(folder).counts["9"] == {"train": 6, "held out": 5}


def test_channels_on_the_last_axis_stay_there_in_prediction(tmp_path: Path) -> None:
    folder = write(tmp_path / "logs", (10, 6), "float32")
    np.save(folder / "9" / "longer.npy", np.zeros((14, 6), np.float32))
    found = open_data(folder)
    assert isinstance(found.options, NumberOptions)
    assert found.options.channels_last
    assert found.train.images.shape[1] == 6
    assert "the files differ along their first axis, so they are read as (time, 6 channels)" in found.notes
    square = RANDOM.standard_normal((6, 6)).astype(np.float32)
    np.save(tmp_path / "square.npy", square)
    np.testing.assert_array_equal(read_inputs(tmp_path / "square.npy", found.options).values[0, :, :6], square.T)


def test_files_of_features_and_signals_of_bytes(tmp_path: Path) -> None:
    table = write(tmp_path / "table", (20,), "float32")
    options = open_data(table, kind="table").options
    assert isinstance(options, NumberOptions)
    assert read_inputs(table / "9" / "0.npy", options).values.shape == (1, 20)
    assert open_data(write(tmp_path / "bytes", (40,), "uint8")).train.images.shape[1:] == (1, 40)
    np.save(table / "9" / "dates.npy", np.zeros(20, "datetime64[s]"))
    with pytest.raises(DataError, match=r"dates\.npy: numbers of type datetime64\[s\] are not real"):
        open_data(table, kind="table")


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    folder = write(tmp_path, (6, 7, 8))
    with pytest.raises(OptionError, match="takes no window"):
        open_data(folder, window=3)
    (folder / "9" / "bad.npy").write_bytes(b"no array")
    with pytest.raises(DataError, match=r"9/bad\.npy(.|\n)*on_error"):
        open_data(folder)
    assert len(open_data(folder, on_error="skip").train) == 8
    np.save(folder / "9" / "bad.npy", np.zeros((6, 7, 9), np.int16))
    with pytest.raises(DataError, match=r"2 different shapes: 6×7×8 \(10 files(.|\n)*6×7×9 \(1 file, such as 9/bad"):
        open_data(folder)
