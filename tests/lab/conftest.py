"""A small trained run, and the lab for it, without network access."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("starlette", reason="the lab is an extra: pip install 'striate[lab]'")

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", "Using `httpx`")  # newer versions of starlette would rather have httpx2
    from starlette.testclient import TestClient

from typer.testing import CliRunner

from striate.cli import app
from striate.lab.app import Lab, Routes
from striate.lab.guard import Guard, Keys

CHECKOUT = Path(__file__).parents[2]
PORT = 8421
ORIGIN = f"http://127.0.0.1:{PORT}"


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished training on the digits."""
    folder = tmp_path_factory.mktemp("runs") / "seen"
    arguments = ["train", "digits", "--epochs", "3", "--out", str(folder)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    return folder


class Front:
    """The lab behind its guard, its keys, and a client that the guard has admitted."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.keys = Keys.fresh()
        self.routes = Routes(lab)
        self.guard = Guard(self.routes.application(), self.keys, PORT)

    def stranger(self, base: str = ORIGIN) -> TestClient:
        """Return a client without a cookie."""
        return TestClient(self.guard, base_url=base, follow_redirects=False)

    @property
    def key(self) -> str:
        """The key of the run."""
        assert self.lab.first is not None
        return self.lab.first.key


@pytest.fixture
def front(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Front:
    monkeypatch.setenv("PYTHONPATH", str(CHECKOUT))  # of the trainings, also where striate is not installed
    return Front(Lab.of(tmp_path / "lab", run))


@pytest.fixture
def client(front: Front) -> Iterator[TestClient]:
    """Return a client that has exchanged the token for a cookie, and sends its origin as browsers do."""
    with TestClient(front.guard, base_url=ORIGIN, headers={"Origin": ORIGIN}) as client:
        del client.headers["Origin"]
        assert client.get(f"/?token={front.keys.token}").status_code == 200
        client.headers["Origin"] = ORIGIN
        yield client


def write_record(folder: Path, events: list[dict[str, Any]]) -> None:
    """Append events as lines to progress.jsonl."""
    folder.mkdir(exist_ok=True)
    with (folder / "progress.jsonl").open("a") as file:
        file.writelines(json.dumps(event) + "\n" for event in events)


def sample_record(epochs: int = 2) -> list[dict[str, Any]]:
    """Return the events that a training of two layers writes, in the form of ``train.record``."""
    events: list[dict[str, Any]] = [
        {"kind": "plan", "time": 1.0, "epochs": epochs, "batches": 4, "samples": 128, "batch_size": 32,
         "model": "mlp", "data": "digits"},
    ]  # fmt: skip
    for epoch in range(1, epochs + 1):
        for batch in range(1, 5):
            events.append(
                {"kind": "batch", "time": 1.0, "epoch": epoch, "batch": batch, "step": 4 * (epoch - 1) + batch,
                 "loss": 2.0 / (epoch + batch), "accuracy": None, "images_per_second": 1000.0}
            )  # fmt: skip
        layers = {
            name: {"mean": 0.1, "std": 1.0, "zeros": zeros, "saturated": None, "gradient_norm": norm,
                   "gradient_ratio": ratio, "update_ratio": 1e-3, "units": 4, "silent": silent,
                   "silent_count": len(silent)}
            for name, zeros, norm, ratio, silent in (
                ("0", 0.0, 1e-7, 1e-7, []), ("1", 0.6, None, None, [1, 3]), ("2", 0.0, 1.0, 1.0, []))
        }  # fmt: skip
        events.append(
            {"kind": "watch", "time": 1.0, "epoch": epoch, "step": 4 * epoch, "samples": 128, "layers": layers}
        )
        events.append(
            {"kind": "epoch", "time": 1.0, "number": epoch, "loss": 1.0 / epoch, "seconds": 0.5,
             "images_per_second": 256.0, "validation_loss": 1.1 / epoch, "validation_accuracy": 0.5 + 0.1 * epoch}
        )  # fmt: skip
    return events
