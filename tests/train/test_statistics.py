"""Running statistics recomputed over the training data."""

from __future__ import annotations

import numpy as np
import pytest

import striate as st
from striate import nn, optim, train
from striate.data import Dataset, load_digits
from striate.errors import OptionError
from striate.train.statistics import Merged


def test_merged_statistics_are_those_of_all_values() -> None:
    random = np.random.default_rng(0)
    parts = [random.normal(1e4, 1, (count, 3)) for count in (1, 7, 2, 30)]
    total = Merged()
    for part in parts:
        total.add(len(part), part.mean(axis=0), part.var(axis=0))
    whole = np.concatenate(parts)
    np.testing.assert_allclose(total.mean, whole.mean(axis=0), rtol=1e-14)
    np.testing.assert_allclose(total.variance, whole.var(axis=0, ddof=1), rtol=1e-9)


def test_the_statistics_are_exact_and_dropout_and_earlier_values_do_not_matter() -> None:
    """The first layer sees the same inputs in any batches; the second, behind dropout, those of one batch of all."""
    random = np.random.default_rng(1)
    x = random.normal(3, 2, (60, 4, 5)).astype(np.float32)
    data = Dataset(x, random.integers(0, 3, 60), channels_first=True)
    frozen, shared = nn.BatchNorm1d(4), nn.BatchNorm1d(4)
    model = nn.Sequential(frozen, shared, nn.Dropout(0.5), shared, nn.Flatten(), nn.Linear(None, 3)).seed(3)
    model.freeze("0", statistics=True)
    assert train.recompute_statistics(model, data, batch_size=60) == ("1",)
    state = model.state_dict()
    assert (state["0.running_mean"] == 0).all()
    inputs = x.astype(np.float64) / np.sqrt(1 + 1e-5)
    mean, variance = inputs.mean(axis=(0, 2)), inputs.var(axis=(0, 2))
    again = (inputs - mean[:, None]) / np.sqrt(variance + 1e-5)[:, None]  # what the second call of the layer sees
    both = np.concatenate([inputs, again])
    np.testing.assert_allclose(state["1.running_mean"], both.mean(axis=(0, 2)), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(state["1.running_var"], both.var(axis=(0, 2), ddof=1), rtol=1e-5)
    model.load_state_dict({"1.running_mean": np.full(4, 50, np.float32)}, strict=False)
    train.recompute_statistics(model, data, batch_size=60)
    assert all((array == state[name]).all() for name, array in model.state_dict().items())
    with pytest.raises(OptionError, match="no batch normalization"):
        train.recompute_statistics(nn.Linear(4, 3), data)


def test_instance_normalizations_get_the_average_of_their_samples() -> None:
    """With a momentum of 1, PyTorch's running statistics after one batch are the same averages."""
    x = np.random.default_rng(2).normal(3, 2, (30, 4, 5)).astype(np.float32) * np.arange(1, 31)[:, None, None]
    x = x.astype(np.float32)
    model = nn.Sequential(nn.InstanceNorm1d(4, track_running_stats=True), nn.Flatten(), nn.Linear(None, 3))
    data = Dataset(x, np.arange(30) % 3, channels_first=True)
    assert train.recompute_statistics(model, data, batch_size=7) == ("0",)
    state = model.state_dict()
    np.testing.assert_allclose(state["0.running_mean"], x.mean(axis=2, dtype=np.float64).mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(state["0.running_var"], x.var(axis=2, ddof=1, dtype=np.float64).mean(axis=0), rtol=1e-5)


@pytest.mark.slow
def test_a_training_ends_with_statistics_that_fit() -> None:
    digits, held_out = load_digits("train"), load_digits("test")
    found: dict[bool, float] = {}
    for recompute in (False, True):
        model = nn.Sequential(
            nn.Flatten(), nn.Linear(None, 16), nn.BatchNorm1d(16, momentum=0.001), nn.ReLU(), nn.Linear(16, 10)
        )
        trainer = st.Trainer(
            model, nn.CrossEntropyLoss(), optim.SGD(lr=0.05, momentum=0.9), batch_size=64, progress=False, ema=0.5,
            recompute_statistics=recompute,
        )  # fmt: skip
        trainer.fit(digits, epochs=2)
        found[recompute] = trainer.evaluate(held_out).accuracy
        assert ("stale_statistics" in {one.kind for one in trainer.findings}) is not recompute
    assert found[True] > 0.9 > found[False]
    with pytest.raises(OptionError, match="no batch normalization"):
        st.Trainer(nn.Linear(4, 3), nn.CrossEntropyLoss(), optim.SGD(lr=0.1), recompute_statistics=True)
