"""Networks of many kinds run through striate alone; what striate does not know is left to PyTorch with a notice."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from pairs import Pair, backend, close  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from striate.torch import StriateNotice, dynamo, table  # noqa: E402

pytestmark = pytest.mark.slow


class UNet(nn.Module):
    """A U-Net of one level."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.low = self._block(3, 4), self._block(4, 6)
        self.up = nn.ConvTranspose2d(6, 4, 2, 2)
        self.top, self.head = self._block(8, 4), nn.Conv2d(4, 2, 1)

    def _block(self, inputs: int, outputs: int) -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
        )

    def forward(self, x: Any) -> Any:
        skip = self.down(x)
        return self.head(self.top(torch.cat([skip, self.up(self.low(functional.max_pool2d(skip, 2)))], 1)))


class Inverted(nn.Module):
    """An inverted residual block with squeeze and excitation, as in MobileNet V3."""

    def __init__(self) -> None:
        super().__init__()
        self.expand, self.depth = nn.Conv2d(3, 8, 1, bias=False), nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False)
        self.bn1, self.bn2, self.bn3 = nn.BatchNorm2d(8), nn.BatchNorm2d(8), nn.BatchNorm2d(3)
        self.squeeze, self.excite, self.project = nn.Conv2d(8, 4, 1), nn.Conv2d(4, 8, 1), nn.Conv2d(8, 3, 1, bias=False)

    def forward(self, x: Any) -> Any:
        y = functional.hardswish(self.bn1(self.expand(x)), inplace=True)
        y = functional.relu6(self.bn2(self.depth(y)))
        scale = self.excite(functional.relu(self.squeeze(functional.adaptive_avg_pool2d(y, 1))))
        return x + self.bn3(self.project(y * functional.hardsigmoid(scale)))


class Dense(nn.Module):
    """A dense block with a transition, as in DenseNet."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(nn.BatchNorm2d(c), nn.ReLU(), nn.Conv2d(c, 4, 3, padding=1, bias=False)) for c in (3, 7, 11)
        )
        self.transition = nn.Sequential(nn.BatchNorm2d(15), nn.ReLU(inplace=True), nn.Conv2d(15, 5, 1), nn.AvgPool2d(2))

    def forward(self, x: Any) -> Any:
        features = [x]
        for layer in self.layers:
            features.append(layer(torch.cat(features, 1)))
        return self.transition(torch.cat(features, 1)).mean([2, 3])


class ConvNeXtBlock(nn.Module):
    """A block of ConvNeXt: depthwise 7×7, layer normalization of channels last, GELU, layer scale."""

    def __init__(self) -> None:
        super().__init__()
        self.depth, self.norm = nn.Conv2d(3, 3, 7, padding=3, groups=3), nn.LayerNorm(3)
        self.wide, self.narrow = nn.Linear(3, 12), nn.Linear(12, 3)
        self.scale = nn.Parameter(torch.full((3, 1, 1), 0.1))

    def forward(self, x: Any) -> Any:
        y = self.norm(self.depth(x).permute(0, 2, 3, 1))
        y = self.narrow(functional.gelu(self.wide(y))).permute(0, 3, 1, 2) * self.scale
        y += x
        return y


class Shuffled(nn.Module):
    """A unit of ShuffleNet: half of the channels pass, and all are shuffled."""

    def __init__(self) -> None:
        super().__init__()
        self.branch = nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4), nn.ReLU(inplace=True))

    def forward(self, x: Any) -> Any:
        left, right = x.chunk(2, dim=1)
        y = torch.cat((left, self.branch(right)), dim=1)
        n, channels, height, width = y.size()
        return y.view(n, 2, channels // 2, height, width).transpose(1, 2).contiguous().view(n, -1, height, width)


def _sequence(*layers: nn.Module) -> Callable[[], nn.Module]:
    return lambda: nn.Sequential(*layers)


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "U-Net": (UNet, (2, 3, 8, 8)),
    "MobileNet": (Inverted, (2, 3, 6, 6)),
    "DenseNet": (Dense, (2, 3, 6, 6)),
    "ConvNeXt": (ConvNeXtBlock, (2, 3, 8, 8)),
    "ShuffleNet": (Shuffled, (2, 8, 4, 4)),
    "1-D": (
        _sequence(nn.Conv1d(2, 4, 5, 2), nn.BatchNorm1d(4), nn.ReLU(), nn.MaxPool1d(2), nn.Flatten(), nn.Linear(20, 3)),
        (3, 2, 24),
    ),
    "3-D": (
        _sequence(
            nn.Conv3d(2, 4, 3, padding=1), nn.BatchNorm3d(4), nn.ELU(), nn.AvgPool3d(2), nn.Flatten(), nn.Linear(32, 3)
        ),
        (2, 2, 4, 4, 4),
    ),
    "VGG": (
        _sequence(
            nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(True), nn.MaxPool2d(2, 2),
            nn.AdaptiveAvgPool2d((3, 3)), nn.Flatten(), nn.Linear(72, 9), nn.ReLU(True), nn.Dropout(0.0),
            nn.Linear(9, 4),
        ),
        (2, 3, 8, 8),
    ),
}  # fmt: skip


def _run(call: Any, module: Any, shape: tuple[int, ...]) -> Any:
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    y = call(x)
    (y * torch.randn_like(y)).sum().backward()
    module.eval()
    with torch.no_grad():
        return y, x.grad, call(x)


@pytest.mark.parametrize("name", list(NETWORKS))
def test_networks_run_without_a_notice(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dynamo, "_noticed", set[str]())
    make, shape = NETWORKS[name]
    torch.manual_seed(0)
    pair = Pair(make())
    # A notice would be an error. PyTorch computes parts of hardswish and hardsigmoid with 1/6 in float32.
    relative = 1e-7 if name == "MobileNet" else 1e-9
    pair.both(lambda call, module: _run(call, module, shape), relative)
    pair.same_state(relative)


def _poolings(x: Any) -> list[Any]:
    y, places = functional.max_pool2d(x, 2, return_indices=True)
    whole = functional.max_unpool2d(y * y, places, 2, output_size=x.shape)
    found = [y, places, whole, *functional.adaptive_max_pool2d(x, 3, return_indices=True)]
    z, at = functional.max_pool1d(x[:, :, 0], 3, 2, return_indices=True)
    deep, there = nn.MaxPool3d(2, return_indices=True)(x[:, None])
    unpooled = functional.max_unpool3d(deep * deep, there, 2), nn.MaxUnpool3d(2)(deep, there, output_size=(5, 9, 7))
    return [*found, functional.max_unpool1d(z, at, 3, 2), deep, there, *unpooled]


def _vectors(x: Any) -> list[Any]:
    other = x.flip(1)
    return [
        functional.normalize(x, dim=1), functional.normalize(x, 1.0, (1, 2)), functional.cosine_similarity(x, other),
        functional.pairwise_distance(x, other, 1.0), x.norm(dim=1), torch.linalg.vector_norm(x, 1, (2, 3)),
        x.sum().squeeze(0) * x.mean().squeeze(-1), *torch.var_mean(x, (2, 3)), *torch.std_mean(x, 1, keepdim=True),
    ]  # fmt: skip


def _images(x: Any) -> list[Any]:
    fixed = x.detach()  # PyTorch has no gradient of floor_divide
    return [
        functional.channel_shuffle(x, 2), nn.ChannelShuffle(2)(x), x.repeat_interleave(2, 1),
        functional.interpolate(x, scale_factor=0.5, mode="bilinear", antialias=True),
        functional.interpolate(x, size=(5, 7), mode="bicubic", antialias=True),
        functional.interpolate(x, size=(11, 7), mode="bicubic"),
        x.clamp_min(0.1), x.clamp_max(0.2), torch.remainder(x, 0.7), x % 0.3,
        torch.floor_divide(fixed, 0.7), fixed // fixed.flip(1), fixed.floor_divide(-0.3),
        torch.addcdiv(x, x, x.exp(), value=0.5),
    ]  # fmt: skip


def _losses(x: Any) -> list[Any]:
    y = x.flatten(1)[:, :5]
    a, b, signs = y[:, 0], y[:, 1], torch.tensor([1.0, -1.0, 1.0], dtype=x.dtype)
    return [
        functional.multi_margin_loss(y, torch.tensor([0, 4, 2])), functional.hinge_embedding_loss(a, signs, 0.5),
        functional.multilabel_soft_margin_loss(y, (y > 0.1).to(y.dtype)),
        functional.margin_ranking_loss(a, b, signs, reduction="none"), functional.poisson_nll_loss(y, y.exp()),
        functional.triplet_margin_loss(y, y + 1, y * 2),
        functional.cosine_embedding_loss(y, y * y, signs, reduction="sum"),
    ]  # fmt: skip


@pytest.mark.parametrize("function", [_poolings, _vectors, _images, _losses])
def test_functions_run_without_a_notice(function: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dynamo, "_noticed", set[str]())
    torch._dynamo.reset()
    results: list[Any] = []
    for call in (torch.compile(function, backend=backend), function):
        torch.manual_seed(0)
        x = torch.randn(3, 4, 8, 6, dtype=torch.float64, requires_grad=True)
        found = call(x)
        torch.cat([y.flatten() for y in found if y.requires_grad]).square().sum().backward()
        results.append([*found, x.grad])
    for ours, theirs in zip(*results, strict=True):
        close(ours, theirs, 1e-7)  # PyTorch computes the weights of some interpolations in float32


class Depth(nn.Module):
    """A residual block with stochastic depth, as in torchvision."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x: Any) -> Any:
        y = self.conv(x)
        if self.training:
            noise = torch.empty([x.shape[0], 1, 1, 1], dtype=x.dtype, device=x.device)
            noise = noise.bernoulli_(0.5)
            noise.div_(0.5)
            y = y * noise
        return torch.relu(x + y)


def test_noise_does_not_divide_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dynamo, "_noticed", set[str]())
    pair = Pair(nn.Sequential(Depth(), Depth()))
    pair.both(lambda call, module: _run(call, module.train(), (4, 3, 5, 5)))
    pair.same_state()


class Partly(nn.Module):
    """A network with a sort, which striate does not have, in its middle, and a cumulative sum behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn, self.fc = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 5)

    def forward(self, x: Any) -> Any:
        y = functional.relu(self.bn(self.conv(x))).flatten(2)
        z = y.sort(dim=2)[0][:, :, -1]
        return self.fc(torch.tanh(z)).cumsum(1)


def test_unknown_functions_are_left_to_pytorch_with_one_notice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dynamo, "_noticed", set[str]())
    pair = Pair(Partly())
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        pair.both(lambda call, module: [_run(call, module.train(), (n, 3, 5, 5)) for n in (4, 4, 3)])
    texts = {str(one.message) for one in seen if issubclass(one.category, StriateNotice)}
    assert len(texts) == 1
    assert texts.pop() == "striate leaves cumsum, sort to PyTorch (cumsum: striate has no such function)"
    pair.same_state()


def test_a_translation_with_a_fault_leaves_its_node_to_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    def faulty(*arguments: Any) -> Any:
        raise ZeroDivisionError("integer modulo by zero")

    monkeypatch.setitem(table.TRANSLATIONS, "tanh", faulty)
    monkeypatch.setattr(dynamo, "_noticed", set[str]())
    pair = Pair(nn.Sequential(nn.Linear(5, 4), nn.Tanh()))
    with pytest.warns(StriateNotice, match="tanh"):
        pair.both(lambda call, module: _run(call, module, (3, 5)))


class Several(nn.Module):
    """Work that is awkward for a compiler: a branch on data, a list that grows, a tensor made of numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(5, 5)

    def forward(self, x: Any) -> Any:
        y = self.fc(x)
        if y.sum() > 0:
            y = y * 2
        places = torch.arange(5, dtype=y.dtype)
        y[0] = places
        return {"y": torch.tanh(y + places), "n": x.shape[0], "input": x}


class Overwritten(nn.Module):
    """Results of compiled work, and views of them, that functions unknown to striate overwrite."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(6, 6)

    def forward(self, x: Any, h: Any) -> Any:
        y = self.conv(x)
        flat = y.flatten(1)
        mask = torch.zeros_like(y, dtype=torch.bool)
        mask[:, 1:3] = True
        y.index_fill_(1, torch.tensor([0]), 2.0)
        z, other = self.fc(h), torch.ones_like(h)
        row = other[0]
        torch.mul(z.detach(), 2.0, out=other)
        z[:, 1] = 0.5
        return flat * 3, y.masked_fill(mask, 0.0), self.fc(z), row + 1


def test_overwritten_results() -> None:
    pair = Pair(Overwritten())

    def action(call: Any, module: Any) -> Any:
        x, h = torch.randn(2, 3, 5, 5, dtype=torch.float64), torch.randn(3, 6, dtype=torch.float64)
        found = call(x, h)
        torch.cat([one.flatten() for one in found]).square().sum().backward()
        return found, h

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pair.both(action)
    pair.same_state()


class Mixed(nn.Module):
    """A network that switches autocast on for one of its layers."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 3)

    def forward(self, x: Any) -> Any:
        with torch.autocast("cpu", torch.bfloat16):
            y = self.one(x)
        return self.two(torch.relu(y.float())), y


def test_autocast_within_the_network() -> None:
    pair = Pair(Mixed(), torch.float32)

    def action(call: Any, module: Any) -> Any:
        y, inner = call(torch.randn(2, 3, 7, 7))
        assert inner.dtype is torch.bfloat16
        assert not torch.is_autocast_enabled("cpu")
        y.sum().backward()
        return y

    pair.both(action, 0.05)


def test_breaks_in_the_graph() -> None:
    pair = Pair(Several())

    def action(call: Any, module: Any) -> Any:
        x = torch.randn(3, 5, dtype=torch.float64)
        found = call(x)
        assert found["input"] is x
        assert found["n"] == 3
        found["y"].sum().backward()
        return found["y"]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pair.both(action)
    pair.same_state()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.complex64])
def test_other_dtypes_are_left_to_pytorch(dtype: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pair = Pair(nn.Linear(4, 3), dtype)
        pair.both(lambda call, module: call(torch.ones(2, 4, dtype=dtype)), 1e-2)
