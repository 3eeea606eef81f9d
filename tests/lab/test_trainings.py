"""Requested trainings, and the child processes that run them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from striate.errors import OptionError
from striate.lab.requests import FIELDS, TrainingRequest
from striate.lab.runs import Runs
from striate.lab.trainings import MOST_WAITING, State, Training, ended, final_state, interrupt
from striate.persistence import load
from tests.lab.conftest import PORT, Front, sample_record, write_record

DATA = {"digits": "digits"}
QUICK = {"model": "first_cnn", "epochs": 1, "batch_size": 64}
ENDLESS = {"model": "first_cnn", "epochs": 1000, "batch_size": 2}


_COUNTS_CTRL_C = """
import signal, sys, time
received = []
signal.signal(signal.SIGINT, lambda *_: received.append(1))
print("ready", flush=True)
while not received:
    time.sleep(0.01)
time.sleep(0.5)
sys.exit(10 + len(received))
"""


def started(client: TestClient, order: dict[str, Any]) -> str:
    answer = client.post("/api/trainings", json=order)
    assert answer.status_code == 201, answer.text
    return answer.json()["key"]


def wait_for(front: Front, key: str, *states: State, seconds: float = 40) -> State:
    training = front.lab.runs[key].training
    assert training is not None
    end = time.monotonic() + seconds
    while training.state not in states:
        assert time.monotonic() < end, (training.state, list(training.lines))
        time.sleep(0.02)
    return training.state


def alive(pid: int) -> bool:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


def wait_for_steps(front: Front, key: str) -> int:
    """Wait until the training executes steps; returns its process."""
    training = front.lab.runs[key].training
    assert training is not None
    end = time.monotonic() + 40
    while not any(line.startswith("1,442 images") for line in training.lines):
        assert time.monotonic() < end
        time.sleep(0.02)
    assert training.process is not None
    return training.process.pid


def test_an_order_becomes_a_command_of_this_interpreter(tmp_path: Path) -> None:
    document = {"data": "digits", "model": "mlp", "activation": "sigmoid", "lr": 0.1, "depth": 3, "standardize": False}
    words = TrainingRequest.of(document, DATA).command(tmp_path)
    assert words[:7] == [sys.executable, "-P", "-m", "striate", "train", "digits", "--out"]
    assert words[7] == str(tmp_path)
    assert words[8:] == ["--model", "mlp", "--activation", "sigmoid", "--lr", "0.1", "--depth", "3", "--no-standardize"]


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"model": "rm -rf"}, "unknown model"),
        ({"model": ["lenet5"]}, "unknown model"),
        ({"activation": "--help"}, "unknown activation"),
        ({"norm": "batch"}, "known: before_activation, block_start, none"),
        ({"lr": "0.1; ls"}, "expected a number"),
        ({"lr": True}, "expected a number"),
        ({"lr": -1}, "expected a number"),
        ({"lr": 1e300}, "expected a number"),
        ({"epochs": 1.5}, "whole number"),
        ({"epochs": 10**9}, "from 1 to 1000"),
        ({"batch_size": 1}, "from 2"),
        ({"standardize": "yes"}, "true or false"),
        ({"data": "/etc"}, "unknown data"),
        ({"data": "../digits"}, "unknown data"),
        ({"out": "/tmp/x"}, "unknown setting 'out'"),
        ({"threads": 1}, "unknown setting"),
        ({"model": "lenet5", "depth": 3}, "lenet5 has no setting depth"),
        ({"model": "first_cnn", "norm": "none"}, "first_cnn has no setting norm"),
    ],
)
def test_what_cannot_be_trained_is_refused_and_leaves_nothing(
    client: TestClient, front: Front, document: dict[str, Any], message: str
) -> None:
    with pytest.raises(OptionError, match=message):
        TrainingRequest.of(document, DATA)
    answer = client.post("/api/trainings", json=document)
    assert answer.status_code == 422
    assert message in answer.json()["error"]
    assert not front.lab.runs.folder.exists()


def test_every_setting_is_an_option_of_the_command_line() -> None:
    from striate.cli import app, train

    assert app
    names = set(train.__annotations__)
    assert set(FIELDS) <= names


def test_a_training_is_carried_out_and_kept(client: TestClient, front: Front) -> None:
    key = started(client, {**QUICK, "seed": 7})
    assert wait_for(front, key, *(state for state in State if state.over)) is State.FINISHED
    entry = front.lab.runs[key]
    assert entry.folder.parent == front.lab.runs.folder
    entry.refresh()
    assert entry.run is not None
    assert entry.run.seed == 7
    assert client.post(f"/api/runs/{key}/look", json={"sample": 0}).status_code == 200
    again = Runs(front.lab.runs.folder)
    again.scan()
    assert [one.name for one in again] == ["001-first_cnn"]
    assert next(iter(again)).state is State.FINISHED


@pytest.mark.slow
def test_one_trains_and_the_others_wait_until_they_are_stopped(client: TestClient, front: Front) -> None:
    first, second, third = (started(client, ENDLESS) for _ in range(3))
    pid = wait_for_steps(front, first)
    assert front.lab.runs[second].state is State.WAITING
    assert client.post(f"/api/runs/{second}/stop", json={}).json()["state"] == "stopped"
    answer = client.post(f"/api/runs/{first}/stop", json={}).json()
    assert answer["state"] == "stopping"
    assert wait_for(front, first, State.STOPPED, State.FAILED) is State.STOPPED
    assert not alive(pid)
    model = front.lab.runs[first].folder / "model.safetensors"
    assert load(model).input_shape == (1, 8, 8)
    assert not any(front.lab.runs[second].folder.iterdir())
    assert wait_for(front, third, State.RUNNING) is State.RUNNING
    assert client.post(f"/api/runs/{front.key}/stop", json={}).status_code == 409


@pytest.mark.slow
def test_closing_the_lab_stops_the_training_and_keeps_its_model(front: Front) -> None:
    from tests.lab.conftest import ORIGIN

    with TestClient(front.guard, base_url=ORIGIN) as client:
        client.get(f"/?token={front.keys.token}")
        client.headers["Origin"] = ORIGIN
        first, second = started(client, ENDLESS), started(client, QUICK)
        pid = wait_for_steps(front, first)
    assert not alive(pid)
    assert [front.lab.runs[key].state for key in (first, second)] == [State.STOPPED, State.STOPPED]
    assert (front.lab.runs[first].folder / "model.safetensors").is_file()


@pytest.mark.slow
def test_why_a_training_broke_down_is_told(client: TestClient, front: Front) -> None:
    key = started(client, {"model": "mlp", "norm": "none", "activation": "relu", "lr": 1000, "epochs": 3})
    assert wait_for(front, key, *(state for state in State if state.over)) is State.FAILED
    with client.websocket_connect(f"ws://127.0.0.1:{PORT}/live") as socket:
        (run,) = (run for run in socket.receive_json()["runs"] if run["key"] == key)
    assert run["state"] == "failed"
    assert run["message"].startswith("step ")
    assert "a smaller learning rate" in run["message"]


def test_a_queue_has_an_end(client: TestClient, front: Front) -> None:
    started(client, ENDLESS)
    for _ in range(MOST_WAITING):
        started(client, ENDLESS)
    answers = [client.post("/api/trainings", json=ENDLESS) for _ in range(2)]
    assert answers[-1].status_code == 422
    assert "wait already" in answers[-1].json()["error"]
    for entry in list(front.lab.runs):
        if entry.training is not None and entry.state is State.WAITING:
            client.post(f"/api/runs/{entry.key}/stop", json={})


def test_exit_codes() -> None:
    assert final_state(0, State.RUNNING) is State.FINISHED
    assert final_state(130, State.RUNNING) is State.STOPPED
    assert final_state(-9, State.STOPPING) is State.STOPPED
    assert final_state(1, State.RUNNING) is State.FAILED
    assert final_state(-11, State.RUNNING) is State.FAILED


def test_states_of_runs_that_others_train(tmp_path: Path) -> None:
    runs = Runs(tmp_path / "lab")
    folder = tmp_path / "other"
    folder.mkdir()
    entry = runs.add(folder)
    assert entry.state is State.WAITING
    write_record(folder, sample_record())
    entry.story.advance()
    assert entry.state is State.RUNNING
    assert entry.settings() == {"data": "digits", "model": "mlp", "batch_size": 32, "epochs": 2}
    long_ago = time.time() - 3600
    os.utime(folder / "progress.jsonl", (long_ago, long_ago))
    assert entry.state is State.STOPPED
    write_record(folder, [{"kind": "end", "time": 1.0, "finished": True}])
    entry.story.advance()
    assert entry.state is State.FINISHED
    assert runs.add(folder) is entry


def test_a_training_that_runs_again_in_a_folder_is_not_taken_for_the_last_one(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "again"
    shutil.copytree(run, folder)
    entry = Runs(tmp_path / "lab").add(folder)
    entry.story.advance()
    assert entry.state is State.FINISHED
    assert entry.summary()["accuracy"] > 0.9
    (folder / "progress.jsonl").unlink()
    write_record(folder, [{**sample_record()[0], "time": time.time() + 1}])
    entry.story.advance()
    entry.refresh()
    assert entry.state is State.RUNNING
    assert entry.summary()["accuracy"] is None
    assert entry.settings() == {"data": "digits", "model": "mlp", "batch_size": 32, "epochs": 2}


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")
    runs = Runs(tmp_path / "file" / "lab")
    with pytest.raises(OptionError, match="cannot be written"):
        runs.requested(TrainingRequest("digits", {}))
    assert Training(TrainingRequest("digits", {}), tmp_path).message == ""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no Ctrl-C for a process without a console")
def test_a_training_is_sent_ctrl_c_once_however_often_it_is_stopped(tmp_path: Path) -> None:
    async def code() -> int:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", _COUNTS_CTRL_C, stdout=asyncio.subprocess.PIPE, start_new_session=True
        )
        assert process.stdout is not None
        await process.stdout.readline()
        training = Training(TrainingRequest("digits", {}), tmp_path)
        interrupt(training)  # its process has not started
        training.process = process
        interrupt(training)
        await asyncio.sleep(0.1)
        interrupt(training)
        await ended(training)
        assert process.returncode is not None
        return process.returncode

    assert asyncio.run(code()) == 11
