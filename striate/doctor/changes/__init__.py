"""The changes that remedies consist of: to the training, to the model, to the data."""

from striate.doctor.changes.data import (
    AffineValidation,
    ClipInputs,
    DropFeatures,
    DropLeaked,
    DropSamples,
    Renumber,
    RenumberValidation,
    ReorderValidation,
    Resplit,
    RollLabels,
    Standardize,
)
from striate.doctor.changes.model import (
    Activation,
    Initialization,
    Normalize,
    NormOptions,
    Outputs,
    Remove,
    Unfreeze,
)
from striate.doctor.changes.training import (
    ClassWeights,
    Epochs,
    LearningRate,
    MeanLoss,
    OptimizerOption,
    ScheduleLength,
    Shuffle,
)

__all__ = [
    "Activation", "AffineValidation", "ClassWeights", "ClipInputs", "DropFeatures", "DropLeaked", "DropSamples",
    "Epochs",
    "Initialization", "LearningRate", "MeanLoss", "NormOptions", "Normalize", "OptimizerOption", "Outputs", "Remove",
    "Renumber", "RenumberValidation", "ReorderValidation", "Resplit", "RollLabels", "ScheduleLength", "Shuffle", "Standardize", "Unfreeze",
]  # fmt: skip
