"""The training step of a model, and the graph that it runs."""

from striate.step.clipping import Clipping
from striate.step.requirement import require_precision
from striate.step.sample_weights import checked_weights
from striate.step.step import TrainingStep
from striate.step.training_graph import TrainingGraph, batch_type, training_graph

__all__ = [
    "Clipping",
    "TrainingGraph",
    "TrainingStep",
    "batch_type",
    "checked_weights",
    "require_precision",
    "training_graph",
]
