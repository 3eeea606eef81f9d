"""The rules of the doctor, grouped by what they examine. Importing this package registers them."""

from striate.doctor.rules import (
    agreement,
    connection,
    data,
    duplicates,
    extremes,
    generalization,
    gradients,
    labels,
    normalization,
    outputs,
    progress,
    rate,
    split,
    starts,
    targets,
    units,
)

__all__ = [
    "agreement", "connection", "data", "duplicates", "extremes", "generalization", "gradients", "labels",
    "normalization", "outputs", "progress", "rate", "split", "starts", "targets", "units",
]  # fmt: skip
