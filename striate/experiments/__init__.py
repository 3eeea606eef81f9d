"""``striate experiment``: every claim of the mission, tried on real data.

Each experiment says first what it expects, measures it over several seeds, compares, and gives a verdict that follows
from the numbers: the claim holds, holds with a condition, or does not hold here. One file an experiment.
"""

from __future__ import annotations

from striate.errors import unknown_option
from striate.experiments.batch_normalization import BatchNormalization
from striate.experiments.bias_correction import BiasCorrection
from striate.experiments.convolution_prior import ConvolutionPrior
from striate.experiments.cosine_annealing import CosineAnnealing
from striate.experiments.dead_units import DeadUnits
from striate.experiments.experiment import Experiment, Material, Outcome, Size, Work, material, perform
from striate.experiments.first_network import FirstNetwork
from striate.experiments.flattening import Flattening
from striate.experiments.leaky_cure import LeakyCure
from striate.experiments.many_filters import ManyFilters
from striate.experiments.momentum import Momentum
from striate.experiments.normalization_placement import NormalizationPlacement
from striate.experiments.skip_connections import SkipConnections
from striate.experiments.standardization import Standardization
from striate.experiments.vanishing_gradients import VanishingGradients

_ALL: tuple[Experiment, ...] = (
    ConvolutionPrior(),
    ManyFilters(),
    FirstNetwork(),
    Flattening(),
    VanishingGradients(),
    DeadUnits(),
    LeakyCure(),
    Standardization(),
    NormalizationPlacement(),
    BatchNormalization(),
    SkipConnections(),
    Momentum(),
    BiasCorrection(),
    CosineAnnealing(),
)
EXPERIMENTS = {one.name: one for one in _ALL}
"""By name, in the order in which a student meets them."""


def experiment_of(name: str) -> Experiment:
    """The experiment of that name, however it is capitalized; an unknown name lists the known."""
    for known, one in EXPERIMENTS.items():
        if known.lower() == name.lower():
            return one
    raise unknown_option("experiment", name, [*EXPERIMENTS, "all"])


__all__ = ["EXPERIMENTS", "Experiment", "Material", "Outcome", "Size", "Work", "experiment_of", "material", "perform"]
