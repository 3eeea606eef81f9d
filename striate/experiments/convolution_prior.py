"""Experiment M1: a convolution assumes that neighbouring pixels are related (CNN against MLP)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from striate.data import Dataset
from striate.experiments import drawing
from striate.experiments.experiment import Experiment, Size, Work
from striate.experiments.measurement import Array, Measurement, Quantity
from striate.experiments.networks import convolutional
from striate.experiments.prediction import Prediction
from striate.experiments.training import prepared, train
from striate.graph.value import Value
from striate.nn.activation import ReLU
from striate.nn.container import Sequential
from striate.nn.linear import Linear
from striate.nn.module import Module
from striate.nn.shaping import Flatten
from striate.ops.convolution import conv
from striate.optim import SGD
from striate.tracing import compile

SOBEL_X = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]], np.float32)
CNN, CNN_PERMUTED = "CNN, images", "CNN, pixels permuted"
MLP, MLP_PERMUTED = "MLP, images", "MLP, pixels permuted"
SETTINGS = (CNN, CNN_PERMUTED, MLP, MLP_PERMUTED)


def permutation(shape: tuple[int, ...]) -> Array:
    """Return the permutation (H·W,) of the pixels of images of ``shape`` (C, H, W), always the same one."""
    return np.random.Generator(np.random.Philox(key=1)).permutation(int(np.prod(shape[1:])))


def permuted(dataset: Dataset) -> Dataset:
    """Return the data set with the pixels of all images in the same random order, so that neighbours are unrelated."""
    images = dataset.images
    flat = images.reshape(*images.shape[:2], -1)[:, :, permutation(images.shape[1:])]
    return replace(dataset, images=flat.reshape(images.shape))


def highlighted(image: Array, kernel: Array) -> Array:
    """Return |image ⊗ kernel| for a picture (H, W), zero-padded by 1.

    ⊗ is the cross-correlation, which networks call convolution. Large numbers mark the pattern of the kernel.
    """
    filtered = compile(_same_size)
    return np.abs(filtered(image[None, None].astype(np.float32), kernel[None, None])[0, 0])


def _same_size(x: Value, w: Value) -> Value:
    return conv(x, w, padding=1)


class ConvolutionPrior(Experiment):
    """Compares a CNN and an MLP on images, and on the same images with permuted pixels."""

    name = "M1"
    title = "Convolution as a prior"
    equation = "y[o,p] = Σ_c Σ_k W[o,c,k] · x[c,p+k] + b[o]"
    setup = (
        "A CNN (two convolutions of 8 and 16 filters, each with ReLU and 2×2 pooling, then a linear map) and an MLP "
        "(128 hidden units, ReLU) learn a few images, once as they are and once with all pixels moved by one fixed "
        "permutation, which leaves every number and takes away who is whose neighbour. SGD, learning rate 0.01, "
        "momentum 0.9, batches of 32."
    )
    data = "mnist"
    size = Size(seeds=3, samples=2000, held_out=2000, epochs=10)
    usual_seconds = 8
    quantities = (Quantity("accuracy"),)
    predictions = (
        Prediction(
            "On images the CNN is better than the MLP, every seed of it.",
            lambda found: found.low(CNN, "accuracy") > found.high(MLP, "accuracy"),
            lambda found: f"CNN {found.text(CNN, 'accuracy')}, MLP {found.text(MLP, 'accuracy')}",
            "94 %, 87 %",
        ),
        Prediction(
            "Permuted pixels cost the CNN at least 5 points of accuracy.",
            lambda found: found.median(CNN, "accuracy") - found.median(CNN_PERMUTED, "accuracy") >= 0.05,
            lambda found: f"{found.short(CNN, 'accuracy')} → {found.short(CNN_PERMUTED, 'accuracy')}",
            "94 % → 75–78 %",
        ),
        Prediction(
            "They cost the MLP less than 2: to it all places are alike.",
            lambda found: abs(found.median(MLP, "accuracy") - found.median(MLP_PERMUTED, "accuracy")) < 0.02,
            lambda found: f"{found.short(MLP, 'accuracy')} → {found.short(MLP_PERMUTED, 'accuracy')}",
            "87 % → 87 %",
        ),
        Prediction(
            "On permuted pixels the MLP is better than the CNN: a prior that is not true of the data does harm.",
            lambda found: found.median(MLP_PERMUTED, "accuracy") > found.median(CNN_PERMUTED, "accuracy"),
            lambda found: f"MLP {found.text(MLP_PERMUTED, 'accuracy')}, CNN {found.text(CNN_PERMUTED, 'accuracy')}",
            "87 %, 75–78 %",
            condition="neighbours in the data must be related, else the prior does harm",
        ),
    )

    def network(self, setting: str, work: Work) -> Module:
        """Build the CNN or the MLP that a setting uses."""
        if setting in (CNN, CNN_PERMUTED):
            return convolutional(ReLU, kernel=work.kernel, filters=(8, 16), classes=work.classes)
        return Sequential(Flatten(), Linear(None, 128, init="he"), ReLU(), Linear(None, work.classes))

    def measure(self, work: Work) -> Measurement:
        found = Measurement(self.quantities)
        for setting, seed in work.runs(SETTINGS):
            train_set, held_out = work.samples(seed), work.held_out
            if setting in (CNN_PERMUTED, MLP_PERMUTED):
                train_set, held_out = permuted(train_set), permuted(held_out)
            model = prepared(self.network(setting, work), train_set, seed)
            done = train(model, train_set, SGD(lr=0.01, momentum=0.9), seed=seed, epochs=work.size.epochs)
            found.add(setting, accuracy=done.accuracy(held_out))
        image = work.held_out.images[:1]
        mixed = permuted(work.held_out.subset([0])).images
        grey, grey_mixed = image[0].mean(axis=0), mixed[0].mean(axis=0)
        found.arrays |= {"as it is": grey, "pixels permuted": grey_mixed}
        found.arrays |= {"as it is ⊗ Sobel x": highlighted(grey, SOBEL_X)}
        found.arrays |= {"permuted ⊗ Sobel x": highlighted(grey_mixed, SOBEL_X)}
        return found

    def draw(self, found: Measurement, figure: Any) -> None:
        left, right = figure.subfigures(1, 2, width_ratios=(1.0, 1.15))
        panels = left.subplots(2, 2).ravel()
        order = ("as it is", "as it is ⊗ Sobel x", "pixels permuted", "permuted ⊗ Sobel x")
        titles = ("an image", "⊗ Sobel x: its edges", "the same pixels, permuted", "⊗ Sobel x: no pattern")
        for axes, name, title in zip(panels, order, titles):
            drawing.picture(axes, found.arrays[name], "gray_r" if "⊗" not in name else "magma")
            axes.set_title(title, fontsize=10)
        axes = right.subplots()
        drawing.bars(
            axes,
            found,
            "accuracy",
            SETTINGS,
            ["CNN\nimages", "CNN\npermuted", "MLP\nimages", "MLP\npermuted"],
            colours=(drawing.BLUE, drawing.SKY, drawing.ORANGE, "#f2c48d"),
            chance=0.1,
        )
        axes.set_xlabel("held-out accuracy, %")
        axes.set_title("What the neighbourhoods were worth")
