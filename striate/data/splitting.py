"""Choose the samples that are held out: at random, class by class, with groups kept together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from striate.errors import DataError, OptionError
from striate.options import number
from striate.options import seed as checked_seed

Index = npt.NDArray[np.int64]
_GROUPED = 2**64 - 59  # the second word of the key, so that no other draw of the same seed has the same order


def stratified_split(
    labels: npt.ArrayLike, share: float = 0.2, seed: int = 0, groups: Sequence[object] | None = None
) -> tuple[Index, Index]:
    """Split samples into a training part and a held-out part with the same share of every class.

    labels  class numbers (N,)
    share   the share of every class that is held out; at least one sample of a class with two or more is held out
    seed    determines the choice
    groups  (N,) names such as those of patients; all samples of a group are in one part. The held-out share of a class
            is then only near ``share``. None: no groups

    Returns the indices of the training samples and of the held-out samples, int64, ascending. Raises ``OptionError``
    unless 0 < share < 1 and there is one group for each sample, and ``DataError`` if a part would be empty.
    """
    number("held_out", share, above=0, below=1)
    classes: npt.NDArray[Any] = np.unique(np.asarray(labels), return_inverse=True)[1].reshape(-1)
    if groups is not None and len(groups) != len(classes):
        raise OptionError(f"{len(groups)} groups for {len(classes)} samples")
    order = np.argsort(
        np.random.Philox(key=np.array([checked_seed(seed), _GROUPED], np.uint64)).random_raw(len(classes))
    )
    counts = np.bincount(classes)
    wanted = np.array([min(max(round(share * count), 1), count - 1) if count > 1 else 0 for count in counts])
    held = np.zeros(len(classes), bool)
    if groups is None:
        by_class = order[np.argsort(classes[order], kind="stable")]
        rank = np.arange(len(classes)) - (np.cumsum(counts) - counts)[classes[by_class]]  # among those of its class
        held[by_class[rank < wanted[classes[by_class]]]] = True
    else:
        _hold_groups(held, classes, wanted, order, [str(group) for group in groups])
    if held.all() or not held.any():
        raise DataError(
            f"{len(classes)} samples cannot be split: one side would be empty\n"
            "  help: more samples, or more groups; or give held-out data of your own"
        )
    return np.flatnonzero(~held), np.flatnonzero(held)


def _hold_groups(
    held: npt.NDArray[np.bool_], classes: npt.NDArray[Any], wanted: npt.NDArray[Any], order: Index, groups: list[str]
) -> None:
    """Mark the samples of the chosen groups in ``held``, in place.

    ``wanted`` is the number of samples of each class to hold out, ``order`` a random order of the samples.
    """
    drawn: list[int] = order.tolist()
    numbers = {name: number for number, name in enumerate(dict.fromkeys(groups[place] for place in drawn))}
    own = np.array([numbers[name] for name in groups])
    pairs, counts = np.unique(own * len(wanted) + classes, return_counts=True)  # of groups and classes that occur
    kinds, ends = pairs % len(wanted), np.searchsorted(pairs, np.arange(1, len(numbers) + 1) * len(wanted))
    left, chosen = wanted.astype(np.int64), np.zeros(len(numbers), bool)
    changes: list[int] = []  # of the distance to ``wanted``, by each group that was not chosen before it
    start = 0
    for place, end in enumerate(ends.tolist()):
        kind, count = kinds[start:end], counts[start:end]
        changes.append(int((np.abs(left[kind] - count) - np.abs(left[kind])).sum()))
        if changes[-1] < 0:
            left[kind] -= count
            chosen[place] = True
        start = end
    if not chosen.any() and len(numbers) > 1:  # every group is larger than what is to be held out
        chosen[changes.index(min(changes))] = True
    held |= chosen[own]


def absent_classes(labels: npt.ArrayLike, index: Index, classes: Sequence[str]) -> list[str]:
    """Return the names of the classes that have no sample among those at indices ``index``.

    ``labels`` are the class numbers (N,) of all samples, and ``classes`` the names of the classes.
    """
    present = set(np.asarray(labels)[index].tolist())
    return [name for number, name in enumerate(classes) if number not in present]
