"""Folders of classes with a CSV file for each recording."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from striate.data import open_data
from striate.data.number_options import Kind, NumberOptions, Task
from striate.data.numbers import read_inputs, read_labelled
from striate.errors import DataError, OptionError

RANDOM = np.random.default_rng(0)
HEAD = "time,x,y"


def write(root: Path, steps: int = 40, head: str = HEAD, files: int = 5, parts: tuple[str, ...] = ("",)) -> Path:
    """Write recordings of two channels; x of the class "walk" is 1 larger."""
    for part in parts:
        for name, offset in (("rest", 0), ("walk", 1)):
            (root / part / name).mkdir(parents=True)
            for number in range(files):
                rows = [
                    [time, offset + 0.1 * RANDOM.standard_normal(), RANDOM.standard_normal()] for time in range(steps)
                ]
                lines = [head] * bool(head) + [",".join(f"{cell:.4f}" for cell in row) for row in rows]
                (root / part / name / f"p{number}.csv").write_text("\n".join(lines) + "\n", "utf-8")
    return root


def test_each_file_is_a_signal_of_its_columns(tmp_path: Path) -> None:
    folder = write(tmp_path)
    found = open_data(folder)
    assert isinstance(found.options, NumberOptions)
    assert (found.options.kind, found.options.task, found.options.columns) == (
        Kind.signals, Task.classify, ("x", "y"),
    )  # fmt: skip
    assert (len(found.train), len(found.held_out), found.train.images.shape[1:]) == (8, 2, (2, 40))
    assert found.train.classes == ("rest", "walk")
    means = found.train.images[:, 0].mean(axis=1).round()
    np.testing.assert_array_equal(means, found.train.labels)
    again = read_inputs(folder / found.held_out_files[0], found.options)
    np.testing.assert_array_equal(again.values[0], found.held_out.images[0])
    assert again.places == (Path(found.held_out_files[0]).name,)
    assert len(read_labelled(folder, found.options)) == 10


def test_windows_of_a_file_stay_in_one_part(tmp_path: Path) -> None:
    folder = write(tmp_path, steps=50)
    found = open_data(folder, window=20, stride=10)
    assert found.train.images.shape[1:] == (2, 20)
    assert len(found.train) + len(found.held_out) == 10 * 4
    files = [{place.partition(",")[0] for place in part} for part in (found.train_files, found.held_out_files)]
    assert not files[0] & files[1]
    assert found.train_files[0].endswith("rows 1 to 20")
    assert len(read_inputs(folder / "walk" / "p0.csv", found.options).values) == 4


def test_given_parts_lengths_gaps_and_order_of_columns_and_rows(tmp_path: Path) -> None:
    folder = write(tmp_path, parts=("train", "test"))
    rows = ["y,t,x", *(f"{10 * time},{time},{'' if time == 3 else time}" for time in range(45))]
    (folder / "train" / "walk" / "p9.csv").write_text("\n".join([rows[0], *reversed(rows[1:])]), "utf-8")
    found = open_data(folder)
    assert (len(found.train), len(found.held_out), found.train.images.shape[1:]) == (11, 10, (2, 45))
    place = found.train_files.index("train/walk/p9.csv")
    np.testing.assert_array_equal(found.train.images[place], [np.arange(45), 10 * np.arange(45)])


def test_files_without_names_of_columns(tmp_path: Path) -> None:
    found = open_data(write(tmp_path, head=""))
    assert found.train.images.shape[1:] == (3, 40)  # nothing says that the first column is the time


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "rest/p0.csv"),
        ("time,x,y\n", "rest/p0.csv"),
        ("time,x,y\n1,2,a\n", "rest/p0.csv, line 2, column 'y': 'a' is not a number"),
        ("time,x,y\n1,2,\n2,3,\n", "rest/p0.csv: the column 'y' has no numbers"),
        ("time,x,z\n1,2,3\n2,3,4\n", "channels x, (y|z)"),
    ],
)
def test_a_bad_file_is_named_or_skipped(tmp_path: Path, text: str, message: str) -> None:
    folder = write(tmp_path)
    (folder / "rest" / "p0.csv").write_text(text, "utf-8")
    with pytest.raises(DataError, match=message) as caught:
        open_data(folder)
    assert "skip" in str(caught.value)
    if "z" not in text:
        found = open_data(folder, on_error="skip")
        assert len(found.train) + len(found.held_out) == 9
        assert any("1 of 10 files were skipped" in note for note in found.notes)


def test_refused_options_and_windows(tmp_path: Path) -> None:
    folder = write(tmp_path)
    with pytest.raises(OptionError, match="takes no label_column: each file is a recording"):
        open_data(folder, label_column="x")
    with pytest.raises(OptionError, match="recordings: signals"):
        open_data(folder, kind="table")
    with pytest.raises(DataError, match="40 rows, and a window has 41"):
        open_data(folder, window=41)
    options = open_data(folder, ignore_columns="y").options
    assert isinstance(options, NumberOptions)
    assert options.columns == ("x",)
    (folder / "other.csv").write_text("time,y\n1,2\n", "utf-8")
    with pytest.raises(DataError, match=r"no column x, which the network was trained with"):
        read_inputs(folder / "other.csv", options)
