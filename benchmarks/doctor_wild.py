"""Cases from public reports: problems from forums and issue trackers, with the causes that were found.

Only the situation is taken from a report; the networks and data are small ones made for this benchmark. Each case has a
control: the same training without the fault, on which the doctor must report nothing.

Half of the cases are held back. They were drawn with ``SEED`` from the names in alphabetical order before any rules
were written for these cases, and used for the first time when the rules were finished.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
from doctor_wild_case import Wild
from doctor_wild_data import imbalances, inputs, labels, splits
from doctor_wild_networks import connections, ends, normalizations, rates, starts, targets

SEED = 1128


def held_back(names: list[str]) -> set[str]:
    """Return the half of the names that is held back, drawn at random with a fixed seed."""
    ordered = sorted(names)
    chosen = np.random.default_rng(SEED).permutation(len(ordered))[: len(ordered) // 2]
    return {ordered[int(i)] for i in chosen}


def wild() -> Iterator[Wild]:
    """Yield all cases from public reports."""
    for group in (ends, splits, inputs, normalizations, labels, imbalances, rates, starts, targets, connections):
        yield from group()


def chosen(part: str) -> Callable[[], Iterator[Wild]]:
    """Return a function that yields the cases of a part: "open" (used to write the rules), "held" or "all"."""

    def cases() -> Iterator[Wild]:
        found = [replace(one) for one in wild()]
        held = held_back([one.case.name for one in found])
        yield from (one for one in found if part == "all" or (one.case.name in held) == (part == "held"))

    return cases
