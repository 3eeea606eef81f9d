"""The doctor on trial: healthy trainings, where it must be silent, and planted faults, where its first finding must be
the right one and its remedy, applied as printed and retrained, must improve the metric.

    python benchmarks/doctor.py                 # the judged part: MNIST, CIFAR-10, signals, tables
    python benchmarks/doctor.py --part dev      # what the rules were developed on: the digits and a few networks
    python benchmarks/doctor.py --only leak     # rows whose name contains a word
    python benchmarks/doctor.py --markdown docs/doctor.md

Needs ``STRIATE_DATA`` with ``mnist/`` and ``cifar10.zip``. Exit code 1 where a bar is missed: one warning in a healthy
training, or fewer than 90 % right or cured.
"""

from __future__ import annotations

import argparse
import functools
import io
import os
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import striate as st
from striate import nn, optim
from striate.data import Dataset, Standardizer, load_digits, load_mnist
from striate.doctor import Doctor, Findings, Setup
from striate.errors import NonFiniteError, OptionError
from striate.nn.initialization import scaled_normal
from striate.train.evaluation import evaluate

Array = np.ndarray[Any, Any]
SEED = 3


# Data


def cut(dataset: Dataset, count: int, seed: int) -> Dataset:
    """That many samples, drawn at random."""
    return dataset.subset(np.random.default_rng(seed).permutation(len(dataset))[:count])


@functools.cache
def mnist() -> tuple[Dataset, Dataset]:
    """1,500 digits to learn from, 1,000 to validate by."""
    return cut(load_mnist("train"), 1500, 11), cut(load_mnist("test"), 1000, 12)


@functools.cache
def cifar() -> tuple[Dataset, Dataset]:
    """2,000 pictures of 32×32 in colour, and 600."""

    def part(archive: zipfile.ZipFile, split: str, each: int) -> Dataset:
        names = [name for name in archive.namelist() if f"/{split}/" in name and name.endswith(".jpg")]
        classes = sorted({name.split("/")[-2] for name in names})
        images: list[Array] = []
        labels: list[int] = []
        for label, kind in enumerate(classes):
            for name in sorted(one for one in names if one.split("/")[-2] == kind)[:each]:
                images.append(np.asarray(Image.open(io.BytesIO(archive.read(name)))).transpose(2, 0, 1))
                labels.append(label)
        return Dataset(np.stack(images), np.array(labels), tuple(classes), "cifar10")

    with zipfile.ZipFile(Path(os.environ["STRIATE_DATA"]) / "cifar10.zip") as archive:
        train, test = part(archive, "train", 200), part(archive, "test", 60)
    return cut(train, len(train), 13), cut(test, len(test), 14)


@functools.cache
def digits() -> tuple[Dataset, Dataset]:
    """The digits of the package."""
    return load_digits("train"), load_digits("test")


def _signals(count: int, seed: int) -> Dataset:
    """Two sensors, 64 moments: four shapes of wave, of any phase, frequency and loudness, in noise."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 4, count)
    time_of = np.arange(64) / 64
    phase, cycles, loud = random.random((count, 1)), random.uniform(2, 4, (count, 1)), random.uniform(0.7, 1.3, (count, 1))
    turn = (time_of[None] * cycles + phase) % 1
    shapes = np.stack([np.sin(2 * np.pi * turn), np.sign(turn - 0.5), 2 * turn - 1, np.sin(2 * np.pi * 4 * turn)])
    wave = loud * shapes[labels, np.arange(count)]
    both = np.stack([wave, np.roll(wave, 5, axis=1) * 0.5], axis=1) + random.normal(0, 0.25, (count, 2, 64))
    return Dataset(both.astype(np.float32), labels, ("sine", "square", "saw", "fast"), "signals")


@functools.cache
def signals() -> tuple[Dataset, Dataset]:
    """1,200 to learn from, 600 to validate by."""
    return _signals(1200, 21), _signals(600, 22)


def _table(count: int, seed: int, features: int = 16, classes: int = 4) -> Dataset:
    """Features of a standard normal distribution; the class is what a fixed random network answers."""
    teacher = np.random.default_rng(5)
    inner, outer = teacher.normal(0, 0.5, (features, 24)), teacher.normal(0, 1, (24, classes))
    x = np.random.default_rng(seed).normal(0, 1, (count, features))
    scores = np.tanh(x @ inner) @ outer + 1.5 * (x[:, :classes])
    return Dataset(x.astype(np.float32), scores.argmax(axis=1), tuple("abcdefgh"[:classes]), "table")


@functools.cache
def table() -> tuple[Dataset, Dataset]:
    """1,200 rows of 16 numbers, and 600."""
    return _table(1200, 31), _table(600, 32)


# Networks


def mlp(classes: int, widths: tuple[int, ...], act: Callable[[], nn.Module] = nn.ReLU, init: Any = "he") -> nn.Sequential:
    """Linear layers and activations."""
    layers: list[nn.Module] = [nn.Flatten()]
    for width in widths:
        layers += [nn.Linear(None, width, init=init), act()]
    return nn.Sequential(*layers, nn.Linear(None, classes))


def cnn(
    classes: int, channels: tuple[int, ...], act: Callable[[], nn.Module] = nn.ReLU, init: Any = "he",
    norm: Callable[[], nn.Module] | None = None, pool_every: int = 1,
) -> nn.Sequential:  # fmt: skip
    """3×3 convolutions, pooled, and one linear layer."""
    layers: list[nn.Module] = []
    for place, width in enumerate(channels):
        layers.append(nn.Conv2d(None, width, 3, padding=1, init=init))
        layers += [norm()] if norm else []
        layers.append(act())
        layers += [nn.MaxPool2d(2)] if (place + 1) % pool_every == 0 else []
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(None, classes))


def conv1d(
    classes: int, channels: tuple[int, ...], act: Callable[[], nn.Module] = nn.ReLU, init: Any = "he",
    norm: Callable[[], nn.Module] | None = None,
) -> nn.Sequential:  # fmt: skip
    """Convolutions over time."""
    layers: list[nn.Module] = []
    for width in channels:
        layers.append(nn.Conv1d(None, width, 5, padding=2, init=init))
        layers += [norm()] if norm else []
        layers += [act(), nn.MaxPool1d(2)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(None, classes))


def residual(classes: int, width: int = 16, blocks: int = 2) -> nn.Sequential:
    """A small residual network with batch normalization."""

    def block() -> nn.Module:
        return nn.Sequential(
            nn.Residual(nn.Sequential(
                nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
                nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width),
            )), nn.ReLU(),
        )  # fmt: skip

    return nn.Sequential(
        nn.Conv2d(None, width, 3, stride=2, padding=1), nn.BatchNorm2d(width), nn.ReLU(),
        *(block() for _ in range(blocks)), nn.GlobalAveragePool(), nn.Flatten(), nn.Linear(None, classes),
    )  # fmt: skip


class SoftmaxInside(nn.Module):
    """A forward pass that ends with softmax, where no layer shows it."""

    def __init__(self, classes: int) -> None:
        self.body = conv1d(classes, (12, 24))

    def forward(self, x: Any) -> Any:
        return st.ops.softmax(self.body(x))


class Forgetful(nn.Module):
    """A block that ``forward`` never calls; with ``whole`` it does."""

    def __init__(self, classes: int, whole: bool = False) -> None:
        self.whole = whole
        self.stem = nn.Conv2d(None, 8, 3, stride=4, padding=1, init="he")
        self.block = nn.Conv2d(8, 32, 3, padding=1, init="he")
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(None, classes)

    def forward(self, x: Any) -> Any:
        x = st.ops.relu(self.stem(x))
        if self.whole:
            x = st.ops.relu(self.block(x))
        return self.fc(self.flatten(x))


class Comparing(nn.Module):
    """A comparison instead of an activation: its derivative is 0; ``smooth`` has tanh."""

    def __init__(self, classes: int, smooth: bool = False) -> None:
        self.smooth = smooth
        self.flatten = nn.Flatten()
        self.hidden = nn.Linear(None, 12)
        self.out = nn.Linear(12, classes)

    def forward(self, x: Any) -> Any:
        h = self.hidden(self.flatten(x))
        return self.out(st.ops.tanh(h) if self.smooth else st.ops.greater(h, 0.0 * h))


# Trainings


@dataclass(frozen=True)
class Case:
    """A training with a fault, or without (no ``expected``)."""

    name: str
    network: str
    setup: Setup
    expected: tuple[str, ...] = ()
    metric: str = "accuracy"
    truth: Dataset | None = None
    by_hand: Callable[[Setup], Setup] | None = None
    loop: Callable[[Setup], tuple[Findings, float, Setup]] | None = None
    data: str = ""

    @property
    def data_name(self) -> str:
        """Of its training set."""
        return self.data or (self.setup.train_set.name if self.setup.train_set else "numbers")


def training(
    model: nn.Module, data: tuple[Dataset, Dataset], optimizer: optim.Optimizer | None = None, *, standardize: bool = True,
    loss: nn.Loss | None = None, epochs: int = 3, batch_size: int = 32, shuffle: bool = True, seed: int = SEED,
) -> Setup:  # fmt: skip
    """A setup with what is usual where nothing else is said."""
    train_set, validation = data
    if standardize:
        model.standardizer = Standardizer.fit(train_set.images)
    rule = optimizer or optim.SGD(lr=0.02, momentum=0.9)
    return Setup(model, loss or nn.CrossEntropyLoss(), rule, train_set, validation, batch_size, epochs, seed, shuffle)


def run(case: Case, setup: Setup) -> tuple[Findings, float, Setup]:
    """Trains; returns what the doctor found, the metric (more is better), and the setup as the doctor knows it."""
    if case.loop is not None:
        return case.loop(setup)
    assert setup.train_set is not None
    trainer = st.Trainer(
        setup.model, setup.loss, setup.optimizer, seed=setup.seed, batch_size=setup.batch_size, shuffle=setup.shuffle,
        progress=False,
    )  # fmt: skip
    try:
        trainer.fit(setup.train_set, setup.validation, epochs=setup.epochs)
    except NonFiniteError:
        pass
    return trainer.findings, judged(case, setup), trainer.setup


def judged(case: Case, setup: Setup) -> float:
    """The metric on data that were not learned from."""
    held_out = case.truth or setup.validation
    assert held_out is not None
    found = evaluate(setup.model, held_out)
    if case.metric == "loss":
        return -found.loss
    if case.metric == "balanced":
        rates = [one.accuracy for one in found.classes if one.accuracy is not None]
        return float(np.mean(rates))
    if case.metric == "honesty":  # how far validation is from the truth
        assert setup.validation is not None
        return -abs(evaluate(setup.model, setup.validation).accuracy - found.accuracy)
    return found.accuracy


def numbers_loop(x: Array, y: Array) -> Callable[[Setup], tuple[Findings, float, Setup]]:
    """A loop written by hand, for regression: x (N, D), y (N, 1); the last quarter is held out."""
    cutoff = 3 * len(x) // 4

    def loop(setup: Setup) -> tuple[Findings, float, Setup]:
        step = st.TrainingStep(setup.model, setup.loss, setup.optimizer, seed=setup.seed)
        doctor = Doctor(step)
        random = np.random.default_rng(setup.seed)
        try:
            for _ in range(setup.epochs):
                order = random.permutation(cutoff)
                for start in range(0, cutoff - 31, 32):
                    part = order[start : start + 32]
                    doctor(x[part], y[part])
                doctor.end_of_epoch()
        except NonFiniteError as error:
            doctor.broke_down(error)
        found = doctor.finish()
        mistakes = np.square(np.asarray(setup.model(x[cutoff:])) - y[cutoff:]).mean()
        return found, -float(mistakes / y[cutoff:].var()), doctor.setup

    return loop


# The development part: digits


def dev_healthy() -> Iterator[Case]:
    """Silence is asked for."""
    yield Case("lenet5, SGD", "lenet5", training(st.models.lenet5(), digits(), optim.SGD(lr=0.05, momentum=0.9), epochs=8))
    yield Case("MLP, Adam", "MLP 64-32", training(mlp(10, (64, 32)), digits(), optim.Adam(lr=2e-3), epochs=8))
    yield Case("tanh", "MLP tanh", training(mlp(10, (64,), nn.Tanh, "xavier"), digits(), epochs=8))
    yield Case("sigmoid", "MLP σ", training(mlp(10, (32,), nn.Sigmoid, "xavier"), digits(), optim.Adam(lr=5e-3), epochs=8))
    yield Case("first_cnn", "first_cnn", training(st.models.first_cnn(filters=8, kernel=3), digits(), epochs=8))


def dev_faults() -> Iterator[Case]:
    """What the rules and thresholds were tried on."""
    train, val = digits()
    deep = (64,) * 10
    yield Case("sigmoid chain", "MLP σ 10×64", training(mlp(10, deep, nn.Sigmoid, "xavier"), digits(), optim.SGD(lr=0.05, momentum=0.9), epochs=5), ("vanishing_gradients:activation",))
    yield Case("small start", "MLP ReLU 12×64", training(mlp(10, (64,) * 12, nn.ReLU, "torch"), digits(), epochs=5), ("vanishing_gradients:initialization",))
    yield Case("large start", "MLP ReLU 8×64", training(mlp(10, (64,) * 8, nn.ReLU, scaled_normal(5.0)), digits(), epochs=5), ("exploding_gradients",))
    yield Case("narrow ReLU", "MLP ReLU 8×5", training(mlp(10, (5,) * 8, nn.ReLU, "torch"), digits(), epochs=10), ("dead_units:activation", "vanishing_gradients:initialization"))
    yield Case("rate too high", "MLP 64", training(mlp(10, (64, 64)), digits(), optim.SGD(lr=3.0, momentum=0.9), epochs=4), ("learning_rate_too_high", "dead_units:learning rate"))
    yield Case("rate too low", "MLP 64", training(mlp(10, (64,)), digits(), optim.SGD(lr=1e-6), epochs=4), ("learning_rate_too_low",))
    yield Case("last layer ×20", "MLP 64", training(_last(mlp(10, (64,)), scaled_normal(20.0)), digits(), epochs=2), ("loss_at_start",))
    yield Case("saturated tanh", "MLP tanh", training(mlp(10, (64, 64), nn.Tanh, scaled_normal(15.0)), digits(), epochs=4), ("saturated_units:initialization",))
    yield Case("softmax layer", "MLP 64", training(nn.Sequential(mlp(10, (64,)), nn.Softmax()), digits(), epochs=4), ("softmax_twice",))
    yield Case("raw 0…255", "MLP 64", training(mlp(10, (64,)), digits(), standardize=False, epochs=4), ("unstandardized_input",))
    yield Case("labels one off", "MLP 64", training(mlp(10, (64,)), (relabelled(train, np.roll(train.labels, 1)), val), epochs=4), ("labels_shifted",))
    yield Case("labels shuffled", "MLP 64", training(mlp(10, (64,)), (relabelled(train, _mixed(train.labels)), val), epochs=4), ("labels_shuffled",), by_hand=lambda s: s.anew(train_set=train))
    yield Case("running mean late", "lenet5", training(_momentum(st.models.lenet5(), 0.001), digits(), epochs=3), ("stale_statistics",))
    yield Case("sorted", "lenet5", training(st.models.lenet5(), (train.subset(np.argsort(train.labels, kind="stable")), val), shuffle=False), ("sorted_batches",))
    yield Case("over-fitting", "MLP 256", training(mlp(10, (256,)), (noisy(cut(train, 150, 1), 0.25), val), optim.Adam(lr=3e-3), epochs=40), ("overfitting",), "loss")


def relabelled(dataset: Dataset, labels: Array) -> Dataset:
    """The same inputs with other labels."""
    return Dataset(dataset.images, labels, dataset.classes, dataset.name)


def _mixed(labels: Array, seed: int = 4) -> Array:
    return np.random.default_rng(seed).permutation(labels)


def noisy(dataset: Dataset, share: float) -> Dataset:
    """With a share of the labels drawn at random."""
    random = np.random.default_rng(8)
    drawn = random.integers(0, len(dataset.classes), len(dataset))
    return relabelled(dataset, np.where(random.random(len(dataset)) < share, drawn, dataset.labels))


def _last(model: nn.Sequential, init: Any) -> nn.Sequential:
    """The last layer started in another way."""
    last = model[len(model) - 1]
    assert isinstance(last, nn.Linear)
    setattr(model, str(len(model) - 1), nn.Linear(None, last.out_features, init=init))
    return model


def _momentum(model: nn.Module, momentum: float, eps: float | None = None) -> nn.Module:
    """Batch normalizations with other options."""
    for _, layer in model.named_modules():
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            layer.momentum = momentum
            layer.eps = layer.eps if eps is None else eps
    return model


def _biased(model: nn.Sequential, number: float, kinds: tuple[type, ...]) -> nn.Sequential:
    """Biases of all layers but the last start at a number."""

    def constant(shape: tuple[int, ...], fan_in: int, random: np.random.Generator) -> Array:
        return np.full(shape, number)

    layers = [layer for _, layer in model.named_modules() if isinstance(layer, kinds)]
    for layer in layers:
        layer.slot("bias").init = constant
    return model


# Judgement


@dataclass(frozen=True)
class Verdict:
    """One row of the table."""

    case: Case
    findings: Findings
    before: float
    after: float | None
    applied: str
    seconds: float

    @property
    def first(self) -> str:
        """Kind and cause of the first finding."""
        if not self.findings:
            return "–"
        finding = self.findings[0]
        return f"{finding.kind}:{finding.cause}" if finding.cause else finding.kind

    @property
    def right(self) -> bool:
        """Whether it is the fault that was planted."""
        if not self.findings:
            return not self.case.expected
        return bool({self.first, self.findings[0].kind} & set(self.case.expected))

    @property
    def cured(self) -> bool:
        """Whether the remedy of the first finding improved the metric."""
        return self.after is not None and self.after > self.before

    def row(self) -> tuple[str, ...]:
        """As text."""

        def number(value: float | None) -> str:
            if value is None:
                return "–"
            if self.case.metric in ("accuracy", "balanced"):
                return f"{100 * value:.1f} %"
            return f"{-value:.3f}"

        change = f"{number(self.before)} → {number(self.after)}" if self.case.expected else number(self.before)
        verdict = "yes" if self.right else "NO"
        cure = "" if not self.case.expected else ("yes" if self.cured else "NO")
        return (
            self.case.name, self.case.network, self.case.data_name, self.first, verdict, self.case.metric, change, cure,
            self.applied,
        )  # fmt: skip


def judge(case: Case) -> Verdict:
    """Trains with the fault, applies the first finding's remedy, trains again."""
    start = time.perf_counter()
    findings, before, setup = run(case, case.setup.anew())
    after, applied = None, ""
    if case.expected and findings:
        finding = findings[0]
        try:
            cured = finding.remedy.apply(replace(setup, epochs=case.setup.epochs))
            applied = "as printed"
        except OptionError:
            right = bool({finding.kind, f"{finding.kind}:{finding.cause}"} & set(case.expected))
            cured = case.by_hand(setup) if case.by_hand is not None and right else None
            applied = "by hand" if cured is not None else "none"
        if cured is not None:
            _, after, _ = run(case, cured)
    return Verdict(case, findings, before, after, applied, time.perf_counter() - start)


HEAD = ("fault", "network", "data", "first finding", "right", "metric", "before → after", "better", "remedy applied")


def main() -> int:
    """Prints the tables; returns 1 where a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=("judged", "dev"), default="judged")
    parser.add_argument("--only", default="")
    parser.add_argument("--faults-only", action="store_true")
    parser.add_argument("--healthy-only", action="store_true")
    parser.add_argument("--verbose", action="store_true", help="print findings in full")
    parser.add_argument("--markdown", type=Path, help="write the tables into this page")
    options = parser.parse_args()
    if options.part == "dev":
        healthy, faults = dev_healthy, dev_faults
    else:
        from benchmarks.doctor_cases import faults, healthy
    silent = [] if options.faults_only else _judged(healthy(), options)
    planted = [] if options.healthy_only else _judged(faults(), options)
    warned = sum(bool(one.findings) for one in silent)
    right, cured = sum(one.right for one in planted), sum(one.right and one.cured for one in planted)
    print(f"\nhealthy trainings: {len(silent)}, with warnings: {warned}")
    print(f"planted faults: {len(planted)}, right finding first: {right}, better after its remedy: {cured}")
    if options.markdown:
        write_markdown(options.markdown, silent, planted)
    return int(warned > 0 or right < 0.9 * len(planted) or cured < 0.9 * right)


def _judged(cases: Iterator[Case], options: argparse.Namespace) -> list[Verdict]:
    verdicts: list[Verdict] = []
    for case in cases:
        if options.only and options.only not in f"{case.name} {case.network} {case.data_name} {case.expected}":
            continue
        verdict = judge(case)
        verdicts.append(verdict)
        print(" | ".join(verdict.row()), f"| {verdict.seconds:.1f} s", flush=True)
        if options.verbose or not verdict.right:
            print("    " + verdict.findings.text(110).replace("\n", "\n    "), flush=True)
    return verdicts


def write_markdown(page: Path, silent: list[Verdict], planted: list[Verdict]) -> None:
    """Between the marks ``<!-- judged … -->`` of a page."""
    lines = ["| healthy training | network | data | findings | metric |", "|---|---|---|---|---|"]
    lines += [f"| {v.row()[0]} | {v.row()[1]} | {v.row()[2]} | {len(v.findings) or 'none'} | {v.row()[6]} |" for v in silent]
    lines += ["", "| " + " | ".join(HEAD) + " |", "|" + "---|" * len(HEAD)]
    lines += ["| " + " | ".join(verdict.row()) + " |" for verdict in planted]
    right, cured = sum(v.right for v in planted), sum(v.right and v.cured for v in planted)
    lines += ["", f"Right finding first: {right} of {len(planted)}. Better after its remedy: {cured} of {right}. "
              f"Warnings in {sum(bool(v.findings) for v in silent)} of {len(silent)} healthy trainings."]  # fmt: skip
    text = page.read_text(encoding="utf-8")
    begin, end = "<!-- judged: begin -->", "<!-- judged: end -->"
    head, rest = text.split(begin)
    tail = rest.split(end)[1]
    page.write_text(f"{head}{begin}\n" + "\n".join(lines) + f"\n{end}{tail}", encoding="utf-8")


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent))
    sys.exit(main())
