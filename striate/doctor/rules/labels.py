"""Rules about labels: whether they belong to their inputs, and whether there is more than one class.

If labels belong to their inputs, samples near each other have the same label more often than by chance. This can be
measured before any training. For some data, near samples do not share labels even if the labels are correct; then only
the training can show whether the labels are correct.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from striate.doctor.changes import Renumber, RenumberValidation, RollLabels
from striate.doctor.finding import Finding, Severity
from striate.doctor.remedy import Change, Remedy
from striate.doctor.rule import When, rule
from striate.doctor.sample import NEIGHBOURS, Array, Sample, nearest
from striate.doctor.training_trace import TrainingTrace

BLIND = 3.0
SURE = 6.0
FARTHEST = 5
LEAST = 200
MEMORIZED = 0.1
APART = 1.5
TWICE = 2.0

PAIRS = """order = np.random.default_rng(0).permutation(len(labels))
images, labels = images[order], labels[order]   # one order for both"""


@rule(
    "one_class",
    When.ONCE,
    looks_for="training labels that are all the same",
    threshold="one class among the labels",
    source="the best constant prediction has loss 0: there is nothing to learn",
    why="There is nothing to tell apart. A part of a sorted data set, or a wrong column, looks like "
    "this.",
    remedy="by hand: draw the samples at random",
    explains=(
        "constant_predictions", "learning_rate_too_low", "overfitting", "loss_at_start", "labels_shuffled",
        "labels_shifted", "sorted_batches", "dead_units", "stale_statistics",
    ),
)  # fmt: skip
def one_class(trace: TrainingTrace) -> Iterator[Finding]:
    """Find a training set whose labels are all the same class."""
    sample = trace.data
    if sample is None or not trace.setup.classifies or len(sample.dataset) < 2 or len(sample.dataset.classes) < 2:
        return
    present = np.flatnonzero(sample.class_shares)
    if len(present) > 1:
        return
    name = sample.dataset.classes[int(present[0])]
    yield Finding(
        "one_class", Severity.ERROR, "labels", (int(present[0]),), 1.0,
        {"classes": len(sample.dataset.classes), "present": 1, "samples": len(sample.dataset)},
        f"all {len(sample.dataset):,} training labels are class {name!r}",
        "The network will learn to answer that, whatever it is shown. A part of a sorted data set, or a wrong column "
        "read as labels, looks like this.",
        Remedy("draw the training samples from the whole data set at random, with the labels that belong to them",
               "index = np.random.default_rng(0).permutation(len(labels))[:count]\n"
               "train_set = data.Dataset(images[index], labels[index], classes)"),
    )  # fmt: skip


@rule(
    "labels_shifted",
    When.ONCE,
    looks_for="labels a few places away from their inputs; a validation set that numbers the classes otherwise",
    threshold="near samples agree twice as much beyond chance, and 6 standard errors, after moving the labels by 1 to "
    "5 places; or near samples of both sets do so after renumbering only, and the inputs of both sets lie among each "
    "other (nearest neighbours at most 1.5 times as far as within the training set)",
    source="5 nearest neighbours; Cover and Hart 1967: their error is at most twice the least possible",
    why="Inputs and labels were read from rows that do not correspond, or the two sets number the "
    "classes differently.",
    remedy="`np.roll` of the labels by as many places; or the numbers of the other set",
    explains=(
        "labels_shuffled", "constant_predictions", "overfitting", "learning_rate_too_low", "learning_rate_too_high",
    ),
)  # fmt: skip
def labels_shifted(trace: TrainingTrace) -> Iterator[Finding]:
    """Find labels that are some samples away from their inputs, or numbered differently in validation."""
    sample = trace.data
    if sample is None or not trace.setup.classifies or len(sample.y) < LEAST or sample.chance > 0.9:
        return
    error = sample.standard_error()
    own = (sample.agreement(sample.y) - sample.chance) / error
    labels, n = sample.dataset.labels, len(sample.dataset)
    best, places = own, 0
    for shift in (s for k in range(1, FARTHEST + 1) for s in (k, -k)):
        moved = (sample.agreement(labels[(sample.index + shift) % n]) - sample.chance) / error
        if moved > best:
            best, places = moved, -shift
    if places and best > SURE and best > 2 * own:
        agreement = best * error + sample.chance
        yield Finding(
            "labels_shifted", Severity.ERROR, "labels", (), min(0.99, 0.5 + best / 50),
            {"places": -places, "agreement of neighbours": sample.agreement(sample.y), "after moving": agreement,
             "by chance": sample.chance},
            f"the labels are {abs(places)} place{'s' if abs(places) > 1 else ''} away from their inputs",
            "With the labels moved, samples that look alike have the same label far more often. Inputs and labels were "
            "read from rows that do not correspond: a header line, a lost first sample.",
            Remedy.of(trace.setup, "move the labels back to their inputs", RollLabels(places)),
            "places",
        )  # fmt: skip
        return
    if own > SURE and trace.validation is not None:
        yield from _renumbered(trace, sample, trace.validation)


def _renumbered(trace: TrainingTrace, ours: Sample, theirs: Sample) -> Iterator[Finding]:
    """Find sets that number the classes differently.

    Near samples of the two sets then have the same pair of labels, but not equal ones.
    """
    if len(theirs.y) < LEAST // 2 or theirs.x.shape[1:] != ours.x.shape[1:]:
        return
    classes = len(ours.dataset.classes)
    points = np.concatenate([ours.points, _in_units_of(ours, theirs)])
    a, b = points[: len(ours.y)], points[len(ours.y) :]
    found = nearest(b, a, NEIGHBOURS)
    counts = np.zeros((classes, classes))
    np.add.at(counts, (ours.y[found].ravel(), np.repeat(theirs.y, found.shape[1])), 1)
    total = counts.sum()
    shares = np.pad(theirs.class_shares[:classes], (0, max(0, classes - len(theirs.class_shares))))
    chance = float(np.sum(ours.class_shares * shares)) if classes else 1.0
    error = 2 * np.sqrt(max(chance * (1 - chance), 1e-9) / total)
    equal = float(np.trace(counts)) / total
    shift = max(range(classes), key=lambda k: np.trace(np.roll(counts, -k, axis=1)))
    shifted = float(np.trace(np.roll(counts, -shift, axis=1))) / total
    # Rows: training labels; columns: validation labels. Classes that validation lacks have an empty column.
    present = np.flatnonzero(shares)
    numbers = counts.argmax(axis=0)
    matched = float(counts[numbers[present], present].sum()) / total
    one_to_one = len(present) > 1 and len(set(numbers[present].tolist())) == len(present)
    whole = len(present) == classes
    # A renumbering may leave some classes where they were: folders that are sorted as text keep 0 and 1.
    if equal > chance + BLIND * error and not (matched > TWICE * equal and one_to_one):
        return
    if shift and whole and shifted > chance + SURE * error and shifted >= 0.9 * matched:
        rule_of, numbers, agreement = f"+ {shift}", (np.arange(classes) - shift) % classes, shifted
    elif one_to_one and matched > chance + SURE * error * 2:
        rule_of, agreement = "renumbered", matched
    else:
        return
    if not _alike(a, b):
        return  # inputs that differ are another fault: see the rule other_inputs
    if whole:
        text = "number the training labels as the validation set does (or the other way round)"
        change: Change = Renumber(tuple(int(i) for i in np.argsort(numbers)))
    else:
        text = "number the validation labels as the training set does: list the classes once, for both"
        change = RenumberValidation(tuple(int(i) for i in numbers))
    missing = "" if whole else f"; validation lacks {classes - len(present)} of the {classes} classes"
    yield Finding(
        "labels_shifted", Severity.ERROR, "labels", (), 0.9,
        {"agreement with validation": equal, "after renumbering": agreement, "by chance": chance},
        "training and validation number the classes differently"
        + (f": label {rule_of} (modulo {classes}) of one is that of the other" if rule_of[0] == "+" else missing),
        "Samples of the two sets that look alike hardly ever have the same label, but the same pair of labels. Classes "
        "counted from 1 in one file and from 0 in the other look like this, folders listed in another order, and a "
        "class that one of the sets lacks.",
        Remedy.of(trace.setup, text, change),
        "numbers",
    )  # fmt: skip


def _in_units_of(ours: Sample, theirs: Sample) -> Array:
    """Return the vectors of ``theirs`` with the mean and scale of ``ours``, so that both can be compared."""
    mean, scale = ours.centre
    return (theirs.flat - mean) / scale


def _alike(a: Array, b: Array) -> bool:
    """Whether samples b lie about as near to samples a as these lie to each other."""
    usual = np.median(np.linalg.norm(a - a[nearest(a, a, 1, itself=True)[:, 0]], axis=1))
    across = np.median(np.linalg.norm(b - a[nearest(b, a, 1)[:, 0]], axis=1))
    return bool(across < APART * usual)


@rule(
    "labels_shuffled",
    When.START,
    looks_for="labels that have nothing to do with their inputs",
    threshold="near samples agree no better than chance (3 standard errors), though in the validation set they do (6); "
    "or, where that cannot be seen, training that learns nothing, or learns by heart (training accuracy 10 points "
    "above validation's, which is at chance), and no other finding that would explain it",
    source="Zhang et al. 2017 (arXiv:1611.03530): networks fit random labels, and then generalize at chance",
    why="The network can only learn the labels by heart, and generalizes at chance.",
    remedy="by hand: pair inputs and labels anew, shuffle both by one order",
    explains=(
        "overfitting", "constant_predictions", "learning_rate_too_low", "learning_rate_too_high", "dead_units",
        "saturated_units",
    ),
)  # fmt: skip
def labels_shuffled(trace: TrainingTrace) -> Iterator[Finding]:
    """Find labels that are not related to their inputs."""
    sample = trace.data
    if sample is None or not trace.setup.classifies or len(sample.y) < LEAST or sample.chance > 0.9:
        return
    error = sample.standard_error()
    own = (sample.agreement(sample.y) - sample.chance) / error
    if own > BLIND:
        return
    evidence = {"agreement of neighbours": sample.agreement(sample.y), "by chance": sample.chance}
    sure, cause = 0.0, "neighbours"
    theirs = trace.validation
    if theirs is not None and len(theirs.y) >= LEAST // 2:
        beyond = (theirs.agreement(theirs.y) - theirs.chance) / theirs.standard_error()
        evidence["in validation"] = theirs.agreement(theirs.y)
        if beyond > SURE:
            sure = 0.95
    if not sure and trace.seasoned and trace.finished:
        validated = [accuracy for accuracy in trace.validation_accuracies if accuracy is not None]
        top = float(sample.class_shares.max())
        known = trace.probes[-1].accuracy if trace.probes else 0.0
        if validated and known > max(validated) + MEMORIZED and max(validated) < 1.3 * top:
            evidence |= {"training accuracy": known, "validation accuracy": validated[-1]}
            sure, cause = 0.85, "memorized"
        elif trace.stuck and (not validated or max(validated) < 1.3 * top):
            evidence |= {"loss": trace.recent_loss, "loss of a constant": trace.baseline or 0.0}
            sure, cause = 0.5, "nothing learned"
    if not sure:
        return
    yield Finding(
        "labels_shuffled", Severity.ERROR if sure > 0.6 else Severity.WARNING, "labels", (), sure, evidence,
        "the labels seem to have nothing to do with their inputs",
        "Samples that look alike do not have the same label more often than by chance. Inputs and labels that were "
        "shuffled each by an order of its own, or sorted apart, look like this; a network can only learn by heart.",
        Remedy("pair inputs and labels anew, and shuffle both by one order", PAIRS),
        cause,
    )  # fmt: skip
