"""``striate bench``: measure where the time of a network goes, or compare it with other frameworks."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any

import numpy as np
import typer
from rich.text import Text

from striate import settings
from striate.cli import peers
from striate.cli.contest import Contestant, contest
from striate.cli.report import output, say_json, say_note
from striate.cli.show import opened
from striate.dtypes import Precision, precision_of
from striate.errors import OptionError, unknown_option
from striate.graph.value import Array
from striate.models import MODELS
from striate.nn.loss import CrossEntropyLoss
from striate.nn.module import Module
from striate.optim import SGD
from striate.profile import WIDTH, Latency, Profile, latency, profile_prediction, require_compiled
from striate.step import TrainingStep
from striate.terminal import columns

BATCH = 128
BATCHES = {"resnet18": 64}
CALLS = 30
"""Timed calls per repetition of a latency measurement."""
OURS = "striate"


class Peer(Enum):
    """A framework with which ``--against`` compares striate."""

    torch = "torch"
    onnxruntime = "onnxruntime"


@dataclass(frozen=True)
class Case:
    """The network and the conditions of one measurement.

    ``name`` is the model's name in the output, ``shape`` the shape of one sample, ``samples`` the batch size, and
    ``classes`` the number of different labels. If ``predicts``, predictions are measured, otherwise training steps.
    ``repetitions`` is the number of repetitions, and ``threads`` the number of threads. ``precision`` applies to
    training steps only.
    """

    model: Module
    name: str
    shape: tuple[int, ...]
    classes: int
    samples: int
    predicts: bool
    repetitions: int
    threads: int
    precision: Precision = Precision.full

    @property
    def title(self) -> str:
        """A one-line description of the case, for the output."""
        what = "prediction" if self.predicts else "training step (SGD with momentum)"
        threads = f"{self.threads} thread{'s' if self.threads > 1 else ''}"
        numbers = self.precision.value
        return f"{self.name} on {'×'.join(map(str, self.shape))}: {what}, batch {self.samples}, {threads}, {numbers}"

    def batches(self) -> itertools.cycle[tuple[Array, Array]]:
        """Return an endless iterator that cycles through four batches (x, y) of random data."""
        random = np.random.default_rng(0)
        x = random.standard_normal((4, self.samples, *self.shape), dtype=np.float32)
        y = random.integers(0, self.classes, (4, self.samples))
        return itertools.cycle(list(zip(x, y)))


def bench(
    model: Annotated[str, typer.Argument(help=f"{', '.join(MODELS)}, a run folder, or a model file.")],
    predict: Annotated[bool, typer.Option("--predict", help="Measure predictions instead of training steps.")] = False,
    latency: Annotated[
        bool, typer.Option("--latency", help="Median and p95 of the time of single predictions.")
    ] = False,
    batch_size: Annotated[
        int | None,
        typer.Option("--batch-size", "--batch", min=1, help="Images in one.", show_default="128; --latency 1"),
    ] = None,
    repetitions: Annotated[int, typer.Option(min=1, help="Number of repetitions of each measurement.")] = 10,
    threads: Annotated[
        int | None, typer.Option(min=1, max=settings.MOST_THREADS, help="Threads.", show_default="all cores allowed")
    ] = None,
    precision: Annotated[str, typer.Option(help="Precision of training steps: float32 or bfloat16.")] = "float32",
    against: Annotated[str | None, typer.Option(help="Compare with torch or onnxruntime instead.")] = None,
    shape: Annotated[
        str | None, typer.Option(help="Shape of one input.", show_default="3x32x32; lenet5, first_cnn 1x28x28")
    ] = None,
    classes: Annotated[int, typer.Option(help="Outputs of a named network.")] = 10,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Measure a network: time, work and memory traffic by layer, compared with the peak of this computer."""
    peer = None if against is None else parsed_peer(against)
    predicts = predict or latency or peer is Peer.onnxruntime
    if peer is Peer.onnxruntime and not (predict or latency):
        raise OptionError("onnxruntime only predicts\n  help: add --predict or --latency")
    numbers = precision_of(precision)
    if numbers is not Precision.full and predicts:
        raise OptionError("predictions are in float32\n  help: --precision bfloat16 is for training steps")
    before = settings.override(threads=threads) if threads is not None else settings.current()
    try:
        require_compiled()
        network, sizes = opened(model, shape, classes)
        samples = batch_size or (1 if latency else BATCHES.get(model, BATCH))
        network.infer(sizes).seed(0)
        used = settings.current().threads
        case = Case(network, model, sizes, classes, samples, predicts, repetitions, used, numbers)
        say_note(f"{case.title}: measuring …")
        if peer is not None:
            report_contest(case, *compared(case, peer), as_json)
        elif latency:
            report_latency(case, measured_latency(case), as_json)
        else:
            report_profile(case, measured_profile(case), as_json)
    finally:
        settings.restore(before)


def parsed_peer(name: str) -> Peer:
    """Return the framework with this name; raises ``OptionError`` for an unknown name."""
    if name not in Peer.__members__:
        raise unknown_option("framework", name, Peer.__members__)
    return Peer[name]


# Measuring


def training_step(case: Case) -> TrainingStep:
    """Return a training step of the case's network by SGD with momentum, as in the compared frameworks."""
    rule = SGD(lr=peers.LEARNING_RATE, momentum=peers.MOMENTUM)
    return TrainingStep(case.model, CrossEntropyLoss(), rule, seed=0, precision=case.precision)


def measured_profile(case: Case) -> Profile:
    """Measure how much time each layer takes in training steps or, if ``case.predicts``, in predictions."""
    x, y = next(case.batches())
    if case.predicts:
        return profile_prediction(case.model, x, case.repetitions)
    return training_step(case).profile(x, y, case.repetitions)


def measured_latency(case: Case) -> Latency:
    """Measure how long a prediction takes: the median, 95th percentile and minimum of many calls."""
    batches = case.batches()
    return latency(lambda: case.model(next(batches)[0]), case.samples, CALLS * case.repetitions)


def compared(case: Case, peer: Peer) -> tuple[list[Contestant], float]:
    """Measure striate and the framework ``peer`` alternately on a case, and compare their first results.

    Returns the measured times, with striate first, and the difference of the first results: outputs of predictions, or
    the loss of a training step. The difference is the largest deviation of the other framework's result from striate's,
    divided by the largest absolute value of striate's result.
    """
    runs: dict[str, Callable[[Array, Array], Any]] = {}
    if case.predicts:
        predictors = (
            peers.torch_predictors(case.model, case.threads)
            if peer is Peer.torch
            else peers.onnx_predictors(case.model, case.shape, case.threads)
        )
        runs[OURS] = lambda x, y: case.model(x)
        runs |= {name: _of_images(predictor) for name, predictor in predictors.items()}
    else:
        runs |= peers.torch_steps(
            case.model, case.threads, case.precision
        )  # copies the weights before striate's steps change them
        runs = {OURS: training_step(case), **runs}
    x, y = next(case.batches())
    first = {name: np.array(run(x, y)) for name, run in runs.items()}
    scale = np.abs(first[OURS]).max()
    difference = max(float(np.abs(result - first[OURS]).max() / scale) for result in first.values())
    return contest({name: _fed(run, case) for name, run in runs.items()}, case.repetitions, case.threads), difference


def _of_images(predictor: peers.Predictor) -> Callable[[Array, Array], Array]:
    return lambda x, y: predictor(x)


def _fed(run: Callable[[Array, Array], Any], case: Case) -> Callable[[], Any]:
    batches = case.batches()
    return lambda: run(*next(batches))


# Output


def report_profile(case: Case, profile: Profile, as_json: bool) -> None:
    """Print the profile as a table, coloured in a terminal, or with ``as_json`` as JSON.

    The table is fitted to the width of the terminal.
    """
    if as_json:
        say_json({**_described(case), **profile.to_json()})
        return
    console = output()
    if not console.is_terminal:
        typer.echo(profile.text(min(WIDTH, columns())), nl=False)
        return
    page = Text(profile.text(min(WIDTH, columns())))
    page.highlight_regex(r"(?m)^(layer|in all) .*$", "bold")
    page.highlight_regex(r"(?m)^(total|outside of phases) .*$", "bold")
    layers = "|".join(re.escape(layer) for layer in profile.by_layer())
    page.highlight_regex(rf"(?m)^({layers})(?= )", "cyan")
    page.highlight_regex(r"(?m)^warning: .*$", "yellow")
    console.print(page, soft_wrap=True, end="")


def report_latency(case: Case, found: Latency, as_json: bool) -> None:
    """Print the median, 95th percentile and minimum latency in one line, or with ``as_json`` as JSON."""
    if as_json:
        say_json({**_described(case), **found.to_json()})
        return
    times = f"median {found.median * 1e3:.3f} ms, p95 {found.p95 * 1e3:.3f} ms, least {found.least * 1e3:.3f} ms"
    typer.echo(f"{times} of {found.calls} calls")


def report_contest(case: Case, contestants: list[Contestant], difference: float, as_json: bool) -> None:
    """Print the times side by side, their ratios to striate's, and how they were measured.

    With ``as_json``, all of this is printed as JSON. ``contestants`` and ``difference`` are the results of
    ``compared``; striate is the first contestant.
    """
    ours, *others = contestants
    best = min(others, key=lambda contestant: contestant.median)
    turns = [turn for contestant in contestants for turn in contestant.turns]
    clean = sum(turn.clean for turn in turns)
    busy = 2 * clean < len(turns)
    if as_json:
        say_json(
            {
                **_described(case),
                "contestants": {each.name: _contestant_json(each) for each in contestants},
                "best_peer": best.name,
                "faster_than_best_peer": best.median / ours.median,
                "trustworthy": not busy,
                "first_result_difference": difference,
                "turns": {"measured": len(turns), "clean": clean},
            }
        )
        return
    width = max(len(each.name) for each in contestants)
    lines = [case.title, "", f"{'':<{width}}  median ms   p95 ms  least ms  over striate"]
    for each in contestants:
        times = f"{each.median * 1e3:9.3f}{each.p95 * 1e3:9.3f}{min(each.seconds) * 1e3:10.3f}"
        lines.append(f"{each.name:<{width}}  {times}  {each.median / ours.median:11.2f}×")
    result = "predictions" if case.predicts else "losses"
    lines += [
        "",
        verdict(ours, best, busy),
        f"Same weights and data; the first {result} differ by {difference:.1e} of the largest.",
        f"Interleaved turns in one process: {len(ours.turns)} each, {len(ours.seconds)} calls of striate counted.",
    ]
    if not case.predicts or any("PyTorch" in each.name for each in others):
        lines.append("PyTorch runs in eager mode, without torch.compile.")
    if busy:
        lines.append(f"warning: busy machine: in {clean} of {len(turns)} turns every thread had a core to itself")
    typer.echo("\n".join(lines))


def verdict(ours: Contestant, best: Contestant, busy: bool) -> str:
    """Return a sentence that compares striate with the fastest of the other contestants, ``best``, by median time.

    With ``busy``, the sentence says instead that other work disturbed the measurement.
    """
    if busy:
        return "No verdict: other work disturbed this measurement; repeat it on a quiet machine."
    if ours.median <= best.median:
        return f"striate is {best.median / ours.median:.2f} times as fast as the best of the others, {best.name}."
    return f"striate takes {ours.median / best.median:.2f} times as long as the best of the others, {best.name}."


def _described(case: Case) -> Mapping[str, object]:
    return {
        "model": case.name,
        "shape": list(case.shape),
        "measured": "prediction" if case.predicts else "training step",
        "batch": case.samples,
        "threads": case.threads,
        "precision": case.precision.value,
    }


def _contestant_json(contestant: Contestant) -> dict[str, float | int]:
    return {
        "median_ms": contestant.median * 1e3,
        "p95_ms": contestant.p95 * 1e3,
        "least_ms": min(contestant.seconds) * 1e3,
        "calls": len(contestant.seconds),
    }
