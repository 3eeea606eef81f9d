"""The state of a training step besides the model, as named arrays for a checkpoint, and its checks."""

from __future__ import annotations

import numpy as np

from striate.errors import DataError
from striate.graph.value import Array
from striate.optim.groups import Assignment
from striate.step.memory import StepMemory

_MOST_STEPS = 2**53  # float64 holds every whole number up to here


def state_places(memory: StepMemory, clock: Array) -> dict[str, Array]:
    """Return the step number and the optimizer state in ``memory`` as views by name.

    Writing to the arrays changes the state. ``clock`` is the array with the step number, float64 of shape (). The names
    are ``step``, ``momentum_buffer.conv1.weight`` …, ``mu_product`` …, ``average.conv1.weight`` …
    """
    vectors = {
        f"{slot}.{name}": view for slot, companion in memory.optimizer.items() for name, view in companion.views.items()
    }
    average = {} if memory.average is None else memory.average.views()
    return {"step": clock, **vectors, **memory.products} | {f"average.{name}": view for name, view in average.items()}


def require_possible(rules: Assignment, name: str, array: Array) -> None:
    """Raise ``DataError`` if ``array`` cannot be the array called ``name`` in the state of a training.

    The step number must be a whole number of at least 0 and below 2⁵³. All other arrays must be finite; averages of
    squares must not be negative, and products must lie in [0, 1]. ``rules`` says which names are squares and products.
    """
    if name == "step":
        if not (array >= 0 and array == np.floor(array) and array < _MOST_STEPS):
            raise DataError(f"optimizer state: step={array}; expected a whole number of 0 or more")
        return
    rule = rules.rules[0]
    product = name in rule.products or name == "uses_average"
    positive = product or name.partition(".")[0] in rule.squares
    wrong = ~np.isfinite(array) | ((array < 0) if positive else False) | ((array > 1) if product else False)
    if wrong.any():
        raise DataError(
            f"optimizer state: {name} holds {array[wrong].flat[0]:g}; expected finite numbers"
            + (" from 0 to 1" if product else " of 0 or more" if positive else "")
        )
