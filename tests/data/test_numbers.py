"""Tables, signals, volumes and arrays: what is recognized, what is refused, and with what message."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from striate.data import NumberOptions, open_data
from striate.data.number_options import Kind, Task
from striate.data.numbers import read_inputs, read_labelled
from striate.errors import DataError, OptionError

RANDOM = np.random.default_rng(0)


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def table(path: Path, count: int = 40, head: str = "a,b,kind", labels: tuple[str, ...] = ("no", "yes")) -> Path:
    """A table of two features, where the label is that of the row's number."""
    rows = [f"{row},{row * row % 7},{labels[row % len(labels)]}" for row in range(count)]
    return written(path, "\n".join([head, *rows]) + "\n")


def signals(path: Path, people: int = 5, steps: int = 24, head: str = "time,x,y,activity,person") -> Path:
    """A row per time step: two activities, one after the other, of each person."""
    rows = [head]
    for person in range(people):
        rows += [
            f"{step / 10},{step + 100 * person},{-step},{'walk' if step < steps // 2 else 'run'},p{person}"
            for step in range(steps)
        ]
    return written(path, "\n".join(rows) + "\n")


def test_a_table_of_features(tmp_path: Path) -> None:
    found = open_data(table(tmp_path / "data.csv"))
    assert isinstance(found.options, NumberOptions)
    assert (found.options.kind, found.options.task, found.options.columns) == (Kind.table, Task.classify, ("a", "b"))
    assert found.train.classes == ("no", "yes")
    assert np.bincount(found.held_out.labels).tolist() == [4, 4]
    for place, row, label in zip(found.train_files, found.train.images, found.train.labels):
        assert place == f"line {int(row[0]) + 2}"
        assert label == row[0] % 2
    again = open_data(tmp_path / "data.csv", found.options.to_json())
    np.testing.assert_array_equal(again.held_out.images, found.held_out.images)


def test_semicolons_decimal_commas_missing_cells_and_a_numbering(tmp_path: Path) -> None:
    rows = [f"{row};{'' if row == 3 else f'{row},5'};{row % 2};p{row // 4}" for row in range(24)]
    path = written(tmp_path / "data.csv", "\ufeffid;height;label;patient\n" + "\n".join(rows))
    found = open_data(path)
    assert isinstance(found.options, NumberOptions)
    assert found.options.columns == ("height",)
    values = np.concatenate([found.train.images, found.held_out.images]).ravel()
    medians = np.median([row + 0.5 for row in range(24) if f"line {row + 2}" in found.train_files and row != 3])
    assert sorted(values) == pytest.approx(sorted([row + 0.5 for row in range(24) if row != 3] + [medians]))
    assert [note for note in found.notes if "1 missing number is" in note or "'id' numbers the rows" in note]
    sides = [{(int(place[5:]) - 2) // 4 for place in places} for places in (found.train_files, found.held_out_files)]
    assert not sides[0] & sides[1]


@pytest.mark.parametrize(
    ("labels", "given", "task", "shape"),
    [
        (("1.5", "2", "3.25"), None, Task.regress, (40, 1)),
        (("0", "1", "2"), None, Task.classify, (40,)),
        (("0", "1", "2"), "regress", Task.regress, (40, 1)),
        (("a;b", "b", ""), "multilabel", Task.multilabel, (40, 2)),
        (tuple(map(str, range(40))), None, Task.regress, (40, 1)),
    ],
)
def test_what_is_predicted_follows_from_the_labels(
    tmp_path: Path, labels: tuple[str, ...], given: str | None, task: Task, shape: tuple[int, ...]
) -> None:
    found = open_data(table(tmp_path / "data.csv", head="a,b,label", labels=labels), task=given)
    assert isinstance(found.options, NumberOptions)
    assert found.options.task is task
    assert (len(found.train) + len(found.held_out), *found.train.labels.shape[1:]) == shape
    if task is Task.multilabel:
        assert found.options.classes == ("a", "b")
        assert found.train.labels.sum() + found.held_out.labels.sum() == 14 * 2 + 13


def test_windows_of_a_wide_table_keep_groups_on_one_side(tmp_path: Path) -> None:
    path = signals(tmp_path / "motion.csv")
    found = open_data(path, window=8, label_column="activity", held_out=0.4)
    assert found.train.images.shape[1:] == (2, 8)
    people = [set((data.images[:, 0, 0] // 100).astype(int)) for data in (found.train, found.held_out)]
    assert not people[0] & people[1]
    assert len(found.train) + len(found.held_out) == 5 * 5
    lines = found.train_files[0]
    assert lines == f"lines {lines.split()[1]} to {int(lines.split()[1]) + 7}"
    with pytest.raises(DataError, match=r"lines 2 to 25: 24 rows, and a window has 25\n.*window=24"):
        open_data(path, window=25)
    with pytest.raises(DataError, match="'time' makes its rows look like time steps"):
        open_data(path)


def test_windows_of_both_parts_share_no_rows(tmp_path: Path) -> None:
    path = signals(tmp_path / "motion.csv", people=1, steps=400, head="time,x,y,activity,nothing")
    found = open_data(path, window=20, stride=5, ignore_columns="nothing")
    rows = [{int(one) for start in data.images[:, 0, 0] for one in range(int(start), int(start) + 20)}
            for data in (found.train, found.held_out)]  # fmt: skip
    assert not rows[0] & rows[1]
    assert "share rows with held-out windows" in " ".join(found.notes)
    assert np.bincount(found.held_out.labels, minlength=2).min() > 0


def test_the_long_form_has_a_series_for_each_name(tmp_path: Path) -> None:
    rows = ["id,time,x,y,label"]
    for series in range(12):
        order = RANDOM.permutation(5 + series % 3)
        rows += [f"s{series},{step},{step},{'' if step == 1 else 10 * step},{'ab'[series % 2]}" for step in order]
    path = written(tmp_path / "long.csv", "\n".join(rows))
    found = open_data(path)
    assert found.train.images.shape[1:] == (2, 7)
    for signal in found.train.images:
        last = int(signal[0].max())
        steps = np.minimum(range(7), last)
        np.testing.assert_allclose(signal, [steps, 10 * steps])  # interpolated, and the last value repeated
    assert "signals of 5 to 7 steps" in " ".join(found.notes)
    written(path, path.read_text().replace(",b\n", ",a\n", 1))
    with pytest.raises(DataError, match=r"series 's1', line \d+ is labelled '[ab]', but line \d+ '[ab]'"):
        open_data(path)


def test_files_of_the_ucr_and_uea_archives(tmp_path: Path) -> None:
    for part, count in (("TRAIN", 6), ("TEST", 4)):
        rows = ["\t".join([str(1 + row % 2), *(str(row + step / 4) for step in range(7))]) for row in range(count)]
        written(tmp_path / f"Waves_{part}.tsv", "\n".join(rows))
        cases = [f"{row},1,2,?:4,5,{row}:{'ab'[row % 2]}" for row in range(count)]
        head = "#about\n@problemName waves\n@timeStamps false\n@univariate false\n@classLabel true a b\n@data\n"
        (tmp_path / "ts").mkdir(exist_ok=True)
        written(tmp_path / "ts" / f"Waves_{part}.ts", head + "\n".join(cases))
    found = open_data(tmp_path / "Waves_TRAIN.tsv")
    assert (found.train.images.shape, found.held_out.images.shape) == ((6, 1, 7), (4, 1, 7))
    assert found.given_parts
    assert found.train.classes == ("1", "2")
    both = open_data(tmp_path / "ts")
    assert both.train.images[5].tolist() == [[5, 1, 2], [4, 5, 5]]
    assert isinstance(both.options, NumberOptions)
    assert len(read_labelled(tmp_path / "ts", both.options)) == 4
    assert len(read_labelled(tmp_path / "ts" / "Waves_TEST.ts", both.options)) == 4
    assert read_inputs(tmp_path / "ts" / "Waves_TEST.ts", both.options).places[0] == "line 7"
    written(tmp_path / "ts" / "Waves_TEST.ts", head + "1,x:2:a")
    with pytest.raises(DataError, match=r"Waves_TEST.ts, line 7, channel 0: 'x' is not a number"):
        open_data(tmp_path / "ts")


def test_arrays_of_every_kind(tmp_path: Path) -> None:
    labels = np.array([f"c{row % 2}" for row in range(20)])
    cases: list[tuple[Any, Kind, tuple[int, ...]]] = [
        (RANDOM.normal(size=(20, 4)), Kind.table, (4,)),
        (RANDOM.normal(size=(20, 3, 50)), Kind.signals, (3, 50)),
        (RANDOM.normal(size=(20, 50, 3)), Kind.signals, (3, 50)),
        (RANDOM.integers(0, 9, (20, 8, 8), np.uint8), Kind.pictures, (1, 8, 8)),
        (RANDOM.integers(0, 9, (20, 8, 8, 3), np.uint8), Kind.pictures, (3, 8, 8)),
        (RANDOM.integers(-1000, 1000, (20, 5, 6, 7), np.int16), Kind.volumes, (1, 5, 6, 7)),
        (RANDOM.normal(size=(20, 2, 5, 6, 7)), Kind.volumes, (2, 5, 6, 7)),
    ]
    for number, (x, kind, shape) in enumerate(cases):
        path = tmp_path / f"{number}.npz"
        np.savez(path, x=x, y=labels)
        found = open_data(path)
        assert isinstance(found.options, NumberOptions)
        assert (found.options.kind, found.train.images.shape[1:]) == (kind, shape)
        assert ("channels_last=False" in " ".join(found.notes)) == (number in (2, 4))
        if x.dtype == np.int16:
            assert found.options.limits is not None
            assert (found.train.images.min(), found.train.images.max()) == (0, 1)
    assert open_data(tmp_path / "2.npz", channels_last=False).train.images.shape[1:] == (50, 3)
    np.save(tmp_path / "X_train.npy", cases[1][0])
    np.save(tmp_path / "y_train.npy", labels)
    np.save(tmp_path / "X_test.npy", cases[1][0][:6])
    np.save(tmp_path / "y_test.npy", labels[:6])
    assert len(open_data(tmp_path / "X_train.npy").held_out) == 6
    np.savez(tmp_path / "parts.npz", x_train=cases[1][0], y_train=labels, x_test=cases[1][0][:6], y_test=labels[:6])
    assert len(open_data(tmp_path / "parts.npz").held_out) == 6


def test_pickled_arrays_are_never_opened(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.array([{}, []], object), allow_pickle=True)
    np.savez(tmp_path / "x.npz", x=np.array([print, 1], object), y=np.arange(2))
    written(tmp_path / "text.npy", "not an array")
    for name in ("x.npy", "x.npz", "text.npy"):
        with pytest.raises(DataError, match=f"{name}: .*(pickled|damaged)"):
            open_data(tmp_path / name)


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("a,label\n1,x\n2,y\nthree,x\n4,y\n", {}, r"line 4, column 'a': 'three' is not a number\n.*on_error=\"skip\""),
        ("a,b,label\n1,u,x\n2,v,y\n", {}, "'b' holds text, such as 'u' in line 2\n.*ignore_columns=\"b\""),
        ("a,label\n1,x\n2\n", {}, "line 3: 1 column, but line 1 has 2"),
        ("a,label\n1,x\n2,\n", {}, "line 3, column 'label': the label is missing"),
        ("a,label\n1,x\n2,x\n", {}, "one class, 'x'; a classifier needs two"),
        ("a,label\n1,Walk\n2,walk\n", {}, "'Walk' and 'walk' differ in case only"),
        ("a,label\n1,x\n2,y\n", {"classes": ("x", "z")}, "line 3: the label 'y' is not one of the 2 classes"),
        ("a,label\n1,x\n2,y\n", {"task": "regress"}, "line 2, column 'label': 'x' is not a number"),
        ("a,label\n1,x\n2,y\n", {"label_column": "lable"}, "no column 'lable'; did you mean 'label'"),
        ("a,a\n1,x\n", {}, "two columns are called 'a'"),
        ("a,b\n1,2\n3,4\n", {}, 'no column of labels among a, b\n.*label_column="b"'),
        ("", {}, "is empty"),
        ("a,label\n", {}, "no rows"),
        ("a,label\ninf,x\n2,y\n", {}, "'inf' is not a number"),
        ("a,label\n,x\n,y\n,x\n,y\n", {}, "'a' has no number in the training part"),
        ("a,label\n1,x\n2,y\n", {"size": 3}, "takes no size, since it holds numbers"),
        ("a,label\n1,x\n2,y\n", {"stride": 3}, "stride has no effect without window"),
        ("a,label\n1,x\n2,y\n", {"windows": 3}, "windows"),
    ],
)
def test_bad_tables_are_named_with_the_cure(tmp_path: Path, text: str, options: dict[str, Any], message: str) -> None:
    path = written(tmp_path / "data.csv", text)
    with pytest.raises((DataError, OptionError), match=message):
        open_data(path, options)


def test_bad_rows_are_skipped_and_counted(tmp_path: Path) -> None:
    path = table(tmp_path / "data.csv")
    text = path.read_text().replace("3,2,yes", "3,2,").replace("\n5,", "\nfive,")
    found = open_data(written(path, text), on_error="skip")
    assert len(found.train) + len(found.held_out) == 38
    assert "2 of 40 rows were skipped: " in found.notes[-1]
    assert "line 5, column 'kind'" in found.notes[-1]


def test_other_files_are_answered(tmp_path: Path) -> None:
    for name, message in (
        ("a.xlsx", r"files of the kind \.xlsx are not read"),
        ("a.pkl", "not read"),
        ("a.png", "a single picture"),
    ):
        with pytest.raises(DataError, match=message):
            open_data(written(tmp_path / name, "x"))
    (tmp_path / "tables").mkdir()
    for name in ("one.csv", "two.csv"):
        table(tmp_path / "tables" / name)
    with pytest.raises(DataError, match=r"2 files of numbers, one\.csv, two\.csv"):
        open_data(tmp_path / "tables")
    written(tmp_path / "latin.csv", "a").write_bytes("größe,label\n1,x".encode("latin-1"))
    with pytest.raises(DataError, match="not UTF-8 text"):
        open_data(tmp_path / "latin.csv")
    with pytest.raises(OptionError, match="no such file or folder"):
        open_data(tmp_path / "nowhere.csv")


def test_reading_for_prediction_needs_no_labels(tmp_path: Path) -> None:
    path = table(tmp_path / "data.csv")
    options = open_data(path).options
    assert isinstance(options, NumberOptions)
    inputs = read_inputs(written(tmp_path / "new.csv", "b,extra,a\n5,u,1\n,v,2\n"), options)
    assert inputs.values.tolist() == [[1, 5], [2, options.fill[1]]]
    assert inputs.places == ("line 2", "line 3")
    with pytest.raises(DataError, match="no column b, which the network was trained with"):
        read_inputs(written(tmp_path / "new.csv", "a\n5\n"), options)


def test_rows_of_another_length_are_counted_or_skipped(tmp_path: Path) -> None:
    rows = [f"{row},{row % 7},{'ny'[row % 2]}" for row in range(40)]
    rows[5] += ",7"
    rows[9] = "1,2"
    path = written(tmp_path / "data.csv", "\n".join(["a,b,kind", *rows]))
    with pytest.raises(DataError) as refusal:
        open_data(path)
    assert f"2 of 40 rows cannot be used\n  {path}, line 7: 4 columns, but line 1 has 3" in str(refusal.value)
    assert 'on_error="skip"' in str(refusal.value)
    found = open_data(path, on_error="skip")
    assert len(found.train) + len(found.held_out) == 38
    assert found.notes[0].startswith(f"2 of 40 rows were skipped: {path}, line 7: 4 columns")
    with pytest.raises(DataError, match=r"line 2: 3 columns, but line 1 has 2; so it is with most rows"):
        open_data(written(path, "\n".join(["a;b", *(row.replace(",", ";") for row in rows)])), on_error="skip")


@pytest.mark.parametrize(
    "text",
    [
        "a,b,kind,\n" + "\n".join(f"{row},{row % 7},{'ny'[row % 2]}," for row in range(20)),
        "a,b,kind\n" + "\n".join(f"{row},{row % 7},{'ny'[row % 2]},," for row in range(20)),
        "# a logger\n# 50 Hz\na,b,kind\n" + "\n".join(f"{row},{row % 7},{'ny'[row % 2]}" for row in range(20)),
        "# a,b,label\n" + "\n".join(f"{row},{row % 7},{row % 2}" for row in range(20)),  # as np.savetxt writes it
    ],
)
def test_comments_and_delimiters_at_the_end_of_lines(tmp_path: Path, text: str) -> None:
    found = open_data(written(tmp_path / "data.csv", text))
    assert isinstance(found.options, NumberOptions)
    assert (found.options.columns, found.options.task) == (("a", "b"), Task.classify)
    assert len(found.train) + len(found.held_out) == 20
    assert found.notes == ()


@pytest.mark.parametrize(
    ("labels", "task", "other"),
    [
        (("-1", "0", "1"), Task.classify, "regress"),
        (("1", "2", "3", "4", "5"), Task.classify, "regress"),  # such as stars
        (("0", "1", "2"), Task.classify, None),  # the usual numbers of classes
        (tuple(str(3 * number) for number in range(40)), Task.regress, "classify"),
        (("1.5", "2", "7"), Task.regress, None),
        (("no", "yes"), Task.classify, None),
    ],
)
def test_a_note_says_which_task_was_chosen_for_whole_numbers(
    tmp_path: Path, labels: tuple[str, ...], task: Task, other: str | None
) -> None:
    path = table(tmp_path / "data.csv", head="a,b,label", labels=labels)
    found = open_data(path)
    assert isinstance(found.options, NumberOptions)
    assert found.options.task is task
    notes = [note for note in found.notes if "taken as" in note]
    assert len(notes) == (other is not None)
    if other is not None:
        assert f'task="{other}"' in notes[0]
        assert not [note for note in open_data(path, task=task.value).notes if "taken as" in note]


def test_series_files_say_what_their_labels_are(tmp_path: Path) -> None:
    rows = "\n".join(f"{number},{number + 1},{number % 3}:{number % 2 * 2 - 1}" for number in range(12))
    for head, task in (("@classLabel true -1 1", Task.classify), ("@targetLabel true", Task.regress)):
        found = open_data(written(tmp_path / "waves.ts", f"@problemName waves\n{head}\n@data\n{rows}\n"))
        assert isinstance(found.options, NumberOptions)
        assert (found.options.task, found.notes) == (task, ())
    ucr = "\n".join(f"{number % 2 * 2 - 1}\t{number}\t{number + 1}\t{number % 3}" for number in range(12))
    written(tmp_path / "Waves_TRAIN.tsv", ucr)
    written(tmp_path / "Waves_TEST.tsv", ucr.replace("\t3", "\t3.5"))
    found = open_data(tmp_path / "Waves_TRAIN.tsv")
    assert found.train.classes == ("-1", "1")
    assert not [note for note in found.notes if "taken as" in note]


def test_gaps_are_refused_where_the_training_part_is_not_known(tmp_path: Path) -> None:
    """A model file has no medians; gaps within a signal need none."""
    with pytest.raises(DataError, match=r"numbers are missing, and the columns' medians .* are not known"):
        read_inputs(written(tmp_path / "new.csv", "a,b\n5,\n1,2\n"), NumberOptions())
    np.save(tmp_path / "new.npy", np.array([[[1, np.nan, 3], [4, 5, np.nan]]]))
    found = read_inputs(tmp_path / "new.npy", NumberOptions(kind=Kind.signals))
    np.testing.assert_array_equal(found.values, [[[1, 2, 3], [4, 5, 5]]])
    np.save(tmp_path / "new.npy", np.full((1, 2, 3), np.nan))
    with pytest.raises(DataError, match=r"a channel has no number, and the channels' medians .* are not known"):
        read_inputs(tmp_path / "new.npy", NumberOptions(kind=Kind.signals))


def test_a_case_of_a_series_file_without_channels_is_named(tmp_path: Path) -> None:
    text = "@problemName x\n@timeStamps\n@classLabel true a b\n@\n@data\na\n1,2:b\n"
    with pytest.raises(DataError, match="line 6: a label without channels"):
        open_data(written(tmp_path / "x.ts", text))
