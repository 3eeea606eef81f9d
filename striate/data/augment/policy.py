"""``RandAugment`` and ``TrivialAugment``: a few transforms of a picture, chosen at random."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from striate.data.augment.colour import saturation
from striate.data.augment.draft import Border, Draft, Work
from striate.data.augment.geometry import about_centre
from striate.data.augment.keys import Draws
from striate.data.augment.transform import FillOption, Transform, checked_border, checked_fill
from striate.errors import OptionError
from striate.options import whole_number

Array = npt.NDArray[Any]
BINS = 31
_OPERATIONS = (
    "identity", "shear_x", "shear_y", "translate_x", "translate_y", "rotate",
    "brightness", "saturation", "contrast", "posterize", "solarize", "autocontrast",
)  # fmt: skip


@dataclass(frozen=True)
class Strengths:
    """The effect of each operation at the largest magnitude.

    shear      the slope
    translate  the shift, as a fraction of the picture's size
    degrees    the angle of a rotation
    factor     by how much the factor of brightness, contrast or saturation differs from 1
    bits       the number of bits that posterization removes
    """

    shear: float
    translate: float
    degrees: float
    factor: float
    bits: int


@dataclass(frozen=True, kw_only=True)
class Policy(Transform):
    """Abstract base of ``RandAugment`` and ``TrivialAugment``.

    ``padding_mode`` and ``fill`` are as in ``RandomAffine``.
    """

    padding_mode: str = "constant"
    fill: FillOption = 0.0

    def __post_init__(self) -> None:
        name = type(self).__name__
        checked_border(name, self.padding_mode, [Border.CONSTANT, Border.EDGE, Border.REFLECT])
        object.__setattr__(self, "fill", checked_fill(f"{name}: fill", self.fill))

    @property
    def work(self) -> Work:
        return Work(affine=True, colour=True, tone=True)

    @property
    def border(self) -> tuple[Border, FillOption]:
        return Border(self.padding_mode), self.fill

    def check(self, shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> tuple[int, ...]:
        shape = super().check(shape, dtype)
        if dtype != np.uint8:
            raise OptionError(
                f"{self} is for pictures of bytes from 0 to 255, and these are {dtype}\n"
                "  help: keep pictures as uint8; the standardizer belongs to the model"
            )
        return shape


def apply_random(draft: Draft, draws: Draws, magnitude: float | Array, most: Strengths) -> None:
    """Apply one random operation to each sample of ``draft``, chosen by the random numbers ``draws``.

    ``magnitude`` is from 0 (no effect) to 1 (the effects in ``most``), one number or one for each sample.
    """
    chosen = draws.whole(len(_OPERATIONS))
    sign = np.where(draws.happens(0.5), -1.0, 1.0)

    def where(name: str, amount: Array | float, otherwise: float = 0.0) -> Array:
        return np.where(chosen == _OPERATIONS.index(name), amount, otherwise)

    height, width = draft.sizes
    signed = sign * magnitude
    matrix = about_centre(
        len(draft), (height, width), where("rotate", signed * most.degrees), 1.0, 0.0,
        np.round(where("translate_x", signed * most.translate * width)),
        np.round(where("translate_y", signed * most.translate * height)),
    )  # fmt: skip
    for name, row in (("shear_x", 0), ("shear_y", 1)):
        slope = where(name, signed * most.shear)
        matrix[:, row, 1 - row] += slope
        matrix[:, row, 2] -= slope * ((height, width)[row] - 1) / 2
    draft.resample(matrix)
    draft.scale(1 + where("brightness", signed * most.factor))
    draft.contrast(1 + where("contrast", signed * most.factor))
    if draft.channels == 3:
        draft.recolour(saturation(1 + where("saturation", signed * most.factor)))
    step = 2.0 ** np.round(magnitude * most.bits)
    draft.posterize = np.maximum(draft.posterize, where("posterize", np.where(step > 1, step, 0)))
    draft.solarize = np.minimum(draft.solarize, where("solarize", 255 * (1 - magnitude * np.ones(len(draft))), np.inf))
    draft.stretch |= chosen == _OPERATIONS.index("autocontrast")


@dataclass(frozen=True)
class RandAugment(Policy):
    """Apply ``num_ops`` random operations of strength ``magnitude`` to each picture (Cubuk and others, 2019).

    The operations and their strengths are those of torchvision, without sharpness and equalization: identity, shear and
    shift along either axis, rotation, brightness, saturation, contrast, posterization, solarization and autocontrast.
    The picture is resampled once: changes of position come first, then those of colour, then posterization,
    solarization and autocontrast. ``magnitude`` is from 0 to 30; ``padding_mode`` and ``fill`` are as in
    ``RandomAffine``. arXiv:1909.13719. Raises ``OptionError`` for options out of range and, in ``check``, for anything
    but pictures of uint8.
    """

    num_ops: int = 2
    magnitude: int = 9

    def __post_init__(self) -> None:
        super().__post_init__()
        whole_number("RandAugment: num_ops", self.num_ops, 1, 16)
        whole_number("RandAugment: magnitude", self.magnitude, 0, BINS - 1)

    def apply(self, draft: Draft, draws: Draws) -> None:
        for _ in range(self.num_ops):
            apply_random(draft, draws, self.magnitude / (BINS - 1), Strengths(0.3, 150 / 331, 30, 0.9, 4))


@dataclass(frozen=True)
class TrivialAugment(Policy):
    """Apply one random operation of random strength to each picture (Müller and Hutter, 2021, arXiv:2103.10158).

    The operations are those of ``RandAugment``, with the wider range of strengths that torchvision's
    ``TrivialAugmentWide`` has. ``padding_mode`` and ``fill`` are as in ``RandomAffine``. Raises ``OptionError`` for
    options out of range and, in ``check``, for anything but pictures of uint8.
    """

    def apply(self, draft: Draft, draws: Draws) -> None:
        magnitude = draws.whole(BINS) / (BINS - 1)
        share = 32 / max(32, *draft.sizes)  # up to 32 pixels
        apply_random(draft, draws, magnitude, Strengths(0.99, share, 135, 0.99, 6))
