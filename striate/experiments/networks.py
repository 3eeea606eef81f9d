"""Networks that several experiments use."""

from __future__ import annotations

from collections.abc import Callable

from striate.nn.container import Sequential
from striate.nn.convolution import Conv2d
from striate.nn.linear import Linear
from striate.nn.module import Module
from striate.nn.normalization import BatchNorm1d
from striate.nn.pooling import MaxPool2d
from striate.nn.shaping import Flatten


def deep(
    activation: Callable[[], Module],
    *,
    depth: int,
    width: int,
    init: str,
    normalized: str = "none",
    classes: int = 10,
    affine: bool = True,
) -> Sequential:
    """Return an MLP: flatten, ``depth`` hidden blocks of a linear map and an activation, and a linear output.

    The hidden layers have ``width`` units, and the output has ``classes``. ``activation`` makes an activation layer.
    ``normalized`` is "none", "between" (batch normalization between linear map and activation) or "start" (at the start
    of each block). ``init`` names the initializer of the weights, and ``affine`` says whether batch normalization
    learns γ and β. The layers are named linear1, norm1, active1, … and out.
    """
    layers: dict[str, Module] = {"flatten": Flatten()}
    for block in range(1, depth + 1):
        linear = Linear(None, width, init=init)
        norm = BatchNorm1d(None, affine=affine)
        if normalized == "start":
            layers |= {f"norm{block}": norm, f"linear{block}": linear}
        elif normalized == "between":
            layers |= {f"linear{block}": linear, f"norm{block}": norm}
        else:
            layers[f"linear{block}"] = linear
        layers[f"active{block}"] = activation()
    return Sequential({**layers, "out": Linear(None, classes, init=init)})


def convolutional(
    activation: Callable[[], Module], *, kernel: int, filters: tuple[int, ...], init: str = "he", classes: int = 10
) -> Sequential:
    """Return a CNN: one block for each element of ``filters``, and a linear output.

    A block is a convolution that keeps the size, an activation, and 2×2 max pooling. ``filters`` has the number of
    filters in each convolution. ``activation`` makes an activation layer, ``kernel`` is the filter size in pixels,
    ``init`` names the initializer of the weights, and ``classes`` is the number of outputs. The layers are named conv1,
    active1, pool1, … and out.
    """
    layers: dict[str, Module] = {}
    for block, count in enumerate(filters, 1):
        layers[f"conv{block}"] = Conv2d(None, count, kernel, padding=kernel // 2, init=init)
        layers |= {f"active{block}": activation(), f"pool{block}": MaxPool2d(2)}
    return Sequential({**layers, "flatten": Flatten(), "out": Linear(None, classes, init=init)})
