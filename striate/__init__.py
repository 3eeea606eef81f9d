"""striate: convolutional networks, compiled for this very CPU.

The main job in four lines::

    model = st.models.build("lenet5")
    step = st.TrainingStep(model, nn.CrossEntropyLoss(), optim.SGD(lr=0.05, momentum=0.9))
    loss = step(x, y)
    logits = model(x)
"""

from typing import TYPE_CHECKING

import striate.ops
from striate import data, models, nn, optim
from striate.eager import Operations
from striate.errors import StriateError
from striate.persistence import load, save
from striate.step import TrainingStep
from striate.tracing import compile, value_and_grad
from striate.train import Trainer
from striate.version import VERSION

if TYPE_CHECKING:
    from striate import ops
else:
    ops = Operations(striate.ops)  # takes arrays too

__version__ = VERSION

__all__ = [
    "TrainingStep", "Trainer", "save", "load",
    "compile", "value_and_grad", "ops",
    "nn", "optim", "models", "data",
    "StriateError",
]  # fmt: skip
