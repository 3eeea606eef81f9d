"""Compare the accuracy of Winograd's algorithm and bfloat16 with direct convolution in float32.

    winograd            float32, Winograd's algorithm where it is faster (striate's default)
    direct              float32, STRIATE_WINOGRAD=off
    bfloat16            precision="bfloat16"
    bfloat16_direct     the same with STRIATE_WINOGRAD=off
    pytorch             PyTorch, channels_last, float32
    pytorch_bfloat16    PyTorch, channels_last, under autocast

    python benchmarks/accuracy.py
    python benchmarks/accuracy.py --network lenet5
    python benchmarks/accuracy.py --resume results.jsonl --seeds 10
    python benchmarks/accuracy.py --resume results.jsonl --forms direct bfloat16 pytorch pytorch_bfloat16

By default, the first three forms are trained; PyTorch takes two to three times as long.

Each seed has its own weights, order of batches, shifts and mirrorings, which are the same for all forms. The learning
rate rises to its peak in the first fifth of the steps and then falls to zero along a cosine. All forms predict in
float32. The result is the accuracy on all pictures of CIFAR-10 (for LeNet: MNIST, without mirroring) that were not used
for training: the test set and the rest of the training set. If two networks disagree on a fraction s of n pictures,
their accuracies differ by √(s / n) by chance: for s = 10 %, by 0.32 points on the 10,000 of the test set, and by 0.18
points on 30,000.

The criterion is the mean over seeds of the paired differences, for each pair of forms: at most 0.3 points, else the
exit code is 1. ``sure`` says whether the mean plus two standard errors is still within the limit; if not, train with
more seeds.
"""

from __future__ import annotations

import argparse
import itertools
import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from networks import NETWORKS, Network, striate_model
from numpy.typing import NDArray
from pictures import moved
from report import add_line, end_with, lines_of, machine, note, print_json, print_table

import striate as st
from striate import settings
from striate.data import Dataset, Standardizer

Array = NDArray[Any]
Predict = Callable[[Array], Array]

LIMIT = 0.3
"""The largest accepted difference between the mean accuracies of two forms, in percentage points."""
RATE, MOMENTUM, DECAY = 0.05, 0.9, 5e-4
WARMUP = 0.2
PREDICTED = 500


@dataclass(frozen=True)
class Form:
    """One way to compute the same training: the framework, with or without Winograd's algorithm and bfloat16."""

    framework: str = "striate"
    winograd: bool = True
    bfloat16: bool = False


FORMS: dict[str, Form] = {
    "winograd": Form(),
    "direct": Form(winograd=False),
    "bfloat16": Form(bfloat16=True),
    "bfloat16_direct": Form(winograd=False, bfloat16=True),
    "pytorch": Form("torch"),
    "pytorch_bfloat16": Form("torch", bfloat16=True),
}
JUDGED = ("winograd", "direct", "bfloat16")


@dataclass(frozen=True)
class Plan:
    """The conditions that all trainings share."""

    network: str
    epochs: int
    samples: int
    batch: int

    @property
    def steps(self) -> int:
        """The number of training steps over all epochs."""
        return self.epochs * st.data.batch_count(self.samples, self.batch)

    @property
    def warmup(self) -> int:
        """The number of steps in which the learning rate rises."""
        return int(WARMUP * self.steps)


@dataclass(frozen=True)
class Score:
    """The result of one training; ``test`` and ``held_out`` are accuracies from 0 to 1.

    ``test`` is on the test set, ``held_out`` on all pictures that were not used for training.
    """

    plan: Plan
    form: str
    seed: int
    last_loss: float
    test: float
    held_out: float
    seconds: float


@dataclass(frozen=True)
class Pictures:
    """A data set in three parts: ``learned`` for training, the test set, and the rest of the training set."""

    learned: Dataset
    test: Dataset
    rest: Dataset
    standardizer: Standardizer
    mirror: bool


def divided(plan: Plan) -> Pictures:
    """Divide the data set of a plan, and fit the standardizer to the training part.

    Every part contains all classes, since the classes alternate in the files. Raises ``DataError`` without
    ``STRIATE_DATA``.
    """
    digits = NETWORKS[plan.network].sample[0] == 1
    load = st.data.load_mnist if digits else st.data.load_cifar10
    everything, test = load("train"), load("test")
    learned = everything.subset(np.arange(plan.samples))
    rest = everything.subset(np.arange(plan.samples, len(everything)))
    return Pictures(learned, test, rest, Standardizer.fit(learned.images), mirror=not digits)


# Trainings


def striate_training(form: Form, plan: Plan, seed: int, data: Iterator[tuple[Array, Array]]) -> tuple[Predict, float]:
    """Train in striate; returns the prediction function, and the mean loss of the last tenth of the steps."""
    model = striate_model(NETWORKS[plan.network], seed=seed)
    schedule = st.optim.CosineSchedule(plan.steps, warmup=plan.warmup)
    optimizer = st.optim.SGD(lr=RATE, momentum=MOMENTUM, weight_decay=DECAY, schedule=schedule)
    precision = "bfloat16" if form.bfloat16 else "float32"
    step = st.TrainingStep(model, st.nn.CrossEntropyLoss(), optimizer, capacity=plan.batch, precision=precision)
    losses = [step(x, y) for x, y in data]
    return lambda x: np.asarray(model(x)), statistics.fmean(losses[-len(losses) // 10 :])


def torch_training(form: Form, plan: Plan, seed: int, data: Iterator[tuple[Array, Array]]) -> tuple[Predict, float]:
    """Train in PyTorch; returns the prediction function, and the mean loss of the last tenth of the steps."""
    import torch
    from torch.nn import functional
    from twins import torch_model

    torch.set_num_threads(settings.current().threads)
    layout = torch.channels_last
    model = torch_model(NETWORKS[plan.network], seed=seed).to(memory_format=layout)
    optimizer = torch.optim.SGD(model.parameters(), RATE, MOMENTUM, weight_decay=DECAY)
    losses: list[float] = []
    for number, (x, y) in enumerate(data):
        optimizer.param_groups[0]["lr"] = rate(plan, number)
        optimizer.zero_grad()
        with torch.autocast("cpu", enabled=form.bfloat16):
            logits = model(torch.from_numpy(x).contiguous(memory_format=layout))
        loss = functional.cross_entropy(logits.float(), torch.from_numpy(y))
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    model.eval()

    def predict(x: Array) -> Array:
        with torch.inference_mode():
            return model(torch.from_numpy(x).contiguous(memory_format=layout)).numpy()

    return predict, statistics.fmean(losses[-len(losses) // 10 :])


def rate(plan: Plan, step: int) -> float:
    """Return the learning rate of a step for PyTorch, equal to that of ``CosineSchedule`` in striate."""
    if step < plan.warmup:
        return RATE * (step + 1) / plan.warmup
    return RATE * 0.5 * (1 + math.cos(math.pi * (step - plan.warmup) / (plan.steps - plan.warmup)))


def right(predict: Predict, dataset: Dataset, standardizer: Standardizer) -> int:
    """Count the pictures of a data set that are classified correctly."""
    return sum(
        int((predict(standardizer.transform(x)).argmax(axis=1) == y).sum())
        for x, y, _ in st.data.batches(dataset, PREDICTED, shuffle=False)
    )


def score(name: str, plan: Plan, seed: int, pictures: Pictures) -> Score:
    """Train one form with one seed, and measure its accuracy."""
    start = time.perf_counter()
    form = FORMS[name]
    data = itertools.chain.from_iterable(
        moved(pictures.learned, pictures.standardizer, plan.batch, seed, epoch, pictures.mirror)
        for epoch in range(plan.epochs)
    )
    before = settings.override(winograd=form.winograd)
    try:
        training = striate_training if form.framework == "striate" else torch_training
        predict, last_loss = training(form, plan, seed, data)
        test = right(predict, pictures.test, pictures.standardizer)
        rest = right(predict, pictures.rest, pictures.standardizer)
    finally:
        settings.restore(before)
    counts = len(pictures.test), len(pictures.rest)
    held_out = (test + rest) / sum(counts)
    return Score(plan, name, seed, last_loss, test / counts[0], held_out, time.perf_counter() - start)


# The verdict


@dataclass(frozen=True)
class Difference:
    """The difference in accuracy between two forms, in percentage points.

    ``mean`` is the mean over seeds on all held-out pictures, ``error`` is its standard error, and ``test`` is the mean
    on the test set.
    """

    forms: tuple[str, str]
    mean: float
    error: float
    test: float

    @property
    def holds(self) -> bool:
        """Whether |mean| is within the limit; False for NaN."""
        return abs(self.mean) <= LIMIT

    @property
    def sure(self) -> bool:
        """Whether |mean| + 2 standard errors is within the limit."""
        return abs(self.mean) + 2 * self.error <= LIMIT


def difference(forms: tuple[str, str], scores: Sequence[Score]) -> Difference:
    """Return the accuracy of the first form minus that of the second, over the seeds with which both were trained."""
    by_seed = [{each.seed: each for each in scores if each.form == form} for form in forms]
    seeds = sorted(by_seed[0].keys() & by_seed[1].keys())
    points = [100 * (by_seed[0][seed].held_out - by_seed[1][seed].held_out) for seed in seeds]
    tests = [100 * (by_seed[0][seed].test - by_seed[1][seed].test) for seed in seeds]
    error = statistics.stdev(points) / math.sqrt(len(points)) if len(points) > 1 else math.inf
    return Difference(forms, statistics.fmean(points), error, statistics.fmean(tests))


def kept(path: Path | None, plan: Plan) -> list[Score]:
    """Return the trainings of this plan that an earlier run has recorded in the file."""
    return [Score(**{**entry, "plan": plan}) for entry in lines_of(path) if entry.get("plan") == asdict(plan)]


def trained(options: argparse.Namespace, plan: Plan) -> list[Score]:
    """Return all scores, after the missing trainings have been run.

    Trainings are ordered by seed, so that an interrupted run has complete pairs.
    """
    wanted = [(seed, form) for seed in range(1, options.seeds + 1) for form in options.forms]
    done = {(each.seed, each.form): each for each in kept(options.resume, plan)}
    missing = [each for each in wanted if each not in done]
    pictures = divided(plan) if missing else None
    for seed, form in missing:
        assert pictures is not None
        found = done[seed, form] = score(form, plan, seed, pictures)
        note(
            f"seed {seed}, {form}: loss {found.last_loss:.3f}, held out {found.held_out:.2%}, "
            f"test set {found.test:.2%}, {found.seconds:.0f} s"
        )
        add_line(options.resume, asdict(found))
    return [done[each] for each in wanted]


def print_scores(network: Network, plan: Plan, scores: Sequence[Score], differences: Sequence[Difference]) -> None:
    """Print the table of accuracies and the table of differences."""
    forms = list(dict.fromkeys(each.form for each in scores))
    seeds = sorted({each.seed for each in scores})
    rows: list[list[str]] = []
    for form in forms:
        mine = {each.seed: each for each in scores if each.form == form}
        rows.append(
            [
                form,
                *(f"{100 * mine[seed].held_out:.2f}" for seed in seeds),
                f"{100 * statistics.fmean(each.held_out for each in mine.values()):.2f}",
                f"{100 * statistics.fmean(each.test for each in mine.values()):.2f}",
            ]
        )
    held_out = (70_000 if network.sample[0] == 1 else 60_000) - plan.samples
    print_table(
        f"{network.title}, {plan.epochs} epochs of {plan.samples:,} pictures; accuracy in % on {held_out:,} held out",
        ("form", *(f"seed {seed}" for seed in seeds), "mean", "test set alone"),
        rows,
    )
    print_table(
        f"Differences in points; allowed are {LIMIT}",
        ("forms", "mean", "standard error", "test set alone", "holds", "sure"),
        [
            [
                " − ".join(each.forms), f"{each.mean:+.2f}", f"{each.error:.2f}", f"{each.test:+.2f}",
                "yes" if each.holds else "NO", "yes" if each.sure else "not yet",
            ]
            for each in differences
        ],
    )  # fmt: skip


def main() -> int:
    """Train, print the tables, and return 1 if two means differ by more than the limit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="vgg_small", choices=list(NETWORKS))
    parser.add_argument("--seeds", type=int, default=5, help="1, 2, … (5)")
    parser.add_argument("--epochs", type=int, default=3, help="over the samples (3)")
    parser.add_argument(
        "--samples", type=int, default=30_000, help="training pictures; the others are held out (30000)"
    )
    parser.add_argument("--batch", type=int, default=64, help="pictures a step (64)")
    parser.add_argument("--forms", nargs="+", default=JUDGED, choices=list(FORMS), metavar="NAME")
    parser.add_argument("--resume", type=Path, metavar="FILE", help="write each training there, and skip what it holds")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    plan = Plan(options.network, options.epochs, options.samples, options.batch)
    scores = trained(options, plan)
    forms = dict.fromkeys(each.form for each in scores)
    differences = [difference(pair, scores) for pair in itertools.combinations(forms, 2)]
    if options.json:
        print_json(
            {
                "machine": machine(),
                "scores": [asdict(each) for each in scores],
                "differences": [{**asdict(each), "holds": each.holds, "sure": each.sure} for each in differences],
            }
        )
    else:
        print_scores(NETWORKS[plan.network], plan, scores, differences)
    return 0 if all(each.holds for each in differences) else 1


if __name__ == "__main__":
    end_with(main)
