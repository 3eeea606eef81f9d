"""Draws what a network learned and how its training went; needs the extra ``plot`` (matplotlib).

Every function returns a new ``matplotlib.figure.Figure``, which a notebook shows and ``figure.savefig`` writes;
``path=`` writes it to a file at once. pyplot is not used, and no display is needed.
"""

from striate.plot.augmentation import augmented
from striate.plot.comparison import compared
from striate.plot.explanation import grad_cam, integrated_gradients, occlusion, saliency
from striate.plot.judgement import confusion, curves, mistakes
from striate.plot.network import features, filter, filters, top_activations
from striate.plot.rate import rates

__all__ = [
    "augmented",
    "compared",
    "confusion",
    "curves",
    "features",
    "filter",
    "filters",
    "grad_cam",
    "integrated_gradients",
    "mistakes",
    "occlusion",
    "rates",
    "saliency",
    "top_activations",
]
