"""striate: convolutional networks, compiled for this very CPU.

    import striate as st
    from striate import nn, optim
"""

from striate import models, nn, ops, optim
from striate.errors import StriateError
from striate.step import TrainingStep
from striate.tracing import compile, value_and_grad

__version__ = "0.1.0"

__all__ = ["StriateError", "TrainingStep", "compile", "models", "nn", "ops", "optim", "value_and_grad"]
