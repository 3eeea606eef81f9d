"""Explains a trained network by arrays of numbers: attributions, feature maps, receptive fields, mistakes.

``striate.plot`` draws the same results. Pictures are given as the model takes them: (C, H, W), uint8 or floats, not yet
standardized.
"""

from striate.insight.attribution import integrated_gradients, saliency
from striate.insight.feature_maps import feature_maps, layer_shapes
from striate.insight.localization import grad_cam, occlusion
from striate.insight.mistakes import Confusion, Mistake, confusion, worst_mistakes
from striate.insight.receptive_field import receptive_field
from striate.insight.top_activations import TopActivation, top_activations, top_activations_by_unit

__all__ = [
    "Confusion",
    "TopActivation",
    "Mistake",
    "confusion",
    "top_activations_by_unit",
    "feature_maps",
    "grad_cam",
    "integrated_gradients",
    "layer_shapes",
    "top_activations",
    "occlusion",
    "receptive_field",
    "saliency",
    "worst_mistakes",
]
