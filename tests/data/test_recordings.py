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
    assert isinstance(found.options, NumberOptions)
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
        ("time,x,y\n1,2,1e300\n2,3,4\n", "rest/p0.csv: the column 'y' has numbers that float32 cannot hold"),
        ("time,x,z\n1,2,3\n2,3,4\n", "rest/p0.csv: has the channels x, z, not x, y"),
    ],
)
def test_a_bad_file_is_named_or_skipped(tmp_path: Path, text: str, message: str) -> None:
    folder = write(tmp_path)
    (folder / "rest" / "p0.csv").write_text(text, "utf-8")
    with pytest.raises(DataError, match=message) as caught:
        open_data(folder)
    assert "skip" in str(caught.value)
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


def test_columns_that_name_something_else_are_no_channels_and_subjects_are_groups(tmp_path: Path) -> None:
    folder = write(tmp_path, steps=4)
    for path in sorted(folder.glob("*/*.csv")):
        head, *rows = path.read_text("utf-8").splitlines()
        subject = int(path.stem[1:]) // 2
        rows = [f"{number},{row},{number},1,{subject}" for number, row in enumerate(rows)]
        path.write_text("\n".join([f"index,{head},timestamp,label,subject", *rows]), "utf-8")
    found = open_data(folder)
    assert isinstance(found.options, NumberOptions)
    assert found.options.columns == ("x", "y")
    assert any("not read as channels: index, label, subject, time, timestamp" in note for note in found.notes)
    subjects = [{int(Path(name).stem[1:]) // 2 for name in part} for part in (found.train_files, found.held_out_files)]
    assert not subjects[0] & subjects[1]


def test_times_may_be_missing_or_dates_and_pandas_writes_an_index(tmp_path: Path) -> None:
    folder = write(tmp_path)
    times = {
        "p0": ["0.05", "", "0.1", "0.5"],
        "p1": ["2024-01-09 10:00:00", "2024-01-10", "2024-02-01", "2024-11-01"],
        "p2": ["9:59 AM", "10:00 AM", "1:00 PM", "2:00 PM"],
        "p3": ["t1", "t2", "t10", "t11"],
    }
    for name, cells in times.items():
        rows = [f"{cell},{number},{number}" for number, cell in enumerate(cells)]
        (folder / "walk" / f"{name}.csv").write_text("\n".join([HEAD, *rows]), "utf-8")
    found = open_data(folder)
    assert isinstance(found.options, NumberOptions)
    for name in times:
        one = read_inputs(folder / "walk" / f"{name}.csv", found.options).values[0, 0, :4]
        np.testing.assert_array_equal(one, np.arange(4), name)
    for path in folder.glob("*/*.csv"):
        path.write_text(",0,1\n" + "\n".join(f"{row},{row / 2},{row * row}" for row in range(9)), "utf-8")
    found = open_data(folder)
    np.testing.assert_array_equal(found.train.images[0], [np.arange(9) / 2, np.arange(9) ** 2])


def test_one_long_recording_of_each_class_is_divided_in_time(tmp_path: Path) -> None:
    found = open_data(write(tmp_path, steps=600, files=1), window=20)
    assert set(found.train.labels.tolist()) == set(found.held_out.labels.tolist()) == {0, 1}


def test_a_bad_cell_is_filled_where_bad_rows_are_skipped(tmp_path: Path) -> None:
    folder = write(tmp_path)
    (folder / "walk" / "p1.csv").write_text("time,x,y\n0,1,1\n1,a,1\n2,3,1\n3,1\n", "utf-8")
    with pytest.raises(DataError, match=r"p1\.csv"):
        open_data(folder)
    found = open_data(folder, on_error="skip")
    assert isinstance(found.options, NumberOptions)
    assert any("2 rows or cells were skipped" in note and "p1.csv, line" in note for note in found.notes)
    one = read_inputs(folder / "walk" / "p1.csv", found.options)
    np.testing.assert_array_equal(one.values[0, 0, :3], [1, 2, 3])


def test_evaluations_need_the_folders_of_classes(tmp_path: Path) -> None:
    folder = write(tmp_path / "moves")
    options = open_data(folder).options
    assert isinstance(options, NumberOptions)
    for path in (folder / "walk", folder / "walk" / "p0.csv"):
        with pytest.raises(DataError, match="the folder of a file was its label"):
            read_labelled(path, options)
    with pytest.raises(DataError, match="no such file"):
        read_inputs(folder / "p0.csv", options)
    short = open_data(folder, window=20).options
    assert isinstance(short, NumberOptions)
    (folder / "p9.csv").write_text(f"{HEAD}\n0,1,2\n", "utf-8")
    with pytest.raises(DataError, match=r"p9\.csv: 1 row, and a window has 20"):
        read_inputs(folder / "p9.csv", short)
    (tmp_path / "one").mkdir()
    (folder / "walk").rename(tmp_path / "one" / "walk")
    with pytest.raises(DataError, match=r"one class, 'walk'.*\n.*a folder for each class"):
        open_data(tmp_path / "one")


def test_what_is_no_folder_of_recordings(tmp_path: Path) -> None:
    folder = write(tmp_path / "moves")
    with pytest.raises(DataError, match="no file has a column zz"):
        open_data(folder, ignore_columns="zz")
    (folder / "subjects.csv").write_text("subject,age\na,1\nb,2\n", "utf-8")
    with pytest.raises(DataError, match=r"subjects\.csv, and 10 tables in its folders"):
        open_data(folder)
    archive = tmp_path / "archive"
    for name in ("Beef", "Coffee"):
        (archive / name).mkdir(parents=True)
        for part in ("TRAIN", "TEST"):
            (archive / name / f"{name}_{part}.tsv").write_text("1\t2\t3\n2\t3\t4\n", "utf-8")
    with pytest.raises(DataError, match="each of which is a data set"):
        open_data(archive)
    (folder / "subjects.csv").unlink()
    np.save(folder / "walk" / "stats.npy", np.zeros(3))
    found = open_data(folder)
    assert len(found.train) + len(found.held_out) == 10
    assert any("1 .npy files and 10 tables" in note for note in found.notes)
