"""A training that was interrupted and resumed ends with the bits of one that was not; and what checkpoints promise."""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file  # pyright: ignore[reportUnknownVariableType]

from striate import nn, optim
from striate.data import Dataset
from striate.data.loader import batches
from striate.doctor import Doctor
from striate.errors import ModelFileError, OptionError
from striate.persistence import load
from striate.train import Callback, Checkpoints, EarlyStopping, Trainer
from striate.train.checkpoint import read_checkpoint
from striate.train.every import Every
from striate.train.fingerprint import Fingerprint
from striate.train.interruption import Terminated
from striate.train.progress import Moment, Silent


def data(count: int = 52, seed: int = 0) -> Dataset:
    random = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    images = random.normal(0, 1, (count, 1, 4, 4)).astype(np.float32)
    images[np.arange(count), 0, labels] += 1
    return Dataset(images, labels, ("a", "b", "c"), "points")


def net() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Dropout(0.2), nn.Linear(None, 3)
    )


class Quits(Callback):
    """Ends the training as a kill does: without a word, after a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def after_batch(self, trainer: Trainer, moment: Moment) -> None:
        if trainer.step.step_number == self.step:
            raise RuntimeError("killed")

    def describe(self) -> str:
        return ""


class Told(Silent):
    """What was said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def warn(self, text: str) -> None:
        self.lines.append(f"warning: {text}")

    def note(self, text: str) -> None:
        self.lines.append(text)


PLAIN: dict[str, Any] = {"rule": optim.SGD(lr=0.1, momentum=0.9)}
FULL: dict[str, Any] = {
    "rule": optim.AdamW(lr=0.02, schedule=optim.CosineSchedule(16)), "ema": 0.8, "accumulate": 2, "max_norm": 1.0,
    "augment": "flip crop:1 mixup:0.2", "loss": nn.CrossEntropyLoss(np.array([1.0, 2.0, 0.5]), label_smoothing=0.1),
}  # fmt: skip
STEPS = 4  # of an epoch


def trainer(folder: Path | Checkpoints | None, *others: Callback, patience: int | None = 2, **options: Any) -> Trainer:
    options = {**PLAIN, "progress": False, "seed": 5, **options}
    rule, loss = options.pop("rule"), options.pop("loss", None) or nn.CrossEntropyLoss()
    stopping = () if patience is None else (EarlyStopping(patience),)
    return Trainer(net(), loss, rule, batch_size=13, checkpoints=folder, callbacks=[*stopping, *others], **options)


def told(one: Trainer) -> tuple[Any, ...]:
    """Everything that a resumed training has in common with an undisturbed one; times differ."""
    epochs = [
        (epoch.number, epoch.loss, epoch.validation_loss, epoch.validation_accuracy) for epoch in one.history.epochs
    ]
    findings = [(finding.kind, finding.cause, finding.step, finding.message) for finding in one.findings]
    state = {name: array.tobytes() for name, array in one.model.state_dict().items()}
    step = {name: array.tobytes() for name, array in one.step.state_dict().items()}
    return epochs, findings, state, step, one.history.kept, one.history.stopped


@pytest.mark.parametrize("options", [PLAIN, FULL], ids=["plain", "everything"])
def test_killed_after_any_step_and_resumed_it_ends_with_the_same_bits(options: dict[str, Any], tmp_path: Path) -> None:
    weights = np.linspace(0.5, 2, 52) if options is FULL else None
    straight = trainer(None, **options)
    straight.fit(data(), data(20, 1), epochs=4, sample_weight=weights)
    for killed in (1, STEPS, STEPS + 2, 3 * STEPS - 1):
        folder = Checkpoints(tmp_path / str(killed), every=2)
        with pytest.raises(RuntimeError, match="killed"):
            trainer(folder, Quits(killed), **options).fit(data(), data(20, 1), epochs=4, sample_weight=weights)
        again = trainer(tmp_path / str(killed), **options)
        again.fit(data(), data(20, 1), epochs=4, sample_weight=weights, resume=True)
        assert told(again) == told(straight)


def test_ctrl_c_and_sigterm_write_a_checkpoint_first(tmp_path: Path) -> None:
    straight = trainer(None)
    straight.fit(data(), data(20, 1), epochs=3)

    class Signals(Callback):
        number = signal.SIGINT

        def after_batch(self, trainer: Trainer, moment: Moment) -> None:
            if trainer.step.step_number == 6:
                os.kill(os.getpid(), self.number)

        def describe(self) -> str:
            return ""

    before = signal.getsignal(signal.SIGTERM)
    for number in (signal.SIGINT, signal.SIGTERM):
        signals = Signals()
        signals.number = number
        with pytest.raises(KeyboardInterrupt) as caught:
            trainer(tmp_path / number.name, signals).fit(data(), data(20, 1), epochs=3)
        assert isinstance(caught.value, Terminated) is (number == signal.SIGTERM)
        assert not isinstance(caught.value, Terminated) or caught.value.code == 143
        assert read_checkpoint(tmp_path / number.name / "checkpoints" / "last.safetensors").step == 6
        again = trainer(tmp_path / number.name)
        again.fit(data(), data(20, 1), epochs=3, resume=tmp_path / number.name)
        assert told(again) == told(straight)
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_finished_training_says_so_and_more_epochs_continue_it(tmp_path: Path) -> None:
    first = trainer(tmp_path, patience=None)
    first.fit(data(), epochs=2)
    said = Told()
    again = trainer(tmp_path, patience=None, progress=said)
    again.fit(data(), epochs=2, resume=True)
    assert said.lines == ["finished already: 2 epochs; a larger number of epochs continues it"]
    assert told(again)[2] == told(first)[2]
    trainer(tmp_path, patience=None, progress=said).fit(data(), epochs=1, resume=True)
    assert said.lines[1:] == [said.lines[0], "changed since the checkpoint: epochs: 2 then, 1 now"]
    said.lines = said.lines[:1]
    more, straight = trainer(tmp_path, patience=None, progress=said), trainer(None, patience=None)
    more.fit(data(), epochs=4, resume=True)
    straight.fit(data(), epochs=4)
    assert told(more)[2:4] == told(straight)[2:4]
    assert said.lines[1:] == [
        "resumed from the end of epoch 2, step 8", "changed since the checkpoint: epochs: 2 then, 4 now",
    ]  # fmt: skip


def test_a_training_that_was_stopped_early_goes_on(tmp_path: Path) -> None:
    one = trainer(tmp_path, rule=optim.SGD(lr=0.0), record=tmp_path)
    one.fit(data(), data(20, 1), epochs=9)
    assert (len(one.history), one.history.kept) == (3, 1)
    said = Told()
    again = trainer(tmp_path, rule=optim.SGD(lr=0.0), progress=said, record=tmp_path)
    again.fit(data(), data(20, 1), epochs=9, resume=True)
    assert said.lines == [
        (
            "finished already: 3 epochs (validation_loss has not improved for 2 epochs); "
            "a larger number of epochs continues it"
        )
    ]
    assert (again.history.kept, again.history.stopped) == (1, "validation_loss has not improved for 2 epochs")
    again = trainer(tmp_path, rule=optim.SGD(lr=0.0), record=tmp_path)
    last = tmp_path / "checkpoints" / "last.safetensors"
    assert len(again.fit(data(), data(20, 1), epochs=10, resume=last)) == 5  # patience begins again
    events = [json.loads(line) for line in (tmp_path / "progress.jsonl").read_text().splitlines()]
    assert [event["number"] for event in events if event["kind"] == "epoch"] == [1, 2, 3, 4, 5]


def test_what_has_changed_is_said_or_refused(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError):
        trainer(Checkpoints(tmp_path, every=1), Quits(6)).fit(data(), data(20, 1), epochs=3)

    def resumed(train_set: Dataset | None = None, held_out: Dataset | None = None, **options: Any) -> list[str]:
        said, allow = Told(), options.pop("allow_changes", False)
        one = trainer(None, progress=said, **options)
        one.fit(
            train_set or data(), held_out or data(20, 1), epochs=3, resume=tmp_path, allow_changes=allow
        )  # fmt: skip
        return said.lines

    assert resumed() == ["resumed from epoch 2 of 3, step 5"]
    assert resumed(rule=optim.SGD(lr=0.01, momentum=0.9), patience=4)[1:] == [
        "changed since the checkpoint: lr: 0.1 then, 0.01 now",
        (
            "changed since the checkpoint: callbacks: EarlyStopping(patience=2, min_delta=0, monitor=None) then, "
            "EarlyStopping(patience=4, min_delta=0, monitor=None) now"
        ),
    ]
    assert resumed(seed=6)[1:] == ["changed since the checkpoint: seed: 5 then, 6 now", "epoch 2 begins again"]
    assert resumed(held_out=data(19, 1))[1:] == ["the held-out data have changed: number of samples: 20 then, 19 now"]
    other = data()
    relabelled = Dataset(other.images, (other.labels + 1) % 3, other.classes)
    with pytest.raises(OptionError, match=r"training data have changed since the checkpoint: other labels\n.*--allow"):
        resumed(relabelled)
    assert resumed(data(50), allow_changes=True)[1:] == [
        "the training data have changed: number of samples: 52 then, 50 now", "epoch 2 begins again",
    ]  # fmt: skip
    with pytest.raises(OptionError, match="cannot change its optimizer: SGD then, Adam now"):
        resumed(rule=optim.Adam(lr=0.1))
    with pytest.raises(OptionError, match="cannot change its moving average: none then, kept now"):
        resumed(ema=0.9)
    linear = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    other_network = Trainer(linear, nn.CrossEntropyLoss(), PLAIN["rule"], progress=False)
    with pytest.raises(ModelFileError, match="does not fit this training"):
        other_network.fit(data(), epochs=3, resume=tmp_path, allow_changes=True)


def test_a_damaged_checkpoint_falls_back_on_the_previous_one(tmp_path: Path) -> None:
    straight = trainer(None)
    straight.fit(data(), data(20, 1), epochs=3)
    with pytest.raises(RuntimeError):
        trainer(Checkpoints(tmp_path, every=1), Quits(6)).fit(data(), data(20, 1), epochs=3)
    last = tmp_path / "checkpoints" / "last.safetensors"
    whole = last.read_bytes()
    flipped = bytearray(whole)
    flipped[-9] ^= 1
    for damaged, problem in (
        (whole[: len(whole) // 2], "lie outside of the file"), (bytes(flipped), "its checksum does not fit"),
        (b"", "only 0 bytes"), (None, "missing"),
    ):  # fmt: skip
        last.unlink() if damaged is None else last.write_bytes(damaged)
        said = Told()
        again = trainer(None, progress=said)
        again.fit(data(), data(20, 1), epochs=3, resume=tmp_path)
        assert told(again) == told(straight)
        line, _ = said.lines
        assert re.search(rf"warning: .*{problem}.*; resuming from the previous checkpoint, epoch 2 of 3, step 4", line)
    (tmp_path / "checkpoints" / "previous.safetensors").write_bytes(whole[:100])
    last.write_bytes(whole[:100])
    with pytest.raises(ModelFileError, match=re.escape("previous.safetensors")):
        trainer(None).fit(data(), data(20, 1), epochs=3, resume=tmp_path)
    last.write_bytes(whole)
    with pytest.raises(ModelFileError, match="a checkpoint of a training, not a model"):
        load(last)
    for file in last.parent.iterdir():
        file.unlink()
    with pytest.raises(ModelFileError, match="no checkpoint in it"):
        trainer(None).fit(data(), epochs=3, resume=tmp_path)


def test_files_of_the_folder(tmp_path: Path) -> None:
    """The last one, the one before, and the best; the record has each epoch once."""
    one = trainer(tmp_path, Quits(11), patience=None, record=tmp_path)
    with pytest.raises(RuntimeError):
        one.fit(data(), data(20, 1), epochs=4)
    folder = tmp_path / "checkpoints"
    assert sorted(entry.name for entry in folder.iterdir()) == [
        "best.safetensors", "last.safetensors", "previous.safetensors",
    ]  # fmt: skip
    found = {entry.stem: read_checkpoint(entry) for entry in folder.iterdir()}
    assert (found["last"].step, found["previous"].step) == (8, 4)
    losses = [epoch.validation_loss for epoch in found["last"].history]
    assert found["best"].step == 4 * (1 + int(np.argmin(np.array(losses, float))))
    for name, array in load_file(folder / "last.safetensors").items():  # as any other program reads it
        if name != "document":
            np.testing.assert_array_equal(array, found["last"].tensors[name])
    (folder / ".last.safetensors.0badc0de").write_text("a killed process left this")
    trainer(tmp_path, patience=None, record=tmp_path).fit(data(), data(20, 1), epochs=4, resume=True)
    assert not list(folder.glob(".*"))
    events = [json.loads(line) for line in (tmp_path / "progress.jsonl").read_text().splitlines()]
    assert [event["number"] for event in events if event["kind"] == "epoch"] == [1, 2, 3, 4]
    assert "resumed from epoch 3 of 4, step 8" in (tmp_path / "log.txt").read_text()


def test_a_disk_that_fails_costs_a_checkpoint_and_not_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said, sync = Told(), os.fsync
    one = trainer(Checkpoints(tmp_path, every=1), progress=said)
    last = tmp_path / "checkpoints" / "last.safetensors"
    seen: list[int] = []

    class Full(Callback):
        def after_batch(self, trainer: Trainer, moment: Moment) -> None:
            step = trainer.step.step_number
            seen.append(read_checkpoint(last).step)

            def full(file: int) -> None:
                raise OSError(28, "No space left on device")

            monkeypatch.setattr(os, "fsync", full if 3 <= step < 6 else sync)

    one.callbacks = (*one.callbacks, Full())
    one.fit(data(), epochs=2)
    assert seen == [0, 1, 2, 2, 2, 2, 6, 7]
    assert said.lines == [
        f"warning: no checkpoint at step 3: {last}: cannot be written: No space left on device; the training goes on"
    ]
    assert not list(last.parent.glob(".*"))


def test_every() -> None:
    assert [Every.parse(given) for given in ("epoch", 500, "500", "30s", "10min", "1.5 h")] == [
        Every(), Every(steps=500), Every(steps=500), Every(seconds=30.0), Every(seconds=600.0), Every(seconds=5400.0),
    ]  # fmt: skip
    for given in ("0", 0, True, "-3", "10 parsecs", "1.5", "", None, "nan s"):
        with pytest.raises(OptionError, match="help: epoch, 500, 30s, 10min or 2h"):
            Every.parse(given)


def test_resume_needs_a_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="resume=True without checkpoints"):
        trainer(None).fit(data(), epochs=1, resume=True)
    with pytest.raises(ModelFileError, match="no such folder or file"):
        trainer(None).fit(data(), epochs=1, resume=tmp_path / "nothing")
    one = trainer(tmp_path)  # a script that always says resume=True begins where there is nothing
    assert len(one.fit(data(), epochs=1, resume=True)) == 1
    with pytest.raises(OptionError, match=r"holds the checkpoints of an earlier training\n.*resume=True"):
        trainer(tmp_path).fit(data(), epochs=1)
    held = trainer(tmp_path)
    with Checkpoints(tmp_path).lock, pytest.raises(OptionError, match="in use by another training"):
        held.fit(data(), epochs=2, resume=True)


def test_the_order_of_an_epoch_can_begin_anywhere() -> None:
    whole = list(batches(data(), 13, seed=3, epoch=2))
    for first in range(5):
        rest = list(batches(data(), 13, seed=3, epoch=2, first=first))
        assert [batch.indices.tolist() for batch in rest] == [batch.indices.tolist() for batch in whole[first:]]


def test_a_fingerprint_knows_what_changed() -> None:
    one = data()
    before = Fingerprint.of(one)
    assert before.changes(Fingerprint.of(data())) == []
    changed = np.array(one.images)
    changed[51, 0, 3, 3] += 1e-3
    assert before.changes(Fingerprint.of(Dataset(changed, one.labels, one.classes))) == ["other contents of the inputs"]
    assert before.changes(Fingerprint.of(Dataset(one.images, one.labels, ("a", "b", "d")))) == [
        "classes: 3 (c) then, 3 (d) now"
    ]


def test_the_doctor_goes_on_where_it_was() -> None:
    """A trace that was written and read is the same, with NaN and without."""
    one = trainer(None)
    one.fit(data(), data(20, 1), epochs=2)
    assert one.doctor is not None
    other = Doctor(one.step, data(), data(20, 1), watch=one.watch, batch_size=13, epochs=2, seed=5)
    other.load_state_dict(one.doctor.state_dict())
    for name in ("readings", "losses", "probes", "silence", "drifts", "starts", "gains", "sizes", "epoch_losses"):
        assert repr(getattr(other.trace, name)) == repr(getattr(one.doctor.trace, name)), name
    assert [finding.key for finding in other.findings] == [finding.key for finding in one.doctor.findings]
