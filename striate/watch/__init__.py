"""Watching a training layer by layer: statistics of every layer's output, and the gradients of its parameters."""

from striate.watch.observation import Observation, observe
from striate.watch.watch import Watch

__all__ = ["Observation", "Watch", "observe"]
