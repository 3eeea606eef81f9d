"""Fingerprints of data sets, by which a resumed training notices that its data have changed."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from striate.data.dataset import Array, Dataset

_WHOLE = 1 << 28  # bytes up to which every one is read
_BLOCKS = 1024
_BLOCK = 1 << 16


@dataclass(frozen=True)
class Fingerprint:
    """Size, classes and hashes of a data set.

    ``samples`` is the number of samples, ``shape`` the shape of a sample, and ``dtype`` the dtype of the inputs.
    ``contents`` and ``labels`` are BLAKE2b hashes of inputs and labels. If an array is larger than 256 MB, only 1,024
    evenly spaced blocks of 64 KB are hashed.
    """

    samples: int
    shape: tuple[int, ...]
    dtype: str
    classes: tuple[str, ...]
    contents: str
    labels: str

    @classmethod
    def of(cls, dataset: Dataset) -> Fingerprint:
        """Compute the fingerprint of a data set; at most 256 MB of the inputs and of the labels are read."""
        images = dataset.images
        return cls(
            len(dataset), tuple(images.shape[1:]), images.dtype.name, dataset.classes, digest(images),
            digest(dataset.labels),
        )  # fmt: skip

    def changes(self, now: Fingerprint | None) -> list[str]:
        """Return one line for each change, such as ``number of samples: 1,442 then, 1,440 now``.

        ``now`` is the fingerprint of the data set with which a training is resumed; None if there is no data set.
        """
        if now is None:
            return ["given then, not now"]
        named = {
            "number of samples": (f"{self.samples:,}", f"{now.samples:,}"),
            "shape of a sample": (str(self.shape), str(now.shape)),
            "type": (self.dtype, now.dtype),
            "classes": (_few(self.classes, now.classes), _few(now.classes, self.classes)),
        }
        found = [f"{name}: {then} then, {this} now" for name, (then, this) in named.items() if then != this]
        if not found:
            found += ["other contents of the inputs"] if self.contents != now.contents else []
            found += ["other labels"] if self.labels != now.labels else []
        return found


def digest(array: Array) -> str:
    """Return the BLAKE2b hash of the bytes of an array, or of evenly spaced blocks of an array above 256 MB."""
    found = hashlib.blake2b(digest_size=16)
    flat = array.reshape(-1).view(np.uint8)
    if flat.size <= _WHOLE:
        found.update(np.ascontiguousarray(flat).data)
    else:
        for start in np.linspace(0, flat.size - _BLOCK, _BLOCKS).astype(np.int64):
            found.update(np.ascontiguousarray(flat[start : start + _BLOCK]).data)
    return found.hexdigest()


def _few(names: Sequence[str], others: Sequence[str]) -> str:
    """Return the number of classes, with the first few that are not among the others."""
    lacking = [name for name in names if name not in others]
    if not lacking and list(names) != list(others):
        return f"{len(names)} ({', '.join(names[:3])}, …)"
    return f"{len(names)}" + (f" ({', '.join(lacking[:3])}{', …' if len(lacking) > 3 else ''})" if lacking else "")
