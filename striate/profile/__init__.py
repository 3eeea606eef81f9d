"""Measures how the time of a step or prediction is divided among layers and passes, and compares it with the peak.

    print(step.profile(x, y))
    print(profile_prediction(model, x))

``print`` shows either as a table.
"""

from __future__ import annotations

from striate.profile.measure import Latency, latency, profile_prediction, profile_training, require_compiled
from striate.profile.rows import Pass, PhaseTime, Row
from striate.profile.sheet import WIDTH, Profile

__all__ = [
    "Latency", "Pass", "PhaseTime", "Profile", "Row", "WIDTH",
    "latency", "profile_prediction", "profile_training", "require_compiled",
]  # fmt: skip
