"""The kinds of layers, by which other code distinguishes layers without a list of their classes."""

from __future__ import annotations

from enum import Enum


class LayerKind(Enum):
    """The kinds of layers that the training diagnosis (``striate.doctor``) distinguishes."""

    LINEAR = "linear"  # learned weights times the inputs: linear layers and convolutions
    NORMALIZATION = "normalization"  # gives its outputs a fixed mean and spread: see Normalization
    STANDARDIZATION = "standardization"  # a fixed shift and scale of the data
    POOLING = "pooling"  # combines neighbouring positions of each channel
    DROPOUT = "dropout"  # sets elements to 0 at random while training
    RESHAPE = "reshape"  # returns its input's elements, possibly in another shape
    OTHER = "other"  # activations, containers, and users' modules that set no other kind
