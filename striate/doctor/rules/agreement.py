"""The rule that compares the inputs of training and validation: scale, polarity, order of channels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import permutations

import numpy as np

from striate.doctor.changes import AffineValidation, ReorderValidation
from striate.doctor.finding import Finding, Severity
from striate.doctor.remedy import Remedy
from striate.doctor.rule import When, rule
from striate.doctor.sample import Array, Sample, coarse
from striate.doctor.training_trace import TrainingTrace

LEAST = 30
SCALED = 2.0
SHIFTED = 1.0
ENDS = 0.25
AGAINST = -0.3
SKEWED = 0.3
SWAPPED = 6.0
FITTING = 4.0
DIFFERENT = 0.15
"""Class shares count as different when half the sum of their absolute differences exceeds this."""
COLOURS = (2, 3, 4)
ENOUGH = 200_000
"""About as many numbers of each set are used for its mean and standard deviation."""
PICTURE = 4
"""The number of axes of an array of pictures."""
KNOWN = (255.0, 256.0, 127.5, 128.0, 65025.0, 65535.0, 100.0, 1000.0)
"""Factors by which inputs differ most often; 65025 is 255 · 255."""


@rule(
    "other_inputs",
    When.ONCE,
    looks_for="validation inputs that were prepared in another way than the training inputs",
    threshold="spreads that differ 2-fold, or means that differ by a spread, where one and the same map x · a + b "
    "brings both the moments and the ends of the range together (to 25 %), which a drift of the data does not; the "
    "map is a < 0 where the mean pictures are negatively correlated (below -0.3) or the skewness changes its sign; "
    "channels whose means and spreads differ by 6 standard errors, and by less than 4 in another order",
    source="the two sets are compared by their own sampling errors, class by class where their shares differ",
    why="A network computes with the numbers that it is given: pictures in another range look different to it.",
    remedy="prepare both by one function; the finding has the map, or the order of the channels",
    explains=("overfitting", "labels_shifted", "labels_shuffled", "stale_statistics", "unexplained", "sorted_split"),
)
def other_inputs(trace: TrainingTrace) -> Iterator[Finding]:
    """Find validation inputs that were prepared in another way than the training inputs."""
    ours, theirs = trace.data, trace.validation
    if ours is None or theirs is None or ours.x.shape[1:] != theirs.x.shape[1:]:
        return
    ours, theirs = of_equal_shares(ours, theirs)
    if min(len(ours.y), len(theirs.y)) < LEAST or ours.constant.all():
        return
    found = map_between(ours, theirs)
    if found is not None:
        yield _affine(trace, found, theirs)
        return
    order = swapped_channels(ours, theirs)
    if order is None:
        return
    yield Finding(
        "other_inputs", Severity.ERROR, "validation", order.order, 0.93,
        {"standard errors": order.before, "in this order": order.after},
        f"the channels of the validation inputs are in another order: {list(order.order)}",
        "Means and spreads of the channels agree with those of the training set only after this exchange. Libraries "
        "differ: OpenCV gives blue, green, red, where others give red, green, blue.",
        Remedy.of(trace.setup, "read both sets in one way", ReorderValidation(order.order)),
        "channels",
    )  # fmt: skip


def of_equal_shares(ours: Sample, theirs: Sample) -> tuple[Sample, Sample]:
    """Return parts of both samples that have equal numbers of each class.

    ``ours`` is the training sample and ``theirs`` the validation sample. Different classes have different inputs, which
    must not be mistaken for a different preparation. If the class shares of the two samples are similar, both are
    returned unchanged. Both parts are empty if the sets have no class in common.
    """
    classes = max(len(ours.dataset.classes), len(theirs.dataset.classes))
    a, b = (np.bincount(one.y, minlength=classes) for one in (ours, theirs))
    if np.abs(a / a.sum() - b / b.sum()).sum() / 2 < DIFFERENT:
        return ours, theirs
    counts = np.minimum(a, b)
    parts = [
        one.part(np.concatenate([np.flatnonzero(one.y == c)[:count] for c, count in enumerate(counts)]))
        for one in (ours, theirs)
    ]
    return parts[0], parts[1]


@dataclass(frozen=True)
class Map:
    """An affine map between the inputs of the two data sets: training ≈ validation · scale + offset.

    scale, offset  one number for each feature that varies, in a table or signal; a single number for pictures
    ratio          standard deviation of the training inputs divided by that of the validation inputs
    shift          distance of the means, in standard deviations of the training inputs
    inverted       whether dark and bright are exchanged, so that ``scale`` is negative
    correlation    correlation between the mean inputs of the two sets, over positions; 0 for tables

    With several features, ``ratio`` and ``shift`` are medians over the features.
    """

    scale: Array
    offset: Array
    ratio: float
    shift: float
    inverted: bool
    correlation: float


def map_between(ours: Sample, theirs: Sample) -> Map | None:
    """Return the affine map that converts the inputs of ``theirs`` (validation) to the scale of ``ours`` (training).

    The result is None if the inputs agree already, or if no affine map makes both their moments and their ranges agree.
    """
    varying = ~ours.constant
    a, b = _parts(ours, varying), _parts(theirs, varying)
    mean_a, mean_b, std_a, std_b = a.mean(axis=1), b.mean(axis=1), a.std(axis=1), b.std(axis=1)
    if not (std_b > 0).any():
        return None
    std_b = np.where(std_b > 0, std_b, np.inf)
    ratio = float(np.median(std_a / std_b))
    shift = float(np.median(np.abs(mean_a - mean_b) / std_a))
    correlation = _correlation(ours, theirs)
    inverted = _inverted(a, b, correlation, shift)
    if not (inverted or ratio > SCALED or ratio < 1 / SCALED or shift > SHIFTED):
        return None
    scale = (std_a / std_b) * (-1 if inverted else 1)
    offset = mean_a - mean_b * scale
    ends = (b.max(axis=1), b.min(axis=1)) if inverted else (b.min(axis=1), b.max(axis=1))
    low, high = (end * scale + offset for end in ends)
    reach = a.max(axis=1) - a.min(axis=1)
    misses = np.maximum(np.abs(low - a.min(axis=1)), np.abs(high - a.max(axis=1))) / np.maximum(reach, 1e-30)
    if not float(np.median(misses)) < ENDS:
        return None
    return Map(scale, offset, ratio, shift, inverted, correlation)


def _parts(sample: Sample, varying: Array) -> Array:
    """Return the values of the varying features as they are stored, float64 (features, values).

    The result for pictures is one row (1, values), since all of their channels have the same unit. Of large samples,
    only some values are returned.
    """
    values = np.moveaxis(sample.raw, 1, 0).reshape(sample.features, -1)[varying]
    values = values.reshape(1, -1) if sample.raw.ndim == PICTURE else values
    return values[:, :: max(1, values.size // ENOUGH)].astype(np.float64)


def _correlation(ours: Sample, theirs: Sample) -> float:
    """Return the correlation, over positions, of the mean inputs of both sets; 0 if that means little."""
    if ours.is_table:
        return 0.0
    a, b = (coarse(one.raw, 256).mean(axis=0, dtype=np.float64) for one in (ours, theirs))
    if len(a) < 9 or a.std() < 0.1 * float(ours.raw.std()) or b.std() == 0:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])


def _inverted(a: Array, b: Array, correlation: float, shift: float) -> bool:
    """Whether dark and bright are exchanged between the sets.

    Signs are a skewness of opposite sign and negatively correlated mean inputs: both, or one of them with different
    means.
    """
    skew_a, skew_b = (float(np.median(((one - m) ** 3).mean(axis=1) / np.maximum(one.std(axis=1), 1e-30) ** 3))
                      for one in (a, b) for m in (one.mean(axis=1, keepdims=True),))  # fmt: skip
    mirrored = skew_a * skew_b < 0 and min(abs(skew_a), abs(skew_b)) > SKEWED
    against = correlation < AGAINST
    return (mirrored and against) or ((mirrored or against) and shift > 0.5)


def _affine(trace: TrainingTrace, found: Map, theirs: Sample) -> Finding:
    """Return the finding for an affine map between the sets."""
    scale, offset = _rounded(trace, found)
    varying = ~trace.data.constant if trace.data is not None else np.ones(theirs.features, bool)
    if len(scale) == varying.sum() < len(varying):  # constant features stay as they are
        whole, shift = np.ones(len(varying)), np.zeros(len(varying))
        whole[varying], shift[varying] = scale, offset
        scale, offset = whole, shift
    factor = float(np.median(np.abs(scale)))
    if found.inverted:
        what, cause = "the validation inputs are inverted: dark where those of training are bright", "polarity"
    elif max(found.ratio, 1 / found.ratio) > SCALED:
        size = "smaller" if factor > 1 else "larger"
        times = max(factor, 1 / factor)
        what, cause = f"the validation inputs are {times:.4g} times {size} than those of training", "scale"
    else:
        what, cause = f"the validation inputs are {found.shift:.2g} spreads away from those of training", "offset"
    evidence = {"spread of training over validation": found.ratio, "distance of the means": found.shift}
    if found.correlation:
        evidence["correlation of the mean inputs"] = found.correlation
    change = AffineValidation(tuple(map(float, scale)), tuple(map(float, offset)))
    return Finding(
        "other_inputs", Severity.ERROR, "validation", (), 0.95, evidence, what,
        "One map brings means, spreads and ends of the range together, so the two sets were prepared in different "
        "ways. A network computes with the numbers that it is given; what validation measures means nothing then.",
        Remedy.of(trace.setup, "prepare both sets by one function; until then, change the validation inputs", change),
        cause,
    )  # fmt: skip


def _rounded(trace: TrainingTrace, found: Map) -> tuple[Array, Array]:
    """Return scale and offset of the map, with a familiar factor and an offset of 0 where these are close."""
    scale, offset, data = found.scale, found.offset, trace.data
    if data is None or data.is_table:
        return scale, offset
    spread = float(data.raw.std())
    if found.inverted:
        top = float(data.raw.max()) + float(data.raw.min())
        near = np.all(np.abs(np.abs(scale) - 1) < 0.2) and np.all(np.abs(offset - top) < 0.3 * spread)
        return (np.array([-1.0]), np.array([top])) if near else (scale, offset)
    for one in (exact for known in KNOWN for exact in (known, 1 / known)):
        if np.all(np.abs(scale / one - 1) < 0.1) and float(np.abs(offset).max()) < 0.3 * spread:
            return np.array([one]), np.array([0.0])
    return scale, offset


@dataclass(frozen=True)
class Order:
    """An order of the validation channels that fits the training set.

    Channel i of the new order is channel ``order[i]`` of the validation inputs. ``before`` and ``after`` are the
    largest distances between the channel means of the two sets, in standard errors, in the old and in the new order.
    """

    order: tuple[int, ...]
    before: float
    after: float


def swapped_channels(ours: Sample, theirs: Sample) -> Order | None:
    """Return the order in which the channels of ``theirs`` (validation) fit those of ``ours`` (training).

    The result is None if the present order fits, or if no order fits.
    """
    if ours.is_table or ours.features not in COLOURS:
        return None
    a, b = (_by_sample(one) for one in (ours, theirs))

    def distance(order: tuple[int, ...]) -> float:
        """Return the largest distance between the two sets' channel statistics, in standard errors."""
        other = b[:, :, list(order)]
        error = np.sqrt(a.var(axis=1) / a.shape[1] + other.var(axis=1) / other.shape[1])
        return float((np.abs(a.mean(axis=1) - other.mean(axis=1)) / np.maximum(error, 1e-30)).max())

    own = tuple(range(ours.features))
    before = distance(own)
    best = min((order for order in permutations(own) if order != own), key=distance)
    after = distance(best)
    return Order(best, before, after) if before > SWAPPED and after < FITTING and after < 0.5 * before else None


def _by_sample(sample: Sample) -> Array:
    """Return three statistics of each channel of each sample that a channel exchange changes, (3, n, C).

    They are its mean less the mean of all channels, its log standard deviation less that of all channels, and the
    absolute value of the first. The brightness of a whole set does not affect them.
    """
    x = sample.raw.reshape(len(sample.y), sample.features, -1).astype(np.float64)
    mean = x.mean(axis=2)
    spread = np.log(x.std(axis=2) + 1e-6 * max(float(x.std()), 1e-30))
    relative = mean - mean.mean(axis=1, keepdims=True)
    return np.stack([relative, spread - spread.mean(axis=1, keepdims=True), np.abs(relative)])
