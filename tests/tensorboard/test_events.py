"""Event files for TensorBoard, read as their format is defined: records of length, checksum, content, checksum."""

from __future__ import annotations

import struct
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import striate as st
from striate import nn, optim
from striate.data import Dataset
from striate.errors import OptionError

pytest.importorskip("tensorboardX")


def crc32c(data: bytes) -> int:
    """Return the checksum of Castagnoli, bit by bit."""
    found = 0xFFFFFFFF
    for byte in data:
        found ^= byte
        for _ in range(8):
            found = found >> 1 ^ (0x82F63B78 if found & 1 else 0)
    return found ^ 0xFFFFFFFF


def masked(data: bytes) -> int:
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def events(folder: Path) -> list[Any]:
    from tensorboardX.proto.event_pb2 import Event

    found: list[Any] = []
    for file in sorted(folder.iterdir()):
        content = file.read_bytes()
        while content:
            (length,) = struct.unpack("<Q", content[:8])
            body = content[12 : 12 + length]
            assert struct.unpack("<I", content[8:12])[0] == masked(content[:8])
            assert struct.unpack("<I", content[12 + length : 16 + length])[0] == masked(body)
            found.append(Event.FromString(body))
            content = content[16 + length :]
    return found


def test_the_curves_of_a_training_are_in_its_event_files(tmp_path: Path) -> None:
    from striate.tensorboard import TensorBoard

    random = np.random.default_rng(0)
    data = Dataset(random.normal(size=(20, 3)).astype(np.float32), random.integers(0, 2, 20))
    rule = optim.SGD(lr=0.1, schedule=optim.CosineSchedule(8))
    assert [rule.rate_at(t) for t in (0, 4, 8)] == pytest.approx([0.1, 0.05, 0])

    def trainer() -> st.Trainer:
        model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
        return st.Trainer(
            model, nn.CrossEntropyLoss(), rule, batch_size=5, progress=False, checkpoints=tmp_path / "run",
            callbacks=[TensorBoard(tmp_path / "events", complain=pytest.fail)],
        )  # fmt: skip

    history = trainer().fit(data, data, epochs=1)
    history = trainer().fit(data, data, epochs=2, resume=True)
    scalars: dict[str, dict[int, float]] = defaultdict(dict)
    for event in events(tmp_path / "events"):
        for value in event.summary.value:
            scalars[value.tag][event.step] = value.simple_value
    assert scalars["loss/training"] == pytest.approx(dict(zip((4, 8), history.losses)))
    held_out = [epoch.validation_loss for epoch in history]
    assert scalars["loss/held-out"] == pytest.approx(dict(zip((4, 8), held_out)))
    assert scalars["learning_rate"][8] == pytest.approx(rule.rate_at(7))
    assert {"gradient_norm/0", "zeros/1", "output_std/2", "accuracy/held-out", "loss/batch"} <= set(scalars)
    starts = [event.step for event in events(tmp_path / "events") if event.HasField("session_log")]
    assert starts == [5]  # TensorBoard drops what the first file says of later steps
    (tmp_path / "file").write_text("")
    with pytest.raises(OptionError, match="no event file can be written"):
        st.Trainer(
            nn.Linear(3, 2), nn.CrossEntropyLoss(), rule, progress=False, callbacks=[TensorBoard(tmp_path / "file")]
        ).fit(data, epochs=1)
