"""Drawings of what a network learned and how its training went; needs the extra ``plot`` (matplotlib).

Every function returns a ``matplotlib.figure.Figure`` of its own, which a notebook shows and ``figure.savefig`` writes;
``path=`` writes it at once. Nothing touches pyplot, and no display is needed.
"""

from striate.plot.explanation import grad_cam, integrated_gradients, occlusion, saliency
from striate.plot.judgement import confusion, curves, mistakes
from striate.plot.network import exciting, features, filter, filters

__all__ = [
    "confusion",
    "curves",
    "exciting",
    "features",
    "filter",
    "filters",
    "grad_cam",
    "integrated_gradients",
    "mistakes",
    "occlusion",
    "saliency",
]
