"""Follow a training's record while it is written."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from striate.lab.story import MOST_POINTS, Story, Thinned
from tests.lab.conftest import PORT, Front, sample_record, write_record


def batch(step: int) -> dict[str, Any]:
    return {"kind": "batch", "time": 1.0, "epoch": 1, "batch": step, "step": step, "loss": 1.0 / step}


def test_a_record_is_read_as_it_grows(tmp_path: Path) -> None:
    story = Story(tmp_path / "progress.jsonl")
    assert not story.changed()
    story.advance()
    assert story.snapshot()["plan"] is None
    events = sample_record()
    write_record(tmp_path, events[:4])
    assert story.changed()
    story.advance()
    assert not story.changed()
    assert story.plan == events[0]
    told = story.number
    write_record(tmp_path, events[4:])
    story.advance()
    assert story.since(told) == events[4:]
    assert story.since(story.number) == []
    assert [epoch["number"] for epoch in story.snapshot()["epochs"]] == [1, 2]
    assert story.since(-1) is None
    assert story.since(10_000) is None


def test_half_a_line_waits_for_its_other_half(tmp_path: Path) -> None:
    path = tmp_path / "progress.jsonl"
    story = Story(path)
    line = json.dumps(batch(1)).encode() + b"\n"
    path.write_bytes(line + line[:20])
    story.advance()
    assert story.number == 1
    with path.open("ab") as file:
        file.write(line[20:])
    story.advance()
    assert story.number == 2


def test_what_is_no_event_is_skipped(tmp_path: Path) -> None:
    path = tmp_path / "progress.jsonl"
    lines = [b"", b"no json", b"[]", b"1", b'{"kind": 3}', b'{"kind": "unknown"}', b"\xff\xfe", b'{"kind": "batch"',
             b"[" * 100_000, b'{"kind": "epoch", "number": 1, "loss": NaN, "seconds": Infinity}']  # fmt: skip
    path.write_bytes(b"\n".join(lines) + b"\n")
    story = Story(path)
    story.advance()
    assert story.number == 1
    assert story.epochs.last == {"kind": "epoch", "number": 1, "loss": None, "seconds": None}
    json.dumps(story.snapshot(), allow_nan=False)


def test_an_endless_line_is_dropped_and_the_next_is_read(tmp_path: Path) -> None:
    path = tmp_path / "progress.jsonl"
    story = Story(path)
    with path.open("wb") as file:
        file.write(b'{"kind": "batch", "loss": "' + b"x" * 9_000_000)
    story.advance()
    with path.open("ab") as file:
        file.write(b'"}\n' + json.dumps(batch(7)).encode() + b"\n")
    story.advance()
    assert [event["step"] for event in story.batches.all()] == [7]


def test_a_record_begun_anew_is_a_new_chapter(tmp_path: Path) -> None:
    story = Story(tmp_path / "progress.jsonl")
    write_record(tmp_path, sample_record())
    story.advance()
    chapter = story.chapter
    (tmp_path / "progress.jsonl").write_text(json.dumps(sample_record()[0]) + "\n")
    story.advance()
    assert story.chapter > chapter
    assert story.snapshot()["epochs"] == []
    (tmp_path / "progress.jsonl").unlink()
    assert story.changed()
    story.advance()
    assert story.plan is None


def test_a_training_that_goes_on_in_the_same_record_is_one_story(tmp_path: Path) -> None:
    story = Story(tmp_path / "progress.jsonl")
    write_record(tmp_path, [*sample_record(), {"kind": "end", "time": 1.0, "finished": True}])
    story.advance()
    again = [{**sample_record()[0], "epochs": 4}, {"kind": "epoch", "number": 3, "loss": 0.1}]
    write_record(tmp_path, again)
    story.advance()
    assert [epoch["number"] for epoch in story.snapshot()["epochs"]] == [1, 2, 3]
    assert story.end is None
    write_record(tmp_path, [sample_record()[0], {"kind": "epoch", "number": 1, "loss": 0.1}])
    story.advance()
    assert [epoch["number"] for epoch in story.snapshot()["epochs"]] == [1]


def test_days_of_training_stay_small(tmp_path: Path) -> None:
    story = Story(tmp_path / "progress.jsonl")
    write_record(tmp_path, [sample_record()[0], *(batch(step) for step in range(1, 20_001))])
    story.advance()
    steps = [one["step"] for one in story.snapshot()["batches"]]
    assert len(steps) <= MOST_POINTS + 1
    assert steps[0] == 1
    assert steps[-1] == 20_000
    gaps = {b - a for a, b in pairwise(steps[:-1])}
    assert len(gaps) == 1
    assert story.since(0) is None


def test_thinning_keeps_even_gaps() -> None:
    thinned: Thinned[int] = Thinned(4)
    for number in range(11):
        thinned.add(number)
    assert thinned.all() == [0, 4, 8, 10]


def test_a_finding_keeps_the_name_of_its_rule(tmp_path: Path) -> None:
    finding = {"kind": "vanishing_gradients", "severity": "warning", "message": "The gradient vanishes."}
    write_record(tmp_path, [sample_record()[0], {"time": 1.0, **finding}])
    story = Story(tmp_path / "progress.jsonl")
    story.advance()
    (found,) = story.findings
    assert (found["kind"], found["rule"]) == ("finding", "vanishing_gradients")


def test_pages_are_told_what_happens(client: TestClient, front: Front, tmp_path: Path) -> None:
    events = sample_record(3)
    write_record(tmp_path / "live", events[:7])
    key = front.lab.runs.add(tmp_path / "live").key
    address = f"ws://127.0.0.1:{PORT}/live"
    with client.websocket_connect(address) as one, client.websocket_connect(address) as other:
        for socket in (one, other):
            runs = socket.receive_json()
            assert [run["state"] for run in runs["runs"]] == ["finished", "running"]
            socket.send_json({"follow": [key]})
            told = next(message for message in iter(socket.receive_json, None) if message["kind"] == "history")
            assert told["run"] == key
            assert told["history"]["plan"]["epochs"] == 3
        write_record(tmp_path / "live", [*events[7:], {"kind": "end", "time": 1.0, "finished": True}])
        for socket in (one, other):
            seen: list[dict[str, Any]] = []
            while not seen or seen[-1]["kind"] != "end":
                message = socket.receive_json()
                seen += message["events"] if message["kind"] == "events" else []
            assert seen[:-1] == events[7:]
