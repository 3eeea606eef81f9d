"""Predictions that are stated before anything is measured, and the verdict that the measurements give."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum

from striate.experiments.measurement import Measurement


@dataclass(frozen=True)
class Prediction:
    """An expectation: a text that is printed before the run, and a test that the measurements pass or fail.

    text        what is expected, with a threshold, so that the numbers alone decide
    test        returns whether the measurements confirm it
    evidence    returns the deciding numbers in a few words
    elsewhere   the same numbers as published or measured elsewhere, shown only for comparison
    condition   if given, the prediction is a limit of the claim: if its test passes, the claim holds only
                under this condition
    """

    text: str
    test: Callable[[Measurement], bool]
    evidence: Callable[[Measurement], str]
    elsewhere: str = ""
    condition: str = ""

    def compare(self, found: Measurement) -> Compared:
        """Test the prediction on the measurements."""
        return Compared(self, bool(self.test(found)), self.evidence(found))


@dataclass(frozen=True)
class Compared:
    """A prediction, whether it came true, and the numbers that show it."""

    prediction: Prediction
    came_true: bool
    evidence: str

    def to_json(self) -> dict[str, object]:
        """Return the comparison as JSON-compatible data."""
        one = self.prediction
        return {
            "prediction": one.text,
            "came_true": self.came_true,
            "evidence": self.evidence,
            "measured_elsewhere": one.elsewhere or None,
            "condition": one.condition or None,
        }


class Ruling(Enum):
    """The result of an experiment: its claim holds, holds with a condition, or does not hold on these data."""

    HOLDS = "holds"
    CONDITION = "holds with a condition"
    FAILS = "does not hold here"


@dataclass(frozen=True)
class Verdict:
    """The ruling on a claim and its reasons: conditions under which it holds, or predictions that failed."""

    ruling: Ruling
    reasons: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.ruling.value}: {'; '.join(self.reasons)}" if self.reasons else self.ruling.value


def judge(compared: Sequence[Compared]) -> Verdict:
    """Return the verdict on a claim from its checked predictions.

    The ruling is FAILS if a prediction without a ``condition`` did not come true. Otherwise it is CONDITION if a
    prediction with a ``condition`` came true, and HOLDS if none did.
    """
    failed = [one for one in compared if not one.prediction.condition and not one.came_true]
    if failed:
        return Verdict(Ruling.FAILS, tuple(f"{one.prediction.text} Found: {one.evidence}" for one in failed))
    limits = tuple(one.prediction.condition for one in compared if one.prediction.condition and one.came_true)
    return Verdict(Ruling.CONDITION if limits else Ruling.HOLDS, limits)
