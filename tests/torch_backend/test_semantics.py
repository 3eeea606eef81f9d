"""What PyTorch promises about models, gradients and modes also holds for a model that striate compiles."""

from __future__ import annotations

import copy
import gc
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from pairs import Pair, batches, close  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from striate.runtime.threads import Team  # noqa: E402
from striate.torch import backend, compiled  # noqa: E402

pytestmark = pytest.mark.slow

SHAPE = (6, 3, 6, 6)


class Net(nn.Module):
    """A convolution with batch normalization and a linear layer: small, with every kind of state."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 3, padding=1)
        self.bn = nn.BatchNorm2d(5)
        self.drop = nn.Dropout(dropout)
        self.fc = nn.Linear(5 * 9, 4)

    def forward(self, x: Any) -> Any:
        x = functional.max_pool2d(functional.relu(self.bn(self.conv(x)), inplace=True), 2)
        return self.fc(self.drop(x.flatten(1)))


def _loss(call: Any, x: Any, y: Any) -> Any:
    return functional.cross_entropy(call(x), y)


@pytest.fixture
def pair() -> Pair:
    torch.manual_seed(0)
    return Pair(Net())


@pytest.fixture
def batch() -> tuple[Any, Any]:
    torch.manual_seed(1)
    return batches(SHAPE, 1, 4)[0]


def test_statistics_and_modes(pair: Pair, batch: tuple[Any, Any]) -> None:
    def action(call: Any, module: Any) -> Any:
        found = []
        for training in (True, True, False, True):
            module.train(training)
            found.append(call(batch[0]))
        return found, module.bn.num_batches_tracked

    pair.both(action)
    pair.same_state()
    assert int(pair.model.bn.num_batches_tracked) == 3


def test_statistics_are_written_in_place(pair: Pair, batch: tuple[Any, Any]) -> None:
    mean = pair.model.bn.running_mean
    address, version = mean.data_ptr(), mean._version
    pair.ours(batch[0])
    assert pair.model.bn.running_mean is mean
    assert mean.data_ptr() == address
    assert mean._version > version


def test_no_gradients(pair: Pair, batch: tuple[Any, Any]) -> None:
    with torch.no_grad():
        assert not pair.ours(batch[0]).requires_grad
    with torch.inference_mode():
        found = pair.ours(batch[0])
    assert found.is_inference()
    assert pair.ours(batch[0]).requires_grad


def test_gradients_of_the_input(pair: Pair, batch: tuple[Any, Any]) -> None:
    def action(call: Any, module: Any) -> Any:
        x = batch[0].clone().requires_grad_()
        _loss(call, x, batch[1]).backward()
        return x.grad

    pair.both(action)
    pair.same_state()


def test_frozen_parameters_get_no_gradient(pair: Pair, batch: tuple[Any, Any]) -> None:
    def action(call: Any, module: Any) -> Any:
        found = []
        for frozen in (module.conv, module.fc, module):
            module.requires_grad_(True).zero_grad()
            frozen.requires_grad_(False)
            loss = _loss(call, *batch)
            if loss.requires_grad:
                loss.backward()
            found.append([parameter.grad for parameter in module.parameters()])
        return found

    pair.both(action)


def test_accumulation_and_two_forwards_before_a_backward(pair: Pair) -> None:
    def action(call: Any, module: Any) -> Any:
        (x, y), (v, w) = batches(SHAPE, 2, 4)
        first, second = _loss(call, x, y), _loss(call, v, w)
        first.backward()
        second.backward()
        once = [parameter.grad.clone() for parameter in module.parameters()]
        (_loss(call, x, y) + 2 * _loss(call, v, w)).backward()
        return once

    pair.both(action)
    pair.same_state()


def test_a_second_backward_needs_retain_graph(pair: Pair, batch: tuple[Any, Any]) -> None:
    def action(call: Any, module: Any) -> Any:
        loss = _loss(call, *batch)
        loss.backward(retain_graph=True)
        loss.backward(retain_graph=True)
        loss.backward()
        with pytest.raises(RuntimeError, match="second time"):
            loss.backward()
        return loss

    pair.both(action)
    pair.same_state()


def test_an_overwritten_parameter_is_noticed(pair: Pair, batch: tuple[Any, Any]) -> None:
    for call, module in ((pair.ours, pair.model), (pair.eager, pair.eager)):
        loss = _loss(call, *batch)
        with torch.no_grad():
            module.fc.weight.zero_()
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            loss.backward()


def test_an_overwritten_input_changes_no_gradient(pair: Pair, batch: tuple[Any, Any]) -> None:
    x = batch[0].clone()
    loss = _loss(pair.ours, x, batch[1])
    x.zero_()  # PyTorch refuses the backward pass; striate has a copy in its own layout
    loss.backward()
    _loss(pair.eager, *batch).backward()
    pair.same_state()


def test_arenas_are_used_again(pair: Pair, batch: tuple[Any, Any]) -> None:
    def free() -> int:
        gc.collect()
        return len(compiled._POOL._free)

    for _ in range(3):
        pair.ours(batch[0])  # without a backward pass
        _loss(pair.ours, *batch).backward()
    before = free()
    assert before >= 1
    for _ in range(3):
        pair.ours(batch[0])
        _loss(pair.ours, *batch).backward()
    assert free() == before


def test_channels_last(pair: Pair, batch: tuple[Any, Any]) -> None:
    def action(call: Any, module: Any) -> Any:
        module.to(memory_format=torch.channels_last)
        x = batch[0].to(memory_format=torch.channels_last).requires_grad_()
        _loss(call, x, batch[1]).backward()
        return x.grad

    pair.both(action)
    pair.same_state()


def test_results_have_the_strides_of_pytorch() -> None:
    pair = Pair(nn.Conv2d(3, 4, 3))

    def action(call: Any, module: Any) -> Any:
        y = call(torch.randn(SHAPE, dtype=torch.float64).to(memory_format=torch.channels_last))
        return y, call(torch.randn(SHAPE, dtype=torch.float64)), list(y.stride())

    pair.both(action)


def test_short_batches_compile_nothing_new(pair: Pair) -> None:
    made = len(compiled._EXECUTABLES)

    def action(call: Any, module: Any) -> Any:
        found = []
        for samples in (6, 4, 3, 6, 2, 8):
            ((x, y),) = batches((samples, *SHAPE[1:]), 1, 4)
            loss = _loss(call, x, y)
            loss.backward()
            found.append(loss)
        return found

    pair.both(action)
    pair.same_state()
    assert len(compiled._EXECUTABLES) <= made + 1


def test_an_empty_batch(pair: Pair) -> None:
    pair.model.eval(), pair.eager.eval()
    pair.both(lambda call, module: [call(torch.zeros(n, 3, 6, 6, dtype=torch.float64)) for n in (4, 3, 0)])


def test_shared_weights() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one = nn.Linear(7, 7)
            self.two = self.one
            self.bn = nn.BatchNorm1d(7)

        def forward(self, x: Any) -> Any:
            return self.bn(self.two(torch.tanh(self.bn(self.one(x)))))

    pair = Pair(Tied())

    def action(call: Any, module: Any) -> Any:
        y = call(torch.randn(5, 7, dtype=torch.float64))
        y.square().sum().backward()
        return y

    pair.both(action)
    pair.same_state()


def test_detach_and_parts_without_gradients() -> None:
    class Parts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two, self.unused = nn.Linear(5, 6), nn.Linear(6, 6), nn.Linear(2, 2)

        def forward(self, x: Any) -> Any:
            h = torch.tanh(self.one(x))
            with torch.no_grad():
                scale = self.two(h).abs().mean()
            return (self.two(h.detach()) + h) / scale, h.detach(), h.argmax(1)

    pair = Pair(Parts())

    def action(call: Any, module: Any) -> Any:
        y, constant, places = call(torch.randn(4, 5, dtype=torch.float64))
        assert not constant.requires_grad
        y.square().sum().backward()
        return y, constant, places

    pair.both(action)
    pair.same_state()


def test_in_place_work_and_views() -> None:
    class InPlace(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, x: Any) -> Any:
            y = self.conv(x)
            z = y
            y += 1
            y.mul_(2).tanh_()
            left, right = y.chunk(2, 1)
            return z + y, left * right, x.flatten(1), y.view(y.size(0), -1)

    pair = Pair(InPlace())

    def action(call: Any, module: Any) -> Any:
        x = torch.randn(2, 3, 5, 5, dtype=torch.float64)
        found = call(x)
        torch.cat([one.flatten() for one in found if one.requires_grad]).square().sum().backward()
        assert found[2].data_ptr() == x.data_ptr()
        return found

    pair.both(action)
    pair.same_state()


def test_hooks() -> None:
    seen: list[int] = []

    def action(call: Any, module: Any) -> Any:
        x = torch.randn(SHAPE, dtype=torch.float64)
        y = call(x)
        y.register_hook(lambda gradient: gradient * 3)
        y.sum().backward()
        return y

    pair = Pair(Net())
    for module in (pair.model, pair.eager):
        module.bn.register_forward_hook(lambda module, inputs, output: output * 2)
        module.fc.register_forward_pre_hook(lambda module, inputs: (inputs[0] + 1,))
        module.fc.weight.register_post_accumulate_grad_hook(lambda parameter: seen.append(1))
    pair.both(action)
    pair.same_state()
    assert len(seen) == 2


def test_dropout_follows_the_seed_and_its_gradient_the_mask() -> None:
    pair = Pair(Net(dropout=0.5))
    x = torch.randn(SHAPE, dtype=torch.float64)

    def run(seed: int) -> Any:
        torch.manual_seed(seed)
        return pair.ours(x)

    assert torch.equal(run(3), run(3))
    assert not torch.equal(run(3), run(4))
    torch._dynamo.reset()
    drop = torch.compile(nn.Dropout(0.5), backend=backend)
    ones = torch.ones(4, 50, dtype=torch.float64, requires_grad=True)
    y = drop(ones)
    y.sum().backward()
    close(y.detach(), ones.grad)
    assert set(y.unique().tolist()) == {0.0, 2.0}


def test_autocast() -> None:
    torch.manual_seed(0)
    pair = Pair(Net(), torch.float32)
    ((x, y),) = batches(SHAPE, 1, 4, torch.float32)

    def action(call: Any, module: Any) -> Any:
        with torch.autocast("cpu", torch.bfloat16):
            out = call(x)
            loss = functional.cross_entropy(out, y)
        loss.backward()
        assert out.dtype is torch.bfloat16
        assert module.conv.weight.grad.dtype is torch.float32
        return loss

    pair.both(action, 0.02)
    for ours, eager in zip(pair.model.parameters(), pair.eager.parameters(), strict=True):
        assert (ours.grad - eager.grad).norm() <= 0.1 * eager.grad.norm() + 0.02


def test_copies_and_state_dicts(pair: Pair, batch: tuple[Any, Any]) -> None:
    pair.ours(batch[0])
    other = copy.deepcopy(pair.ours)
    with torch.no_grad():
        pair.model.conv.weight.zero_()
    assert not torch.equal(other(batch[0]), pair.ours(batch[0]))
    pair.model.load_state_dict(pair.eager.state_dict())
    close(pair.ours(batch[0]), pair.eager(batch[0]))
    assert {name.removeprefix("_orig_mod.") for name in pair.ours.state_dict()} == set(pair.model.state_dict())
    with torch.no_grad():
        pair.model.fc.bias.data = torch.ones(4, dtype=torch.float64)
        pair.eager.fc.bias.data = torch.ones(4, dtype=torch.float64)
    close(pair.ours(batch[0]), pair.eager(batch[0]))


def test_wrong_labels_raise_an_error() -> None:
    class WithLoss(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = Net()

        def forward(self, x: Any, y: Any) -> Any:
            return functional.cross_entropy(self.net(x), y)

    pair = Pair(WithLoss())
    x, y = torch.randn(SHAPE, dtype=torch.float64), torch.tensor([0, 1, 2, 3, 0, 1])

    def action(call: Any, module: Any) -> Any:
        loss = call(x, y)
        loss.backward()
        return loss

    pair.both(action)
    pair.same_state()
    with pytest.raises(ValueError, match="label"):
        pair.ours(x, y + 1)


def test_threads_of_torch_are_honoured(pair: Pair, batch: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    run = Team.run

    def counted(team: Team, *arguments: Any, **options: Any) -> Any:
        seen.append(team.threads)
        return run(team, *arguments, **options)

    monkeypatch.setattr(Team, "run", counted)
    before = torch.get_num_threads()
    results = []
    for threads in (1, before):
        torch.set_num_threads(threads)
        results.append(pair.ours(batch[0]))
    torch.set_num_threads(before)
    assert seen[0] == 1
    assert max(seen) <= max(before, 1)
    assert torch.equal(*results)
