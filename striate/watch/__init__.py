"""Watching training, layer by layer: what every layer puts out, and what reaches its parameters on the way back."""

from striate.watch.observation import Observation, observe
from striate.watch.watch import Watch

__all__ = ["Observation", "Watch", "observe"]
