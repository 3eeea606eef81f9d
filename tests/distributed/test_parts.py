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

from striate import nn, settings
from striate.cli import app
from striate.cli.launch import run_folder
from striate.data import Dataset
from striate.distributed import Alone, Communicator, failing_together, launcher, mpi
from striate.distributed.threads import threads_of_rank
from striate.errors import OptionError
from striate.train import recompute_statistics
from striate.train.ranks import BatchDivided, predicted, require_same
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


def test_what_differs_between_ranks_is_named() -> None:
    require_same(Alone(), {"lr": "0.1"})
    require_same(Recorded(b'{"lr": "0.1"}'), {"lr": "0.1"})
    with pytest.raises(OptionError, match=r"lr: 0\.2 on rank 1, 0\.1 on rank 0\n  seed: absent on rank 1, 0 on rank 0"):
        require_same(Recorded(b'{"lr": "0.2"}'), {"lr": "0.1", "seed": "0"})


def test_a_failure_ends_all_ranks_unless_they_agree(capfd: pytest.CaptureFixture[str]) -> None:
    ranks = Recorded()
    with pytest.raises(KeyboardInterrupt), failing_together(ranks, (KeyboardInterrupt,)):
        raise KeyboardInterrupt
    assert not ranks.ended
    with pytest.raises(OptionError), failing_together(ranks, code=lambda error: 2):
        raise OptionError("no such option")
    assert ranks.ended == [2]
    with pytest.raises(OSError, match="full"), failing_together(Alone()):
        raise OSError("full")


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
