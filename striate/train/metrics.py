"""Measures of classifiers from their scores: area under the ROC curve, and top-k hits.

    AUC = (Σ r⁺ − p (p + 1) / 2) / (p q)

r⁺ are the ranks of the scores of the p positive samples among all p + q samples; equal scores have their mean rank. The
AUC is the probability that a positive sample has a higher score than a negative one.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from striate.data.dataset import Array


def auc(scores: Array, positive: npt.NDArray[np.bool_]) -> float | None:
    """Return the area under the ROC curve, from 0 to 1, of scores (N,); ``positive`` (N,) marks the positive samples.

    Returns None if the area is undefined: without positive or without negative samples, and if a score is NaN.
    """
    p = int(positive.sum())
    q = len(positive) - p
    if p == 0 or q == 0 or np.isnan(scores).any():
        return None
    _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[place.reshape(-1)]
    return float((ranks[positive].sum() - p * (p + 1) / 2) / (p * q))


def top_hits(scores: Array, labels: npt.NDArray[np.int64], k: int) -> int:
    """Return the number of samples whose label (N,) is among the k classes with the highest scores (N, C).

    Among classes with equal scores, the one with the lower number comes first, as in ``argmax``.
    """
    own = scores[np.arange(len(labels)), labels][:, np.newaxis]
    lower = np.array([range(scores.shape[1])]) < labels[:, np.newaxis]
    above = (scores > own) | (scores == own) & lower | np.isnan(own)
    return int((above.sum(axis=1) < k).sum())
