"""A rule: what it looks for, its threshold, the source of the threshold, and which findings it explains."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum

from striate.doctor.finding import Finding
from striate.doctor.training_trace import TrainingTrace

Examine = Callable[[TrainingTrace], Iterable[Finding]]


class When(Enum):
    """When a rule has seen enough to be applied."""

    ONCE = "once, before the first step"
    START = "from before the first step"
    EARLY = "in the first steps"
    EPOCH = "at the end of an epoch"


@dataclass(frozen=True)
class Rule:
    """``explains`` names the kinds of findings that follow from this one, so that they rank behind it.

    A kind may be limited to one cause: ``dead_units:learning rate``.
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
"""All rules by kind, in the order of registration."""


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
    """Registers the function below as a rule."""

    def register(examine: Examine) -> Examine:
        RULES[kind] = Rule(kind, when, looks_for, threshold, source, why, remedy, explains, examine)
        return examine

    return register


def described() -> str:
    """All rules in Markdown, as in ``docs/doctor.md``."""
    return "\n\n".join(
        f"**`{one.kind}`**, {one.when.value}: {one.looks_for}.\n{one.why}\n"
        f"*Threshold:* {one.threshold}. *Source:* {one.source}. *Remedy:* {one.remedy}."
        for one in RULES.values()
    )
