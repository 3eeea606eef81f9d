"""A batch in pieces gives the loss, gradients and statistics of the whole batch, whatever the pieces contain."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

from striate import TrainingStep, nn, optim
from striate.distributed import Alone, Communicator, Reduce, piece_bounds, piece_count
from striate.distributed.communicator import Array, Done
from striate.distributed.pieces import tree_sum
from striate.errors import OptionError
from striate.step import shared_gradients
from striate.step.shared_gradients import merged_moments, moments_of, power_sums

LOSSES: dict[str, Any] = {
    "mean": lambda: nn.CrossEntropyLoss(),
    "class weights and ignored labels": lambda: nn.CrossEntropyLoss(np.array([1.0, 0.5, 3.0]), ignore_index=1),
    "sum": lambda: nn.CrossEntropyLoss(reduction="sum"),
}


def step(loss: str, **options: Any) -> TrainingStep:
    model = nn.Sequential(
        nn.Conv2d(1, 5, 3, padding=1), nn.BatchNorm2d(5), nn.Tanh(), nn.Dropout(0.3), nn.Flatten(), nn.Linear(80, 3)
    )
    return TrainingStep(model.initialize(0).double(), LOSSES[loss](), optim.SGD(lr=0.1), **options)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("loss", LOSSES)
def test_pieces_agree_with_the_whole_batch(loss: str, weighted: bool) -> None:
    random = np.random.default_rng(0)
    plain, pieces = step(loss), step(loss, reduce="exact")
    for n in (13, 14):  # in four pieces of different sizes
        x, y = random.standard_normal((n, 1, 4, 4)), random.integers(0, 3, n)
        y[: n // 4] = 1  # the first piece has only labels that one of the losses ignores
        weight = random.integers(0, 3, n).astype(np.float64) if weighted else None
        assert pieces(x, y, weight) == pytest.approx(plain(x, y, weight), rel=1e-12)
    for name, array in plain.model.state_dict().items():
        np.testing.assert_allclose(pieces.model.state_dict()[name], array, rtol=1e-10, atol=1e-14, err_msg=name)


def test_a_piece_may_be_a_single_sample() -> None:
    """Synchronized batch normalization needs two values per channel in the batch of all ranks, not in each piece."""
    random = np.random.default_rng(0)
    x, y = random.standard_normal((5, 4)), random.integers(0, 3, 5)  # pieces of one and two samples
    plain, pieces = (
        TrainingStep(
            nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 3)).initialize(0).double(), nn.CrossEntropyLoss(),
            optim.SGD(lr=0.1), **options,
        )
        for options in ({}, {"reduce": "exact"})
    )  # fmt: skip
    assert pieces(x, y) == pytest.approx(plain(x, y), rel=1e-12)


def test_statistics_of_each_piece_differ_from_those_of_the_batch() -> None:
    random = np.random.default_rng(0)
    x, y = random.standard_normal((16, 1, 4, 4)), random.integers(0, 3, 16)
    together, apart = step("mean", reduce="exact"), step("mean", reduce="exact", sync_batch_norm=False)
    assert together(x, y) != pytest.approx(apart(x, y), rel=1e-3)
    means = [one.model.state_dict()["1.running_mean"] for one in (together, apart)]
    np.testing.assert_allclose(*means, rtol=1e-10)  # the mean of the means is the mean


def test_a_watch_sees_all_pieces_of_a_batch() -> None:
    random = np.random.default_rng(0)
    plain, pieces = step("mean"), step("mean", reduce="exact")
    watches = [one.watch("*") for one in (plain, pieces)]
    for n in (13, 40):  # 4 and 8 pieces of different sizes
        x, y = random.standard_normal((n, 1, 4, 4)) + np.arange(n).reshape(n, 1, 1, 1), random.integers(0, 3, n)
        for one in (plain, pieces):
            one(x, y)
        assert watches[0].samples == watches[1].samples
        for what in ("means", "stds", "zero_shares", "saturated_shares", "firing"):
            one, other = (getattr(watch, what)() for watch in watches)
            assert one.keys() == other.keys()
            for path in one:
                np.testing.assert_allclose(other[path], one[path], rtol=1e-9, atol=1e-12, err_msg=f"{what} {path}")


def test_a_copy_keeps_how_gradients_are_added() -> None:
    one = copy.deepcopy(step("mean", reduce="exact", sync_batch_norm=False)).sharing
    assert one is not None
    assert (one.reduce, one.synchronized) == (Reduce.EXACT, False)
    assert copy.deepcopy(step("mean")).sharing is None


def test_moments_of_pieces_are_merged_without_losing_digits() -> None:
    values = 1e6 + np.random.default_rng(0).standard_normal((4, 50, 3))
    parts = [(part.mean(0), part.var(0), len(part)) for part in (values[0], values[1][:7], *values[2:])]
    found = merged_moments(np.array([[*mean, *variance, count] for mean, variance, count in parts]))
    every = np.concatenate([values[0], values[1][:7], *values[2:]])
    np.testing.assert_allclose(found, [*every.mean(0), *every.var(0), 157], rtol=1e-9)


class Twin(Communicator):
    """A communicator of four ranks, all of which have the numbers of this one."""

    rank, size = 0, 4

    def gather(self, numbers: Array) -> Array:
        return np.tile(np.asarray(numbers, np.float64), (self.size, 1))

    def gather_bytes(self, contents: bytes) -> list[bytes]:
        return [contents] * self.size

    def start_sum(self, array: Array) -> Done:
        array *= self.size
        return Done()

    def swap(self, array: Array, partner: int) -> Array:
        return array

    def on_this_host(self) -> list[int]:
        return [0]

    def abort(self, code: int) -> None:
        raise SystemExit(code)


@pytest.mark.parametrize("short", [1 << 15, 0])
def test_ranks_gather_moments_or_have_them_added(short: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_gradients, "_SHORT", short)
    random = np.random.default_rng(0)
    whole, shared = (
        TrainingStep(
            nn.Sequential(nn.Conv2d(1, 5, 3), nn.BatchNorm2d(5), nn.Tanh(), nn.Flatten(), nn.Linear(20, 3)).double(),
            nn.CrossEntropyLoss(), optim.SGD(lr=0.1), communicator=ranks,
        )
        for ranks in (None, Twin())
    )  # fmt: skip
    for n in (3, 2):
        x, y = random.standard_normal((n, 1, 4, 4)), random.integers(0, 3, n)
        assert shared(x, y) == pytest.approx(whole(np.tile(x, (4, 1, 1, 1)), np.tile(y, 4)), rel=1e-12)
    for name, array in whole.model.state_dict().items():
        np.testing.assert_allclose(shared.model.state_dict()[name], array, rtol=1e-9, atol=1e-12, err_msg=name)


def test_moments_of_many_ranks_are_added_up() -> None:
    values = 1e3 + np.random.default_rng(0).standard_normal((20, 50, 3))
    every = np.array([[*part.mean(0), *part.var(0), len(part)] for part in (values[0, :7], *values[1:])])
    found = moments_of(power_sums(every).sum(axis=0))
    np.testing.assert_allclose(found, merged_moments(every), rtol=1e-8)
    constant = moments_of(power_sums(np.array([[0.1, 0.0, 3.0], [0.1, 0.0, 9.0]])).sum(axis=0))
    assert (constant[0], 0 <= constant[1] < 1e-16) == (pytest.approx(0.1, rel=1e-15), True)


def test_pieces_are_functions_of_the_batch() -> None:
    assert [piece_count(n, 1, Reduce.EXACT) for n in (4, 31, 32, 500)] == [4, 4, 8, 8]
    assert piece_count(500, 3, Reduce.FAST) == 3
    with pytest.raises(OptionError, match="8 pieces, which 3 ranks"):
        piece_count(500, 3, Reduce.EXACT)
    assert piece_bounds(10, 4) == [0, 2, 5, 7, 10]
    parts = [np.array(1e16), np.array(1.0), np.array(-1e16), np.array(1.0)]
    assert tree_sum(parts) == 0  # (1e16 + 1) + (−1e16 + 1), and not from left to right


def test_what_cannot_be_shared_is_refused() -> None:
    with pytest.raises(OptionError, match="accumulate with several ranks"):
        step("mean", reduce="exact", accumulate=2)
    with pytest.raises(OptionError, match="expected a communicator of mpi4py"):
        step("mean", communicator="world")
    with pytest.raises(OptionError, match="at least 4 samples"):
        step("mean", reduce="exact")(np.zeros((3, 1, 4, 4)), np.zeros(3, int))
    assert step("mean", communicator=Alone()).sharing is None
