"""Ranks the doctor's findings: causes before their symptoms, and errors before warnings."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from striate.doctor.finding import Finding, Findings, Severity
from striate.doctor.rule import RULES

ORDER = (
    "one_class", "constant_features", "other_inputs", "sorted_split", "labels_shifted", "labels_shuffled:neighbours",
    "sorted_batches", "one_output", "softmax_twice", "bounded_outputs", "no_gradient:unregistered",
    "no_gradient:frozen", "no_gradient:unused", "leakage", "conflicting_labels", "extreme_range",
    "unstandardized_input", "equal_start", "unscaled_targets", "schedule", "weight_decay",
    "idle_normalization:epsilon", "exploding_gradients", "saturated_units:initialization",
    "dead_units:initialization", "dead_units:activation", "idle_normalization:input", "vanishing_gradients",
    "dead_units:weak signal", "no_gradient:zero", "loss_at_start", "learning_rate_too_high", "learning_rate_too_low",
    "dead_units:learning rate", "saturated_units:learning rate", "no_gradient:everywhere", "duplicate_features",
    "labels_shuffled:memorized", "stale_statistics", "overfitting", "constant_predictions:imbalance",
    "labels_shuffled:nothing learned", "unexplained", "constant_predictions",
)  # fmt: skip
"""Kinds of findings, some with a cause, in the order data, start of the training, results.

A finding can explain only findings after it in this order.
"""


def place(finding: Finding) -> int:
    """Return the position of a finding in ``ORDER``, which lists the kinds by what to change first.

    ``ORDER`` names kinds, such as "leakage", or a kind with a cause, such as "no_gradient:frozen". A finding that is
    not listed comes after all others.
    """
    for name in (f"{finding.kind}:{finding.cause}", finding.kind):
        if name in ORDER:
            return ORDER.index(name)
    return len(ORDER)


LAST_RESORT = "unexplained"
"""The kind of the finding that only says that no cause was found; any other finding replaces it."""


def explains_kind(kind: str, symptom: Finding) -> bool:
    """Return whether findings of the rule ``kind`` can explain the finding ``symptom``.

    They can if the rule's ``explains`` contains the symptom's kind, or "kind:cause" with its kind and cause.
    """
    known = RULES[kind].explains if kind in RULES else ()
    return symptom.kind in known or f"{symptom.kind}:{symptom.cause}" in known


def explains(cause: Finding, symptom: Finding) -> bool:
    """Return whether the finding ``cause`` explains the finding ``symptom``, as the rule of the cause says.

    A cause explains only findings that come after it in ``ORDER``.
    """
    return place(cause) < place(symptom) and explains_kind(cause.kind, symptom)


def ranked(found: Iterable[Finding]) -> Findings:
    """Rank findings and set the ``because`` of each symptom to the kind of its cause.

    Causes come before symptoms. Causes that are errors or lead to errors come first, then the other causes, both in the
    sequence of ``ORDER``. ``LAST_RESORT``, the finding that no cause was found, is dropped if there is any other
    finding that it does not explain.
    """
    findings = sorted(found, key=place)
    if any(one.kind != LAST_RESORT and not explains_kind(LAST_RESORT, one) for one in findings):
        findings = [one for one in findings if one.kind != LAST_RESORT]
    causes: list[Finding] = []
    symptoms: list[Finding] = []
    for finding in findings:
        # The first cause, so that every symptom of a chain refers to the one thing that is to be changed.
        source = next((cause for cause in causes if explains(cause, finding)), None)
        if source is None:
            causes.append(replace(finding, because=""))
        else:
            symptoms.append(replace(finding, because=source.kind))

    def bad(cause: Finding) -> bool:
        own = cause.severity is Severity.ERROR
        return own or any(one.because == cause.kind and one.severity is Severity.ERROR for one in symptoms)

    return Findings([*sorted(causes, key=lambda one: (not bad(one), place(one))), *symptoms])
