"""What training on several ranks is made of: threads, launchers, checks, predictions."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from striate import Trainer, nn, optim, settings
from striate.cli import app
from striate.cli.launch import resuming, run_folder
from striate.cli.predict import with_standard_input
from striate.data import Dataset
from striate.distributed import AGREED, Alone, Communicator, Interrupted, failing_together, launcher, mpi
from striate.distributed.failure import end_all_on_uncaught
from striate.distributed.threads import threads_of_rank
from striate.errors import NonFiniteError, OptionError
from striate.train import Callback, recompute_statistics
from striate.train.interruption import Terminated
from striate.train.ranks import BatchDivided, predicted, require_same, require_same_samples
from tests.distributed.in_threads import on_threads


class Recorded(Communicator):
    """A communicator of two ranks that answers with given contents of the other one."""

    rank, size = 0, 2

    def __init__(self, *others: bytes) -> None:
        self.others = list(others)
        self.ended: list[int] = []

    def gather(self, numbers: np.ndarray) -> np.ndarray:
        return np.stack([numbers, numbers])

    def gather_bytes(self, contents: bytes) -> list[bytes]:
        return [contents, self.others.pop(0)]

    def start_sum(self, array: np.ndarray) -> Any:
        raise NotImplementedError

    def swap(self, array: np.ndarray, partner: int) -> np.ndarray:
        return array

    def on_this_host(self) -> Sequence[int]:
        return (0, 1)

    def abort(self, code: int) -> None:
        self.ended.append(code)


def test_the_cores_of_a_machine_are_divided_among_its_ranks() -> None:
    everything, halves = {0, 1, 2, 3}, [{0, 1}, {2, 3}]
    assert threads_of_rank(everything, [everything] * 2, math.inf) == 2  # no rank is bound to cores
    assert threads_of_rank(halves[0], halves, math.inf) == 2  # each is bound to its own
    assert threads_of_rank({0}, [{0}] * 3, math.inf) == 1  # more ranks than cores
    assert threads_of_rank(everything, [everything] * 2, 2.5) == 1
    assert threads_of_rank({0, 1, 2}, [{0, 1, 2}, {2}], math.inf) == 2


def test_a_launcher_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE"):
        monkeypatch.delenv(name, raising=False)
    assert settings.launched_ranks() == 1
    assert mpi.launched_communicator() is None
    monkeypatch.setenv("PMI_SIZE", "3")
    assert settings.launched_ranks() == 3


def test_launch_finds_the_folder_and_refuses_what_it_cannot_run(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_folder(["train", "digits", "--out", "runs/a"]) == Path("runs/a")
    assert run_folder(["train", "--resume=runs/b"]) == Path("runs/b")
    assert run_folder(["train", "digits"]) is None
    for arguments, problem in {
        ("-n", "2", "show", "lenet5"): "only train, evaluate, predict run on several ranks",
        ("--restarts", "2", "train", "digits"): "--restarts needs a training with --out FOLDER",
        ("-n", "0", "train"): "--ranks",
    }.items():
        found = CliRunner().invoke(app, ["launch", *arguments])
        assert (found.exit_code, problem in found.stderr) == (2, True), found.stderr
    monkeypatch.setattr(launcher, "find_launcher", lambda: None)
    with pytest.raises(OptionError, match="no mpirun or mpiexec was found"):
        launcher.launch_command(2, [sys.executable])


def test_launch_resumes_only_what_it_began(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run.json of before is that of another training, which --overwrite was to replace."""
    run, called, new = tmp_path / "run.json", list[list[str]](), iter([False, True, True])
    run.write_text("earlier")

    def fail(ranks: int, command: Sequence[str]) -> int:
        called.append(list(command))
        if next(new):
            run.unlink()
            run.write_text("begun")
        return 137

    monkeypatch.setattr(sys.modules[resuming.__module__], "_run", fail)
    command = ["train", "digits", "--out", str(tmp_path), "--overwrite", "--json", "--threads", "1"]
    found = CliRunner().invoke(app, ["launch", "--restarts", "2", *command])
    assert found.exit_code == 137
    assert called == [command, command, ["train", "--resume", str(tmp_path), "--json", "--threads", "1"]]
    again = ["train", "--resume", str(tmp_path), "--epochs", "30"]
    assert resuming(again, tmp_path) == again


def test_standard_input_is_not_read_on_several_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[with_standard_input.__module__], "ranks", Recorded)
    assert with_standard_input([Path("a.png")]) == [Path("a.png")]
    with pytest.raises(OptionError, match="cannot be read on several ranks"):
        with_standard_input([Path("-")])


def test_what_differs_between_ranks_is_named() -> None:
    require_same(Alone(), {"lr": "0.1"})
    require_same(Recorded(b'{"lr": "0.1"}'), {"lr": "0.1"})
    with pytest.raises(OptionError, match=r"lr: 0\.2 on rank 1, 0\.1 on rank 0\n  seed: absent on rank 1, 0 on rank 0"):
        require_same(Recorded(b'{"lr": "0.2"}'), {"lr": "0.1", "seed": "0"})


def test_an_uncaught_exception_ends_all_ranks_unless_they_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[object] = []

    def show(kind: object, error: object, trace: object) -> None:
        shown.append(error)

    monkeypatch.setattr(sys, "excepthook", show)
    ranks = Recorded()
    end_all_on_uncaught(ranks)
    errors = RuntimeError("the user's own"), KeyboardInterrupt(), Interrupted(), Terminated(143), NonFiniteError("NaN")
    for error in errors:
        sys.excepthook(type(error), error, None)
    assert shown == list(errors)
    assert ranks.ended == [1, 130]


def test_a_failure_ends_all_ranks_unless_they_agree(capfd: pytest.CaptureFixture[str]) -> None:
    ranks = Recorded()
    with pytest.raises(Interrupted), failing_together(ranks, AGREED):
        raise Interrupted
    assert not ranks.ended
    with pytest.raises(OptionError), failing_together(ranks, code=lambda error: 2):
        raise OptionError("no such option")
    with pytest.raises(KeyboardInterrupt), failing_together(ranks, AGREED):  # Ctrl-C before or after the training
        raise KeyboardInterrupt
    assert ranks.ended == [2, 130]
    assert capfd.readouterr().err.splitlines() == [
        "error: rank 0 of 2: no such option", "error: rank 0 of 2: interrupted",
    ]  # fmt: skip
    with pytest.raises(OSError, match="full"), failing_together(Alone()):
        raise OSError("full")


def test_ranks_predict_only_the_same_samples() -> None:
    x = np.zeros((2, 3), np.float32)

    def compared(ranks: Communicator) -> None:
        require_same_samples(ranks, ["a", "b"], x)
        require_same_samples(ranks, [], None)
        with pytest.raises(OptionError, match="files that can be read: a on rank 1, a, b on rank 0"):
            require_same_samples(ranks, ["a"] if ranks.rank else ["a", "b"], x)
        with pytest.raises(OptionError, match=r"their contents: \(2, 3\), CRC"):
            require_same_samples(ranks, ["a", "b"], x + ranks.rank)

    on_threads(2, compared)


class StoppedOnRank1(Callback):
    """Stops the training on rank 1 alone, before the first step."""

    def begin(self, trainer: Trainer, plan: object) -> None:
        if trainer.ranks.rank == 1:
            trainer.stop("enough")


def test_a_rank_that_stops_at_the_beginning_stops_all() -> None:
    data = Dataset(np.ones((8, 3), np.float32), np.zeros(8, np.int64))

    def trained(ranks: Communicator) -> tuple[str, int]:
        model = nn.Sequential(nn.Linear(3, 2)).initialize(0)
        trainer = Trainer(
            model, nn.CrossEntropyLoss(), optim.SGD(lr=0.1), callbacks=[StoppedOnRank1()], progress=False, watch=False,
            communicator=ranks,
        )  # fmt: skip
        history = trainer.fit(data, epochs=3)
        return history.stopped, len(history)

    before = settings.override(threads=1)
    try:
        assert on_threads(2, trained) == [("another rank stopped the training", 0), ("enough", 0)]
    finally:
        settings.restore(before)


@pytest.mark.parametrize("samples", [1, 6, 8])
def test_predictions_of_all_ranks_are_joined(samples: int) -> None:
    """There are fewer samples than ranks, or parts of unequal sizes; ranks take batches in turn, or parts of one."""
    images = np.arange(4.0 * samples, dtype=np.float32).reshape(samples, 4)
    data = Dataset(images, np.arange(samples))

    def together(ranks: Communicator) -> list[np.ndarray]:
        outputs, labels, indices = zip(*predicted(lambda x: x * 2, data, 3, ranks), strict=True)
        np.testing.assert_array_equal(np.concatenate(labels), np.arange(samples))
        np.testing.assert_array_equal(np.concatenate(indices), np.arange(samples))
        return [BatchDivided(lambda x: x * 2, ranks)(images), np.concatenate(outputs)]

    for found in on_threads(3, together):
        for one in found:
            np.testing.assert_array_equal(one, images * 2)
            assert one.dtype == np.float32


def test_statistics_recomputed_by_all_ranks_are_those_of_one() -> None:
    random = np.random.default_rng(0)
    data = Dataset(random.standard_normal((50, 3)).astype(np.float32), random.integers(0, 2, 50))
    models = [nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 2), nn.BatchNorm1d(2)) for _ in range(4)]

    def recomputed(ranks: Communicator) -> list[int]:
        counts = list[int]()
        recompute_statistics(models[ranks.rank], data, batch_size=9, communicator=ranks, after_batch=counts.append)
        return counts

    assert on_threads(3, recomputed) == [[8, 16, 25, 33, 41, 50]] * 3
    recompute_statistics(models[3], data, batch_size=9)
    for model in models[:3]:
        assert all(np.array_equal(array, models[3].state_dict()[name]) for name, array in model.state_dict().items())
