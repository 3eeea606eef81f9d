"""What kind of layer a module is: whoever looks at a network asks this, never the layer's name."""

from __future__ import annotations

from enum import Enum


class LayerKind(Enum):
    """The kinds of layers that the doctor tells apart."""

    LINEAR = "linear"  # learned weights times the inputs: linear layers and convolutions
    NORMALIZATION = "normalization"  # gives its outputs a mean and a spread of its own: see Normalization
    STANDARDIZATION = "standardization"  # a fixed shift and scale of the data
    POOLING = "pooling"  # summarizes the positions of each channel
    DROPOUT = "dropout"  # sets elements to 0 at random while training
    RESHAPE = "reshape"  # hands on the same numbers, perhaps in another shape
    OTHER = "other"  # activations, containers, and a user's own modules unless they state another kind
