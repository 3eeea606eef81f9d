"""Measures of classifiers from their scores: areas under the ROC and precision-recall curves, top-k hits, calibration.

    AUC = (Σ r⁺ − p (p + 1) / 2) / (p q)
    AP  = Σ_t (R_t − R_{t−1}) P_t
    ECE = Σ_b (n_b / n) · |accuracy_b − confidence_b|

r⁺ are the ranks of the scores of the p positive samples among all p + q samples; equal scores have their mean rank. The
AUC is the probability that a positive sample has a higher score than a negative one. The average precision AP sums over
the different scores t, from the highest down: P_t and R_t are precision and recall if samples with a score of t or more
are predicted as positive. The expected calibration error ECE (Guo et al., On Calibration of Modern Neural Networks,
2017) divides the n samples into bins b of equal width by the probability of the predicted class. Each bin has n_b
samples; confidence_b is the mean of this probability, and accuracy_b the share of correct predictions.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from striate.data.dataset import Array


def areas(scores: Array, positive: npt.NDArray[np.bool_]) -> tuple[float | None, float | None]:
    """Return the area under the ROC curve and the average precision, from 0 to 1, of scores (N,).

    ``positive`` (N,) marks the positive samples. The AUC is None without positive or without negative samples. The
    average precision is None without positive samples. Both are None if a score is NaN.
    """
    p = int(positive.sum())
    q = len(positive) - p
    if p == 0 or np.isnan(scores).any():
        return None, None
    _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    place = place.reshape(-1)
    hits = np.bincount(place[positive], minlength=len(counts))
    found = np.cumsum(hits[::-1]), np.cumsum(counts[::-1])  # true positives and all predicted ones, by threshold
    precision = float((hits[::-1] * (found[0] / found[1])).sum() / p)
    if q == 0:
        return None, precision
    ranks = np.cumsum(counts) - (counts - 1) / 2
    return float(((hits * ranks).sum() - p * (p + 1) / 2) / (p * q)), precision


BINS = 15


def calibration_error(confidence: Array, correct: npt.NDArray[np.bool_]) -> float:
    """Return the expected calibration error, from 0 to 1, in 15 bins; NaN without samples or if a confidence is NaN.

    ``confidence`` (N,) is the probability of the predicted class of each sample, and ``correct`` (N,) says whether the
    prediction is right.
    """
    if not len(confidence) or np.isnan(confidence).any():
        return math.nan
    place = np.searchsorted(np.linspace(0, 1, BINS + 1)[1:-1], confidence)
    apart = np.bincount(place, weights=correct - confidence.astype(np.float64), minlength=BINS)
    return float(np.abs(apart).sum() / len(confidence))


def top_hits(scores: Array, labels: npt.NDArray[np.int64], k: int) -> int:
    """Return the number of samples whose label (N,) is among the k classes with the highest scores (N, C).

    Among classes with equal scores, the one with the lower number comes first, as in ``argmax``.
    """
    own = scores[np.arange(len(labels)), labels][:, np.newaxis]
    lower = np.array([range(scores.shape[1])]) < labels[:, np.newaxis]
    above = (scores > own) | (scores == own) & lower | np.isnan(own)
    return int((above.sum(axis=1) < k).sum())
