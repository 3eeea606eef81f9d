"""Random changes of training samples, applied by compiled kernels while a batch is made.

    trainer = st.Trainer(…, augment=[augment.RandomCrop(padding=4), augment.RandomHorizontalFlip()])

Each sample's changes are a function of (seed, epoch, sample): the same on any number of threads and for any batch size,
and different in every epoch. Changes of position (crops, flips, rotations) come first, and the sample is resampled only
once for all of them; changes of colour, noise, erased boxes and mixing follow, in this order. ``Lambda`` functions run
at their position in the list.
"""

from striate.data.augment.colour import ColorJitter, GaussianNoise, RandomScaling
from striate.data.augment.erasing import Cutout, RandomErasing, RandomMask
from striate.data.augment.function import Lambda
from striate.data.augment.geometry import (
    AlternatingFlip,
    RandomAffine,
    RandomCrop,
    RandomFlip,
    RandomHorizontalFlip,
    RandomResizedCrop,
    RandomRotation,
    RandomShift,
    RandomVerticalFlip,
)
from striate.data.augment.mixing import CutMix, MixUp
from striate.data.augment.policy import RandAugment, TrivialAugment
from striate.data.augment.stage import InputStage
from striate.data.augment.text import parsed
from striate.data.augment.transform import Transform

__all__ = [
    "AlternatingFlip", "ColorJitter", "CutMix", "Cutout", "GaussianNoise", "InputStage", "Lambda", "MixUp",
    "RandAugment", "RandomAffine", "RandomCrop", "RandomErasing", "RandomFlip", "RandomHorizontalFlip",
    "RandomMask", "RandomResizedCrop", "RandomRotation", "RandomScaling", "RandomShift", "RandomVerticalFlip",
    "Transform", "TrivialAugment", "parsed",
]  # fmt: skip
