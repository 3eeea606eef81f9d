"""The rules, by what they look at; importing them registers them."""

from striate.doctor.rules import (
    connection,
    data,
    extremes,
    generalization,
    gradients,
    labels,
    normalization,
    outputs,
    rate,
    units,
)

__all__ = [
    "connection", "data", "extremes", "generalization", "gradients", "labels", "normalization", "outputs", "rate",
    "units",
]  # fmt: skip
