"""striate: convolutional networks, compiled for the CPU on which they run.

Training and prediction in a few lines::

    import striate as st
    from striate import nn, optim

    model = st.models.build("lenet5")
    step = st.TrainingStep(model, nn.CrossEntropyLoss(), optim.SGD(lr=0.05, momentum=0.9))
    loss = step(x, y)      # x: (N, 1, 28, 28) images, y: (N,) class indices; returns the loss of the batch
    logits = model(x)      # (N, 10)
"""

from striate.starting import interruptible

interruptible()

# ruff: noqa: E402 - the rest takes a quarter of a second
from importlib import import_module
from typing import TYPE_CHECKING, Any

import striate.ops
from striate import habits, nn, optim
from striate.errors import StriateError, opened_room
from striate.step import TrainingStep
from striate.tracing import Operations, compile, value_and_grad
from striate.version import VERSION

if TYPE_CHECKING:
    from striate import data, doctor, insight, models, native, ops, plot, train
    from striate.data.filters import filter
    from striate.export import export_onnx
    from striate.native import export_native
    from striate.persistence import load, load_torch_state, save, save_torch_state
    from striate.train import Trainer
else:
    ops = Operations(striate.ops)  # accepts NumPy arrays as well as traced values

__version__ = VERSION

__all__ = [
    "TrainingStep", "Trainer", "save", "load", "load_torch_state", "save_torch_state", "export_onnx", "export_native",
    "compile", "value_and_grad", "ops",
    "filter",
    "nn", "optim", "models", "data", "train", "doctor", "insight", "plot", "native",
    "StriateError",
]  # fmt: skip

_LATER = {
    "Trainer": "striate.train", "save": "striate.persistence", "load": "striate.persistence",
    "load_torch_state": "striate.persistence", "save_torch_state": "striate.persistence",
    "filter": "striate.data.filters", "export_native": "striate.native",
}  # fmt: skip
"""Names whose modules are imported at their first use, so that scripts that only predict do not load the trainer."""


def __getattr__(name: str) -> Any:
    if name in ("data", "doctor", "models", "insight", "train", "native"):
        return import_module(f"striate.{name}")
    if name == "plot":
        return opened_room("plot", "matplotlib")
    if name == "export_onnx":
        return opened_room("export", "onnx", "onnxruntime", extra="onnx").export_onnx
    if name in _LATER:
        found = globals()[name] = getattr(import_module(_LATER[name]), name)
        return found
    raise habits.missing("striate", name, __all__, habits.PACKAGE)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
