"""Checks that all ranks (processes) of a training begin alike, and predicts a data set on all of them."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from striate.data.dataset import Dataset
from striate.data.loader import index_batches
from striate.distributed import Communicator
from striate.errors import OptionError
from striate.graph.value import Array
from striate.nn.module import Module
from striate.train.environment import versions

_SAME = ("striate", "numpy", "llvmlite", "target")
"""The entries of ``versions()`` that must agree, since each rank computes the updates itself."""
_SHOWN = 5


def weights_digest(model: Module) -> str:
    """Return a hash of the names and contents of all parameters and buffers of a model."""
    found = hashlib.blake2b(digest_size=16)
    for name, array in model.state_dict().items():
        found.update(name.encode())
        found.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return found.hexdigest()


def require_same(communicator: Communicator, facts: Mapping[str, str]) -> None:
    """Raise ``OptionError``, which says what differs, unless all ranks (processes) give the same ``facts``.

    ``facts`` maps the name of what is compared, such as "lr" or "training data", to its value as text. All ranks must
    call this function.
    """
    if communicator.size == 1:
        return
    every = [json.loads(text) for text in communicator.gather_texts(json.dumps(facts))]
    first, wrong = every[0], list[str]()
    for rank, other in enumerate(every):
        for name in dict.fromkeys([*first, *other]):
            if (ours := first.get(name, "absent")) != (theirs := other.get(name, "absent")):
                wrong.append(f"{name}: {theirs} on rank {rank}, {ours} on rank 0")
    if wrong:
        more = f"\n  … and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
        raise OptionError(
            "the ranks differ:\n  " + "\n  ".join(wrong[:_SHOWN]) + more + "\n"
            "  help: start all ranks with the same command, data and versions"
        )


def require_same_samples(communicator: Communicator, names: Sequence[str], x: Array | None) -> None:
    """Raise ``OptionError``, which says what differs, unless all ranks (processes) have read the same samples.

    ``names`` are the files from which the samples ``x`` were read; ``x`` is None if no file could be read. All ranks
    must call this function.
    """
    if communicator.size > 1:
        contents = "absent" if x is None else f"{x.shape}, CRC {zlib.crc32(np.ascontiguousarray(x).data):08x}"
        require_same(communicator, {"files that can be read": ", ".join(names), "their contents": contents})


def versions_that_matter() -> dict[str, str]:
    """Return, by name, the versions and the kind of processor on which the exact results of a training depend."""
    return {name: text for name, text in versions().items() if name in _SAME}


class Predictor(Protocol):
    """Protocol: a model, or something else that predicts a batch."""

    def __call__(self, x: Array, /) -> Any:
        """Return the outputs for the samples x (N, …)."""
        ...


def predicted(
    model: Predictor, dataset: Dataset, batch_size: int, communicator: Communicator
) -> Iterator[tuple[Array, Array, Array]]:
    """Yield (outputs, labels, indices) for each batch of a data set, in order, on all ranks (processes).

    The ranks predict one batch each and send each other the outputs, so every rank gets the outputs of all batches, bit
    for bit as a single process would compute them. All ranks must exhaust the iterator.
    """
    parts = index_batches(len(dataset), batch_size, shuffle=False)
    for first in range(0, len(parts), communicator.size):
        own = first + communicator.rank
        found = np.zeros(0, np.float32)
        if own < len(parts):
            found = np.asarray(model(dataset.images[parts[own]]))
        every = [found] if communicator.size == 1 else _gathered(found, communicator)
        for outputs, indices in zip(every, parts[first:]):
            yield outputs, dataset.labels[indices], indices


class BatchDivided:
    """A model that divides the samples of every batch among all ranks (processes); it is called like ``model``.

    All ranks must call it with the same samples, and each gets the outputs of all samples.
    """

    def __init__(self, model: Predictor, communicator: Communicator) -> None:
        self._model, self._communicator = model, communicator

    def __call__(self, x: Array) -> Array:
        """Return the outputs for the samples x (N, …)."""
        ranks = self._communicator
        if ranks.size == 1:
            return np.asarray(self._model(x))
        first, last = (place * len(x) // ranks.size for place in (ranks.rank, ranks.rank + 1))
        own = np.asarray(self._model(x[first:last])) if last > first else np.zeros(0, np.float32)
        return np.concatenate([part for part in _gathered(own, ranks) if len(part)])


def _gathered(array: Array, ranks: Communicator) -> list[Array]:
    """Return the arrays of all ranks, by rank; their shapes and dtypes may differ."""
    kinds = ranks.gather_texts(json.dumps([array.dtype.str, array.shape]))
    found: list[Array] = []
    for contents, kind in zip(ranks.gather_bytes(array.tobytes()), kinds, strict=True):
        dtype, shape = json.loads(kind)
        found.append(np.frombuffer(contents, np.dtype(dtype)).reshape(shape))
    return found
