"""Draw small random networks: fan-out, residual joins, several outputs, reductions, reshapes, norms and losses."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from striate.errors import StriateError
from striate.graph.op import Node
from striate.graph.value import N, Value
from tests.campaign.network import Call, Given, Network, Precision, apply, type_of

Random = np.random.Generator

CHANNELS = (1, 1, 2, 3, 4, 5, 8, 15, 16, 17, 18, 24, 32, 33, 48)
SIZES = (1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 13, 16, 17)
LARGEST = 12_000
"""Elements of the largest array: the references are slow."""


def one_of(random: Random, choices: Sequence[Any]) -> Any:
    """Return one of some choices with equal probability."""
    return choices[int(random.integers(len(choices)))]


class Drawing:
    """A network while it is drawn, with the symbolic value of each name."""

    def __init__(self, random: Random, n: int, batched: bool, dtype: str) -> None:
        self.random = random
        self.network = Network((), (), (), (), n, batched, dtype)
        self.inputs: list[Given] = []
        self.calls: list[Call] = []
        self.values: dict[str, Value] = {}
        self.data: list[str] = []  # names of values that layers may read
        self.losses: list[str] = []

    def chance(self, probability: float) -> bool:
        """Return True with the given probability."""
        return bool(self.random.random() < probability)

    def one_of(self, choices: Sequence[Any]) -> Any:
        """Return one of some choices with equal probability."""
        return one_of(self.random, choices)

    def integer(self, first: int, last: int) -> int:
        """Return a whole number between both ends, which are included."""
        return int(self.random.integers(first, last + 1))

    def input(self, shape: tuple[int, ...], batched: bool = False, fill: str = "normal", scale: float = 1.0) -> str:
        """Add an input and return its name."""
        given = Given(f"{'x' if batched else 'w'}{len(self.inputs)}", shape, batched, fill, scale)
        self.inputs.append(given)
        from striate.graph.graph import Input

        self.values[given.name] = Input(given.name, type_of(self.network, given))()
        return given.name

    def call(self, function: str, *arguments: Any, results: int = 1, **options: Any) -> str:
        """Add a call and return the name of its first result."""
        names = tuple(f"v{len(self.values) + number}" for number in range(results))
        call = Call(names, function, arguments, tuple(options.items()))
        found = apply(call, self.values)
        if any(value.type.size(self.network.n or 1) > LARGEST for value in found.values()):
            raise StriateError("too large for a campaign")
        self.values.update(found)
        self.calls.append(call)
        return names[0]

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a value at the network's number of samples."""
        return self.values[name].type.concrete(self.network.n)

    def is_batched(self, name: str) -> bool:
        """Return whether axis 0 of a value is the number of samples."""
        return self.values[name].type.batched

    def like(self, name: str, fill: str = "normal") -> str:
        """Add an input of the same type as a value."""
        return self.input(self.shape(name), self.is_batched(name), fill)

    def keep(self, name: str) -> None:
        """Let later layers read the value."""
        if self.values[name].dtype.value == self.network.dtype and self.values[name].type.rank:
            self.data.append(name)


Layer = Callable[[Drawing, str], str]

_SMOOTH = (
    "tanh", "sigmoid", "elu", "selu", "celu", "gelu", "silu", "mish", "softplus", "softsign", "logsigmoid",
    "tanhshrink", "sin", "cos", "erf", "square", "negative",
)  # fmt: skip
_PIECES = ("relu", "leaky_relu", "relu6", "hardtanh", "hardsigmoid", "hardswish", "hardshrink", "softshrink", "abs")


def activation(d: Drawing, x: str) -> str:
    return d.call(d.one_of((*_SMOOTH, *_PIECES, "relu", "relu", "leaky_relu")), x)


def guarded_function(d: Drawing, x: str) -> str:
    """A function whose argument must be positive or small."""
    kind = d.one_of(("exp", "log", "sqrt", "rsqrt", "reciprocal", "log1p", "expm1", "tan", "power", "clip", "prelu"))
    if kind in ("exp", "expm1", "tan"):
        return d.call(kind, d.call("tanh", x))
    if kind == "clip":
        return d.call("clip", x, -0.5, d.one_of((0.75, 2.0)))
    if kind == "prelu":
        return d.call("prelu", x, d.input((d.shape(x)[1],), fill="unit"))
    positive = d.call("add", d.call("square", x), 0.5)
    return d.call(kind, positive, d.one_of((-1.0, 0.5, 2.0, 3.0, 1.7))) if kind == "power" else d.call(kind, positive)


def conv(d: Drawing, x: str) -> str:
    channels, positions = d.shape(x)[1], d.shape(x)[2:]
    if d.chance(0.3) and len(positions) == 2 and min(positions) > 3:  # Winograd's forms
        k = d.one_of((3, 3, 5))
        kernel, stride, dilation = (k, k), d.one_of((1, 1, 1, 2)), 1
        padding: Any = k // 2
        filters = d.one_of((16, 17, 32, 33))
        groups = 1
    else:
        kernel = tuple(d.integer(1, 5) for _ in positions)
        stride = tuple(d.one_of((1, 1, 2, 3)) for _ in positions)
        dilation = tuple(d.one_of((1, 1, 1, 2)) for _ in positions)
        padding = tuple(d.integer(0, 2) for _ in positions)
        if d.chance(0.3):
            padding, stride = "padding=same", 1
        groups, filters = 1, d.one_of(CHANNELS)
        if d.chance(0.35):
            groups = d.one_of([one for one in range(1, channels + 1) if channels % one == 0])
            filters = groups * d.one_of((1, 2, 3, max(1, channels // groups)))
    fan_in = channels // groups * math.prod(kernel)
    w = d.input((filters, channels // groups, *kernel), scale=1 / math.sqrt(fan_in))
    bias = {"bias": d.input((filters,))} if d.chance(0.4) else {}
    return d.call("conv", x, w, **bias, stride=stride, padding=padding, dilation=dilation, groups=groups)


def conv_transpose(d: Drawing, x: str) -> str:
    channels, positions = d.shape(x)[1], d.shape(x)[2:]
    groups = d.one_of([one for one in (1, 1, 2, channels) if channels % one == 0])
    kernel = tuple(d.integer(1, 4) for _ in positions)
    stride = tuple(d.one_of((1, 2, 2, 3)) for _ in positions)
    out = d.one_of((1, 2, 3, 16, 17)) if groups == 1 else d.one_of((1, 2))
    w = d.input((channels, out, *kernel), scale=1 / math.sqrt(channels // groups * math.prod(kernel)))
    return d.call(
        "conv_transpose", x, w, stride=stride, padding=tuple(d.integer(0, (k - 1) // 2) for k in kernel), groups=groups,
        output_padding=tuple(d.integer(0, s - 1) for s in stride),
    )  # fmt: skip


def pooling(d: Drawing, x: str) -> str:
    positions = d.shape(x)[2:]
    kind = d.one_of(("max", "max", "avg", "avg", "lp", "global_avg", "global_max", "adaptive_avg", "adaptive_max"))
    if kind.startswith("global"):
        return d.call(f"{kind}_pool", x)
    if kind.startswith("adaptive"):
        return d.call(f"{kind}_pool", x, tuple(d.integer(1, min(5, size)) for size in positions))
    kernel = tuple(d.integer(1, min(4, size)) for size in positions)
    stride = tuple(d.one_of((1, 2, k, k, 3)) for k in kernel)
    options: dict[str, Any] = {"stride": stride, "ceil_mode": d.chance(0.3)}
    if kind == "lp":
        return d.call("lp_pool", d.call("add", d.call("square", x), 0.5), d.one_of((2.0, 3.0)), kernel, **options)
    options["padding"] = tuple(d.integer(0, k // 2) for k in kernel)
    if kind == "avg":
        options["count_include_pad"] = d.chance(0.5)
    elif d.chance(0.2):
        options["dilation"] = 2
    return d.call(f"{kind}_pool", x, kernel, **options)


def norm(d: Drawing, x: str) -> str:
    channels, shape = d.shape(x)[1], d.shape(x)
    kind = d.one_of(("batch", "batch", "batch", "layer", "channel_layer", "group", "instance", "rms", "local", "unit"))
    eps = d.one_of((1e-5, 1e-2))
    affine = {"weight": d.input((channels,)), "bias": d.input((channels,))} if d.chance(0.7) else {}
    if kind == "batch":
        if d.chance(0.3):  # the statistics of prediction
            mean, variance = d.input((channels,)), d.input((channels,), fill="positive")
            return d.call("batch_norm", x, mean, variance, **affine, eps=eps)
        return d.call("batch_norm", x, None, None, **affine, training=True, eps=eps)
    if kind in ("layer", "rms"):
        last = shape[-d.integer(1, len(shape) - 1) :]
        weights = {"weight": d.input(last)} if d.chance(0.5) else {}
        return d.call(f"{kind}_norm", x, last, **weights, eps=eps)
    if kind == "channel_layer":
        return d.call("channel_layer_norm", x, **affine, eps=eps)
    if kind == "group":
        groups = d.one_of([one for one in range(1, channels + 1) if channels % one == 0])
        return d.call("group_norm", x, groups, **affine, eps=eps)
    if kind == "instance":
        return d.call("instance_norm", x, **affine, eps=eps)
    if kind == "local":
        return d.call("local_response_norm", x, d.one_of((1, 2, 3, 5)), alpha=0.1)
    return d.call("normalize", x, dim=d.integer(1, len(shape) - 1), eps=1e-3)


def join(d: Drawing, x: str) -> str:
    """A value of the same or a smaller shape joins: residual, gate, scale."""
    same = [name for name in d.data if d.values[name].type == d.values[x].type and name != x]
    sizes = d.shape(x)
    if same and d.chance(0.7):
        other = d.one_of(same)
    else:
        kind, batched = d.integer(0, 3), False
        if kind == 0:
            shape: tuple[int, ...] = (1, sizes[1], *(1,) * (len(sizes) - 2))
        elif kind == 1:
            shape = tuple(1 if d.chance(0.5) else size for size in sizes[1:])
        elif kind == 2:
            shape, batched = (sizes[0], *(1 if d.chance(0.5) else size for size in sizes[1:])), d.is_batched(x)
        else:
            shape, batched = sizes, d.is_batched(x)
        other = d.input(shape, batched)
    kind = d.one_of(("add", "add", "add", "multiply", "subtract", "maximum", "minimum", "divide", "where", "blend"))
    if kind == "divide":
        return d.call("divide", x, d.call("add", d.call("abs", other), 1.0))
    if kind == "where":
        return d.call("where", d.call(d.one_of(("greater", "less_equal")), x, other), x, other)
    if kind == "blend":
        gate = d.call("sigmoid", other)
        return d.call("add", d.call("multiply", gate, x), d.call("multiply", d.call("subtract", 1.0, gate), other))
    return d.call(kind, x, other) if d.chance(0.8) else d.call(kind, other, x)


_MOVEMENTS = (
    "flatten", "permute", "concat", "split", "chunk", "unbind", "take", "flip", "roll", "pad", "tile", "repeat",
    "unsqueeze", "reshape", "unflatten", "stack", "shuffle", "interpolate", "glu",
)  # fmt: skip


def movement(d: Drawing, x: str) -> str:
    shape, rank = d.shape(x), len(d.shape(x))
    axis = d.integer(1, rank - 1)
    size = shape[axis]
    kind = d.one_of(_MOVEMENTS)
    if kind == "flatten":
        start = d.integer(1, rank - 1)
        return d.call("flatten", x, start, d.integer(start, rank - 1))
    if kind == "permute":
        return d.call("permute", x, (0, *(1 + int(one) for one in d.random.permutation(rank - 1))))
    if kind in ("concat", "stack"):
        fitting = [
            name for name in d.data
            if len(d.shape(name)) == rank and d.is_batched(name) == d.is_batched(x) and all(
                a == b or (kind == "concat" and place == axis)
                for place, (a, b) in enumerate(zip(d.shape(name), shape, strict=True)))
        ]  # fmt: skip
        parts = tuple(d.one_of(fitting) for _ in range(d.integer(1, 2))) if fitting else ()
        return d.call(kind, (x, *parts, *((x,) if d.chance(0.2) else ())), axis)
    if kind in ("split", "chunk"):
        pieces = d.integer(1, min(3, size))
        if kind == "split":
            cuts = sorted(d.integer(0, size) for _ in range(pieces - 1))
            sections = tuple(int(one) for one in np.diff([0, *cuts, size]))
            first = d.call("split", x, sections, axis, results=pieces)
        else:
            first = d.call("chunk", x, pieces, axis, results=len(range(0, size, -(-size // pieces))))
        names = d.calls[-1].names
        for name in names:
            if d.chance(0.6) and math.prod(d.shape(name)[1:]):
                d.keep(name)
        return d.one_of([name for name in names if math.prod(d.shape(name)[1:])] or [first])
    if kind == "unbind" and rank > 2 and size <= 4:
        d.call("unbind", x, axis, results=size)
        return d.one_of(d.calls[-1].names)
    if kind == "take":
        return d.call("take", x, tuple(d.integer(-size, size - 1) for _ in range(d.integer(1, size + 1))), axis)
    if kind == "flip":
        return d.call("flip", x, axis)
    if kind == "roll":
        return d.call("roll", x, d.integer(-size, size), axis)
    if kind == "pad":
        amounts = tuple(d.integer(-1 if size > 2 else 0, 2) for size in shape[:1:-1] for _ in range(2))
        mode = d.one_of(("constant", "constant", "reflect", "replicate", "circular"))
        return d.call("pad", x, amounts, mode=f"mode={mode}")
    if kind == "tile":
        return d.call("tile", x, (1, *(d.one_of((1, 1, 2)) for _ in range(rank - 1))))
    if kind == "repeat":
        return d.call("repeat", x, d.integer(1, 3), axis)
    if kind == "unsqueeze" and rank < 5:
        return d.call("unsqueeze", x, d.integer(1, rank))
    if kind == "reshape":
        rest, sizes = math.prod(shape[1:]), []
        while rest > 1 and len(sizes) < 3:
            divisor = d.one_of([one for one in range(1, rest + 1) if rest % one == 0])
            sizes.append(divisor)
            rest //= divisor
        return d.call("reshape", x, (N if d.is_batched(x) else shape[0], *sizes, rest))
    if kind == "unflatten" and rank < 5:
        divisor = d.one_of([one for one in range(1, size + 1) if size % one == 0])
        return d.call("unflatten", x, axis, (divisor, size // divisor))
    if kind == "shuffle":
        if rank == 4 and d.chance(0.5):
            return d.call(d.one_of(("pixel_shuffle", "pixel_unshuffle")), x, 2)
        return d.call("channel_shuffle", x, d.one_of([one for one in range(1, shape[1] + 1) if shape[1] % one == 0]))
    if kind == "interpolate" and rank > 2:
        size_to = tuple(d.integer(1, 9) for _ in shape[2:])
        mode = {3: "linear", 4: "bilinear", 5: "trilinear"}[rank] if d.chance(0.5) else "nearest"
        return d.call("interpolate", x, size_to, mode=f"mode={mode}")
    if kind == "glu" and size % 2 == 0:
        return d.call("glu", x, axis)
    return d.call("multiply", x, 0.5)


def product(d: Drawing, x: str) -> str:
    shape, rank = d.shape(x), len(d.shape(x))
    results = d.one_of((1, 2, 3, 5, 16, 17, 33))
    if rank == 2 or d.chance(0.4):
        w = d.input((results, shape[-1]), scale=1 / math.sqrt(max(1, shape[-1])))
        bias = {"bias": d.input((results,))} if d.chance(0.5) else {}
        return d.call("linear", x, w, **bias)
    if d.chance(0.4):  # attention: x · xᵀ
        order = (*range(rank - 2), rank - 1, rank - 2)
        scores = d.call("multiply", d.call("matmul", x, d.call("permute", x, order)), 1 / math.sqrt(shape[-1]))
        return d.call("matmul", d.call("softmax", scores, rank - 1), x)
    w = d.input((*(1 if d.chance(0.7) else size for size in shape[1:-2]), shape[-1], results), scale=0.3)
    return d.call("matmul", x, w)


def reduction(d: Drawing, x: str) -> str:
    """A statistic, which is broadcast back into the value most of the time."""
    rank = len(d.shape(x))
    axes = tuple(axis for axis in range(rank) if d.chance(0.5)) or (1,)
    kind = d.one_of(("sum", "mean", "var", "std", "max", "min", "logsumexp", "norm", "prod", "moments"))
    source = d.call("add", d.call("tanh", x), 1.5) if kind in ("norm", "prod", "std") else x
    if kind == "prod":
        axes = axes[-1:]
    keep = d.chance(0.8)
    options: dict[str, Any] = {"keepdims": keep}
    if kind in ("var", "std"):
        options["correction"] = 0
    found = d.call(kind, source, axis=axes, **options, results=2 if kind == "moments" else 1)
    if not keep:
        return found
    scaled = d.call("multiply", found, 1 / math.prod(max(1, d.shape(x)[axis]) for axis in axes))
    return d.call(d.one_of(("subtract", "multiply", "add")), x, scaled)


def softmax(d: Drawing, x: str) -> str:
    return d.call(d.one_of(("softmax", "log_softmax", "softmin")), x, d.integer(1, len(d.shape(x)) - 1))


_LOSSES = (
    "cross_entropy", "cross_entropy", "nll_loss", "multi_margin_loss", "mse_loss", "l1_loss", "smooth_l1_loss",
    "huber_loss", "binary_cross_entropy_with_logits", "binary_cross_entropy", "kl_div", "soft_margin_loss",
    "poisson_nll_loss", "gaussian_nll_loss", "cosine_embedding_loss",
)  # fmt: skip


_WITH_CLASSES = ("cross_entropy", "nll_loss", "multi_margin_loss")
"""Losses with weights of classes, which have no gradient."""


def loss(d: Drawing, x: str) -> str:
    """A loss of the value, which becomes an output."""
    shape, batched = d.shape(x), d.is_batched(x)
    reduction = {"reduction": f"reduction={d.one_of(('mean', 'mean', 'sum', 'none'))}"}
    kind = d.one_of(_LOSSES)
    if kind in _WITH_CLASSES:
        if kind == "multi_margin_loss" and len(shape) > 2:
            kind = "cross_entropy"
        target = d.input((shape[0], *shape[2:]), batched, f"labels {shape[1]}")
        logits = d.call("log_softmax", x, 1) if kind == "nll_loss" else x
        options: dict[str, Any] = {"weight": d.input((shape[1],), fill="positive")} if d.chance(0.3) else {}
        if kind == "cross_entropy" and d.chance(0.3):
            options["label_smoothing"] = 0.1
        return d.call(kind, logits, target, **options, **reduction)
    if kind == "gaussian_nll_loss":
        return d.call(kind, x, d.like(x), d.like(x, "positive"), **reduction)
    if kind == "cosine_embedding_loss":
        flat = d.call("flatten", x) if len(shape) > 2 else x
        return d.call(kind, flat, d.like(flat), d.input(shape[:1], batched, "signs"), **reduction)
    if kind == "kl_div":
        return d.call(kind, d.call("log_softmax", x, 1), d.like(x, "unit"), **reduction)
    if kind == "binary_cross_entropy":
        return d.call(kind, d.call("sigmoid", x), d.like(x, "unit"), **reduction)
    if kind == "poisson_nll_loss":
        return d.call(kind, d.call("tanh", x), d.like(x, "positive"), **reduction)
    fill = {"soft_margin_loss": "signs", "binary_cross_entropy_with_logits": "unit"}.get(kind, "normal")
    return d.call(kind, x, d.like(x, fill), **reduction)


LAYERS: tuple[tuple[Layer, int], ...] = (
    (activation, 4), (guarded_function, 2), (conv, 5), (conv_transpose, 1), (pooling, 2), (norm, 3), (join, 4),
    (movement, 4), (product, 2), (reduction, 2), (softmax, 1), (loss, 1),
)  # fmt: skip
_POOL: list[Layer] = [layer for layer, share in LAYERS for _ in range(share)]


def _grow(d: Drawing) -> bool:
    """Try to add a layer; return whether it was accepted."""
    before = (len(d.inputs), len(d.calls), dict(d.values), list(d.data))
    latest = d.data[-3:] if d.chance(0.7) else d.data
    x = d.one_of(latest)
    layer = d.one_of(_POOL)
    needs_positions = layer in (conv, conv_transpose, pooling)
    rank = len(d.shape(x))
    if rank < 2 or (needs_positions and not 3 <= rank <= 5) or not math.prod(d.shape(x)[1:]):
        return False
    try:
        found = layer(d, x)
    except StriateError:
        inputs, calls, d.values, d.data = before
        del d.inputs[inputs:], d.calls[calls:]
        return False
    d.losses.append(found) if layer is loss else d.keep(found)
    return True


def draw(random: Random) -> Network:
    """Return a random network of 2 to 12 layers."""
    dtype = one_of(random, ("float32", "float32", "float64"))
    precision = Precision.bfloat16 if dtype == "float32" and random.random() < 0.25 else Precision.full
    n = one_of(random, (1, 2, 3, 4, 5, 7, 17))
    d = Drawing(random, n, random.random() < 0.75, dtype)
    spatial = tuple(one_of(random, SIZES) for _ in range(one_of(random, (0, 1, 1, 2, 2, 2, 2, 3))))
    channels = one_of(random, CHANNELS)
    while n * channels * math.prod(spatial) > LARGEST // 2:
        spatial = tuple(max(1, size // 2) for size in spatial)
    for _ in range(one_of(random, (1, 1, 1, 2))):
        d.data.append(d.input((n, channels, *spatial), batched=True))
    layers, tries = int(random.integers(2, 13)), 0
    while layers and tries < 60:
        layers -= _grow(d)
        tries += 1
    read = {name for call in d.calls for name in call.reads()}
    ends = [name for name in d.data if name not in read] + d.losses
    more = [name for name in d.data if name in read and d.chance(0.1) and name not in {g.name for g in d.inputs}]
    # A watch of a mask or of positions is an output that is no float.
    whole = [name for name, value in d.values.items() if not value.dtype.is_float and isinstance(value.node, Node)]
    masks = [name for name in whole if name not in {g.name for g in d.inputs} and d.chance(0.2)]
    fixed = {value for call in d.calls if call.function in _WITH_CLASSES for _, value in call.options}
    moved = tuple(g.name for g in d.inputs if not g.fill.startswith("labels") and d.chance(0.7) and g.name not in fixed)
    outputs = tuple(dict.fromkeys([*ends, *more, *masks])) or (d.data[-1],)
    network = Network(
        tuple(d.inputs), tuple(d.calls), outputs, moved if d.chance(0.85) else (), n, d.network.batched, dtype,
        precision, int(random.integers(2**31)),
    )  # fmt: skip
    return network.pruned()
