"""The rule about equal samples with different labels."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from striate.doctor.changes import DropSamples
from striate.doctor.finding import Finding, Severity
from striate.doctor.remedy import Remedy
from striate.doctor.rule import When, rule
from striate.doctor.training_trace import TrainingTrace

MANY = 0.02
LISTED = 3


@rule(
    "conflicting_labels",
    When.ONCE,
    looks_for="one and the same sample under two labels",
    threshold="one pair of equal samples with different labels. Tables of few different numbers, where equal rows are "
    "usual, are left out",
    source="exact: all samples of the training set are compared, and those of the validation set with them",
    why="Whatever the network answers, one of the two counts as a mistake: it learns to be unsure, or learns a wrong "
    "label by heart.",
    remedy="look at the samples that are named, keep the right label; until then leave out all of them",
    explains=("overfitting",),
)
def conflicting_labels(trace: TrainingTrace) -> Iterator[Finding]:
    """Find samples with equal inputs but different labels, in the training set or in training and validation."""
    train_set, validation = trace.setup.train_set, trace.setup.validation
    if train_set is None or trace.data is None or not trace.setup.classifies or trace.data.is_discrete:
        return
    if trace.data.constant.all():
        return
    groups: defaultdict[bytes, list[int]] = defaultdict(list)
    for i, row in enumerate(train_set.images):
        groups[row.tobytes()].append(i)
    labels = train_set.labels
    several = [group for group in groups.values() if len(group) > 1]
    conflicts = [group for group in several if len({int(labels[i]) for i in group}) > 1]
    across: list[tuple[int, int]] = []
    if validation is not None and validation.images.shape[1:] == train_set.images.shape[1:]:
        for j, row in enumerate(validation.images if validation.images.dtype == train_set.images.dtype else ()):
            across += [(i, j) for i in groups.get(row.tobytes(), ())[:1] if labels[i] != validation.labels[j]]
    if not conflicts and not across:
        return
    places = tuple(sorted(i for group in conflicts for i in group))
    names = train_set.classes
    shown = [
        f"{' and '.join(map(train_set.sample_name, group[:3]))} ({', '.join(names[int(labels[i])] for i in group[:3])})"
        for group in conflicts[:LISTED]
    ]
    shown += [
        f"{train_set.sample_name(i)} and {validation.sample_name(j)} of validation"
        for i, j in across[: LISTED - len(shown)]
        if validation is not None
    ]
    count = len(conflicts) + len(across)
    share = len(places) / len(train_set)
    more = f" and {count - len(shown)} more" if count > len(shown) else ""
    changes = (DropSamples(places),) if places else ()
    text = "look at them and keep the right label; until then leave all of them out"
    yield Finding(
        "conflicting_labels", Severity.ERROR if share > MANY else Severity.WARNING, "labels", places, 0.97,
        {"groups of equal samples": len(several), "with different labels": len(conflicts), "samples": len(places),
         "across the sets": len(across)},
        f"equal samples have different labels: {', '.join(shown)}{more}",
        "Whatever the network answers, one of them counts as a mistake. It learns to be unsure of such samples, or "
        "learns a wrong label by heart.",
        Remedy.of(trace.setup, text, *changes) if changes else Remedy(text),
    )  # fmt: skip
