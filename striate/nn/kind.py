"""The kind of layer that a module is. Code that examines networks asks for the kind, not for the layer's name."""

from __future__ import annotations

from enum import Enum


class LayerKind(Enum):
    """The kinds of layers that the doctor distinguishes."""

    LINEAR = "linear"  # learned weights times the inputs: linear layers and convolutions
    NORMALIZATION = "normalization"  # sets the mean and spread of its outputs: see Normalization
    STANDARDIZATION = "standardization"  # a fixed shift and scale of the data
    POOLING = "pooling"  # summarizes the positions of each channel
    DROPOUT = "dropout"  # sets elements to 0 at random while training
    RESHAPE = "reshape"  # passes on the same numbers, possibly in another shape
    OTHER = "other"  # activations, containers, and a user's own modules unless they state another kind
