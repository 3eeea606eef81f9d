"""Whitening of patches: a first convolution whose filters are computed from the training data."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from striate.errors import DataError
from striate.nn.convolution import Conv2d
from striate.nn.module import Module
from striate.options import whole_number

SAMPLES = 5000
"""The number of samples from which the filters are computed; the covariance of a few numbers needs no more.

They are spread evenly over the data, whose order may be that of the classes.
"""
_CHUNK = 100  # samples whose patches are in memory at a time
FLOOR = 5e-4
"""ε: it keeps directions in which patches hardly vary from being enlarged without bound."""


class Whitening2d(Conv2d):
    """Convolution that whitens patches of pictures: y[±j] = ±vⱼ · patch / √(λⱼ + ε) + b

    λⱼ and vⱼ are the eigenvalues and eigenvectors of the covariance matrix of all patches (``in_channels``, k, k) of
    the pictures, where k is ``kernel_size`` and ε = 0.0005. There are 2 · in_channels · k² output channels, two of
    opposite sign for each eigenvector, so that both signs pass an activation such as ReLU. (N, C, H, W) → (N, 2 C k², H
    − k + 1, W − k + 1).

    ``fit`` computes the filters; they are random until then. Training changes only the bias b. The method is that of
    Coates and Ng, 2012; Page (2019) and Jordan, arXiv:2404.00498, use it as the first layer of a network. Raises
    ``OptionError`` unless both arguments are whole numbers of at least 1.
    """

    def __init__(self, in_channels: int, kernel_size: int = 2) -> None:
        in_channels = whole_number("Whitening2d: in_channels", in_channels, 1)
        kernel_size = whole_number("Whitening2d: kernel_size", kernel_size, 1)
        super().__init__(in_channels, 2 * in_channels * kernel_size**2, kernel_size, init="orthogonal")
        self.parameter("weight").requires_grad = False

    def fit(self, x: npt.NDArray[np.floating]) -> None:
        """Compute the filters from pictures x (N, C, H, W), which are inputs of the layer.

        At most 5,000 pictures are used, at equal distances in x. Raises ``DataError`` if x has no sample or is smaller
        than a patch.
        """
        weight = self.parameter("weight")
        _, channels, *kernel = weight.sizes
        if not len(x) or x.shape[2] < kernel[0] or x.shape[3] < kernel[1]:
            raise DataError(f"no patches of {channels}×{kernel[0]}×{kernel[1]} in data of shape {x.shape}")
        covariance = _covariance(x[_spread(len(x))], (channels, *kernel))
        values, directions = np.linalg.eigh(covariance)
        filters = (directions / np.sqrt(np.maximum(values, 0) + FLOOR)).T[::-1]
        # Eigenvectors are defined up to their sign; this choice does not depend on the library that computed them.
        largest = np.abs(filters).argmax(axis=1)
        filters = filters * np.sign(filters[np.arange(len(filters)), largest])[:, np.newaxis]
        weight.assign(np.concatenate([filters, -filters]).reshape(weight.sizes))


def _covariance(x: npt.NDArray[np.floating], window: tuple[int, ...]) -> npt.NDArray[np.float64]:
    """Return the covariance (d, d) of all patches of x (N, C, H, W); ``window`` is (C, k, k), and d = C · k².

    The sums do not use BLAS, whose results depend on its number of threads.
    """
    size = math.prod(window)
    count, total, products = 0, np.zeros(size), np.zeros((size, size))
    for start in range(0, len(x), _CHUNK):
        patches = np.lib.stride_tricks.sliding_window_view(x[start : start + _CHUNK], window, axis=(1, 2, 3))
        vectors = patches.reshape(-1, size).astype(np.float64)
        count += len(vectors)
        total += vectors.sum(axis=0)
        for row, one in zip(products, vectors.T):
            row += (one[:, np.newaxis] * vectors).sum(axis=0)
    return (products - np.outer(total, total) / count) / max(count - 1, 1)


def _spread(count: int) -> npt.NDArray[np.intp]:
    """Return the indices of at most ``SAMPLES`` of ``count`` samples, at equal distances."""
    chosen = min(count, SAMPLES)
    return np.arange(chosen) * count // max(chosen, 1)


def fit_whitening(model: Module, images: npt.NDArray[np.generic]) -> None:
    """Compute the filters of the model's first layer from training pictures, if it is a ``Whitening2d``.

    ``images`` are (N, C, H, W), as the model takes them: they are standardized by ``model.standardizer``, if it has
    one, before the filters are computed. Other models are not changed.
    """
    first = next((layer for _, layer in model.named_modules() if not any(layer.children())), None)
    if isinstance(first, Whitening2d):
        x = images[_spread(len(images))].astype(np.float32)
        standardizer = model.standardizer
        first.fit(np.asarray(standardizer(x), np.float32) if isinstance(standardizer, Module) else x)
