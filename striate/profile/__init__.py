"""Where the time goes, by layer and pass: measured, and set against what this computer could do.

    print(step.profile(x, y))
    print(profile_prediction(model, x))
"""

from __future__ import annotations

from striate.profile.measure import Latency, latency, profile_prediction, profile_training
from striate.profile.rows import Pass, PhaseTime, Row
from striate.profile.sheet import Profile

__all__ = [
    "Latency", "Pass", "PhaseTime", "Profile", "Row", "latency", "profile_prediction", "profile_training",
]  # fmt: skip
