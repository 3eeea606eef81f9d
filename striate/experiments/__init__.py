"""The experiments of ``striate experiment``, each of which tests one claim about networks on real data.

An experiment states its predictions first, measures over several seeds, compares, and derives a verdict: the claim
holds, holds with a condition, or does not hold on these data. Each experiment has its own file. M1 to M10 are the
claims that striate is meant to teach, in order; the others go beyond them.
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
"""All experiments by name, in teaching order."""


def experiment_of(name: str) -> Experiment:
    """Return the experiment with this name, in any capitalization.

    Raises ``OptionError`` for an unknown name; the message lists the known ones.
    """
    for known, one in EXPERIMENTS.items():
        if isinstance(name, str) and known.lower() == name.lower():  # pyright: ignore[reportUnnecessaryIsInstance]
            return one
    raise unknown_option("experiment", name, [*EXPERIMENTS, "all"])


__all__ = ["EXPERIMENTS", "Experiment", "Material", "Outcome", "Size", "Work", "experiment_of", "material", "perform"]
