"""Predictions that are stated before anything is measured, and how the numbers judge them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum

from striate.experiments.measurement import Measurement


@dataclass(frozen=True)
class Prediction:
    """One expectation: the text that is printed first, and the test that the numbers pass or fail.

    text        what will be seen, with its threshold, so that the numbers alone decide
    test        whether the numbers confirm it
    evidence    the numbers that decide, in a few words
    elsewhere   the same figure measured elsewhere, for comparison only
    condition   if given, the prediction is a limit of the claim and not a part of it: if its test passes, the claim
                holds only on this condition
    """

    text: str
    test: Callable[[Measurement], bool]
    evidence: Callable[[Measurement], str]
    elsewhere: str = ""
    condition: str = ""

    def compare(self, found: Measurement) -> Compared:
        """The prediction compared with the numbers."""
        return Compared(self, bool(self.test(found)), self.evidence(found))


@dataclass(frozen=True)
class Compared:
    """A prediction, whether it came true, and the numbers that show it."""

    prediction: Prediction
    came_true: bool
    evidence: str

    def to_json(self) -> dict[str, object]:
        """Plain values for JSON."""
        one = self.prediction
        return {
            "prediction": one.text,
            "came_true": self.came_true,
            "evidence": self.evidence,
            "measured_elsewhere": one.elsewhere or None,
            "condition": one.condition or None,
        }


class Ruling(Enum):
    """The result of an experiment for its claim."""

    HOLDS = "holds"
    CONDITION = "holds with a condition"
    FAILS = "does not hold here"


@dataclass(frozen=True)
class Verdict:
    """The ruling on a claim and its reasons: the conditions under which it holds, or the predictions that failed."""

    ruling: Ruling
    reasons: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.ruling.value}: {'; '.join(self.reasons)}" if self.reasons else self.ruling.value


def judge(compared: Sequence[Compared]) -> Verdict:
    """FAILS where a part of the claim failed, CONDITION where a limit was met, else HOLDS."""
    failed = [one for one in compared if not one.prediction.condition and not one.came_true]
    if failed:
        return Verdict(Ruling.FAILS, tuple(f"{one.prediction.text} Found: {one.evidence}" for one in failed))
    limits = tuple(one.prediction.condition for one in compared if one.prediction.condition and one.came_true)
    return Verdict(Ruling.CONDITION if limits else Ruling.HOLDS, limits)
