"""Watching a training layer by layer: statistics of every layer's output, and the gradients of its parameters."""

from striate.watch.observation import PREFIX, Observation, observe
from striate.watch.watch import Watch

__all__ = ["PREFIX", "Observation", "Watch", "observe"]
