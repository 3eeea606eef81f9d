"""Find equal and nearly equal samples.

Pictures are compared by their perceptual fingerprint: a grey thumbnail of 32×32 pixels, standardized to mean 0 and norm
1, so that brightness and contrast do not matter. Two pictures are nearly equal if their thumbnails shrunk to 16×16
correlate by 0.99 or more, and the thumbnails themselves by 0.985 or more. Different digits of MNIST and photographs of
CIFAR-10 are below these limits; a picture that was saved again as JPEG, made lighter or enlarged is above them.
Pictures without contrast have no fingerprint, and are only compared for equality.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

Array = npt.NDArray[Any]
SIDE = 32
_COARSE = 16
_COARSE_LIKE, _LIKE = 0.99, 0.985
_FLAT = 4.0  # grey levels: a thumbnail with a smaller standard deviation has no fingerprint
_BLOCK = 512
MOST_COMPARED = 60_000
"""The number of pictures up to which all pairs are compared."""


def content_key(numbers: Array) -> bytes:
    """Return a hash of the shape, dtype and contents of an array; equal arrays have equal hashes."""
    kind = f"{numbers.shape}{numbers.dtype.str}".encode()
    return hashlib.blake2b(kind + np.ascontiguousarray(numbers).tobytes(), digest_size=16).digest()


def equal_groups(keys: Iterable[bytes | None]) -> list[list[int]]:
    """Return lists of the indices of samples with equal keys, one list for each key that occurs more than once.

    Keys that are None are skipped.
    """
    places: dict[bytes, list[int]] = defaultdict(list)
    for place, key in enumerate(keys):
        if key is not None:
            places[key].append(place)
    return [group for group in places.values() if len(group) > 1]


def thumbnail(picture: Image.Image) -> npt.NDArray[np.uint8]:
    """Return a thumbnail of a picture: grey, uint8 (32, 32), without keeping the proportions."""
    return np.asarray(picture.convert("L").resize((SIDE, SIDE), Image.Resampling.BOX))


def near_pairs(thumbnails: npt.NDArray[np.uint8]) -> list[tuple[int, int]]:
    """Return the index pairs of nearly equal pictures, lower index first, from thumbnails (N, 32, 32).

    Pictures without contrast are in no pair.
    """
    fine, contrast = _standardized(thumbnails)
    step = SIDE // _COARSE
    shrunk = thumbnails.reshape(-1, _COARSE, step, _COARSE, step).mean(axis=(2, 4), dtype=np.float32)
    coarse, _ = _standardized(shrunk)
    found: list[tuple[int, int]] = []
    for start in range(0, len(coarse), _BLOCK):
        likeness = coarse[start : start + _BLOCK] @ coarse[start:].T
        # Of a flat array, NumPy finds the few places much faster than of a matrix.
        for place in np.flatnonzero(likeness >= _COARSE_LIKE).tolist():
            row, column = divmod(place, likeness.shape[1])
            one, other = start + row, start + column
            if one < other and min(contrast[one], contrast[other]) >= _FLAT and fine[one] @ fine[other] >= _LIKE:
                found.append((one, other))
    return found


def _standardized(thumbnails: Array) -> tuple[npt.NDArray[np.float32], Array]:
    """Return thumbnails as vectors (N, pixels) of mean 0 and norm 1, and their standard deviations (N,)."""
    vectors = thumbnails.reshape(len(thumbnails), -1).astype(np.float32)
    vectors -= vectors.mean(axis=1, keepdims=True)
    norms = np.sqrt(np.square(vectors).sum(axis=1, keepdims=True))
    return vectors / np.maximum(norms, 1e-6), norms[:, 0] / np.sqrt(vectors.shape[1])
