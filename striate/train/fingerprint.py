"""The fingerprint of a data set, by which a resumed training knows its data again."""

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
    """``contents`` and ``labels`` are hashes; inputs of more than 256 MB are hashed in 1,024 blocks of 64 KB."""

    samples: int
    shape: tuple[int, ...]
    dtype: str
    classes: tuple[str, ...]
    contents: str
    labels: str

    @classmethod
    def of(cls, dataset: Dataset) -> Fingerprint:
        """Reads the data."""
        images = dataset.images
        return cls(
            len(dataset), tuple(images.shape[1:]), images.dtype.name, dataset.classes, digest(images),
            digest(dataset.labels),
        )  # fmt: skip

    def changes(self, now: Fingerprint | None) -> list[str]:
        """What differs, as ``number of samples: 1,442 then, 1,440 now``."""
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
    """A hash of the bytes of an array: of all of them up to 256 MB, else of blocks that are spread evenly."""
    found = hashlib.blake2b(digest_size=16)
    flat = array.reshape(-1).view(np.uint8)
    if flat.size <= _WHOLE:
        found.update(np.ascontiguousarray(flat).data)
    else:
        for start in np.linspace(0, flat.size - _BLOCK, _BLOCKS).astype(np.int64):
            found.update(np.ascontiguousarray(flat[start : start + _BLOCK]).data)
    return found.hexdigest()


def _few(names: Sequence[str], others: Sequence[str]) -> str:
    """The number of the classes, and the first few that the others lack."""
    lacking = [name for name in names if name not in others]
    if not lacking and list(names) != list(others):
        return f"{len(names)} ({', '.join(names[:3])}, …)"
    return f"{len(names)}" + (f" ({', '.join(lacking[:3])}{', …' if len(lacking) > 3 else ''})" if lacking else "")
