"""The training step against PyTorch, and its response to bad input."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from striate import TrainingStep, nn, optim, settings
from striate.data import Standardizer
from striate.errors import DataError, DTypeError, LabelError, NonFiniteError, OptionError, ShapeError
from striate.settings import Engine


@pytest.fixture(params=list(Engine), ids=lambda engine: engine.value)
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    before = settings.override(engine=request.param)
    yield request.param
    settings.restore(before)


def small_net() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, stride=2, padding=1),
        nn.BatchNorm2d(4),
        nn.LeakyReLU(0.1),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(None, 5, bias=False),
        nn.BatchNorm1d(5, momentum=None),
        nn.Tanh(),
        nn.Linear(5, 3),
    )


def torch_net() -> object:
    import torch

    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv2d(2, 4, 3, stride=2, padding=1),
        torch.nn.BatchNorm2d(4),
        torch.nn.LeakyReLU(0.1),
        torch.nn.MaxPool2d(2),
        torch.nn.Flatten(),
        torch.nn.Linear(16, 5, bias=False),
        torch.nn.BatchNorm1d(5, momentum=None),
        torch.nn.Tanh(),
        torch.nn.Linear(5, 3),
    ).double()


def batches(count: int) -> list[tuple[np.ndarray, np.ndarray]]:
    random = np.random.default_rng(7)
    return [(random.standard_normal((6 + i % 3, 2, 8, 8)), random.integers(0, 3, 6 + i % 3)) for i in range(count)]


OPTIMIZERS: dict[str, tuple[optim.Optimizer, str, dict[str, object]]] = {
    "sgd": (optim.SGD(lr=0.1), "SGD", {"lr": 0.1}),
    "momentum": (optim.SGD(lr=0.05, momentum=0.9), "SGD", {"lr": 0.05, "momentum": 0.9}),
    "dampening": (
        optim.SGD(lr=0.05, momentum=0.8, dampening=0.3, weight_decay=0.01),
        "SGD",
        {"lr": 0.05, "momentum": 0.8, "dampening": 0.3, "weight_decay": 0.01},
    ),
    "nesterov": (
        optim.SGD(lr=0.05, momentum=0.9, nesterov=True),
        "SGD",
        {"lr": 0.05, "momentum": 0.9, "nesterov": True},
    ),
    "adam": (
        # A larger ε: with 1e-8 a gradient that is zero but for rounding moves its weight by a random part of η.
        optim.Adam(lr=0.01, betas=(0.8, 0.95), eps=1e-3, weight_decay=0.01),
        "Adam",
        {"lr": 0.01, "betas": (0.8, 0.95), "eps": 1e-3, "weight_decay": 0.01},
    ),
}


@pytest.mark.parametrize(
    "name",
    [name if name in ("nesterov", "adam") else pytest.param(name, marks=pytest.mark.slow) for name in OPTIMIZERS],
)
def test_as_pytorch(name: str, engine: Engine) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is the peer that this compares with")
    ours, kind, options = OPTIMIZERS[name]
    theirs = torch_net()
    model = small_net().double()
    model.load_state_dict({key: value.numpy() for key, value in theirs.state_dict().items()})
    step = TrainingStep(model, nn.CrossEntropyLoss(np.array([1.0, 2.0, 0.5]), label_smoothing=0.1), ours, capacity=8)
    loss = torch.nn.CrossEntropyLoss(torch.tensor([1.0, 2.0, 0.5]).double(), label_smoothing=0.1)
    optimizer = getattr(torch.optim, kind)(theirs.parameters(), **options)
    for x, y in batches(6):
        optimizer.zero_grad()
        expected = loss(theirs(torch.tensor(x)), torch.tensor(y))
        expected.backward()
        optimizer.step()
        assert step(x, y) == pytest.approx(expected.item(), rel=1e-10)
    found = model.state_dict()
    for key, value in theirs.state_dict().items():
        np.testing.assert_allclose(found[key], value.numpy(), rtol=1e-9, atol=1e-10, err_msg=key)
        assert found[key].dtype == value.numpy().dtype
    theirs.eval()
    x, _ = batches(1)[0]
    with torch.no_grad():
        np.testing.assert_allclose(model(x), theirs(torch.tensor(x)).numpy(), rtol=1e-9, atol=1e-10)


def test_gradients_change_nothing_and_update_accumulates() -> None:
    (x, y), *_ = batches(1)
    whole, parts = (nn.Sequential(nn.Flatten(), nn.Linear(128, 3)).double() for _ in range(2))
    one = TrainingStep(whole, nn.CrossEntropyLoss(), optim.SGD(lr=0.1))
    two = TrainingStep(parts, nn.CrossEntropyLoss(), optim.SGD(lr=0.1))
    before = parts.state_dict()
    first, second = two.gradients(x[:3], y[:3]), two.gradients(x[3:], y[3:])
    assert all(np.array_equal(before[name], array) for name, array in parts.state_dict().items())
    two.update({name: (first[name] + second[name]) / 2 for name in first})
    one(x, y)
    for name, array in whole.state_dict().items():
        np.testing.assert_allclose(parts.state_dict()[name], array, rtol=1e-12, atol=1e-14)
    assert (one.step_number, two.step_number) == (1, 1)


def test_bytes_and_a_standardizer_inside_the_program() -> None:
    mean, sigma = np.array([100.0, 50.0]), np.array([30.0, 20.0])
    random = np.random.default_rng(0)
    x, y = random.integers(0, 255, (5, 2, 8, 8)).astype(np.uint8), random.integers(0, 3, 5)
    raw, plain = small_net().double(), small_net().double()
    raw.standardizer = nn.Standardization(mean, sigma).double()
    scaled = (x - mean[:, None, None]) / sigma[:, None, None]
    steps = [TrainingStep(model, nn.CrossEntropyLoss(), optim.SGD(lr=0.1)) for model in (raw, plain)]
    assert steps[0](x, y) == pytest.approx(steps[1](scaled, y), rel=1e-12)
    np.testing.assert_allclose(raw(x), plain(scaled), rtol=1e-10)
    assert {"standardizer.mean", "standardizer.sigma"} <= raw.state_dict().keys()


def test_nothing_bad_is_committed() -> None:
    model = small_net()
    step = TrainingStep(model, nn.CrossEntropyLoss(), optim.SGD(lr=0.1, momentum=0.9))
    (x, y), *_ = batches(1)
    step(x, y)
    before, kept = model.state_dict(), step.state_dict()
    spoiled = x.copy()
    spoiled[2, 1, 0, 3] = np.nan
    with pytest.raises(DataError, match=r"step 2: x\[2, 1, 0, 3\] is nan"):
        step(spoiled, y)
    with pytest.raises(NonFiniteError, match=r'step 2: the first (infinity|NaN) .* at "'):
        step(x * 1e38, y)
    assert all(np.array_equal(before[name], array) for name, array in model.state_dict().items())
    assert all(np.array_equal(kept[name], array) for name, array in step.state_dict().items())
    step(x, y)


@pytest.mark.parametrize("rule", [optim.SGD(lr=0.01, momentum=0.9), optim.Adam(lr=0.01)], ids=["sgd", "adam"])
@pytest.mark.parametrize(
    ("scale", "norm", "message"),
    [
        (1e30, True, r'the first infinity is the output of batch_normalization at "bn" \(forward pass\)'),
        (3e38, True, r'the first (infinity|NaN) is the output of convolution.* at "conv" \(forward pass\)'),
        (
            1e30,
            False,
            r'the numbers are too large: the gradient of "fc\.weight" reaches \S+e\+\d\d, whose square or sum exceeds',
        ),
    ],
)
def test_huge_values_change_not_a_bit(
    scale: float, norm: bool, message: str, rule: optim.Optimizer, engine: Engine
) -> None:
    layers = {"conv": nn.Conv2d(2, 4, 3), "bn": nn.BatchNorm2d(4), "act": nn.ReLU(), "flat": nn.Flatten()}
    if not norm:
        del layers["bn"]
    model = nn.Sequential({**layers, "fc": nn.Linear(None, 3)}).initialize(1)
    step = TrainingStep(model, nn.CrossEntropyLoss(), rule)
    x, y = np.sign(batches(1)[0][0]).astype(np.float32), batches(1)[0][1]
    step(x, y)
    before, kept = model.state_dict(), step.state_dict()
    with pytest.raises(NonFiniteError, match=f"step 2: {message}"):
        step(x * np.float32(scale), y)
    assert all(before[name].tobytes() == array.tobytes() for name, array in model.state_dict().items())
    assert all(kept[name].tobytes() == array.tobytes() for name, array in step.state_dict().items())
    assert np.isfinite(step(x, y))


@pytest.mark.parametrize(
    "rule",
    [
        optim.SGD(lr=1e10, momentum=0.9),
        optim.SGD(lr=1e38),
        optim.SGD(lr=1e300),
        optim.SGD(lr=0.1, weight_decay=1e9),
        optim.SGD(lr=0.1, momentum=0.9999),
        optim.Adam(lr=1e38),
        optim.Adam(lr=0.1, eps=0.0),
        optim.Adam(lr=0.1, weight_decay=1e25),
    ],
    ids=str,
)
def test_parameters_stay_finite_whatever_the_options(rule: optim.Optimizer) -> None:
    model = small_net().float().infer((2, 8, 8))
    step = TrainingStep(model, nn.CrossEntropyLoss(), rule)
    assert not rule.bounded
    (x, y), *_ = batches(1)
    for _ in range(12):
        before, kept = model.state_dict(), step.state_dict()
        assert all(np.isfinite(array).all() for array in (*before.values(), *kept.values()))
        try:
            step(x, y)
        except NonFiniteError as error:
            assert re.search(r'step \d+: .*"', str(error))
            assert all(before[name].tobytes() == array.tobytes() for name, array in model.state_dict().items())
            assert all(kept[name].tobytes() == array.tobytes() for name, array in step.state_dict().items())


def test_usual_options_need_no_second_look() -> None:
    cosine = optim.CosineSchedule(100)
    for rule in (optim.SGD(lr=0.1, momentum=0.9, weight_decay=5e-4, schedule=cosine), optim.Adam(), optim.SGD(lr=1.0)):
        assert rule.bounded


def test_denormal_images_are_learned_from(engine: Engine) -> None:
    step = TrainingStep(small_net().float(), nn.CrossEntropyLoss(), optim.SGD(lr=0.01))
    (x, y), *_ = batches(1)
    assert all(np.isfinite(step((x * 1e-42).astype(np.float32), y)) for _ in range(3))


def test_a_weight_that_is_nan_is_named() -> None:
    model = small_net()
    step = TrainingStep(model, nn.CrossEntropyLoss(), optim.SGD(lr=0.1))
    (x, y), *_ = batches(1)
    step(x, y)
    model.state_dict()
    model[5].weight = np.full((5, 16), np.nan)
    with pytest.raises(NonFiniteError, match=r"'5\.weight' holds NaN"):
        step(x, y)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (lambda y: np.where(np.arange(6) == 4, 3, y), "label 3 at index 4 is out of range"),
        (lambda y: np.where(np.arange(6) == 1, -1, y), "label -1 at index 1 is out of range"),
        (lambda y: y.astype(np.float64), "labels are float64, not integers"),
        (lambda y: np.eye(3, dtype=int)[y], "do not fit predictions"),
        (lambda y: y[:4], "6 samples but labels of shape"),
    ],
)
def test_labels(labels: Callable[[np.ndarray], np.ndarray], message: str) -> None:
    (x, y), *_ = batches(1)
    step = TrainingStep(small_net(), nn.CrossEntropyLoss(), optim.SGD(lr=0.1))
    with pytest.raises(LabelError, match=message):
        step(x, labels(y))


def test_no_samples() -> None:
    step = TrainingStep(small_net(), nn.CrossEntropyLoss(), optim.SGD(lr=0.1))
    with pytest.raises(DataError, match="at least one sample"):
        step(np.zeros((0, 2, 8, 8)), np.zeros(0, int))


def test_a_batch_of_one_vector_cannot_be_normalized_but_one_image_can() -> None:
    vectors = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    step = TrainingStep(vectors, nn.CrossEntropyLoss(), optim.SGD(lr=0.1))
    with pytest.raises(ShapeError, match=r'"1" BatchNorm1d\(3\): one value per channel'):
        step(np.zeros((1, 4)), [0])
    images = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(None, 3))
    TrainingStep(images, nn.CrossEntropyLoss(), optim.SGD(lr=0.1))(np.ones((1, 1, 8, 8)), [0])


def test_resuming_gives_the_same_bits() -> None:
    def net() -> nn.Sequential:
        return nn.Sequential(nn.Flatten(), nn.Dropout(0.3), nn.Linear(128, 8), nn.BatchNorm1d(8), nn.Linear(8, 3))

    data = batches(6)
    model = net()
    step = TrainingStep(model, nn.CrossEntropyLoss(), optim.Adam(lr=0.01), seed=3)
    for x, y in data[:3]:
        step(x, y)
    weights, state = model.state_dict(), step.state_dict()
    again = net()
    again.load_state_dict(weights)
    resumed = TrainingStep(again, nn.CrossEntropyLoss(), optim.Adam(lr=0.01), seed=3)
    resumed.load_state_dict(state)
    for x, y in data[3:]:
        assert step(x, y) == resumed(x, y)


def test_frozen_parameters_stay() -> None:
    model = small_net()
    model[0].requires_grad_(False)
    step = TrainingStep(model, nn.CrossEntropyLoss(), optim.SGD(lr=0.5, weight_decay=0.1))
    (x, y), *_ = batches(1)
    assert "0.weight" not in step.gradients(x, y)
    before = model.state_dict()
    step(x, y)
    after = model.state_dict()
    assert np.array_equal(before["0.weight"], after["0.weight"])
    assert not np.array_equal(before["5.weight"], after["5.weight"])


def test_the_norm_of_the_gradients_is_clipped() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(128, 3)).double()
    step = TrainingStep(model, nn.CrossEntropyLoss(), optim.SGD(lr=1.0), max_norm=0.01)
    (x, y), *_ = batches(1)
    step.gradients(x, y)
    before = model.state_dict()
    step.update()
    moved = sum(np.sum((before[name] - array) ** 2) for name, array in model.state_dict().items())
    assert np.sqrt(moved) == pytest.approx(0.01, rel=1e-3)
    with pytest.raises(OptionError, match="max_norm"):
        TrainingStep(model, nn.CrossEntropyLoss(), optim.SGD(lr=1.0), max_norm=0)


def test_watching_changes_nothing_and_sees_layers() -> None:
    (x, y), *_ = batches(1)
    model, watched_model = small_net(), small_net()
    step = TrainingStep(model, nn.CrossEntropyLoss(), optim.SGD(lr=0.1))
    watched = TrainingStep(watched_model, nn.CrossEntropyLoss(), optim.SGD(lr=0.1))
    watch = watched.watch("*")
    assert step(x, y) == watched(x, y)
    shown = watched_model(x, training=True)
    assert watch.means().keys() == {str(i) for i in range(9)}
    assert watch.gradient_norms().keys() == {name for name, _ in model.named_parameters()}
    assert watch.stds()["1"] == pytest.approx(1, rel=0.05)
    assert watch.firing()["2"].shape == (4,)
    assert shown.shape == (6, 3)
    watch.close()
    assert step(x, y) == watched(x, y)


def test_mean_squared_error() -> None:
    random = np.random.default_rng(0)
    x = random.standard_normal((64, 4))
    y = x @ random.standard_normal((4, 2))
    step = TrainingStep(nn.Linear(None, 2).double(), nn.MSELoss(), optim.SGD(lr=0.2, momentum=0.5))
    losses = [step(x, y) for _ in range(60)]
    assert losses[-1] < 1e-6 < losses[0]
    with pytest.raises(ShapeError, match="do not fit predictions"):
        step(x, y[:, :1])


def normalized() -> tuple[nn.Sequential, np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    x = random.normal(3, 2, (8, 3)).astype(np.float32)
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    model.standardizer = Standardizer.fit(x)
    model(x)
    return model, x, np.arange(8) % 3


def statistics(model: nn.Module) -> dict[str, list[float]]:
    return {name: a.tolist() for name, a in model.state_dict().items() if name.endswith(("mean", "var", "sigma"))}


@pytest.mark.parametrize("before", ["nothing", "another structure", "a loaded state"])
def test_given_gradients_leave_statistics_of_another_time_alone(before: str) -> None:
    model, x, y = normalized()
    step = TrainingStep(model, nn.CrossEntropyLoss(), optim.SGD(lr=0.1))
    if before != "nothing":
        start = model.state_dict()
        step(x, y)
        step.gradients(x, y)
        if before == "another structure":
            model.standardizer = Standardizer.fit(2 * x)
        else:
            model.load_state_dict(start)
    expected = statistics(model)
    step.update({name: np.ones_like(view) for name, view in step.gradient_views().items()})
    assert statistics(model) == expected
    assert expected["standardizer.sigma"] == statistics(model)["standardizer.sigma"] != [0.0, 0.0, 0.0]
    assert np.isfinite(model(x)).all()


def test_an_update_needs_gradients_and_counts_a_batch_once() -> None:
    model, x, y = normalized()
    step = TrainingStep(model, nn.CrossEntropyLoss(), optim.SGD(lr=0.1))
    with pytest.raises(OptionError, match="update\\(\\) without gradients"):
        step.update()
    step.gradients(x, y)
    step.update()
    once = statistics(model)
    step.update()
    assert statistics(model) == once
    assert model.state_dict()["1.num_batches_tracked"] == 1


def test_a_prediction_sees_given_gradients() -> None:
    model = nn.Sequential(
        nn.Conv2d(2, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.Flatten(), nn.Linear(None, 3)
    )
    x = np.random.default_rng(0).standard_normal((4, 2, 8, 8)).astype(np.float32)
    model(x)
    step = TrainingStep(model, nn.CrossEntropyLoss(), optim.SGD(lr=0.5))
    step.update({name: np.ones_like(view) for name, view in step.gradient_views().items()})
    assert np.array_equal(model(x), copy.deepcopy(model)(x))


@pytest.mark.parametrize(
    ("name", "contents"),
    [
        ("step", -3), ("step", 2.5), ("step", np.nan), ("step", np.inf), ("step", 1e300),
        ("exp_avg.0.weight", np.nan), ("exp_avg.0.weight", -np.inf), ("exp_avg_sq.0.weight", -1.0),
        ("exp_avg.0.weight", 1e300),
    ],
)  # fmt: skip
def test_an_optimizer_state_that_no_training_leaves_behind(name: str, contents: float) -> None:
    model = nn.Linear(3, 3)
    chain = nn.Sequential(model)
    x, y = np.eye(3, dtype=np.float32), np.arange(3)
    step = TrainingStep(chain, nn.CrossEntropyLoss(), optim.Adam(lr=0.1))
    step(x, y)
    state, weights = step.state_dict(), chain.state_dict()
    with pytest.raises((DataError, DTypeError), match=re.escape(name)):
        step.load_state_dict({**state, name: np.full_like(state[name], contents, np.float64)})
    assert all(np.array_equal(state[key], array) for key, array in step.state_dict().items())
    step(x, y)
    assert all(np.isfinite(array).all() for array in chain.state_dict().values())
    assert len(weights) == 2


def test_an_interrupted_update_is_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in the middle of an update is raised after it: statistics, counters and packed weights are those after."""
    (x, y), (more, labels) = batches(2)
    interrupted, undisturbed = (
        TrainingStep(small_net().seed(2), nn.CrossEntropyLoss(), optim.SGD(lr=0.1), ema=0.9) for _ in range(2)
    )
    for step in (interrupted, undisturbed):
        step(x, y)
        step.model(x)  # packs the weights, which the next prediction must do again
    undisturbed(more, labels)
    update = interrupted._prepared.update_program
    assert update is not None
    program = update.reserve(1)  # type: ignore[attr-defined]
    run = program.run

    def run_interrupted(*arguments: object, **options: object) -> None:
        run(*arguments, **options)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(program, "run", run_interrupted)
        with pytest.raises(KeyboardInterrupt):
            interrupted(more, labels)
    for found, expected in zip(
        (interrupted.model.state_dict(), interrupted.state_dict()),
        (undisturbed.model.state_dict(), undisturbed.state_dict()),
        strict=True,
    ):
        for name, array in expected.items():
            np.testing.assert_array_equal(found[name], array, err_msg=name)
    np.testing.assert_array_equal(interrupted.model(x), undisturbed.model(x))


def test_no_mask_is_lost() -> None:
    x, y = np.eye(3, dtype=np.float32), np.arange(3)
    masked = np.ma.masked_equal(y, 1)
    step = TrainingStep(nn.Linear(3, 3), nn.CrossEntropyLoss(), optim.SGD(lr=0.1))
    with pytest.raises(DTypeError, match="y is a masked array"):
        step(x, masked)
    with pytest.raises(DTypeError, match="y is a masked array"):
        TrainingStep(nn.Linear(3, 3), nn.MSELoss(), optim.SGD(lr=0.1))(x, np.ma.masked_equal(x, 1))
    step(x, y)
    with pytest.raises(DTypeError, match="bias is a masked array"):
        step.update({**step.gradient_views(), "bias": np.ma.masked_all(3)})


def test_a_parameter_frozen_by_itself_stays() -> None:
    x, y = np.eye(3, dtype=np.float32), np.arange(3)
    model = nn.Sequential(nn.Linear(3, 3))
    step = TrainingStep(model, nn.CrossEntropyLoss(), optim.SGD(lr=0.1, momentum=0.9))
    step(x, y)
    model[0].parameter("weight").requires_grad = False
    before = model.state_dict()
    step(x, y)
    after = model.state_dict()
    assert np.array_equal(after["0.weight"], before["0.weight"])
    assert not np.array_equal(after["0.bias"], before["0.bias"])
    running = nn.BatchNorm1d(3).parameter("running_mean")
    with pytest.raises(OptionError, match="no optimizer changes"):
        running.requires_grad = True


@pytest.mark.parametrize("name", ["model", "loss", "optimizer", "seed", "precision"])
def test_what_the_programs_depend_on_cannot_be_replaced(name: str) -> None:
    step = TrainingStep(nn.Linear(3, 3), nn.CrossEntropyLoss(), optim.SGD(lr=0.1))
    with pytest.raises(AttributeError, match=name):
        setattr(step, name, getattr(step, name))


@pytest.mark.parametrize(
    "option", [{"seed": -1}, {"seed": 2**64}, {"max_norm": np.inf}, {"max_norm": True}, {"capacity": 1.0}]
)
def test_impossible_options(option: dict[str, object]) -> None:
    with pytest.raises(OptionError, match=next(iter(option))):
        TrainingStep(nn.Linear(3, 3), nn.CrossEntropyLoss(), optim.SGD(lr=0.1), **option)  # type: ignore[arg-type]
