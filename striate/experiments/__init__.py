"""``striate experiment``: every claim of the mission, tried on real data.

Each experiment first states what it expects, then measures it over several seeds, compares, and derives a verdict from
the numbers: the claim holds, holds with a condition, or does not hold here. Each experiment has its own file.
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
"""All experiments by name, in the order in which a student meets them."""


def experiment_of(name: str) -> Experiment:
    """The experiment of that name, in any capitalization.

    Raises ``OptionError`` for an unknown name, listing the known.
    """
    for known, one in EXPERIMENTS.items():
        if isinstance(name, str) and known.lower() == name.lower():  # pyright: ignore[reportUnnecessaryIsInstance]
            return one
    raise unknown_option("experiment", name, [*EXPERIMENTS, "all"])


__all__ = ["EXPERIMENTS", "Experiment", "Material", "Outcome", "Size", "Work", "experiment_of", "material", "perform"]
