"""The rules, by what they look at; importing them registers them."""

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
