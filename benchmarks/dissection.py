"""Attribute the time of a training step to layers and kinds of work, in striate and in PyTorch.

In striate, ``step.profile`` times each phase of the native code, which belongs to a layer and a pass.

In PyTorch, ``torch.profiler`` gives the self time of each operator on the main thread, which takes part in all
operators and waits for the other threads. In the forward pass, the layer is the innermost running module; in the
backward pass, it is that of the operator with the same sequence number. oneDNN reports the time of each of its
primitives. With that, the single operator for both gradients of a convolution is split, and reordering is separated
from multiplication.

The remaining time of a step is ``Work.REST``, so the parts always add up to the whole. PyTorch's profiler writes its
records between the kernels, and this time counts as the rest. The cost of the profiler does not depend on the number of
images, so it is measured with few images and subtracted.
"""

from __future__ import annotations

import ctypes
import os
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from worker import Step, prepared, serve

if TYPE_CHECKING:
    from torch.autograd.profiler_util import FunctionEvent

    from striate.profile import Row

LOSS, OPTIMIZER, INPUT = "(loss)", "(optimizer)", "(input)"  # as striate's profile calls them


class Work(Enum):
    """The kinds of work to which the time of a step is attributed."""

    FORWARD = "convolution, forward"
    INPUT_GRADIENT = "convolution, input gradient"
    WEIGHT_GRADIENT = "convolution, weight gradient"
    NORMALIZATION = "normalization"
    ACTIVATION = "activation"
    ADDITION = "addition"
    POOLING = "pooling"
    LINEAR = "linear"
    LOSS = "loss"
    UPDATE = "update"
    COPY = "copies"
    REST = "rest"


@dataclass(frozen=True)
class Dissection:
    """The seconds of one step, in total and by (path of the layer, kind of work).

    The parts add up to the total. ``records`` are the seconds that the profiler itself took, which are already
    subtracted.
    """

    seconds: float
    parts: Mapping[tuple[str, Work], float]
    records: float = 0.0

    def to_json(self) -> dict[str, object]:
        """Return the dissection as JSON-compatible data."""
        rows = [[layer, work.value, seconds] for (layer, work), seconds in self.parts.items()]
        return {"seconds": self.seconds, "records": self.records, "parts": rows}

    @staticmethod
    def from_json(content: Mapping[str, Any]) -> Dissection:
        """Return the dissection that ``to_json`` has written."""
        parts = {(layer, Work(work)): seconds for layer, work, seconds in content["parts"]}
        return Dissection(content["seconds"], parts, content["records"])

    def scaled(self, seconds: float) -> Dissection:
        """Return a dissection with the same proportions and a total of ``seconds``."""
        factor = seconds / self.seconds
        return Dissection(seconds, {key: part * factor for key, part in self.parts.items()}, self.records)

    def without(self, records: float) -> Dissection:
        """Return the dissection with the profiler's ``records`` (seconds) subtracted from the rest, at most to 0."""
        rest = sum(seconds for (_, work), seconds in self.parts.items() if work is Work.REST)
        records = min(records, rest)
        left = 1 - records / rest if rest else 1.0
        parts = {key: seconds * (left if key[1] is Work.REST else 1) for key, seconds in self.parts.items()}
        return Dissection(self.seconds - records, parts, self.records + records)


def whole(seconds: float, parts: Mapping[tuple[str, Work], float]) -> Dissection:
    """Return a dissection in which the time missing from the total is ``Work.REST``."""
    found = Counter(parts)
    found["", Work.REST] += seconds - sum(parts.values())
    return Dissection(seconds, dict(found))


def middle(steps: Sequence[Dissection]) -> Dissection:
    """Return the mean over the half of the steps around the median.

    The result is almost as robust as the median, and its parts still add up to the total.
    """
    ordered = sorted(steps, key=lambda step: step.seconds)
    cut = len(ordered) // 4
    kept = ordered[cut : len(ordered) - cut]
    total: Counter[tuple[str, Work]] = Counter()
    for step in kept:
        for key, seconds in step.parts.items():
            total[key] += seconds / len(kept)
    seconds, records = (sum(each) / len(kept) for each in zip(*((step.seconds, step.records) for step in kept)))
    return Dissection(seconds, dict(total), records)


WORK = {
    "BatchNorm2d": Work.NORMALIZATION, "BatchNorm1d": Work.NORMALIZATION, "LeakyReLU": Work.ACTIVATION,
    "Residual": Work.ADDITION, "MaxPool2d": Work.POOLING, "GlobalAveragePool": Work.POOLING,
    "AdaptiveAvgPool2d": Work.POOLING, "Linear": Work.LINEAR, "Flatten": Work.COPY,
}  # fmt: skip
"""The kind of work of each layer class, in both frameworks."""

# striate


def striate_work(row: Row) -> Work:
    """Return the kind of work of a row (one layer and pass) of striate's profile."""
    places = {INPUT: Work.COPY, LOSS: Work.LOSS, OPTIMIZER: Work.UPDATE}
    if row.layer in places:
        return places[row.layer]
    if row.kind == "Conv2d":
        return Work(f"convolution, {row.stage.value}")
    return WORK[row.kind]


def striate_dissection(step: Any, batch: Callable[[], tuple[Any, Any]], count: int) -> Dissection:
    """Profile ``count`` steps in striate and return the dissection of a typical one."""
    profile = step.profile(*batch(), repetitions=count)
    parts: Counter[tuple[str, Work]] = Counter()
    for row in profile.rows:
        parts[row.layer, striate_work(row)] += row.seconds
    return whole(profile.seconds, parts)


# PyTorch

FEW, FEW_STEPS = 2, 6
"""The numbers of images and of steps (the first is not counted) for measuring the profiler's own cost."""
STEP, MODULE, ENGINE = "step", "module:", "autograd::engine"
ENDS = {"aten::mkldnn_convolution": "forward_training", "aten::convolution_backward": "backward_weights"}
"""The operators of convolutions, and the last oneDNN primitive of each."""
ONEDNN_WORK = {
    "forward_training": Work.FORWARD, "backward_data": Work.INPUT_GRADIENT, "backward_weights": Work.WEIGHT_GRADIENT,
}  # fmt: skip
COPIES = {"aten::copy_", "aten::clone", "aten::contiguous", "aten::_to_copy", "aten::to"}


@contextmanager
def named_modules() -> Generator[None]:
    """Record each module that runs inside this context as a profiler range ``module:KIND:PATH``."""
    import torch
    from torch.nn.modules import module

    paths: dict[int, str] = {}
    running: list[Any] = []

    def enter(layer: torch.nn.Module, inputs: object) -> None:
        if not running:
            paths.update((id(child), path) for path, child in layer.named_modules())
        running.append(torch.profiler.record_function(f"{MODULE}{type(layer).__name__}:{paths[id(layer)]}"))
        running[-1].__enter__()

    def leave(layer: torch.nn.Module, inputs: object, output: object) -> None:
        running.pop().__exit__(None, None, None)

    hooks = module.register_module_forward_pre_hook(enter), module.register_module_forward_hook(leave)
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def primitives() -> Generator[list[tuple[str, float]]]:
    """Record the primitives that oneDNN runs inside this context, as (name, seconds) in order.

    The names are forward_training, backward_data, backward_weights and reorder. oneDNN prints them to standard output,
    which is redirected meanwhile; the list is filled when the context ends.
    """
    import torch

    libc = ctypes.CDLL(None)
    found: list[tuple[str, float]] = []
    with tempfile.TemporaryFile("w+") as sink:
        libc.fflush(None)
        kept = os.dup(1)
        os.dup2(sink.fileno(), 1)
        try:
            with torch.backends.mkldnn.verbose(torch.backends.mkldnn.VERBOSE_ON):
                yield found
        finally:
            libc.fflush(None)
            os.dup2(kept, 1)
            os.close(kept)
        sink.seek(0)
        for line in sink:
            fields = line.rstrip().split(",")
            if fields[:4] != ["onednn_verbose", "v1", "primitive", "exec"]:
                continue
            kind, direction, milliseconds = fields[5], fields[7], float(fields[-1])
            if kind in ("convolution", "reorder"):
                found.append((direction if kind == "convolution" else kind, milliseconds / 1e3))


def by_operator(ran: Sequence[tuple[str, float]], operators: Sequence[FunctionEvent]) -> list[dict[Work, float]]:
    """Return the seconds that oneDNN spent in each convolution operator, by kind of work.

    A reorder belongs to the convolution that follows it, except directly after a weight gradient, whose result it
    reorders.
    """
    found: list[dict[Work, float]] = []
    place = 0
    for operator in operators:
        spent: Counter[Work] = Counter()
        end = ENDS[operator.name]
        while place < len(ran):
            name, seconds = ran[place]
            spent[ONEDNN_WORK.get(name, Work.COPY)] += seconds
            place += 1
            if name == end:
                break
        else:
            raise RuntimeError(f"oneDNN names fewer convolutions than the profiler: {operator.name} has no {end}")
        if end == "backward_weights" and place < len(ran) and ran[place][0] == "reorder":
            spent[Work.COPY] += ran[place][1]
            place += 1
        found.append(dict(spent))
    if place != len(ran):
        raise RuntimeError(f"oneDNN names {len(ran) - place} primitives more than the profiler has convolutions")
    return found


def torch_parts(events: Sequence[FunctionEvent], ran: Sequence[tuple[str, float]]) -> Counter[tuple[str, Work]]:
    """Return the self time of all operators by (layer, work).

    The time of a convolution operator outside of oneDNN counts as rest.
    """
    ordered = sorted(events, key=lambda event: event.time_range.start)
    convolutions = [event for event in ordered if event.name in ENDS]
    inside = {id(event): spent for event, spent in zip(convolutions, by_operator(ran, convolutions), strict=True)}
    # A node of the backward pass was created by the last forward operator that has the node's sequence number.
    numbered: dict[int, tuple[str, str]] = {}
    parts: Counter[tuple[str, Work]] = Counter()
    for event in ordered:
        if event.name == STEP:
            continue
        kind, layer = place_of(event, numbered)
        if event.sequence_nr >= 0 and not any(outer.name.startswith(ENGINE) for outer in ancestors(event)):
            numbered[event.sequence_nr] = kind, layer
        own = event.self_cpu_time_total / 1e6
        spent = inside.get(id(event), {work_of(event, kind): own})
        for work, seconds in spent.items():
            parts[layer, work] += seconds
        parts[layer, Work.REST] += own - sum(spent.values())
    return parts


def ancestors(event: FunctionEvent | None) -> Generator[FunctionEvent]:
    """Yield the event, and then the events that enclose it, from the inside outwards."""
    while event is not None:
        yield event
        event = event.cpu_parent


def place_of(event: FunctionEvent, numbered: Mapping[int, tuple[str, str]]) -> tuple[str, str]:
    """Return (class, path) of the layer that an event belongs to."""
    for outer in ancestors(event):
        if outer.name.startswith(MODULE):
            kind, _, path = outer.name.removeprefix(MODULE).partition(":")
            return kind, path
        if outer.name.startswith("Optimizer."):
            return OPTIMIZER, OPTIMIZER
        if outer.name.startswith(ENGINE):
            return numbered.get(outer.sequence_nr, ("", ""))
    return LOSS, LOSS


def work_of(event: FunctionEvent, kind: str) -> Work:
    """Return the kind of work of an operator in a layer of class ``kind``."""
    if kind == OPTIMIZER:
        return Work.UPDATE
    if not event.name.startswith("aten::"):
        return Work.REST
    if event.name in COPIES:
        return Work.COPY
    if event.name in ("aten::add", "aten::add_") and not kind.startswith("BatchNorm"):
        return Work.ADDITION  # including the sum of gradients where a shortcut branches off
    return Work.LOSS if kind == LOSS else WORK.get(kind, Work.REST)


def profiled(step: Step, x: Any, y: Any) -> Dissection:
    """Run one step under the profiler; its result includes the profiler's own cost."""
    from torch.profiler import ProfilerActivity, profile, record_function

    with named_modules(), primitives() as ran, profile(activities=[ProfilerActivity.CPU]) as profiler:
        with record_function(STEP):
            step(x, y)
    events = profiler.events()
    assert events is not None
    (outermost,) = (event for event in events if event.name == STEP)
    return whole(outermost.cpu_time_total / 1e6, torch_parts(events, ran))


def records_of(step: Step, x: Any, y: Any) -> float:
    """Measure the seconds that the profiler adds to a step, from steps with few images."""
    few = x[:FEW], y[:FEW]
    plain: list[float] = []
    slow: list[float] = []
    for _ in range(FEW_STEPS):
        start = time.perf_counter()
        step(*few)
        plain.append(time.perf_counter() - start)
        slow.append(profiled(step, *few).seconds)
    return max(0.0, statistics.median(slow[1:]) - statistics.median(plain[1:]))


def torch_dissection(
    step: Step, batch: Callable[[], tuple[Any, Any]], count: int, records: float | None = None
) -> Dissection:
    """Profile ``count`` steps in PyTorch and return the dissection of a typical one.

    ``records`` are the seconds that the profiler itself takes per step; None measures them.
    """
    if records is None:
        records = records_of(step, *batch())
    found: list[Dissection] = []
    for _ in range(count):
        step(*batch())  # untimed: restores the caches that the profiler has changed
        found.append(profiled(step, *batch()).without(records))
    return middle(found)


class Dissector:
    """Attributes the time of the steps of one worker process to layers and kinds of work."""

    records: float | None = None

    def __call__(self, step: Step, batch: Callable[[], tuple[Any, Any]], count: int) -> dict[str, object]:
        """Profile ``count`` steps and return their dissection as JSON-compatible data."""
        if hasattr(step, "profile"):
            return striate_dissection(step, batch, count).to_json()
        if self.records is None:
            self.records = records_of(step, *batch())
        return torch_dissection(step, batch, count, self.records).to_json()


if __name__ == "__main__":
    serve(prepared, Dissector())
