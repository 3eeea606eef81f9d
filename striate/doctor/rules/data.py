"""Rules about the inputs: their scale, and features without information."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from striate.doctor.changes import DropFeatures, Standardize
from striate.doctor.finding import Finding, Severity
from striate.doctor.remedy import Remedy
from striate.doctor.rule import When, rule
from striate.doctor.training_trace import TrainingTrace

LARGE = 5.0
SMALL = 0.05
OFFSET = 10.0
UNEVEN = 30.0
TABLE = 64
"""Tables up to this width are examined by column; wider ones are often pictures with empty borders."""
PICTURE = 4
COPIED = 1e-9
WIDEST = 1024


@rule(
    "constant_features",
    When.ONCE,
    looks_for="features (columns, channels) with one and the same value in every sample",
    threshold="no variation at all, in the whole data set; in tables of more than 64 columns only constants beyond ±5",
    source="a constant input is a second bias whose gradient grows with the constant",
    why="A constant says nothing about the class and acts as one more bias; a large one makes the "
    "first layer's steps too large.",
    remedy="drop the feature, or standardize, which makes it exactly 0; all inputs equal: load them again",
    explains=(
        "unstandardized_input", "loss_at_start", "exploding_gradients", "learning_rate_too_high", "saturated_units",
        "dead_units", "constant_predictions", "vanishing_gradients", "labels_shuffled:nothing learned",
        "learning_rate_too_low",
    ),
)  # fmt: skip
def constant_features(trace: TrainingTrace) -> Iterator[Finding]:
    """Find features that have the same value in every sample."""
    sample = trace.data
    if sample is None or len(sample.dataset) < 2 or not sample.constant.any():
        return
    constant = sample.constant
    values = sample.means[constant]
    if constant.all():
        yield Finding(
            "constant_features", Severity.ERROR, "data", tuple(range(min(len(constant), TABLE))), 1.0,
            {"features": len(constant), "constant": int(constant.sum()), "value": float(values[0])},
            f"all inputs are the same number, {values[0]:.3g}",
            "Every sample looks alike, so no network can tell them apart. A division in whole numbers (images // 255) "
            "or a conversion that rounds to 0 does this.",
            Remedy("load the inputs again and divide them as floats", "x = images.astype(np.float32) / 255"),
            "all",
        )  # fmt: skip
        return
    if sample.is_table and sample.features > TABLE:
        constant = constant & (np.abs(sample.means) > LARGE)
    elif not sample.is_table and sample.features == 1:
        return
    harmful = bool((np.abs(sample.means[constant]) > LARGE).any())
    if not constant.any() or sample.standardizer is not None:  # a standardizer makes them exactly 0
        return
    places = tuple(int(i) for i in np.flatnonzero(constant))
    first = trace.structure.first_map if trace.structure else None
    change = (DropFeatures(places, first.path),) if first else ()
    yield Finding(
        "constant_features", Severity.ERROR if harmful else Severity.WARNING, "data", places, 1.0,
        {"features": sample.features, "constant": len(places), "largest": float(np.abs(sample.means[constant]).max())},
        f"{_features(places)} the same in every sample",
        "A constant says nothing about the class. It acts as one more bias, whose gradient grows with the constant, "
        "and a large one makes the first layer's steps too large. A sensor that is broken looks like this.",
        Remedy.of(trace.setup, "leave it out (or standardize, which makes it exactly 0)", *change),
    )  # fmt: skip


def _features(places: tuple[int, ...]) -> str:
    """Return "feature 3 is" or "2 features (3, 5) are", with up to six indices."""
    if len(places) == 1:
        return f"feature {places[0]} is"
    shown = ", ".join(map(str, places[:6])) + (", …" if len(places) > 6 else "")
    return f"{len(places)} features ({shown}) are"


@rule(
    "duplicate_features",
    When.ONCE,
    looks_for="features (columns, channels) that are copies of another one",
    threshold="|correlation| above 1 − 1e-9 over the samples looked at: equal, or scaled, shifted, negated",
    source="k copies of a feature have k times its weight in every distance and gradient",
    why="A feature that is there k times gets k times the weight and the step, at the expense of the others.",
    remedy="keep one of each",
    explains=("overfitting", "learning_rate_too_high"),
)
def duplicate_features(trace: TrainingTrace) -> Iterator[Finding]:
    """Find features that are copies of another one, perhaps scaled, shifted or negated."""
    sample = trace.data
    if sample is None or sample.features < 2 or len(sample.x) < 8:
        return
    if not sample.is_table and sample.features <= PICTURE:
        return  # grey pictures stored in colour do no harm
    varying = np.flatnonzero((sample.stds > 0) & ~sample.constant)
    if len(varying) < 2 or len(varying) > WIDEST:
        return
    rows = sample.by_feature[varying][:, :4096].astype(np.float64)
    scaled = rows - rows.mean(axis=1, keepdims=True)
    scaled /= np.maximum(np.linalg.norm(scaled, axis=1, keepdims=True), 1e-30)
    alike = np.abs(scaled @ scaled.T) > 1 - COPIED
    first_of = alike.argmax(axis=1)  # the first feature that is this one, or itself
    copies = {int(varying[i]): int(varying[first]) for i, first in enumerate(first_of.tolist()) if first < i}
    if not copies or (sample.features > TABLE and sample.is_table and len(copies) < 0.05 * sample.features):
        return
    places = tuple(copies)
    first = trace.structure.first_map if trace.structure else None
    change = (DropFeatures(places, first.path),) if first else ()
    most = int(np.bincount(list(copies.values())).max()) + 1
    originals = sorted(set(copies.values()))
    yield Finding(
        "duplicate_features", Severity.WARNING, "data", places, 0.95,
        {"features": sample.features, "copies": len(copies), "most of one": most},
        f"{_features(places)} copies of {'feature' if len(originals) == 1 else 'features'} "
        f"{', '.join(map(str, originals[:6]))}",
        "A feature that stands in the data several times gets as many times the weight and the step, at the expense of "
        "the others; it brings nothing new.",
        Remedy.of(trace.setup, "keep one of each", *change),
    )  # fmt: skip


@rule(
    "unstandardized_input",
    When.ONCE,
    looks_for="inputs, as the first layer gets them, far from mean 0 and spread 1",
    threshold="root mean square above 5 or below 0.05; median |mean| above 10 spreads; in tables of up to 64 columns "
    "also spreads that differ more than 30-fold. Not where batch normalization follows the first linear map",
    source="starting weights presume inputs of mean square 1 (LeCun 1998, He 2015); its gradient grows with the "
    "square of the input's scale. [0, 1] pictures (0.1 to 0.6) are within",
    why="Starting weights and usual learning rates presume inputs of mean 0 and spread 1: outputs of "
    "the first layer grow with the input's scale, its gradient with the square.",
    remedy="a `Standardizer` fitted on the training data, as part of the model",
    explains=(
        "loss_at_start", "exploding_gradients", "vanishing_gradients", "saturated_units", "dead_units",
        "learning_rate_too_high", "learning_rate_too_low", "constant_predictions", "labels_shuffled:nothing learned",
        "idle_normalization", "overfitting",
    ),
)  # fmt: skip
def unstandardized_input(trace: TrainingTrace) -> Iterator[Finding]:
    """Find inputs whose scale does not suit the starting weights and usual learning rates."""
    sample = trace.data
    if sample is None or sample.constant.all() or len(sample.x) < 2:
        return
    varying = ~sample.constant
    means, stds = sample.means[varying], sample.stds[varying]
    scale = float(np.sqrt(np.mean(np.square(means) + np.square(stds))))
    offset = float(np.median(np.abs(means) / np.maximum(stds, 1e-30)))
    positive = stds[stds > 0]
    uneven = float(positive.max() / np.median(positive)) if len(positive) else 1.0
    low = float(positive.max() / np.quantile(positive, 0.2)) if len(positive) else 1.0
    compared = (sample.is_table and sample.features <= TABLE) or (not sample.is_table and 1 < sample.features <= TABLE)
    absorbed = trace.structure is not None and trace.structure.normalized_input
    evidence = {"root mean square": scale, "mean": float(means.mean()), "spread": float(np.median(stds))}
    if not absorbed and (scale > LARGE or scale < SMALL):
        what = f"the inputs are {'large' if scale > LARGE else 'tiny'}: root mean square {scale:.3g} instead of 1"
        cause = "large" if scale > LARGE else "small"
    elif not absorbed and offset > OFFSET and scale > SMALL:
        what = f"the inputs vary little about a mean that is {offset:.3g} times their spread"
        cause, evidence["mean in spreads"] = "offset", offset
    elif compared and max(uneven, low) > UNEVEN:
        what = f"the spreads of the features differ {max(uneven, low):.3g}-fold"
        cause, evidence["largest to usual spread"] = "uneven", max(uneven, low)
    else:
        return
    again = sample.standardizer is not None
    text = (
        "the model's standardizer was fitted on other data: fit it on these"
        if again
        else "standardize, with a standardizer fitted on the training data, which goes with the model"
    )
    yield Finding(
        "unstandardized_input", Severity.WARNING if cause == "uneven" else Severity.ERROR, "data", (), 0.95, evidence,
        what + (", though the model standardizes them" if again else ""),
        "The starting weights and the usual learning rates presume inputs of mean 0 and spread 1. The first layer's "
        "outputs grow with the input's scale and its gradient with the square of it: one learning rate cannot fit all.",
        Remedy.of(trace.setup, text, Standardize()),
        cause,
    )  # fmt: skip
