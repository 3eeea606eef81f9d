"""Observes training, layer by layer: statistics of outputs, and gradients of parameters."""

from striate.watch.observation import Observation, observe
from striate.watch.watch import Watch

__all__ = ["Observation", "Watch", "observe"]
