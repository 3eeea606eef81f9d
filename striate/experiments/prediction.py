"""What is expected before anything is measured, and what the numbers then say of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum

from striate.experiments.measurement import Measurement


@dataclass(frozen=True)
class Prediction:
    """One expectation: the text that is printed first, and the test that the numbers then pass or not.

    text        what will be seen, with its threshold, so that the numbers alone decide
    test        whether they do
    evidence    the numbers it was decided by, in a few words
    elsewhere   the same figure as it was measured elsewhere, to compare with; it decides nothing
    condition   where given, the prediction is a limit of the claim, not a part of it: if its test passes, the claim
                holds only on this condition
    """

    text: str
    test: Callable[[Measurement], bool]
    evidence: Callable[[Measurement], str]
    elsewhere: str = ""
    condition: str = ""

    def compare(self, found: Measurement) -> Compared:
        """The prediction beside the numbers."""
        return Compared(self, bool(self.test(found)), self.evidence(found))


@dataclass(frozen=True)
class Compared:
    """A prediction, whether it came true, and by which numbers."""

    prediction: Prediction
    came_true: bool
    evidence: str

    def to_json(self) -> dict[str, object]:
        """Plain values."""
        one = self.prediction
        return {
            "prediction": one.text,
            "came_true": self.came_true,
            "evidence": self.evidence,
            "measured_elsewhere": one.elsewhere or None,
            "condition": one.condition or None,
        }


class Ruling(Enum):
    """What an experiment says of its claim."""

    HOLDS = "holds"
    CONDITION = "holds with a condition"
    FAILS = "does not hold here"


@dataclass(frozen=True)
class Verdict:
    """The ruling, and what it rests on: the conditions, or the predictions that failed."""

    ruling: Ruling
    reasons: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.ruling.value}: {'; '.join(self.reasons)}" if self.reasons else self.ruling.value


def judge(compared: Sequence[Compared]) -> Verdict:
    """Fails where a part of the claim failed; holds with a condition where a limit was met; else holds."""
    failed = [one for one in compared if not one.prediction.condition and not one.came_true]
    if failed:
        return Verdict(Ruling.FAILS, tuple(f"{one.prediction.text} Found: {one.evidence}" for one in failed))
    limits = tuple(one.prediction.condition for one in compared if one.prediction.condition and one.came_true)
    return Verdict(Ruling.CONDITION if limits else Ruling.HOLDS, limits)
