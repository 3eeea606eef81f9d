"""Losses as layers: PyTorch's values, training with targets of every kind, and the loss of an epoch."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import striate as st
from striate import nn, optim
from striate.errors import LabelError, OptionError, ShapeError
from striate.graph.value import Array, Value
from striate.train.epoch_loss import EpochLoss

RANDOM = np.random.default_rng(0)
X = RANDOM.standard_normal((5, 4))
LABELS = np.array([0, 3, 1, 1, 2])
SHARES = RANDOM.random((5, 4))
SIGNS = np.where(SHARES > 0.5, 1.0, -1.0)
WEIGHT = np.array([0.5, 1.0, 2.0, 0.1])

LOSSES: list[tuple[str, dict[str, Any], Array, Array]] = [
    ("CrossEntropyLoss", {"weight": WEIGHT, "ignore_index": 1, "label_smoothing": 0.1}, X, LABELS),
    ("CrossEntropyLoss", {}, X, SHARES),
    ("NLLLoss", {"weight": WEIGHT, "ignore_index": 3}, X, LABELS),
    ("MultiMarginLoss", {"p": 2, "margin": 0.5, "weight": WEIGHT}, X, LABELS),
    ("BCELoss", {"weight": WEIGHT}, SHARES, SHARES[::-1].copy()),
    ("BCEWithLogitsLoss", {"pos_weight": WEIGHT}, X, SHARES),
    ("MSELoss", {}, X, SHARES),
    ("L1Loss", {}, X, SHARES),
    ("SmoothL1Loss", {"beta": 0.5}, X, SHARES),
    ("HuberLoss", {"delta": 0.5}, X, SHARES),
    ("KLDivLoss", {"reduction": "batchmean"}, X, SHARES),
    ("KLDivLoss", {"log_target": True}, X, SHARES),
    ("PoissonNLLLoss", {"full": True}, X, SHARES),
    ("SoftMarginLoss", {}, X, SIGNS),
    ("MultiLabelSoftMarginLoss", {"weight": WEIGHT}, X, SHARES),
    ("HingeEmbeddingLoss", {"margin": 0.3}, X, SIGNS),
]


@pytest.mark.filterwarnings("ignore:reduction:UserWarning")
@pytest.mark.parametrize(("name", "options", "x", "y"), LOSSES, ids=lambda one: one if isinstance(one, str) else "")
def test_a_loss_is_torchs(name: str, options: dict[str, Any], x: Array, y: Array) -> None:
    torch: Any = pytest.importorskip("torch")
    given = {key: torch.tensor(value) if isinstance(value, np.ndarray) else value for key, value in options.items()}
    for reduction in {options.get("reduction", "mean"), "sum", "none"}:
        theirs = getattr(torch.nn, name)(**given | {"reduction": reduction})
        ours = getattr(nn, name)(**options | {"reduction": reduction}).double()
        expected = theirs(torch.tensor(x), torch.tensor(y)).numpy()
        np.testing.assert_allclose(ours(x, y), expected, rtol=1e-12)
        assert list(ours.state_dict()) == list(theirs.state_dict())
    assert repr(ours).startswith(f"{name}(")


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@pytest.mark.parametrize("weight", [None, WEIGHT])
def test_the_loss_of_the_best_constant(weight: Array | None, smoothing: float, reduction: str) -> None:
    """It is the smallest one that a search finds, from the definition of the loss."""
    labels, counts = np.array([0, 3, 1, 1, 1, 0, -100]), np.array([2, 3, 0, 1])
    w = np.ones(4) if weight is None else weight
    sums = w * ((1 - smoothing) * counts + smoothing * 6 / 4)

    def loss_of(logits: Array) -> Array:
        q = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
        return -(sums * np.log(q)).sum(axis=-1) / ((w * counts).sum() if reduction == "mean" else 7)

    best, random = np.zeros(4), np.random.default_rng(0)
    for reach in 3 * 0.7 ** np.arange(40):
        tried = np.concatenate([best[None], best + reach * random.standard_normal((200, 4))])
        best = tried[loss_of(tried).argmin()]
    loss = nn.CrossEntropyLoss(weight, label_smoothing=smoothing, reduction=reduction)
    assert loss.constant_loss(labels, np.ones(7)) == pytest.approx(loss_of(best), rel=1e-3)
    assert np.isnan(loss.constant_loss(np.full(3, -100), np.ones(3)))


@pytest.mark.parametrize(("name", "options", "x", "y"), LOSSES, ids=lambda one: one if isinstance(one, str) else "")
def test_the_loss_of_an_epoch_does_not_depend_on_the_batches(
    name: str, options: dict[str, Any], x: Array, y: Array
) -> None:
    loss = getattr(nn, name)(**options).double()
    whole = float(loss(x, y))
    for parts in ([0, 5], [0, 3, 5], [0, 1, 2, 3, 4, 5]):
        epoch = EpochLoss(loss)
        for start, stop in itertools.pairwise(parts):
            with np.errstate(all="ignore"):
                value = float(loss(x[start:stop], y[start:stop]))
            epoch.add(value, y[start:stop])
        assert epoch.value == pytest.approx(whole, rel=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options", "x", "y"), LOSSES, ids=lambda one: one if isinstance(one, str) else "")
def test_a_sample_of_weight_two_is_the_sample_twice(name: str, options: dict[str, Any], x: Array, y: Array) -> None:
    model = nn.Sequential(nn.Identity(), nn.BatchNorm1d(4)).double()
    model.load_state_dict(model.state_dict() | {"1.weight": np.zeros(4), "1.bias": np.full(4, 0.4)})  # predicts 0.4
    step = st.TrainingStep(model, getattr(nn, name)(**options), optim.SGD(lr=0.0))
    twice = np.array([0, 0, 1, 3, 3, 4])
    assert step(x, y, weight=np.array([2, 1, 0, 2, 1])) == pytest.approx(step(x[twice], y[twice]), rel=1e-9)


def test_losses_of_three_operands() -> None:
    torch: Any = pytest.importorskip("torch")
    tensors = [torch.tensor(one) for one in (X, SHARES, SIGNS)]
    found = nn.MarginRankingLoss(0.2)(X, SHARES, SIGNS)
    np.testing.assert_allclose(found, torch.nn.MarginRankingLoss(0.2)(*tensors).numpy())
    tensors[2] = torch.tensor(SHARES + 0.1)
    found = nn.GaussianNLLLoss(full=True)(X, SHARES, SHARES + 0.1)
    np.testing.assert_allclose(found, torch.nn.GaussianNLLLoss(full=True)(*tensors).numpy())


def _network(outputs: int) -> nn.Module:
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, outputs)).seed(0)


def _trained(model: nn.Module, loss: Any, x: Array, y: Any, steps: int = 30) -> list[float]:
    step = st.TrainingStep(model, loss, optim.Adam(lr=0.05))
    return [step(x, y) for _ in range(steps)]


def _distance(x: Value, y: Value) -> Value:
    return st.ops.mean(abs(x - y))


class Distance(nn.Module):
    def forward(self, x: Value, y: Value) -> Value:
        return st.ops.mean(abs(x - y))


@pytest.mark.parametrize(
    ("loss", "outputs", "y"),
    [
        (nn.MSELoss(), 3, RANDOM.standard_normal((5, 3))),
        (nn.L1Loss(), 1, LABELS[:, None]),
        (nn.BCEWithLogitsLoss(), 4, SHARES > 0.5),
        (nn.CrossEntropyLoss(), 4, LABELS),
        (nn.CrossEntropyLoss(), 2, LABELS > 1),
        (nn.CrossEntropyLoss(), 4, np.eye(4)[LABELS]),
        (nn.CrossEntropyLoss(ignore_index=1), 4, LABELS),
        (nn.MultiMarginLoss(), 4, LABELS),
        (_distance, 3, RANDOM.standard_normal((5, 3))),
        (Distance(), 3, RANDOM.standard_normal((5, 3))),
        (lambda x, y: st.ops.cross_entropy(x, y), 4, LABELS),
    ],
    ids=lambda one: type(one).__name__,
)
def test_training_takes_targets_of_every_kind(loss: Any, outputs: int, y: Any) -> None:
    losses = _trained(_network(outputs), loss, X.astype(np.float32), y)
    assert losses[-1] < 0.7 * losses[0]


def test_labels_of_positions() -> None:
    x = RANDOM.standard_normal((3, 1, 6, 6)).astype(np.float32)
    y = (x[:, 0] > 0).astype(np.int64)
    y[:, 0] = -100
    losses = _trained(
        nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 2, 1)), nn.CrossEntropyLoss(), x, y
    )
    assert losses[-1] < 0.7 * losses[0]


def test_a_batch_of_labels_that_are_all_left_out_changes_nothing() -> None:
    model = _network(4)
    step = st.TrainingStep(model, nn.CrossEntropyLoss(), optim.SGD(lr=0.1))
    x = X.astype(np.float32)
    step(x, LABELS)
    before = model.state_dict()
    with pytest.raises(LabelError, match="every label of this batch is -100"):
        step(x, np.full(5, -100))
    assert all(np.array_equal(before[name], array) for name, array in model.state_dict().items())
    assert step(x, LABELS) > 0
    summed = st.TrainingStep(model, nn.CrossEntropyLoss(reduction="sum"), optim.SGD(lr=0.1))
    assert summed(x, np.full(5, -100)) == 0


def test_what_is_no_loss_for_training_is_refused() -> None:
    model, x = _network(1), X.astype(np.float32)
    with pytest.raises(OptionError, match="a number for each item"):
        st.TrainingStep(model, nn.MSELoss(reduction="none"), optim.SGD(lr=0.1))
    with pytest.raises(ShapeError, match="training needs one number"):
        st.TrainingStep(model, lambda x, y: x - y, optim.SGD(lr=0.1))(x, X[:, :1])
    for loss in (nn.MSELoss(), nn.L1Loss(), nn.HuberLoss(), nn.BCEWithLogitsLoss()):
        with pytest.raises(ShapeError, match=r"y\[:, None\]"):
            st.TrainingStep(model, loss, optim.SGD(lr=0.1))(x, X[:, 0])
