"""A rule of the doctor, and the registry of all rules.

A rule states what it looks for, its threshold, the source of the threshold, and which other findings it explains.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum

import numpy as np

from striate.doctor.finding import Finding
from striate.doctor.training_trace import TrainingTrace

Examine = Callable[[TrainingTrace], Iterable[Finding]]


class When(Enum):
    """The moment in a training from which a rule of the doctor can be applied.

    This is before the first step, in the first steps, or at the end of an epoch. A rule with the moment ONCE is applied
    only before the first step.
    """

    ONCE = "once, before the first step"
    START = "from before the first step"
    EARLY = "in the first steps"
    EPOCH = "at the end of an epoch"


@dataclass(frozen=True)
class Rule:
    """One rule of the doctor, with the text that documents it and the function that applies it.

    kind       name of the rule and of its findings, such as "dead_units"
    when       the moment from which the rule is applied
    looks_for, threshold, source, why, remedy    the texts of the rule in docs/doctor.md
    explains   kinds of findings that a finding of this rule explains; they are ranked behind it. A kind may be
               limited to one of its causes, as in "dead_units:learning rate"
    examine    yields the rule's findings for a training trace
    """

    kind: str
    when: When
    looks_for: str
    threshold: str
    source: str
    why: str
    remedy: str
    explains: tuple[str, ...]
    examine: Examine


RULES: dict[str, Rule] = {}
"""All registered rules by kind, in the order of registration."""


def rule(
    kind: str,
    when: When,
    *,
    looks_for: str,
    threshold: str,
    source: str,
    why: str,
    remedy: str,
    explains: tuple[str, ...] = (),
) -> Callable[[Examine], Examine]:
    """Return a decorator that registers a function as the rule ``kind`` and returns it unchanged.

    The function takes a training trace and yields findings. The arguments become the fields of a ``Rule``.
    """

    def register(examine: Examine) -> Examine:
        RULES[kind] = Rule(kind, when, looks_for, threshold, source, why, remedy, explains, examine)
        return examine

    return register


def described() -> str:
    """Return the descriptions of all rules in Markdown, as they appear in ``docs/doctor.md``."""
    return "\n\n".join(
        f"**`{one.kind}`**, {one.when.value}: {one.looks_for}.\n{one.why}\n"
        f"*Threshold:* {one.threshold}. *Source:* {one.source}. *Remedy:* {one.remedy}."
        for one in RULES.values()
    )


def applied(kind: str, trace: TrainingTrace) -> list[Finding]:
    """Apply the rule ``kind`` to a trace and return its findings.

    An error inside the rule becomes a warning, and the result is then empty.
    """
    try:
        with np.errstate(all="ignore"):
            return list(RULES[kind].examine(trace))
    except Exception as error:  # noqa: BLE001 - an error in a rule must not end the training
        warnings.warn(f"the doctor's rule {kind} failed: {type(error).__name__}: {error}", stacklevel=2)
        return []
