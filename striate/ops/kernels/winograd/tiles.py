"""The form of the tiles of a convolution: how many outputs, taps and products they have along each axis."""

from __future__ import annotations

from dataclasses import dataclass

from striate.codegen.kernel import Kernel
from striate.ops.kernels.winograd.matrices import (
    Transforms,
    halves,
    strided,
    strided_gradient,
    strided_upward,
    transforms,
)
from striate.ops.kernels.winograd.transforms import (
    SIX_OPERATIONS,
    Transform,
    operations,
    transform_by,
    transform_six,
)

PADDING = 16
"""Elements added between rows that would otherwise be a power of two apart, and evict each other from the cache."""


@dataclass(frozen=True)
class Form:
    """The form of minimal filtering along one axis of a tile.

    The tile has ``tile`` outputs along the axis, and the filter ``taps`` taps: F(m, r) has m outputs and r taps, and
    F(1, 1) transforms nothing. With ``stride`` 1, one form F(tile, taps) serves the convolution, its input gradient
    and, as F(taps, tile), its weight gradient. With ``stride`` 2, the input gradient has a form of its own, with
    ``upward``: the even taps reach the pixels of dx of one parity (odd if ``odd``, else even), and the odd taps reach
    the other pixels. Raises ``ValueError`` for a stride above 2, and with stride 2 unless ``taps`` is odd and ``tile``
    is 4 (8 if ``upward``).
    """

    tile: int  # outputs
    taps: int
    stride: int = 1
    upward: bool = False
    odd: bool = False

    def __post_init__(self) -> None:
        known = self.taps % 2 == 1 and self.taps >= 3 and self.tile == (8 if self.upward else 4) and self.stride == 2
        if self.stride > 1 and not known:
            raise ValueError(f"no transforms are known for {self}")

    @property
    def step(self) -> int:
        """The distance between neighbouring tiles along the axis, in pixels of x, or of dy if ``upward``."""
        return self.tile // self.stride if self.upward else self.tile * self.stride

    @property
    def patch(self) -> int:
        """The number of input pixels that a tile reads along the axis."""
        return len(self.transforms.input[0])

    @property
    def points(self) -> int:
        """The number of products of a tile along the axis."""
        return len(self.transforms.input)

    @property
    def filters(self) -> int:
        """The number of entries of the transformed filter along the axis: the rows of G."""
        return len(self.transforms.filter)

    @property
    def transforms(self) -> Transforms:
        """The matrices that transform inputs, filters and outputs along the axis.

        An input gradient of stride 1 has the same matrices as the convolution. ``gradient`` has the matrices of the
        weight gradient.
        """
        if self.stride == 1:
            return transforms(self.tile, self.taps)
        return strided_upward(self.taps, self.odd) if self.upward else strided(self.taps)

    @property
    def gradient(self) -> Transforms:
        """The matrices that compute the weight gradient along the axis.

        Their ``filter`` transforms tiles of dy, ``output`` computes the taps, and ``input`` transforms tiles of x as in
        the convolution.
        """
        if self.stride == 1:
            return transforms(self.taps, self.tile).with_plain_filter()
        return strided_gradient(self.taps)

    @property
    def parts(self) -> tuple[Form, Form] | None:
        """The forms of the even and of the odd taps.

        The result is None if the two sets of taps do not transform the input independently of each other.
        """
        if self.stride == 1 or self.upward or self.taps < 5:
            return None
        even, odd = halves(self.taps)
        return Form(self.tile, even), Form(self.tile, odd)

    @property
    def input_operations(self) -> int:
        """The number of operations on vectors that ``input_transform`` emits."""
        if self.patch == self.points == 6:
            return SIX_OPERATIONS
        parts = self.parts
        return sum(part.input_operations for part in parts) if parts else operations(self.transforms.input)

    def input_transform(self, k: Kernel) -> Transform:
        """Return the matrix Bᵀ, and the function that emits Bᵀ d.

        The function takes ``patch`` vectors d and returns ``points`` vectors.
        """
        matrix = self.transforms.input
        if self.patch == self.points == 6:
            return matrix, lambda d: transform_six(k, d)
        if self.parts is None:
            return transform_by(k, matrix)
        even, odd = (part.input_transform(k)[1] for part in self.parts)
        return matrix, lambda d: [*even(d[0::2]), *odd(d[1::2])]


@dataclass(frozen=True)
class Tiling:
    """The form of the tiles of a convolution along the height and the width, and the number of planes of its filter.

    A tile lies in one plane of the output. The products of a tile are summed over the input channels and over the
    ``planes`` planes of the filter.
    """

    height: Form
    width: Form
    planes: int = 1

    @property
    def axes(self) -> tuple[Form, Form]:
        """The forms along the height and the width."""
        return self.height, self.width

    @property
    def positions(self) -> int:
        """The number of products of a tile, which is the number of entries of its transformed input."""
        return self.height.points * self.width.points

    @property
    def entries(self) -> int:
        """The number of entries of a transformed filter of one plane."""
        return self.height.filters * self.width.filters

    @property
    def taps(self) -> int:
        """The number of taps of one plane of the filter."""
        return self.height.taps * self.width.taps

    @property
    def steps(self) -> tuple[int, int]:
        """The distance between neighbouring tiles of the input along the height and the width, in pixels."""
        return self.height.step, self.width.step

    @property
    def outputs(self) -> tuple[int, int]:
        """The number of outputs of a tile along the height and the width."""
        return self.height.tile, self.width.tile

    def grid(self, sizes: tuple[int, int, int]) -> tuple[int, int, int]:
        """Return the number of tiles along each axis of an output with these spatial sizes."""
        depth, height, width = sizes
        return depth, -(-height // self.height.tile), -(-width // self.width.tile)

    def input_transforms(self, k: Kernel) -> tuple[Transform, Transform]:
        """Return the transforms Bᵀ of input tiles along the height and the width."""
        return self.height.input_transform(k), self.width.input_transform(k)
