"""Changes that remedies make to the data sets of a training."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from striate.data.dataset import Dataset
from striate.data.standardizer import Standardizer
from striate.doctor.remedy import SHOWN, Change, named
from striate.doctor.setup import Setup, layer_at
from striate.errors import OptionError
from striate.nn.module import Module
from striate.nn.standardization import Standardization

Array = npt.NDArray[Any]


def _standardize(model: Module, dataset: Dataset) -> None:
    """Fit a standardizer to the inputs of the data set, and install it in the model, in place."""
    fit = Standardizer.fit(dataset.images)
    model.standardizer = Standardization(fit.mean, fit.sigma, fit.epsilon)


@dataclass(frozen=True)
class Standardize(Change):
    """Adds a standardizer to the model, so that its inputs have mean 0 and standard deviation 1.

    The standardizer is fitted on the training data.
    """

    def code(self, setup: Setup) -> str:
        return "model.standardizer = st.data.Standardizer.fit(train_set.images)"

    def command(self, setup: Setup) -> str:
        return "--standardize"

    def apply(self, setup: Setup) -> Setup:
        if setup.train_set is None:
            raise OptionError("standardize: fit a Standardizer on the training data\n  help: Standardizer.fit(x)")
        _standardize(setup.model, setup.train_set)
        return setup


@dataclass(frozen=True)
class ClipInputs(Change):
    """Clips the inputs of both data sets to the range low … high.

    If the model has a standardizer, it is fitted again on the clipped training data.
    """

    low: float
    high: float

    def code(self, setup: Setup) -> str:
        return f"x = np.clip(x, {self.low:.3g}, {self.high:.3g})   # in both sets, before the standardizer is fitted"

    def apply(self, setup: Setup) -> Setup:
        train_set, validation = (
            None if one is None else with_images(one, np.clip(one.images, self.low, self.high))
            for one in (setup.train_set, setup.validation)
        )
        if "standardizer" in dict(setup.model.named_modules()) and train_set is not None:
            _standardize(setup.model, train_set)
        return replace(setup, train_set=train_set, validation=validation)


@dataclass(frozen=True)
class DropFeatures(Change):
    """Removes ``features`` (columns or channels, by index) from both data sets.

    ``first`` is the path of the layer that reads the data: its parameters are initialized again, for fewer inputs.
    If the model has a standardizer, it is fitted again on the training data.
    """

    features: tuple[int, ...]
    first: str

    def code(self, setup: Setup) -> str:
        shown = ", ".join(map(str, self.features[:SHOWN])) + (", …" if len(self.features) > SHOWN else "")
        return f"x = np.delete(x, [{shown}], axis=1)   # in both sets; {named(self.first)} takes fewer inputs"

    def apply(self, setup: Setup) -> Setup:
        layer_at(setup.model, self.first).forget_inputs()
        train_set, validation = (
            None if one is None else without_features(one, self.features) for one in (setup.train_set, setup.validation)
        )
        if "standardizer" in dict(setup.model.named_modules()) and train_set is not None:
            _standardize(setup.model, train_set)
        return replace(setup, train_set=train_set, validation=validation)


def without_features(dataset: Dataset, features: tuple[int, ...]) -> Dataset:
    """Return a copy of the data set without the columns or channels whose indices are ``features``."""
    return with_images(dataset, np.delete(dataset.images, np.array(features, np.int64), axis=1))


def with_images(dataset: Dataset, images: Array) -> Dataset:
    """Return a copy of the data set with the inputs ``images`` and the same labels."""
    return replace(dataset, images=images)


@dataclass(frozen=True)
class DropLeaked(Change):
    """Removes the validation samples at ``indices``, because the training set contains them as well."""

    indices: tuple[int, ...]

    def code(self, setup: Setup) -> str:
        kept = "kept = np.delete(np.arange(len(validation)), finding.units)"
        return f"{kept}\nvalidation = validation.subset(kept)"

    def apply(self, setup: Setup) -> Setup:
        if setup.validation is None:
            return setup
        keep = np.ones(len(setup.validation), bool)
        keep[list(self.indices)] = False
        return replace(setup, validation=setup.validation.subset(keep))


@dataclass(frozen=True)
class RollLabels(Change):
    """Moves the training labels by ``places`` samples (``np.roll``), so that they match their inputs."""

    places: int

    def code(self, setup: Setup) -> str:
        return f"labels = np.roll(labels, {self.places})   # or read inputs and labels from the same row"

    def apply(self, setup: Setup) -> Setup:
        if setup.train_set is None:
            return setup
        one = setup.train_set
        return replace(setup, train_set=replace(one, labels=np.roll(one.labels, self.places)))


@dataclass(frozen=True)
class Renumber(Change):
    """Renumbers the training labels as the validation set does: class ``c`` becomes ``numbers[c]``."""

    numbers: tuple[int, ...]

    def code(self, setup: Setup) -> str:
        shown = ", ".join(map(str, self.numbers[:12])) + (", …" if len(self.numbers) > 12 else "")
        return f"labels = np.array([{shown}])[labels]   # of the training set"

    def apply(self, setup: Setup) -> Setup:
        if setup.train_set is None:
            return setup
        one = setup.train_set
        return replace(setup, train_set=replace(one, labels=np.array(self.numbers)[one.labels]))


@dataclass(frozen=True)
class RenumberValidation(Change):
    """Renumbers the validation labels as the training set does: class ``c`` becomes ``numbers[c]``."""

    numbers: tuple[int, ...]

    def code(self, setup: Setup) -> str:
        shown = ", ".join(map(str, self.numbers[:12])) + (", …" if len(self.numbers) > 12 else "")
        return f"labels = np.array([{shown}])[labels]   # of the validation set"

    def apply(self, setup: Setup) -> Setup:
        one, ours = setup.validation, setup.train_set
        if one is None or ours is None:
            return setup
        labels = np.array(self.numbers)[one.labels]
        return replace(setup, validation=replace(one, labels=labels, classes=ours.classes))


# Both sets


@dataclass(frozen=True)
class Resplit(Change):
    """Mixes both data sets and divides them again at random, so that each has the same share of every class.

    The validation set keeps its share of all samples. ``seed`` determines the random order.
    """

    seed: int = 0

    def code(self, setup: Setup) -> str:
        return (
            f"order = np.random.default_rng({self.seed}).permutation(len(labels))   # of all samples\n"
            "images, labels = images[order], labels[order]   # then divide"
        )

    def apply(self, setup: Setup) -> Setup:
        ours, theirs = setup.train_set, setup.validation
        if ours is None or theirs is None:
            return setup
        images, labels = np.concatenate([ours.images, theirs.images]), np.concatenate([ours.labels, theirs.labels])
        share = len(theirs) / len(labels)
        order = np.random.default_rng(self.seed).permutation(len(labels))
        held = np.zeros(len(labels), bool)
        for label in np.unique(labels):
            of_class = order[labels[order] == label]
            held[of_class[: round(share * len(of_class))]] = True
        train_set, validation = (
            Dataset(images[order[chosen]], labels[order[chosen]], ours.classes, ours.name, ours.channels_first)
            for chosen in (~held[order], held[order])
        )
        return replace(setup, train_set=train_set, validation=validation)


@dataclass(frozen=True)
class AffineValidation(Change):
    """Converts the validation inputs to the units of the training inputs: x · scale + offset.

    ``scale`` and ``offset`` hold one number for each feature, or one number for all. If the training inputs are uint8,
    the results are rounded to uint8.
    """

    scale: tuple[float, ...]
    offset: tuple[float, ...]

    def code(self, setup: Setup) -> str:
        if len(set(self.scale)) > 1 or len(set(self.offset)) > 1:
            return "x_validation = prepare(x_validation)   # by the function that prepared the training inputs"
        scale, offset = self.scale[0], self.offset[0]
        if scale == -1:
            return f"x_validation = {offset:.6g} - x_validation"
        shift = f" {'+' if offset > 0 else '-'} {abs(offset):.4g}" if offset else ""
        return f"x_validation = x_validation * {scale:.6g}{shift}   # better: prepare both by one function"

    def apply(self, setup: Setup) -> Setup:
        one = setup.validation
        if one is None:
            return setup
        shape = (1, -1, *(1,) * (one.images.ndim - 2))
        scale, offset = (np.asarray(part, np.float64).reshape(shape) for part in (self.scale, self.offset))
        images = one.images * scale + offset
        train_set = setup.train_set
        if train_set is not None and train_set.images.dtype == np.uint8:
            images = images.round().clip(0, 255).astype(np.uint8)
        return replace(setup, validation=with_images(one, images.astype(images.dtype, copy=False)))


@dataclass(frozen=True)
class ReorderValidation(Change):
    """Reorders the channels of the validation inputs: channel i of the result is channel ``order[i]``."""

    order: tuple[int, ...]

    def code(self, setup: Setup) -> str:
        return f"x_validation = x_validation[:, {list(self.order)}]   # the channels as in the training set"

    def apply(self, setup: Setup) -> Setup:
        one = setup.validation
        return setup if one is None else replace(setup, validation=with_images(one, one.images[:, list(self.order)]))


@dataclass(frozen=True)
class DropSamples(Change):
    """Removes the training samples at ``indices``, such as equal samples with different labels."""

    indices: tuple[int, ...]

    def code(self, setup: Setup) -> str:
        kept = "kept = np.delete(np.arange(len(train_set)), finding.units)"
        return f"{kept}\ntrain_set = train_set.subset(kept)"

    def apply(self, setup: Setup) -> Setup:
        if setup.train_set is None:
            return setup
        keep = np.ones(len(setup.train_set), bool)
        keep[list(self.indices)] = False
        return replace(setup, train_set=setup.train_set.subset(keep))
