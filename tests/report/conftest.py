"""Runs to report on: an ordinary one, and one in which each name is an attack."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import striate as st
from striate import data, nn, optim
from striate.cli import app
from striate.data import Dataset
from striate.report.material import Material, gathered
from striate.train.run import MODEL_FILE, Run, read_run, write_run

ATTACK = "\"'></title></style><script>window.attacked=1</script><img src=x onerror=window.attacked=1>&amp;\u202e"
"""Ends every quote, attribute and element that it may be written into."""

LAYERS = ("standardizer", "0", "1", "4", "5", "9", "10", "12")


def write_records(path: Path, layers: tuple[str, ...], name: str, finding: dict[str, Any]) -> None:
    """Write the record of a short training whose gradient shrinks by a factor of 100 from layer to layer."""
    records: list[dict[str, Any]] = [
        {"kind": "plan", "time": 0.0, "epochs": 2, "batches": 10, "samples": 320, "batch_size": 32, "model": name,
         "data": name},
    ]  # fmt: skip
    for step in range(1, 21):
        epoch, batch = (step - 1) // 10 + 1, (step - 1) % 10 + 1
        records.append({
            "kind": "batch", "time": 0.0, "epoch": epoch, "batch": batch, "step": step, "loss": 2.3 / step,
            "accuracy": None if step == 1 else 0.9, "images_per_second": 1e4,
        })  # fmt: skip
        figures = {
            layer: {
                "mean": 0.0, "std": 1.0, "zeros": 0.25, "saturated": None,
                "gradient_norm": 100.0 ** min(place - 7, 99),
                "gradient_ratio": 100.0 ** max(place - len(layers) + 1, -99),
                "update_ratio": None if step == 1 else 1e-3, "units": 16, "silent": [3], "silent_count": 1,
            }
            for place, layer in enumerate(layers)
        }  # fmt: skip
        records.append({"kind": "watch", "time": 0.0, "epoch": epoch, "step": step, "layers": figures})
    records.append({**finding, "kind": "finding", "time": 0.0, "rule": finding.get("kind", "")})
    lines = [json.dumps(record) for record in records]
    path.write_text("\n".join(["[]", "no json", *lines, '{"kind": "watch", "layers": {']), encoding="utf-8")


FINDING: dict[str, Any] = {
    "kind": "vanishing_gradients", "severity": "error", "where": "0", "units": [1, 2], "sureness": 0.97,
    "evidence": {"first to last": 3.1e-7, "layers": None}, "message": "the gradient of layer 0 vanishes",
    "why": "Twelve sigmoids shrink it.",
    "remedy": {"text": "Use ReLU.", "code": "nn.ReLU()", "command": "striate train digits --activation relu"},
    "cause": "activation", "because": "", "step": 20, "layers": ["0", "12"],
}  # fmt: skip


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two epochs of lenet5 on the digits, with a record."""
    folder = tmp_path_factory.mktemp("runs") / "digits"
    result = CliRunner().invoke(app, ["train", "digits", "--epochs", "2", "--out", str(folder)])
    assert result.exit_code == 0, result.output
    write_records(folder / "progress.jsonl", LAYERS, "lenet5", FINDING)
    found = read_run(folder)
    found.findings = [FINDING]
    write_run(folder, found)
    return folder


@pytest.fixture(scope="session")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose layers, classes, data, arguments, findings and folder have malicious names."""
    held_out = data.load_digits("test")
    layer = ATTACK.replace(".", "")
    model = nn.Sequential({
        layer: nn.Conv2d(1, 4, 3, padding=1), f"{layer}2": nn.ReLU(), f"{layer}3": nn.Flatten(),
        f"{layer}4": nn.Linear(None, 10),
    })  # fmt: skip
    step = st.TrainingStep(model, nn.CrossEntropyLoss(), optim.SGD(lr=0.05))
    step(held_out.images[:32], held_out.labels[:32])
    folder = tmp_path_factory.mktemp("hostile") / ATTACK.replace("/", "")
    folder.mkdir()
    st.save(model, folder / MODEL_FILE, input_shape=(1, 8, 8), classes=[f"{ATTACK}{i}" for i in range(10)])
    epochs = [{"number": 1, "loss": ATTACK, "validation_loss": 10**19, "seconds": True}, {"number": 2, "loss": 1.5}]
    history = {"epochs": epochs, ATTACK: ATTACK}
    arguments = {"model": ATTACK, ATTACK: ATTACK, "batch_size": 8, "lr": ATTACK}
    write_run(folder, Run(ATTACK, arguments, 0, True, history, {"accuracy": ATTACK}, versions={ATTACK: ATTACK}))
    finding = dict.fromkeys(FINDING, ATTACK) | {"kind": ATTACK, "units": [ATTACK], "evidence": {ATTACK: 1.0}}
    write_records(folder / "progress.jsonl", (layer, f"{layer}4", ATTACK), ATTACK, finding)
    return folder


@pytest.fixture(scope="session")
def hostile_material(hostile: Path) -> Material:
    """The malicious run, with data whose classes have malicious names too, and a malicious picture."""
    held_out = data.load_digits("test")
    renamed = Dataset(held_out.images, held_out.labels, tuple(f"{ATTACK}{i}" for i in range(10)), ATTACK)
    material = gathered(hostile, [], None, lambda text: None)
    assert material.data is None, "a data set of that name exists nowhere"
    material.data = renamed
    return material


@pytest.fixture
def drawn(tmp_path: Path) -> Path:
    """A picture file."""
    path = tmp_path / "drawn <b>.png"
    Image.fromarray(np.eye(20, dtype=np.uint8) * 255).save(path)
    return path
