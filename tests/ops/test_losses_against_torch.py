"""Losses against PyTorch's: values and gradients, for random shapes and options, and at the extremes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

import striate as st
from striate.errors import DTypeError, LabelError, OptionError, ShapeError
from striate.graph.value import Array
from tests.properties import examples

torch: Any = pytest.importorskip("torch")
F = torch.nn.functional
ops: Any = st.ops
Draw = Callable[[np.random.Generator, tuple[int, ...]], Array]


def _normal(random: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return 3 * random.standard_normal(shape)


def _share(random: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return 0.05 + 0.9 * random.random(shape)


def _sign(random: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return 2.0 * random.integers(0, 2, shape) - 1


def _count(random: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return random.integers(0, 6, shape).astype(np.float64)


ELEMENTS: dict[str, tuple[Draw, Draw, dict[str, list[Any]]]] = {
    "mse_loss": (_normal, _normal, {}),
    "l1_loss": (_normal, _normal, {}),
    "smooth_l1_loss": (_normal, _normal, {"beta": [0.0, 0.5, 1.0, 3.0]}),
    "huber_loss": (_normal, _normal, {"delta": [0.5, 1.0, 3.0]}),
    "binary_cross_entropy": (_share, _share, {}),
    "binary_cross_entropy_with_logits": (_normal, _share, {}),
    "soft_margin_loss": (_normal, _sign, {}),
    "multilabel_soft_margin_loss": (_normal, _share, {}),
    "hinge_embedding_loss": (_normal, _sign, {"margin": [0.0, 1.0, 2.5]}),
    "kl_div": (_normal, _share, {"log_target": [False, True], "reduction": ["mean", "sum", "none", "batchmean"]}),
    "poisson_nll_loss": (_normal, _count, {"full": [False, True]}),
}


@pytest.mark.parametrize("engine", st.settings.Engine)
def test_an_impossible_class_that_is_not_the_label_costs_nothing(engine: Any, kept_settings: object) -> None:
    st.settings.override(engine=engine)
    x, y = np.array([[0.5, -np.inf, 1.0], [-np.inf, 0.0, 2.0]]), np.array([2, 0])
    for options in ({}, {"label_smoothing": 0.1}, {"weight": np.array([1.0, 0.5, 2.0])}):
        arrays = {name: torch.tensor(one) if name == "weight" else one for name, one in options.items()}
        theirs = F.cross_entropy(torch.tensor(x), torch.tensor(y), reduction="none", **arrays)
        ours = st.compile(lambda x, o=options: ops.cross_entropy(x, y, reduction="none", **o))(x)
        np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-12)


def _compare(name: str, x: Array, y: Array, options: dict[str, Any], by_target: bool, rtol: float = 1e-10) -> None:
    """Compare the value and the gradients of Σ c · loss for random c."""
    theirs_x, theirs_y = torch.tensor(x, requires_grad=True), torch.tensor(y, requires_grad=by_target)
    arrays = {key: torch.tensor(value) if isinstance(value, np.ndarray) else value for key, value in options.items()}
    theirs = getattr(F, name)(theirs_x, theirs_y, **arrays)
    c: Array = np.random.default_rng(7).standard_normal(theirs.shape).astype(x.dtype)
    (theirs * torch.tensor(c)).sum().backward()

    def total(x: Any, y: Any, c: Any, **options: Any) -> Any:
        return ops.sum(getattr(ops, name)(x, y, **options) * c)

    found = np.asarray(getattr(ops, name)(x, y, **options))
    np.testing.assert_allclose(found, theirs.detach().numpy(), rtol=rtol, atol=rtol)
    _, (dx, *dy) = st.value_and_grad(total, argnums=(0, 1) if by_target else (0,))(x, y, c, **options)
    np.testing.assert_allclose(dx, theirs_x.grad.numpy(), rtol=rtol, atol=rtol)
    if by_target:
        np.testing.assert_allclose(dy[0], theirs_y.grad.numpy(), rtol=rtol, atol=rtol)


@pytest.mark.filterwarnings("ignore:reduction:UserWarning")
@pytest.mark.parametrize("name", ELEMENTS)
@given(data=some.data())
@settings(max_examples=examples(2, 8))
def test_elementwise_losses(name: str, data: some.DataObject) -> None:
    input, target, choices = ELEMENTS[name]
    random = np.random.default_rng(data.draw(some.integers(0, 2**32)))
    shape = tuple(data.draw(some.lists(some.sampled_from([1, 2, 3, 17]), min_size=1, max_size=4)))
    options: dict[str, Any] = {"reduction": data.draw(some.sampled_from(["mean", "sum", "none"]))}
    options |= {key: data.draw(some.sampled_from(values)) for key, values in choices.items()}
    if "binary" in name and data.draw(some.booleans()):
        options["weight"] = random.random(shape)
    if "with_logits" in name and data.draw(some.booleans()):
        options["pos_weight"] = 3 * random.random(shape[-1:])
    by_target = name not in ("soft_margin_loss", "hinge_embedding_loss", "poisson_nll_loss")
    _compare(name, input(random, shape), target(random, shape), options, by_target)


@pytest.mark.parametrize("name", ["cross_entropy", "nll_loss"])
@given(data=some.data())
@settings(max_examples=examples(4, 8))
def test_losses_of_labels(name: str, data: some.DataObject) -> None:
    random = np.random.default_rng(data.draw(some.integers(0, 2**32)))
    classes = data.draw(some.sampled_from([1, 2, 3, 17, 33]))
    n, *positions = data.draw(some.lists(some.sampled_from([1, 2, 5]), min_size=1, max_size=4))
    labels = random.integers(0, classes, (n, *positions))
    options: dict[str, Any] = {"reduction": data.draw(some.sampled_from(["mean", "sum", "none"]))}
    ignored = data.draw(some.sampled_from([-100, 0, 255]))
    if ignored != -100:
        options["ignore_index"] = ignored
    labels[random.random(labels.shape) < 0.3] = ignored
    labels.flat[0] = classes - 1 if ignored else min(1, classes - 1)
    if data.draw(some.booleans()):
        options["weight"] = 0.5 + random.random(classes)
    if name == "cross_entropy" and data.draw(some.booleans()):
        options["label_smoothing"] = data.draw(some.sampled_from([0.1, 1.0]))
    logits = 3 * random.standard_normal((n, classes, *positions))
    if options["reduction"] == "mean" and (labels == ignored).all():
        return  # NaN, tested below
    _compare(name, logits, labels, options, by_target=False)


@given(data=some.data())
@settings(max_examples=examples(3, 6))
def test_cross_entropy_of_probabilities(data: some.DataObject) -> None:
    random = np.random.default_rng(data.draw(some.integers(0, 2**32)))
    shape = tuple(data.draw(some.lists(some.sampled_from([1, 2, 3, 17]), min_size=2, max_size=4)))
    t = np.abs(random.standard_normal(shape))
    options: dict[str, Any] = {"reduction": data.draw(some.sampled_from(["mean", "sum", "none"]))}
    options["label_smoothing"] = data.draw(some.sampled_from([0.0, 0.2]))
    if data.draw(some.booleans()):
        options["weight"] = 0.5 + random.random(shape[1])
    _compare("cross_entropy", 3 * random.standard_normal(shape), t / t.sum(axis=1, keepdims=True), options, True)


@pytest.mark.parametrize("p", [1, 2])
@pytest.mark.parametrize("weighted", [False, True])
def test_multi_margin_loss(p: int, weighted: bool) -> None:
    random = np.random.default_rng(0)
    options: dict[str, Any] = {"p": p, "margin": 0.7} | ({"weight": random.random(5)} if weighted else {})
    labels = random.integers(0, 5, 7)
    for reduction in ("mean", "sum", "none"):
        _compare("multi_margin_loss", random.standard_normal((7, 5)), labels, options | {"reduction": reduction}, False)


@given(data=some.data())
@settings(max_examples=examples(3, 6))
def test_losses_of_pairs_and_triplets(data: some.DataObject) -> None:
    random = np.random.default_rng(data.draw(some.integers(0, 2**32)))
    shape = tuple(data.draw(some.lists(some.sampled_from([1, 3, 17]), min_size=1, max_size=2)))
    a, b, c = random.standard_normal((3, *shape))
    reduction = data.draw(some.sampled_from(["mean", "sum", "none"]))
    options = {"margin": 0.4, "p": data.draw(some.sampled_from([1, 2, 3.5])), "swap": data.draw(some.booleans())}
    sign = np.asarray(_sign(random, shape[:-1]))
    for name, arrays, chosen in (("triplet_margin_loss", (a, b, c), options),
                                ("cosine_embedding_loss", (a, b, sign), {"margin": 0.1})):  # fmt: skip
        tensors = [torch.tensor(one, requires_grad=one is not sign) for one in arrays]
        theirs = getattr(F, name)(*tensors, **chosen, reduction=reduction)
        theirs.sum().backward()

        def total(*arrays: Any, name: str = name, chosen: Any = chosen) -> Any:
            return ops.sum(getattr(ops, name)(*arrays, **chosen, reduction=reduction))

        found = np.asarray(getattr(ops, name)(*arrays, **chosen, reduction=reduction))
        np.testing.assert_allclose(found, theirs.detach().numpy(), rtol=1e-9, atol=1e-12)
        _, gradients = st.value_and_grad(total, argnums=(0, 1))(*arrays)
        for ours, tensor in zip(gradients, tensors):
            np.testing.assert_allclose(ours, tensor.grad.numpy(), rtol=1e-9, atol=1e-12)


def test_multilabel_margin_loss() -> None:
    x = np.random.default_rng(0).standard_normal((4, 5))
    y = np.array([[3, 0, -1, 1, 2], [-1, 0, 0, 0, 0], [1, 1, 4, -1, 7 - 8], [0, 1, 2, 3, 4]])
    for reduction in ("mean", "sum", "none"):
        _compare("multilabel_margin_loss", x, y, {"reduction": reduction}, by_target=False)
    _compare("multilabel_margin_loss", x[0], y[0], {}, by_target=False)
    with pytest.raises(LabelError, match=r"label 5 at index \(0, 1\)"):
        ops.multilabel_margin_loss(x, np.where(y == 0, 5, y))


def test_losses_of_three_operands() -> None:
    random = np.random.default_rng(0)
    a, b, sign, var = *random.standard_normal((2, 4, 3)), _sign(random, (4, 3)), random.random((4, 3))
    ours = ops.margin_ranking_loss(a, b, sign, 0.4)
    np.testing.assert_allclose(ours, F.margin_ranking_loss(*map(torch.tensor, (a, b, sign)), margin=0.4).numpy())
    for full in (False, True):
        theirs = F.gaussian_nll_loss(*map(torch.tensor, (a, b, var)), full=full)
        np.testing.assert_allclose(ops.gaussian_nll_loss(a, b, var, full), theirs.numpy())
    for variance, target in ((var[:, :1], b), (var[:, 0], b[:, :1]), (var[:1], b[0]), (0.5, b)):
        given = [torch.tensor(one) if isinstance(one, np.ndarray) else one for one in (a, target, variance)]
        theirs = F.gaussian_nll_loss(*given, reduction="none")
        np.testing.assert_allclose(ops.gaussian_nll_loss(a, target, variance, reduction="none"), theirs.numpy())
    for variance, target in ((var[:2], b), (var, b[:3]), (var, np.stack([b, b]))):
        with pytest.raises(ShapeError, match="gaussian_nll_loss: "):
            ops.gaussian_nll_loss(a, target, variance)
    theirs = F.poisson_nll_loss(torch.tensor(var), torch.tensor(abs(a)), log_input=False)
    np.testing.assert_allclose(ops.poisson_nll_loss(var, abs(a), log_input=False), theirs.numpy())


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_extreme_logits_keep_their_digits(dtype: Any) -> None:
    x = np.array([[1e4, -1e4, 0, 30, -30, 88, -88, 1e-8]], dtype)
    for t in (np.zeros_like(x), np.ones_like(x), np.full_like(x, 0.25)):
        _compare("binary_cross_entropy_with_logits", x, t, {"reduction": "none"}, False, 1e-6)
        _compare("cross_entropy", x, t, {"reduction": "none"}, False, 1e-6)
    for label in (0, 1, 7):
        _compare("cross_entropy", x, np.array([label]), {}, False, 1e-6)
    tail = ops.binary_cross_entropy_with_logits(np.array([20.0], dtype), np.ones(1, dtype))
    np.testing.assert_allclose(tail, np.log1p(np.exp(-20.0)), rtol=1e-6)
    p = np.array([0, 1, 1e-30, 1], dtype)
    _compare("binary_cross_entropy", p, np.array([0, 1, 1, 0], dtype), {"reduction": "none"}, False, 1e-5)


def test_ignored_labels_alone_give_nan_and_no_samples_do_too() -> None:
    x = np.ones((2, 3), np.float32)
    assert np.isnan(ops.cross_entropy(x, np.array([-100, -100])))
    assert ops.cross_entropy(x, np.array([-100, -100]), reduction="sum") == 0
    assert np.isnan(ops.nll_loss(x, np.array([7, 7]), ignore_index=7))
    assert np.isnan(ops.cross_entropy(x[:0], np.zeros(0, np.int64)))
    assert ops.cross_entropy(x[:0], np.zeros(0, np.int64), reduction="none").shape == (0,)
    x[1] = np.nan  # what is left out does not count, whatever it is
    assert np.isfinite(ops.cross_entropy(x, np.array([0, -100])))


def test_one_sample_without_the_axis_of_samples() -> None:
    x = np.array([1.0, 2.0, 4.0])
    for name in ("cross_entropy", "nll_loss", "multi_margin_loss"):
        theirs = getattr(F, name)(torch.tensor(x), torch.tensor(1))
        np.testing.assert_allclose(getattr(ops, name)(x, np.array(1)), theirs.numpy())


@pytest.mark.parametrize(
    "name", [name for name in ELEMENTS if name != "multilabel_soft_margin_loss"] + ["multilabel_soft_margin_loss"]
)
def test_one_column_against_none_is_refused_with_the_cure(name: str) -> None:
    loss = getattr(ops, name)
    with pytest.raises(ShapeError, match=r"y\[:, None\]"):
        loss(np.ones((4, 1), np.float32), np.ones(4, np.float32))
    with pytest.raises(ShapeError, match=r"y\[..., 0\]"):
        loss(np.ones(4, np.float32), np.ones((4, 1), np.float32))


def test_labels_out_of_range_are_refused() -> None:
    x = np.ones((2, 3), np.float32)
    for loss in (ops.cross_entropy, ops.nll_loss):
        with pytest.raises(LabelError, match="label -1 at index 1"):
            loss(x, np.array([-100, -1]))
        with pytest.raises(LabelError, match="label -100 at index 0"):
            loss(x, np.array([-100, 1]), ignore_index=255)
    with pytest.raises(LabelError, match="label -100"):
        ops.multi_margin_loss(x, np.array([-100, 1]))
    with pytest.raises(DTypeError, match="probabilities in the shape of the logits"):
        ops.cross_entropy(x, np.ones(2, np.float32))
    with pytest.raises(OptionError, match="batchmean"):
        ops.kl_div(x, x, reduction="average")
