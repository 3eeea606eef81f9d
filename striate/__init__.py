"""striate: convolutional networks, compiled for this very CPU.

    import striate as st
    from striate import nn, optim
"""

from typing import TYPE_CHECKING

import striate.ops
from striate import models, nn, optim
from striate.eager import Operations
from striate.errors import StriateError
from striate.step import TrainingStep
from striate.tracing import compile, value_and_grad

if TYPE_CHECKING:
    from striate import ops
else:
    ops = Operations(striate.ops)  # takes arrays too

__version__ = "0.1.0"

__all__ = ["StriateError", "TrainingStep", "compile", "models", "nn", "ops", "optim", "value_and_grad"]
