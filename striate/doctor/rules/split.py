"""Rules about the division of the data into a training and a validation set."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from striate.doctor.changes import DropLeaked, Resplit
from striate.doctor.finding import Finding, Severity
from striate.doctor.remedy import Remedy
from striate.doctor.rule import When, rule
from striate.doctor.sample import Array, Sample, coarse, nearest
from striate.doctor.training_trace import TrainingTrace

LEAKED = 0.01
LEAST_NEAR = 3
NEAR = 0.1
BY_CHANCE_NEAR = 1e-3
OVERLAPPING = 0.05
PIECE = 8
RELATED = 0.5
BY_CHANCE = 1e-6


@rule(
    "sorted_split",
    When.ONCE,
    looks_for="classes that occur in the validation set only, or a validation set of one class",
    threshold="a class without any training sample; or one class in validation, whose probability in a random division "
    "is below 1e-6. Time series, whose consecutive samples are half as far apart as others of their class, are divided "
    "by time, and never shuffled",
    source="exact: counted over all labels",
    why="A network cannot learn a class that it is never shown. The last part of sorted data looks like this.",
    remedy="mix both sets and divide them at random, class by class; a time series by recordings or blocks of time",
    explains=(
        "overfitting", "labels_shifted", "labels_shuffled", "constant_predictions", "stale_statistics", "one_class",
        "other_inputs", "unexplained",
    ),
)  # fmt: skip
def sorted_split(trace: TrainingTrace) -> Iterator[Finding]:
    """Find classes that occur in the validation set only, and a validation set of a single class."""
    ours, theirs = trace.data, trace.validation
    if ours is None or theirs is None or not trace.setup.classifies:
        return
    classes = max(len(ours.dataset.classes), len(theirs.dataset.classes))
    here, there = (np.bincount(one.dataset.labels, minlength=classes) for one in (ours, theirs))
    unseen = np.flatnonzero((here == 0) & (there > 0))
    present = np.flatnonzero(there)
    by_chance = float(here[present[0]] / here.sum()) ** int(there.sum()) if len(present) == 1 else 1.0
    alone = len(present) == 1 and (here > 0).sum() > 1 and by_chance < BY_CHANCE
    if not len(unseen) and not alone:
        return
    names: tuple[str, ...] = max(ours.dataset.classes, theirs.dataset.classes, key=len)
    share = float(there[unseen].sum() / there.sum())
    if len(unseen):
        shown = ", ".join(repr(names[int(i)]) for i in unseen[:4].tolist()) + (", …" if len(unseen) > 4 else "")
        what = (
            f"class{'es' if len(unseen) > 1 else ''} {shown} occur{'s' if len(unseen) == 1 else ''} in validation only"
        )
        why = f"No network can learn what it is never shown: {100 * share:.3g} % of the validation samples are of "
        why += "such classes. "
    else:
        what = f"all {int(there.sum()):,} validation samples are class {names[int(present[0])]!r}"
        why = "What validation measures says nothing about the other classes. "
    ordered = bool((np.diff(ours.dataset.labels) >= 0).all())
    why += "The data were sorted by class when they were divided." if ordered else "The data were not mixed before."
    if in_time_order(ours):
        text = "divide by time: whole recordings, or blocks of time with a gap, so that every class is on both sides"
        remedy = Remedy(f"{text}; do not shuffle, since neighbours in time are nearly the same sample")
    else:
        remedy = Remedy.of(trace.setup, "mix both sets and divide them anew, with all classes in both", Resplit())
    yield Finding(
        "sorted_split", Severity.ERROR, "validation", tuple(int(i) for i in (unseen if len(unseen) else present)), 0.97,
        {"classes": int((here + there > 0).sum()), "in validation only": len(unseen), "share": share},
        what, why, remedy, "unseen" if len(unseen) else "alone",
    )  # fmt: skip


def in_time_order(sample: Sample) -> bool:
    """Return whether consecutive samples of a class are much nearer to each other than other samples of that class."""
    labels, images = sample.dataset.labels, sample.dataset.images
    if len(labels) < 20:
        return False
    random = np.random.default_rng(0)
    starts = random.permutation(len(labels) - 1)[:200]
    starts = starts[labels[starts] == labels[starts + 1]]
    if len(starts) < 10:
        return False
    order = random.permutation(len(labels))
    place = np.argsort(labels[order], kind="stable")
    same = order[place]  # grouped by class, mixed within
    group = np.searchsorted(labels[same], labels[starts])
    others = same[(group + random.integers(0, 5, len(starts))).clip(max=len(labels) - 1)]
    fits = (labels[others] == labels[starts]) & (others != starts)
    if fits.sum() < 10:
        return False
    a, b, c = (images[i].reshape(len(i), -1).astype(np.float64) for i in (starts, starts + 1, others))
    near = np.median(np.linalg.norm(a - b, axis=1))
    far = np.median(np.linalg.norm((a - c)[fits], axis=1))
    return bool(near < RELATED * far)


@rule(
    "leakage",
    When.ONCE,
    looks_for="validation samples that the training set holds too, exactly, nearly, or in part",
    threshold="1 % of the validation set are equal to a training sample; or 3 and 1 % are nearer to one, whatever "
    "their brightness, than a tenth of the usual distance to the tenth neighbour (less in few dimensions); or 5 % of "
    "the windows of a signal share a piece with a training window. Tables of few different numbers, where equal rows "
    "are usual, are left out",
    source="MNIST and CIFAR-10 hold fewer than 0.1 % exact duplicates between their parts",
    why="A network knows by heart what it was trained on: validation figures are better than those on new data.",
    remedy="leave the samples out of the validation set; split before copying, augmenting, or cutting into windows",
    explains=("overfitting",),
)
def leakage(trace: TrainingTrace) -> Iterator[Finding]:
    """Find validation samples that the training set contains as well: exactly, nearly, or in part."""
    train_set, validation = trace.setup.train_set, trace.setup.validation
    if train_set is None or validation is None or validation.images.shape[1:] != train_set.images.shape[1:]:
        return
    if trace.data is not None and trace.data.is_discrete:
        return
    exact = equal_samples(train_set.images, validation.images)
    if len(exact) >= LEAKED * len(validation):
        yield _leaked(trace, exact, len(validation), "exact")
        return
    near = np.union1d(exact, _near(trace.data, trace.validation)).astype(np.int64)
    looked_at = len(trace.validation.y) if trace.validation else 0
    if len(near) >= max(LEAST_NEAR, LEAKED * looked_at):
        yield _leaked(trace, near, looked_at, "near")
        return
    shared = overlapping(train_set.images, validation.images)
    if len(shared) >= max(LEAST_NEAR, OVERLAPPING * len(validation)):
        yield _leaked(trace, shared, len(validation), "overlap")


_HOW = {"exact": "in the training set too", "near": "nearly in the training set too",
        "overlap": "windows that overlap with training windows"}  # fmt: skip


def _leaked(trace: TrainingTrace, places: Array, looked_at: int, cause: str) -> Finding:
    """Return the finding for leaked validation samples at ``places``, of ``looked_at`` that were compared."""
    share = len(places) / max(looked_at, 1)
    indices = tuple(int(i) for i in places)
    if cause == "overlap":
        text = "divide the recordings first, then cut windows; or leave a gap of one window between the parts"
        remedy = Remedy(text)
    elif share > 0.9:
        remedy = Remedy("validate on data of its own: split once, before anything is copied or augmented")
    else:
        text = "leave them out of the validation set (or split before copying, augmenting)"
        remedy = Remedy.of(trace.setup, text, DropLeaked(indices))
    listed = ""
    if trace.setup.validation is not None and len(indices) < 50:
        most = 3 if trace.setup.validation.files else 6
        names = [trace.setup.validation.sample_name(place) for place in indices[:most]]
        listed = f" ({', '.join(names)}{', …' if len(indices) > most else ''})"
    return Finding(
        "leakage", Severity.ERROR if share > 0.1 else Severity.WARNING, "validation", indices,
        {"exact": 0.98, "near": 0.9, "overlap": 0.95}[cause],
        {"validation samples": looked_at, "in training": len(places), "share": share},
        f"{100 * share:.3g} % of the validation samples{listed} are {_HOW[cause]}",
        "A network knows by heart what it was trained on. Validation figures are better than those on new data.",
        remedy, cause,
    )  # fmt: skip


def equal_samples(images: Array, others: Array) -> Array:
    """Return the indices of ``others`` that equal one of ``images``, compared by a hash of their bytes."""
    known = {hash(row.tobytes()) for row in images}
    return np.array([i for i, row in enumerate(others) if hash(row.tobytes()) in known], np.int64)


def _near(train: Sample | None, validation: Sample | None) -> Array:
    """Return the indices of validation samples that are much nearer to a training sample than is usual.

    The indices are those in the validation set; only the samples that the doctor examines are compared.
    """
    if train is None or validation is None or len(train.y) < 50 or len(validation.y) < 20:
        return np.zeros(0, np.int64)
    ours, theirs = (_contrasts(one) for one in (train, validation))
    distance = np.linalg.norm(theirs - ours[nearest(theirs, ours, 1)[:, 0]], axis=1)
    return validation.index[distance < _hardly_by_chance(ours)]


def _hardly_by_chance(points: Array) -> float:
    """Return the distance within which another point hardly ever lies by chance.

    It is a tenth of the median distance to the tenth neighbour, or less in few dimensions d: a ball of r times that
    distance holds 10 rᵈ points, which is to be at most 1e-3. The dimension is estimated as ln 2 / ln(distance to the
    20th neighbour / to the 10th), which a few copies of a sample do not change.
    """
    squares = np.square(points).sum(axis=1)
    distance = np.sort(np.maximum(squares[:, None] + squares[None] - 2 * points @ points.T, 0), axis=1)
    tenth, twentieth = (float(np.median(np.sqrt(distance[:, min(k, len(points) - 1)]))) for k in (10, 20))
    if not 0 < tenth < twentieth:
        return 0.0
    dimension = float(np.log(2) / np.log(twentieth / tenth))
    return float(tenth * min(NEAR, (BY_CHANCE_NEAR / 10) ** (1 / dimension)))


def _contrasts(sample: Sample) -> Array:
    """Return each sample as a vector of about 256 numbers, for comparison: float32 (n, d).

    Vectors of pictures and signals have mean 0 and standard deviation 1 each, so that brightness does not count.
    """
    flat = coarse(sample.x, 256)
    if sample.is_table:
        return flat
    flat = flat - flat.mean(axis=1, keepdims=True)
    return flat / np.maximum(flat.std(axis=1, keepdims=True), 1e-6)


def overlapping(images: Array, others: Array) -> Array:
    """Return the indices of signals in ``others`` that share a piece of 8 values with a signal in ``images``.

    Both arrays are (n, C, L); the result is empty for other shapes. Two pieces of channel 0 of each signal in
    ``others``, at a quarter and at three quarters of its length, are looked up among all pieces of ``images``. Constant
    pieces of ``images`` do not count.
    """
    if images.ndim != 3 or images.shape[2] < 2 * PIECE or images.size > 1 << 24:
        return np.zeros(0, np.int64)
    length = images.shape[2]
    first = np.ascontiguousarray(images[:, 0])
    pieces = np.lib.stride_tricks.sliding_window_view(first, PIECE, axis=1).reshape(-1, PIECE)
    known = {row.tobytes() for row in pieces if row[0] != row[-1] or row[0] != row[PIECE // 2]}
    found: list[int] = []
    for i, row in enumerate(np.ascontiguousarray(others[:, 0])):
        starts = (length // 4, 3 * length // 4 - PIECE // 2)
        if any(row[start : start + PIECE].tobytes() in known for start in starts):
            found.append(i)
    return np.array(found, np.int64)
