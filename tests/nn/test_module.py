"""What each module can do: names, state, sharing, shape inference, seeds, summaries, prediction."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

from striate import TrainingStep, nn, optim
from striate import compile as compile_
from striate.data import Standardizer
from striate.errors import DTypeError, ShapeError
from striate.graph.value import Value
from striate.passes.differentiate import differentiate


def chain(inputs: int | None = 2, features: int | None = 36) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, 4, 3), nn.BatchNorm2d(4 if inputs else None), nn.ReLU(), nn.Flatten(), nn.Linear(features, 3)
    )


class Net(nn.Module):
    """A network as PyTorch users write it, but without super().__init__()."""

    def __init__(self) -> None:
        self.conv = nn.Conv2d(None, 3, 3, padding=1)
        self.scale = nn.Parameter((3, 1, 1), "ones")
        self.head = nn.Linear(None, 2)

    def forward(self, x: object) -> object:
        x = self.conv(x) * self.scale
        x = self.conv_again(x) if hasattr(self, "conv_again") else x
        return {"logits": self.head(nn.Flatten()(x)), "maps": x}


def test_what_is_computed_beside_a_model_is_kept_until_the_model_changes() -> None:
    model = nn.Sequential(nn.Linear(3, 2)).initialize(0).double()
    x = np.random.default_rng(0).standard_normal((4, 3))
    traced: list[int] = []

    def gradient(x: Value, mask: Value) -> Value:
        traced.append(1)
        return differentiate(model(x), [x], seed=mask)[0]

    mask = np.array([[1.0, 0], [0, 1], [2, 0], [0, 0]])
    for n in (4, 3, 1, 4):
        found = model.computed("gradient", {"x": x[:n], "mask": mask[:n]}, gradient)
        np.testing.assert_allclose(found, mask[:n] @ model[0].weight, atol=1e-15)
    assert len(traced) == 1
    model.load_state_dict({"0.weight": np.ones((2, 3)), "0.bias": np.zeros(2)})
    np.testing.assert_array_equal(model.computed("gradient", {"x": x, "mask": mask}, gradient)[2], [2, 2, 2])
    assert len(traced) == 1  # new contents are read, not compiled
    model.append(nn.Linear(2, 2).double())
    model.computed("gradient", {"x": x, "mask": mask}, gradient)
    assert len(traced) == 2


def test_state_dict_has_the_names_and_order_of_pytorch() -> None:
    assert list(chain().state_dict()) == [
        "0.weight", "0.bias", "1.weight", "1.bias", "1.running_mean", "1.running_var", "1.num_batches_tracked",
        "4.weight", "4.bias",
    ]  # fmt: skip


def test_state_round_trip_is_exact_and_copies() -> None:
    one, two = chain().initialize(1), chain().initialize(2)
    state = one.state_dict()
    two.load_state_dict(state)
    assert all(np.array_equal(two.state_dict()[name], array) for name, array in state.items())
    state["0.weight"][...] = 7
    assert not (two.state_dict()["0.weight"] == 7).any()


def test_loading_settles_sizes_that_were_to_be_inferred() -> None:
    open_net = chain(None, None)
    open_net.load_state_dict(chain().state_dict())
    assert (open_net[0].in_channels, open_net[4].in_features, open_net[1].num_features) == (2, 36, 4)
    x = np.random.default_rng(0).standard_normal((3, 2, 5, 5))
    with_same = chain()
    with_same.load_state_dict(open_net.state_dict())
    assert np.array_equal(open_net(x), with_same(x))


def test_loading_lists_everything_that_does_not_fit_and_writes_nothing() -> None:
    model = chain()
    before = model.state_dict()
    wrong = {**before, "4.bias": np.zeros(5), "extra": np.zeros(1), "0.bias": np.ones(4)}
    del wrong["0.weight"]
    with pytest.raises(ShapeError) as caught:
        model.load_state_dict(wrong)
    assert str(caught.value).splitlines() == [
        "this state does not fit the model: 7 of its 9 names matched",
        "  missing (1): 0.weight",
        "  unexpected (1): extra",
        "  of another shape (1): 4.bias (5,), the model has (3,)",
        "  help: build the model with the sizes of the state",
    ]
    assert np.array_equal(model.state_dict()["0.bias"], before["0.bias"])


def test_an_inferred_network_starts_from_the_weights_of_a_spelled_out_one() -> None:
    x = np.random.default_rng(0).standard_normal((3, 2, 5, 5))
    spelled, inferred = chain(), chain(None, None)
    assert np.array_equal(spelled(x), inferred(x))
    for name, array in spelled.state_dict().items():
        assert np.array_equal(inferred.state_dict()[name], array), name


def test_seeds_and_names_decide_where_parameters_start() -> None:
    one, same, other = chain().initialize(1), chain().initialize(1), chain().initialize(2)
    assert np.array_equal(one[0].weight, same[0].weight)
    assert not np.array_equal(one[0].weight, other[0].weight)
    longer = nn.Sequential(*chain(), nn.ReLU()).initialize(1)
    assert np.array_equal(one[4].weight, longer[4].weight)


@pytest.mark.parametrize("sent", [False, True])
def test_initialize_discards_what_was_loaded_or_trained(sent: bool) -> None:
    model, fresh = nn.Sequential(nn.Linear(3, 2)), nn.Sequential(nn.Linear(3, 2)).initialize(5).state_dict()
    model.weights = nn.Parameter(np.arange(3.0))
    model.load_state_dict({"0.weight": np.ones((2, 3)), "0.bias": np.ones(2), "weights": np.ones(3)})
    if sent:
        model = pickle.loads(pickle.dumps(model))  # noqa: S301 - bytes of our own
        assert np.array_equal(model.state_dict()["weights"], np.ones(3))
    again = model.initialize(5).state_dict()
    assert np.array_equal(again.pop("weights"), np.arange(3.0))  # the array that it was created from
    assert all(np.array_equal(array, again[name]) for name, array in fresh.items())


def test_a_part_that_runs_first_starts_as_in_the_whole() -> None:
    model, whole = chain(2, None), chain()
    x = np.random.default_rng(0).standard_normal((3, 2, 5, 5))
    np.testing.assert_array_equal(model[0](x), whole[0](x))
    np.testing.assert_array_equal(model(x), whole(x))
    assert model.infer((2, 5, 5))[4].in_features == 36


def test_a_failed_call_forgets_what_it_inferred() -> None:
    model = nn.Sequential(nn.Conv2d(None, 4, 3), nn.Linear(None, 2))
    with pytest.raises(ShapeError, match="not flat"):
        model(np.zeros((1, 5, 8, 8)))
    assert model[0].in_channels is None


def test_unknown_sizes_are_named() -> None:
    with pytest.raises(ShapeError, match=r"0\.weight \(4, None, 3, 3\)"):
        chain(None, 36).state_dict()


def test_a_layer_used_twice_shares_its_weights() -> None:
    shared = nn.Conv2d(2, 2, 3, padding=1)
    model = nn.Sequential(shared, nn.Tanh(), shared, nn.Flatten(), nn.Linear(None, 2)).double()
    x, y = np.random.default_rng(0).standard_normal((4, 2, 4, 4)), np.array([0, 1, 0, 1])
    step = TrainingStep(model, nn.CrossEntropyLoss(), optim.SGD(lr=0.1))
    gradients = step.gradients(x, y)
    assert list(gradients) == ["0.weight", "0.bias", "4.weight", "4.bias"]
    start = model.state_dict()

    def loss_at(shift: float) -> float:
        moved = {name: array.copy() for name, array in start.items()}
        moved["0.weight"][1, 0, 1, 2] += shift
        model.load_state_dict(moved)
        step.gradients(x, y)
        return step.loss_value

    slope = (loss_at(1e-6) - loss_at(-1e-6)) / 2e-6
    assert gradients["0.weight"][1, 0, 1, 2] == pytest.approx(slope, rel=1e-6)


def test_own_modules_with_parameters_and_named_outputs() -> None:
    model = Net()
    found = model(np.zeros((2, 1, 4, 4)))
    assert found["logits"].shape == (2, 2)
    assert found["maps"].shape == (2, 3, 4, 4)
    assert list(model.state_dict()) == ["scale", "conv.weight", "conv.bias", "head.weight", "head.bias"]


def test_changing_the_structure_or_the_weights_shows_at_once() -> None:
    model = Net()
    x = np.random.default_rng(0).standard_normal((2, 1, 4, 4))
    before = model(x)["maps"]
    model.scale = np.full((3, 1, 1), 2.0)
    np.testing.assert_allclose(model(x)["maps"], 2 * before, rtol=1e-6)
    model.conv_again = nn.Identity()
    np.testing.assert_allclose(model(x)["maps"], 2 * before, rtol=1e-6)


def test_prediction_does_not_depend_on_the_size_of_the_batch() -> None:
    model = chain()
    x = np.random.default_rng(0).standard_normal((7, 2, 5, 5)).astype(np.float32)
    whole = model(x)
    assert whole.dtype == np.float32
    np.testing.assert_allclose(np.concatenate([model(x[:3]), model(x[3:])]), whole, rtol=1e-5, atol=1e-6)


def test_training_true_shows_batch_statistics_and_changes_nothing() -> None:
    model = nn.Sequential(nn.BatchNorm1d(3))
    x = 5 + 2 * np.random.default_rng(0).standard_normal((64, 3))
    before = model.state_dict()
    np.testing.assert_allclose(model(x, training=True).mean(0), 0, atol=1e-5)
    assert model(x).mean() == pytest.approx(x.mean(), rel=1e-4)
    assert all(np.array_equal(before[name], array) for name, array in model.state_dict().items())


def test_a_copy_is_independent() -> None:
    model = chain()
    x, y = np.random.default_rng(0).standard_normal((4, 2, 5, 5)), np.array([0, 1, 2, 0])
    before = model(x)
    twin = copy.deepcopy(model)
    TrainingStep(twin, nn.CrossEntropyLoss(), optim.SGD(lr=0.5))(x, y)
    assert np.array_equal(model(x), before)
    assert not np.array_equal(twin(x), before)


def test_models_work_inside_compiled_functions() -> None:
    model = chain()
    x = np.random.default_rng(0).standard_normal((4, 2, 5, 5)).astype(np.float32)
    doubled = compile_(lambda x: model(x) * 2)
    np.testing.assert_allclose(doubled(x), 2 * model(x), rtol=1e-5)


def test_double_and_float() -> None:
    model = chain()
    x = np.random.default_rng(0).standard_normal((4, 2, 5, 5))
    single = model(x)
    double = model.double()(x)
    assert (single.dtype, double.dtype) == (np.float32, np.float64)
    np.testing.assert_allclose(single, double, rtol=1e-4, atol=1e-5)
    with pytest.raises(DTypeError, match="float32 or float64"):
        model.to("int32")
    model[0].float()
    with pytest.raises(DTypeError, match=r"1\.weight.*: another dtype than the rest, which is float32"):
        model.state_dict()


def test_repr_is_nested() -> None:
    assert repr(nn.Sequential(nn.Flatten(), nn.Residual(nn.Linear(2, 2)))) == (
        "Sequential(\n  (0): Flatten()\n  (1): Residual(\n    (body): Linear(in_features=2, out_features=2)\n  )\n)"
    )


def test_summary_counts() -> None:
    text = chain(None, None).summary((2, 5, 5))
    assert "(N, 4, 3, 3)" in text
    assert text.splitlines()[-1].split() == ["total", "195", "756"]
    assert max(map(len, text.splitlines())) <= 80
    before = chain(2, 36).summary()  # nothing has run: parameters are known, outputs and work are not
    assert before.splitlines()[-1].split() == ["total", "195", "?"]
    assert chain(None, None).summary().splitlines()[-1].split()[1] == "≥"


def test_summary_never_raises() -> None:
    class Broken(nn.Module):
        def forward(self, x: object) -> object:
            raise RuntimeError("boom")

    assert "boom" in nn.Sequential(Broken()).summary((1, 2))
    assert "has 36 features" in chain(2, 35).summary((2, 5, 5))
    assert "?" in chain(None, None).summary()
    assert chain(None, None)[4].in_features is None


def test_summary_does_not_fix_sizes() -> None:
    model = chain(None, None)
    model.summary((7, 9, 9))
    assert model(np.zeros((1, 2, 5, 5))).shape == (1, 3)


def test_the_summary_lists_layers_as_they_run() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(None, 2))
    model.standardizer = Standardizer.fit(np.random.default_rng(0).standard_normal((5, 3, 6, 6)))
    paths = [line.split()[0] for line in model.summary((3, 6, 6)).splitlines()]
    assert paths[2:7] == ["input", "standardizer", "0", "1", "2"]
