"""The live record: its lines are complete, however the training ends, and are checked when they are read."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from striate.errors import ModelFileError, NonFiniteError, OptionError
from striate.train import Record, read_progress
from striate.train.history import Epoch
from striate.train.progress import Lines, Moment, Plan
from striate.train.record import PROGRESS_FILE
from tests.train.test_trainer import stripes, trainer

LAYER = {
    "mean", "std", "zeros", "saturated", "gradient_norm", "gradient_ratio", "update_ratio", "units", "silent",
    "silent_count",
}  # fmt: skip


def kinds(events: list[dict[str, Any]]) -> list[str]:
    return [event["kind"] for event in events]


def test_a_training_writes_its_record(tmp_path: Path) -> None:
    one = trainer(record=tmp_path / "run")
    history = one.fit(stripes(), stripes(20, 1), epochs=2)
    events = read_progress(tmp_path / "run")
    assert kinds(events)[0] == "plan"
    assert kinds(events)[-1] == "end"
    assert all(event["time"] > 1.6e9 for event in events)
    assert events[0] | {
        "epochs": 2, "batches": 4, "samples": 60, "batch_size": 16, "model": "Sequential", "data": "stripes"
    } == events[0]  # fmt: skip
    batches = [event for event in events if event["kind"] == "batch"]
    assert {(1, 1), (1, 4), (2, 1), (2, 4)} <= {(event["epoch"], event["batch"]) for event in batches}
    assert set(batches[0]) == {"kind", "time", "epoch", "batch", "step", "loss", "accuracy", "images_per_second"}
    assert [event["step"] for event in batches] == [4 * (event["epoch"] - 1) + event["batch"] for event in batches]
    watches = [event for event in events if event["kind"] == "watch"]
    assert watches[-1]["step"] == 8
    assert watches[-1]["samples"] == 60  # all of the last epoch
    for event in watches:
        assert list(event["layers"]) == ["0", "1", "2", "3", "4", "5", "6"]
        assert all(set(layer) == LAYER for layer in event["layers"].values())
    assert watches[-1]["layers"]["2"]["units"] == 4
    assert watches[-1]["layers"]["6"]["gradient_ratio"] == 1
    assert one.watch is not None
    assert watches[-1]["layers"]["0"]["gradient_norm"] == pytest.approx(one.watch.layer_gradient_norms()["0"], rel=1e-5)
    told = [event for event in events if event["kind"] == "epoch"]
    assert [event["loss"] for event in told] == history.losses
    assert [event["validation_accuracy"] for event in told] == history.accuracies
    assert events[-1]["finished"] is True


def test_a_second_fit_goes_on_and_a_second_trainer_begins_anew(tmp_path: Path) -> None:
    one = trainer(record=tmp_path)
    one.fit(stripes(), epochs=1)
    one.fit(stripes(), epochs=2)
    events = read_progress(tmp_path)
    assert kinds(events).count("plan") == kinds(events).count("end") == 2
    assert [event["number"] for event in events if event["kind"] == "epoch"] == [1, 2, 3]
    trainer(record=str(tmp_path)).fit(stripes(), epochs=1)
    assert kinds(read_progress(tmp_path)).count("plan") == 1


def test_going_on_after_a_process_that_was_killed_inside_of_a_line(tmp_path: Path) -> None:
    trainer(record=tmp_path).fit(stripes(), epochs=1)
    path = tmp_path / PROGRESS_FILE
    whole = read_progress(tmp_path)
    path.write_bytes(path.read_bytes()[:-20])
    assert read_progress(tmp_path) == whole[:-1]
    trainer(record=Record(tmp_path, resume=True)).fit(stripes(), epochs=1)
    events = read_progress(tmp_path)
    assert events[: len(whole) - 1] == whole[:-1]
    assert kinds(events).count("plan") == 2


def test_ctrl_c_and_breakdown_leave_a_whole_record(tmp_path: Path) -> None:
    class Stops(Lines):
        def batch(self, moment: Moment) -> None:
            if moment.batch == 3:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trainer(progress=Stops(), record=tmp_path / "a").fit(stripes(), epochs=2)
    with pytest.raises(NonFiniteError):
        trainer(lr=1e30, record=tmp_path / "b").fit(stripes(), epochs=4)
    for name in "ab":
        events = read_progress(tmp_path / name)
        assert events[-1]["kind"] == "end"
        assert events[-1]["finished"] is False
        assert [kind for kind in kinds(events) if kind != "finding"][-2] == "watch"  # the last that was seen
        assert (tmp_path / name / PROGRESS_FILE).read_bytes().endswith(b"\n")


def test_no_bit_changes_with_watch_and_record(tmp_path: Path) -> None:
    states: list[dict[str, np.ndarray]] = []
    for options in ({"watch": False}, {"watch": True, "record": tmp_path}, {"watch": False, "record": tmp_path}):
        one = trainer(seed=4, **options)
        assert (one.watch is not None) is options["watch"]
        one.fit(stripes(), epochs=2)
        states.append(one.model.state_dict())
    for other in states[1:]:
        assert all(array.tobytes() == other[name].tobytes() for name, array in states[0].items())
    assert "watch" not in kinds(read_progress(tmp_path))


def test_each_epoch_is_a_pass_of_the_watch() -> None:
    one = trainer()
    one.fit(stripes(), epochs=3)
    assert one.watch is not None
    assert one.watch.samples == 60


def test_what_is_not_finite_becomes_null_and_findings_are_kept(tmp_path: Path) -> None:
    class Finding:
        def to_json(self) -> dict[str, Any]:
            return {"kind": "vanishing", "where": "conv1", "evidence": {"ratio": math.inf, "norms": (1.0, math.nan)}}

    record = Record(tmp_path)
    record.start(Plan(1, 1, 2, 2))
    record.batch(Moment(1, 1, 2, math.nan, 3.0, 0.5))
    record.finding(cast("Any", Finding()))
    record.epoch(Epoch(1, math.inf, 0.1, 20.0))
    record.stop()
    record.stop()  # once more says nothing
    _, batch, finding, epoch, end = read_progress(tmp_path)
    assert (batch["loss"], batch["accuracy"], epoch["loss"]) == (None, 0.5, None)
    assert finding["evidence"] == {"ratio": None, "norms": [1.0, None]}
    assert (finding["kind"], finding["rule"], finding["where"]) == ("finding", "vanishing", "conv1")
    assert end["finished"] is False


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OptionError, match=r"record cannot be written[\s\S]*help"):
        trainer(record=tmp_path / "file").fit(stripes(), epochs=1)


def test_a_full_disk_ends_the_record_but_not_the_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    warnings: list[str] = []
    record = Record(tmp_path)
    record.start(Plan(1, 2, 4, 2))
    record.complain = warnings.append

    def full(file: int, content: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    for number in (1, 2):
        record.batch(Moment(1, number, 2, 0.1, 3.0))
    record.stop()
    assert len(warnings) == 1
    assert "No space left" in warnings[0]


@pytest.mark.parametrize(
    "text",
    [
        b"\n", b"{}\n", b"[1, 2]\n", b"not json\n", b"\xff\xfe\x00\n", b"[" * 100_000 + b"\n",
        b'{"kind": 1, "time": 2}\n', b'{"kind": "x", "time": "y"}\n',
        b'{"kind":"x","time":' + b"9" * 5000 + b"}\n",
    ],
    ids=range(9),
)  # fmt: skip
def test_what_is_no_record_is_refused_and_skipped_among_events(text: bytes, tmp_path: Path) -> None:
    path = tmp_path / PROGRESS_FILE
    path.write_bytes(text)
    with pytest.raises(ModelFileError, match="not a record of a training"):
        read_progress(tmp_path)
    good = b'{"kind":"end","time":1.5,"loss":NaN}\n'
    path.write_bytes(text + good + b'{"kind":"batch","ti')
    assert read_progress(tmp_path) == [{"kind": "end", "time": 1.5, "loss": None}]


def test_hostile_sizes_are_refused(tmp_path: Path) -> None:
    assert read_progress(tmp_path) == []
    assert read_progress(tmp_path / "none") == []
    path = tmp_path / PROGRESS_FILE
    with path.open("wb") as stream:
        stream.truncate(300_000_000)  # takes no room on the disk
    with pytest.raises(ModelFileError, match="256 MB"):
        read_progress(tmp_path)
    path.write_bytes(json.dumps({"kind": "x", "time": 1, "more": "a" * 5_000_000}).encode() + b"\n")
    with pytest.raises(ModelFileError, match="line 1 makes it too long"):
        read_progress(tmp_path)
    path.unlink()
    path.mkdir()
    with pytest.raises(ModelFileError, match="cannot be read"):
        read_progress(tmp_path)
