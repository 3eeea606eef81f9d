"""Recompute the running statistics of normalization layers in one pass over the training data.

Training moves running statistics a little with each batch, so they lag behind the weights, and after a few steps they
still depend on their initial values 0 and 1. The pass computes the mean and the variance of each layer over all samples
instead, with the final weights, as "precise batch normalization" does (Wu and Johnson, 2021, arXiv:2105.07576). An
instance normalization with running statistics gets the means and the unbiased variances of the single samples, averaged
over all samples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from striate.arguments import explained
from striate.data.dataset import Array, Dataset, require_dataset
from striate.data.loader import index_batches
from striate.distributed import Communicator, communicator_of
from striate.engine import prepare
from striate.errors import OptionError
from striate.graph.value import Value
from striate.nn.module import Module
from striate.nn.normalization import BatchNorm
from striate.nn.prediction import as_input
from striate.nn.sample_normalization import InstanceNorm
from striate.ops.normalization import batch_axes
from striate.ops.reduction import mean, moments
from striate.options import require_instance, whole_number
from striate.tracing import Trace, TracedFunction, array_type, output_values

Wide = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]


@dataclass
class Merged:
    """The mean and the variance of several batches together, in float64.

    ``count`` is the number of values per channel. ``mean`` and ``squares``, the sum of squared deviations from the
    mean, are (C,), one number for each channel.
    """

    count: int = 0
    mean: Wide | float = 0.0
    squares: Wide | float = 0.0

    def add(self, count: int, mean: Wide, variance: Wide) -> None:
        """Add a batch with ``count`` values per channel, their mean (C,) and biased variance (C,)."""
        total = self.count + count
        distance = mean - self.mean
        self.squares = self.squares + variance * count + distance * distance * (self.count * count / total)
        self.mean = self.mean + distance * (count / total)
        self.count = total

    @property
    def variance(self) -> Wide:
        """The unbiased variance (C,) of all values."""
        return np.asarray(self.squares / (self.count - 1))


@dataclass
class Averaged:
    """The average over samples of an instance normalization's mean and variance, in float64.

    ``positions`` is the number of positions of a sample, and ``count`` the number of samples so far. ``mean`` (C,) and
    ``biased`` (C,) are the averages of the samples' means and biased variances.
    """

    positions: int
    count: int = 0
    mean: Wide | float = 0.0
    biased: Wide | float = 0.0

    def add(self, count: int, mean: Wide, variance: Wide) -> None:
        """Add a batch of ``count`` samples.

        ``mean`` and ``variance`` (C,) are the averages over these samples of their means and biased variances.
        """
        self.count += count
        self.mean = self.mean + (mean - self.mean) * (count / self.count)
        self.biased = self.biased + (variance - self.biased) * (count / self.count)

    @property
    def variance(self) -> Wide:
        """The average (C,) of the unbiased variances."""
        return np.asarray(self.biased) * (self.positions / (self.positions - 1))


def tracking_layers(model: Module) -> dict[str, BatchNorm | InstanceNorm]:
    """Return the normalizations that keep running statistics, by path, without those that are frozen."""
    return {
        path: one
        for path, one in model.named_modules()
        if isinstance(one, BatchNorm | InstanceNorm) and one.track_running_stats and not one.frozen_statistics
    }


def require_tracking(model: Module) -> None:
    """Raise ``OptionError`` if no normalization of the model keeps running statistics that are not frozen."""
    if not tracking_layers(model):
        raise OptionError(
            "recompute_statistics: the model has no batch normalization, nor an instance normalization with "
            "track_running_stats, whose running statistics may change\n"
            "  help: leave recompute_statistics out"
        )


@explained
def recompute_statistics(
    model: Module,
    dataset: Dataset,
    *,
    batch_size: int = 64,
    seed: int = 0,
    after_batch: Callable[[int], None] = lambda count: None,
    communicator: object = None,
) -> tuple[str, ...]:
    """Set the running statistics of the model's normalization layers to those of one pass over a data set.

    During the pass each layer normalizes by the statistics of its input, as in training. A batch normalization then
    gets the mean and the unbiased variance over all samples. An instance normalization with ``track_running_stats``
    gets the mean and the unbiased variance of each sample, averaged over all samples. Layers with frozen statistics are
    not changed.

    Dropout is off, and samples are not augmented. ``seed`` determines the order of the samples; calls with the same
    ``seed`` give the same result.

    batch_size    samples in a batch, at least 2; take the batch size of the training
    after_batch   called after each batch with the number of samples so far; if it raises an exception, the pass ends
                  and the model is unchanged
    communicator  a communicator of mpi4py, whose ranks (processes) take turns to measure a batch; all ranks must call
                  this function, and each gets the statistics of all batches, bit for bit as a single process would

    Returns the paths of these normalization layers. Raises ``OptionError`` if there are none.
    """
    require_instance("model", model, Module, "st.models.build(…)")
    require_dataset(dataset, "the data set")
    size = whole_number("batch_size", batch_size, 2)
    require_tracking(model)
    program, calls = _program(model, as_input(model, dataset.images[:1]))
    layers = tracking_layers(model)
    parts = index_batches(len(dataset), size, seed=seed)
    merged = {
        call.path: Merged() if isinstance(layers[call.path], BatchNorm) else Averaged(call.positions) for call in calls
    }
    seen = 0

    def measure(rows: Rows) -> Wide:
        found = program({"x": as_input(model, dataset.images[rows])}, len(rows))
        return np.concatenate([vector for pair in found for vector in pair]).astype(np.float64)

    width = 2 * sum(call.channels for call in calls)
    for rows, found in zip(
        parts, _measured_together(measure, parts, width, communicator_of(communicator)), strict=True
    ):
        place = 0
        for call in calls:
            average, variance = found[place : place + 2 * call.channels].reshape(2, -1)
            count = len(rows) * call.positions if isinstance(layers[call.path], BatchNorm) else len(rows)
            merged[call.path].add(count, average, variance)
            place += 2 * call.channels
        seen += len(rows)
        after_batch(seen)
    state: dict[str, Array] = {}
    for path, total in merged.items():
        before = f"{path}." if path else ""
        state |= {f"{before}running_mean": np.asarray(total.mean), f"{before}running_var": total.variance}
    dtypes = {name: array.dtype for name, array in model.state_dict().items()}
    model.load_state_dict({name: array.astype(dtypes[name]) for name, array in state.items()}, strict=False)
    return tuple(merged)


def _measured_together(
    measure: Callable[[Rows], Wide], parts: list[Rows], width: int, ranks: Communicator
) -> Iterator[Wide]:
    """Yield ``measure(rows)``, a vector of ``width`` numbers, for each of ``parts``, in order, on all ranks.

    The ranks (processes) measure one part each in turn.
    """
    for first in range(0, len(parts), ranks.size):
        own = first + ranks.rank
        yield from ranks.gather(measure(parts[own]) if own < len(parts) else np.zeros(width))[: len(parts) - first]


@dataclass(frozen=True)
class Measured:
    """A normalization layer whose input is measured: its path, and its number of channels and of positions.

    ``positions`` is 1 for features (N, C).
    """

    path: str
    channels: int
    positions: int


def _program(model: Module, example: Array) -> tuple[TracedFunction, list[Measured]]:
    """Return a program that measures inputs of normalization layers, and the calls that it measures.

    The program returns a list with the mean (C,) and the biased variance (C,) of the input of each call; for instance
    normalizations, with the averages of these over the samples.
    """
    layers = tracking_layers(model)
    with Trace(by_batch=True) as trace:
        model.trace((trace.input("x", array_type(example, "x", batched=True)),))
        measured = [call for call in trace.calls if call.path in layers]
        outputs = [_statistics(layers[call.path], call.inputs[0]) for call in measured]
        graph = trace.graph(output_values(outputs))
    calls = list[Measured]()
    for call in measured:
        _, channels, *positions = call.inputs[0].shape
        assert isinstance(channels, int)
        calls.append(Measured(call.path, channels, math.prod(size for size in positions if isinstance(size, int))))
    executable = prepare(graph, trace.bindings(), {}, None, arenas=trace.arenas(), keep_packed=True)
    return TracedFunction(graph, executable, outputs, tuple(trace.checks)), calls


def _statistics(layer: BatchNorm | InstanceNorm, x: Value) -> tuple[Value, Value]:
    """Return mean (C,) and biased variance (C,) of the input of a layer, as ``_program`` describes them."""
    if isinstance(layer, BatchNorm):
        return moments(x, batch_axes(x.type.rank))
    average, variance = moments(x, tuple(range(2, x.type.rank)))
    return mean(average, 0), mean(variance, 0)
