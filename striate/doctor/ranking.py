"""The order of findings: causes before their symptoms."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from striate.doctor.finding import Finding, Findings, Severity
from striate.doctor.rule import RULES

ORDER = (
    "one_class", "constant_features", "labels_shifted", "labels_shuffled:neighbours", "sorted_batches",
    "softmax_twice", "bounded_outputs", "no_gradient:frozen", "no_gradient:unused", "leakage", "extreme_range",
    "unstandardized_input",
    "idle_normalization:epsilon", "exploding_gradients", "saturated_units:initialization",
    "dead_units:initialization", "dead_units:activation", "idle_normalization:input", "vanishing_gradients",
    "dead_units:weak signal", "no_gradient:zero", "loss_at_start", "learning_rate_too_high", "learning_rate_too_low",
    "dead_units:learning rate", "saturated_units:learning rate", "duplicate_features", "labels_shuffled:memorized",
    "stale_statistics", "overfitting", "constant_predictions:imbalance", "constant_predictions",
    "labels_shuffled:nothing learned",
)  # fmt: skip
"""From the data over the start of the training to its results. A finding can explain only findings below it."""


def place(finding: Finding) -> int:
    """The position of a finding in the order."""
    for name in (f"{finding.kind}:{finding.cause}", finding.kind):
        if name in ORDER:
            return ORDER.index(name)
    return len(ORDER)


def explains(cause: Finding, symptom: Finding) -> bool:
    """Whether one finding follows from another."""
    known = RULES[cause.kind].explains if cause.kind in RULES else ()
    below = place(cause) < place(symptom)
    return below and (symptom.kind in known or f"{symptom.kind}:{symptom.cause}" in known)


def ranked(found: Iterable[Finding]) -> Findings:
    """Findings with what explains them. Those that nothing explains come first, errors before warnings."""
    findings = sorted(found, key=place)
    causes: list[Finding] = []
    symptoms: list[Finding] = []
    for finding in findings:
        # The highest cause, so that a chain of symptoms hangs on what is to be changed.
        source = next((cause for cause in causes if explains(cause, finding)), None)
        if source is None:
            causes.append(replace(finding, because=""))
        else:
            symptoms.append(replace(finding, because=source.kind))

    def bad(cause: Finding) -> bool:
        own = cause.severity is Severity.ERROR
        return own or any(one.because == cause.kind and one.severity is Severity.ERROR for one in symptoms)

    return Findings([*sorted(causes, key=lambda one: (not bad(one), place(one))), *symptoms])
