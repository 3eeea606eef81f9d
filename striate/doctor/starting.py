"""Looks at a model before its first step: its structure, starting weights and frozen parameters."""

from __future__ import annotations

import numpy as np

from striate.doctor.structure import Structure, as_drawn, copied_units
from striate.doctor.training_trace import TrainingTrace
from striate.nn.module import Module


def look_at_model(trace: TrainingTrace, model: Module, shape: tuple[int, ...]) -> dict[str, float]:
    """Record the structure and starting weights of a model in the trace.

    Returns the norm ‖w‖ of the weight of each linear layer and convolution, by path; empty if the model cannot be
    traced. Initial values are drawn for parameters that have none yet. ``shape`` is that of one sample.
    """
    trace.structure = structure = Structure.of(model, shape)
    sizes: dict[str, float] = {}
    if structure is None:
        return sizes
    parameters = dict(model.named_state())
    trace.random_and_frozen = tuple(
        name.rpartition(".")[0]
        for name in structure.frozen
        if name.endswith("weight") and as_drawn(model, name, parameters[name])
    )
    model.materialize()
    for one in structure.maps:
        bias, weight = (one.parameters.get(name) for name in ("bias", "weight"))
        if weight is not None:
            fan_in = weight.data[0].size
            trace.gains[one.path] = float(np.sqrt(np.square(weight.data, dtype=np.float64).mean() * fan_in))
            sizes[one.path] = float(np.linalg.norm(weight.data.astype(np.float64)))
        if bias is not None:
            trace.starts[one.path] = float(bias.data.mean())
    trace.copies = copied_units(structure)
    for one in structure.norms:
        scale = one.parameters.get("weight")
        trace.scales[one.path] = float(np.sqrt(np.square(scale.data).mean())) if scale is not None else 1.0
    return sizes
