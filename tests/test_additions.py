"""A new activation, loss, pooling, optimizer or normalization touches only two files.

All presenters then know it. All additions are made to one temporary copy of the package, by appending text to its
files; the copy runs in its own process. Lines of ``__init__`` files are not counted. The second half checks the
condition for this: no file outside of ``ops``, ``nn``, ``models`` and ``optim`` names an operation or a layer, except
for listed exceptions with reasons.
"""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import striate
from striate import nn
from striate.graph.graph import Input
from striate.graph.op import Kind, registry
from striate.nn.activation import ACTIVATION_LAYERS
from tests import syntax

PACKAGE = Path(striate.__file__).parent


@dataclass(frozen=True)
class Addition:
    """Text that is appended to files of the package."""

    name: str
    files: dict[str, str]
    exports: dict[str, str]


ACTIVATION = Addition(
    "activation",
    {
        "ops/activation.py": '''
from striate.ops.arithmetic import abs as magnitude
from striate.ops.comparison import greater as larger


@register
@dataclass(frozen=True)
class HardTanh(Elementwise):
    """y = min(max(x, −1), 1)"""

    title: ClassVar[str] = "hard tanh"
    is_activation: ClassVar[bool] = True
    output_bounds: ClassVar[tuple[float, float]] = (-1.0, 1.0)
    saturation_bounds: ClassVar[tuple[float, float] | None] = (-1.0, 1.0)
    effect: ClassVar[str] = "The identity, cut off at −1 and 1."

    def reference(self, x):
        return np.clip(x, -1, 1)

    def gradient(self, inputs, outputs, output_gradients, needed):
        (x,), (dy,) = inputs, output_gradients
        return (dy * larger(1, magnitude(x)),)

    def emit(self, k, *inputs):
        (x,) = inputs
        return k.max(k.min(x, k.constant_like(x, 1.0)), k.constant_like(x, -1.0))
''',
        "nn/activation.py": '''

class HardTanh(Activation):
    """y = min(max(x, −1), 1)"""

    @property
    def operation(self) -> Elementwise:
        return ops.HardTanh()


ACTIVATION_LAYERS["hard_tanh"] = HardTanh
''',
    },
    {"nn/__init__.py": "from striate.nn.activation import HardTanh\n"},
)
LOSS = Addition(
    "loss",
    {
        "ops/element_loss.py": '''
from striate.graph.elementwise import Binary
from striate.graph.notation import Expression
from striate.ops.arithmetic import sign


@register
@dataclass(frozen=True)
class Distance(Binary):
    """y = |a − b|"""

    title: ClassVar[str] = "distance"

    def reference(self, a, b):
        return np.abs(a - b)

    def gradient(self, inputs, outputs, output_gradients, needed):
        (a, b), (dy,) = inputs, output_gradients
        by_a = dy * sign(a - b)
        return by_a, -by_a

    def emit(self, k, *inputs):
        return k.abs(k.sub(*inputs))

    def notation(self, *operands):
        a, b = operands
        return Expression(f"|{a.text} − {b.text}|")
''',
        "nn/loss.py": '''
from striate.graph.elementwise import elementwise
from striate.ops.element_loss import Distance
from striate.ops.reduction import mean


class DistanceLoss(MSELoss):
    """L = mean |x − y|, y of the shape of x"""

    def forward(self, x: Value, y: Value) -> Value:
        return mean(elementwise(Distance(), x, y))
''',
    },
    {"nn/__init__.py": "from striate.nn.loss import DistanceLoss\n"},
)
POOLING = Addition(
    "pooling",
    {
        "ops/average_pooling.py": '''
from striate.graph.op import Kind
from striate.ops.arithmetic import sqrt


@register
@dataclass(frozen=True)
class NormPooling(AveragePooling):
    """y[n, c, p] = √((1 / area) Σ_k x[n, c, p · stride + k − before]²)"""

    kind: ClassVar[Kind] = Kind.COMPOSITE
    title: ClassVar[str] = "norm pool"

    def _average(self):
        return AveragePooling(
            self.stride, self.padding, self.kernel, self.dilation, self.ceil_mode, self.count_include_pad
        )

    def reference(self, x):
        return np.sqrt(self._average().reference(x * x))

    def expand(self, *inputs):
        (x,) = inputs
        return (sqrt(self._average()(x * x)),)

    def gradient(self, inputs, outputs, output_gradients, needed):
        (x,), (y,), (dy,) = inputs, outputs, output_gradients
        average, squares = self._average(), x * x
        (found,) = average.gradient((squares,), (average(squares),), (expanded(dy, y) * 0.5 / y,), (True,))
        return (found * 2 * x,)
''',
        "nn/pooling.py": '''
from striate.ops.average_pooling import NormPooling


class NormPool2d(AvgPool):
    """y = the root mean square of each window"""

    rank = 2

    def forward(self, x: Value) -> Value:
        pairs = padding_pairs(self.padding, self.kernel_size, self.stride, self.dilation)
        return NormPooling(
            self.stride, pairs, self.kernel_size, self.dilation, self.ceil_mode, self.count_include_pad
        )(x)
''',
    },
    {"nn/__init__.py": "from striate.nn.pooling import NormPool2d\n"},
)
OPTIMIZER = Addition(
    "optimizer",
    {
        "optim/sgd.py": '''
from striate.ops.arithmetic import sign

@dataclass(frozen=True)
class SignSGD(Optimizer):
    """θ ← θ − η sign(g)"""

    usual_lr: ClassVar[float] = 0.003

    def update(self, parameters, gradients, kept, t):
        rate = cast(self.schedule.rate(self.lr, t), parameters.dtype)
        return parameters - sign(gradients) * rate, {}
''',
    },
    {"optim/__init__.py": "from striate.optim.sgd import SignSGD\nOPTIMIZERS['sign_sgd'] = SignSGD\n"},
)
NORMALIZATION = Addition(
    "normalization",
    {
        "ops/normalization.py": '''
from striate.ops.reduction import mean as average


@register
@dataclass(frozen=True)
class ScaleNormalization(Composite):
    """y = γ · x / √(mean_c x² + ε)"""

    title: ClassVar[str] = "scale norm"
    letters: ClassVar[Mapping[str, str]] = {"ε": "epsilon"}
    epsilon: float = 1e-6

    @property
    def purpose(self):
        return Purpose.NORMALIZATION

    def infer(self, *inputs):
        return (inputs[0],)

    def reference(self, x, gamma):
        shape = (1, x.shape[1], *(1,) * (x.ndim - 2))
        return gamma.reshape(shape) * x / np.sqrt((x * x).mean(axis=1, keepdims=True) + self.epsilon)

    def _inverse(self, x):
        return 1 / elementwise(Sqrt(), average(x * x, 1, keepdims=True) + self.epsilon)

    def expand(self, *inputs):
        x, gamma = inputs
        return (x * self._inverse(x) * reshape(gamma, _channel_shape(x.shape)),)

    def gradient(self, inputs, outputs, output_gradients, needed):
        (x, gamma), (dy,) = inputs, output_gradients
        inverse = self._inverse(x)
        scaled = dy * reshape(gamma, _channel_shape(x.shape))
        dx = scaled * inverse - x * (inverse * inverse * inverse) * average(scaled * x, 1, keepdims=True)
        return dx, reshape(Sum(batch_axes(x.type.rank))(dy * x * inverse), gamma.shape)
''',
        "nn/normalization.py": '''
from striate.ops.normalization import ScaleNormalization


class ScaleNorm(Normalization):
    """y = γ · x / √(mean_c x² + ε)"""

    def __init__(self, num_features: int, eps: float = 1e-6) -> None:
        self.num_features, self.eps = num_features, eps
        self.register_parameter("weight", Parameter((num_features,), "ones"))

    def forward(self, x: Value) -> Value:
        return ScaleNormalization(self.eps)(x, self.weight)

    def extra_repr(self) -> str:
        return str(self.num_features)
''',
    },
    {"nn/__init__.py": "from striate.nn.normalization import ScaleNorm\n"},
)
ADDITIONS = [ACTIVATION, LOSS, POOLING, OPTIMIZER, NORMALIZATION]

PROGRAM = """
import json
import re
import numpy as np
import striate as st
from striate import nn, optim
from striate.cli.choices import chosen_optimizer
from striate.doctor.setup import Setup
from striate.doctor.structure import Structure
from striate.lab.choices import choices, curve
from striate.persistence import predict_graph
from striate.report.anatomy import blocks_of
from striate.report.equations import equation_of
from striate.report.labels import colour_of, label_of
from striate.show import Stage, stage_text


def pages(model, shape):
    model.infer(shape)
    graph = predict_graph(model, shape)
    layers = {path: type(layer).__name__ for path, layer in model.named_modules() if path}
    return {stage.value: stage_text(graph, stage, layers=layers) for stage in (Stage.traced, Stage.fused)}


def report(model, shape):
    model.infer(shape)
    return [
        {"label": label_of(block), "colour": colour_of(block),
         "lines": [re.sub("<[^>]*>", "", line) for line in equation_of(block).lines]}
        for block in blocks_of(predict_graph(model, shape))
    ]


def step(model, loss, optimizer, x, y):
    return st.TrainingStep(model, loss, optimizer)(x, y)


class Difference(nn.Module):
    def __init__(self):
        self.loss = nn.DistanceLoss()

    def forward(self, x):
        return self.loss(x, x * 0.5)


shape = (1, 8, 8)
random = np.random.default_rng(0)
x, y = random.random((4, *shape), dtype=np.float32), np.arange(4) % 3
named = st.models.build("lenet5", channels=1, classes=3, activation="hard_tanh")
own = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ScaleNorm(4), nn.NormPool2d(2), nn.Flatten(), nn.Linear(None, 3))
line = nn.Sequential(nn.Flatten(), nn.Linear(None, 1))
structure = {name: Structure.of(model, shape) for name, model in (("named", named), ("own", own))}
rule = chosen_optimizer("sign_sgd", None, None, None, optim.ConstantSchedule())
found = {
    "losses": [
        step(named, nn.CrossEntropyLoss(), rule, x, y), step(own, nn.CrossEntropyLoss(), rule, x, y),
        step(line, nn.DistanceLoss(), rule, x, np.ones((4, 1))),
    ],
    "summary": named.summary(shape) + own.summary(shape),
    "show": {
        "named": pages(named, shape), "own": pages(own, shape), "loss": pages(Difference(), shape),
    },
    "report": {"named": report(named, shape), "own": report(own, shape), "loss": report(Difference(), shape)},
    "doctor": {
        "activations": [one.name for one in structure["named"].activations],
        "saturates": [one.activation.saturation_bounds for one in structure["named"].activations],
        "kinds": {type(one.layer).__name__: one.kind.value for one in structure["own"].passed},
        "setup": repr(Setup(line, nn.DistanceLoss(), rule)),
    },
    "rule": repr(rule),
    "choices": choices(),
    "curve": curve("hard_tanh", "0.1"),
}
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the presenters print in a copy of the package with all additions."""
    folder = tmp_path_factory.mktemp("additions")
    shutil.copytree(PACKAGE, folder / "striate", ignore=shutil.ignore_patterns("__pycache__", "*.npz"))
    for addition in ADDITIONS:
        for path, text in [*addition.files.items(), *addition.exports.items()]:
            with (folder / "striate" / path).open("a", encoding="utf-8") as file:
                file.write(text)
    run = subprocess.run(
        [sys.executable, "-P", "-c", PROGRAM],
        env={**os.environ, "PYTHONPATH": str(folder), "STRIATE_ENGINE": "reference"},
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


@pytest.mark.parametrize("addition", ADDITIONS, ids=lambda addition: addition.name)
def test_an_addition_touches_two_files_at_most(addition: Addition) -> None:
    assert len(addition.files) <= 2
    assert all(path.endswith("__init__.py") for path in addition.exports)


def test_all_of_them_train(shown: dict[str, Any]) -> None:
    assert all(0 < loss < 10 for loss in shown["losses"])


def test_an_activation_shows_itself(shown: dict[str, Any]) -> None:
    assert "HardTanh()" in shown["summary"]
    assert "hard_tanh" in shown["show"]["named"]["traced"]
    assert "= hard_tanh(" in shown["show"]["named"]["fused"]
    assert "2 HardTanh" in shown["show"]["named"]["fused"]
    (block, *_) = [block for block in shown["report"]["named"] if block["label"] == "hard tanh"]
    assert block["colour"] == "activation"
    assert block["lines"] == ["y = min(max(x, −1), 1)"]
    assert set(shown["doctor"]["activations"]) == {"nn.HardTanh"}
    assert shown["doctor"]["saturates"][0] == [-1, 1]
    offered = shown["choices"]["activations"]["hard_tanh"]
    assert offered == {"title": "hard tanh", "about": "The identity, cut off at −1 and 1.", "options": []}
    assert max(shown["curve"]["y"]) == 1
    assert set(shown["curve"]["derivative"]) == {0, 1}


def test_a_loss_shows_itself(shown: dict[str, Any]) -> None:
    assert "distance" in shown["show"]["loss"]["traced"]
    assert "|x − x · 0.5|" in shown["show"]["loss"]["fused"]
    (block,) = [block for block in shown["report"]["loss"] if block["label"] == "distance"]
    assert block["lines"] == ["y = |x₁ − x₂|", "y = |a − b|"]
    assert "DistanceLoss" in shown["doctor"]["setup"]


def test_a_pooling_shows_itself(shown: dict[str, Any]) -> None:
    assert "NormPool2d(2)" in shown["summary"]
    assert "norm_pooling(stride=2, kernel=2" in shown["show"]["own"]["traced"]
    assert "NormPool2d" in shown["show"]["own"]["fused"]
    (block,) = [block for block in shown["report"]["own"] if block["label"] == "norm pool 2×2 /2"]
    assert block["lines"] == ["y = norm_pooling(x)", "yn, c, p = √((1 / area) Σk xn, c, p · 2 + k²)"][1:]
    assert block["colour"] == "window"
    assert shown["doctor"]["kinds"]["NormPool2d"] == "pooling"


def test_an_optimizer_shows_itself(shown: dict[str, Any]) -> None:
    assert shown["rule"].startswith("SignSGD(lr=0.003")
    assert "SignSGD" in shown["doctor"]["setup"]
    offered = shown["choices"]["optimizers"]["sign_sgd"]
    assert offered["title"] == "SignSGD"
    assert offered["about"] == "θ ← θ − η sign(g)"


def test_a_normalization_shows_itself(shown: dict[str, Any]) -> None:
    assert "ScaleNorm(4)" in shown["summary"]
    assert "scale_normalization" in shown["show"]["own"]["traced"]
    assert "ScaleNorm" in shown["show"]["own"]["fused"]
    (block,) = [block for block in shown["report"]["own"] if block["label"] == "scale norm"]
    assert block["colour"] == "normalization"
    assert block["lines"] == ["y = γ · x / √(meanc x² + 10−6)"]
    assert shown["doctor"]["kinds"]["ScaleNorm"] == "normalization"


# Nobody else names them

ROOMS = {"ops", "nn", "models", "optim", "experiments"}
"""Where operations and layers are defined and networks are built; an experiment is a network of its own."""

TRANSLATION = Path("persistence", "onnx")
"""Where the operators of ONNX, many of which have our names, become operations."""

EXCEPTIONS: dict[str, tuple[str, set[str]]] = {
    # the beginning of a path: (why, the names)
    "cli/": ("what is trained on the command line classifies pictures", {"CrossEntropyLoss", "Standardization"}),
    "cli/peers.py": ("containers are structure, which every framework has", {"Sequential", "Residual"}),
    "data/standardizer.py": ("a fitted standardizer makes the layer that applies it", {"Standardization"}),
    "data/filters.py": ("a bank of filters is handed over as a convolution", {"Conv2d"}),
    "doctor/": (
        "remedies change layers; what is standardized, and whether labels are compared with scores, is asked for",
        {"CrossEntropyLoss", "Identity", "Linear", "Sequential", "Standardization"},
    ),
    "export/": ("operators of ONNX that have our names", {"BatchNormalization", "Concat", "Identity"}),
    "habits.py": (
        "names from elsewhere are answered with those to write here",
        {"BatchNormalization", "LayerNormalization", "Sequential"},
    ),
    "insight/sample.py": ("a picture is shown as it was before the standardizer", {"Standardization"}),
    "passes/differentiate.py": ("gradients of broadcast operands are sums", {"BroadcastTo", "Sum"}),
    "report/": (
        "the network of a run of the command line is built and measured again",
        {"CrossEntropyLoss", "Standardization"},
    ),
    "step": ("the update is committed where Σ g² and the statistics are finite", {"IsFinite", "Sum", "Where"}),
    "watch/observation.py": ("what is watched is sums and moments", {"Moments", "Sum"}),
}
SCRIPTS = {"training.js": {"leaky_relu", "relu", "tanh", "sigmoid"}}
"""The ready-made experiments of the lab choose activations, as a user does."""


def _names() -> set[str]:
    """Return the names of registered operations (except the graph's own arithmetic) and of concrete layers."""
    own = {
        name
        for name, cls in registry().items()
        if cls.__module__.startswith("striate.ops.") and cls.kind is not Kind.SOURCE and not issubclass(cls, Input)
    }
    layers = {
        name
        for name, cls in vars(nn).items()
        if isinstance(cls, type) and issubclass(cls, nn.Module) and cls not in (nn.Module, nn.Loss)
    }
    return own | layers


def _named(nodes: Iterable[ast.AST]) -> Iterator[str]:
    """Return the names, attributes, imports and whole strings in the nodes of a syntax tree."""
    for node in nodes:
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.alias(name=name):
                yield name
            case ast.Constant(value=str(name)):
                yield name
            case _:
                pass


def test_nobody_else_names_an_operation_or_a_layer() -> None:
    names, wrong = _names(), list[str]()
    unused = {(start, name) for start, (_, allowed) in EXCEPTIONS.items() for name in allowed}
    for file in syntax.files():
        path = file.relative_to(PACKAGE)
        if path.parts[0] in ROOMS or path.is_relative_to(TRANSLATION):
            continue
        for name in sorted(names & set(_named(syntax.nodes(file)))):
            reasons = {
                (start, name) for start, (_, ok) in EXCEPTIONS.items() if str(path).startswith(start) and name in ok
            }
            if not reasons:
                wrong.append(f"{path} names {name}")
            unused -= reasons
    assert not wrong, "\n".join(wrong)
    assert not unused, f"exceptions that nobody needs any more: {sorted(unused)}"


def test_the_scripts_of_the_lab_name_neither() -> None:
    names = _names() | set(ACTIVATION_LAYERS)
    for file in sorted((PACKAGE / "lab" / "static").glob("*.js")):
        found = set(re.findall(r"[\"'`](\w+)[\"'`]|(?<![\w.])(\w+):", file.read_text(encoding="utf-8")))
        used = {word for pair in found for word in pair} & names
        assert used <= SCRIPTS.get(file.name, set()), f"{file.name}: {used}"
