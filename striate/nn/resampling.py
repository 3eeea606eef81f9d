"""Layers that change the number of positions: upsampling, and exchange of channels for positions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from striate.graph.value import Value
from striate.nn.foreign import ForeignLayer
from striate.nn.kind import LayerKind
from striate.nn.module import Module
from striate.nn.ranked import Ranked
from striate.ops.interpolation import checked_options, interpolate
from striate.ops.pixel_shuffle import LARGEST_FACTOR, channel_shuffle, pixel_shuffle, pixel_unshuffle
from striate.options import whole_number


class Upsample(Module):
    """Resize the spatial axes: (N, C, spatial axes…) → (N, C, new sizes…)

    The new sizes are ``size``, or ⌊size of x · ``scale_factor``⌋. ``mode`` is "nearest", "nearest-exact", "area" (means
    of windows), or an interpolation: "linear" for (N, C, L), "bilinear" or "bicubic" for (N, C, H, W), "trilinear" for
    (N, C, D, H, W). With ``align_corners``, the first positions of x and y have the same centre, and so have the last
    positions. Without it, the first positions have the same outer edge, and neighbouring positions of y are 1 /
    ``scale_factor`` positions of x apart. With ``size`` or ``recompute_scale_factor``, the last positions have the same
    outer edge as well. Exactly one of ``size`` and ``scale_factor`` must be given. Raises ``OptionError`` for invalid
    options, and ``ShapeError`` if the mode does not suit the number of axes.
    """

    layer_kind: ClassVar[LayerKind] = LayerKind.RESHAPE

    def __init__(
        self,
        size: int | Sequence[int] | None = None,
        scale_factor: float | Sequence[float] | None = None,
        mode: str = "nearest",
        align_corners: bool | None = None,
        recompute_scale_factor: bool | None = None,
    ) -> None:
        checked_options(type(self).__name__, size, scale_factor, mode, align_corners, recompute_scale_factor)
        self.size, self.scale_factor, self.mode = size, scale_factor, mode
        self.align_corners, self.recompute_scale_factor = align_corners, recompute_scale_factor

    def forward(self, x: Value) -> Value:
        return interpolate(x, self.size, self.scale_factor, self.mode, self.align_corners, self.recompute_scale_factor)

    def torch_layer(self) -> ForeignLayer:
        given = {"size": self.size, "scale_factor": self.scale_factor, "mode": self.mode}
        more = {"align_corners": self.align_corners, "recompute_scale_factor": self.recompute_scale_factor}
        return ForeignLayer("Upsample", {**given, **more})

    def extra_repr(self) -> str:
        parts = [f"size={self.size}" if self.size is not None else f"scale_factor={self.scale_factor}"]
        parts += [f'mode="{self.mode}"']
        parts += [f"align_corners={self.align_corners}"] if self.align_corners is not None else []
        return ", ".join(parts)


class UpsamplingNearest2d(Upsample):
    """Resize images (N, C, H, W) by repeating the nearest positions: ``Upsample`` with mode "nearest".

    The new sizes are ``size``, or ⌊size of x · ``scale_factor``⌋.
    """

    def __init__(
        self, size: int | Sequence[int] | None = None, scale_factor: float | Sequence[float] | None = None
    ) -> None:
        super().__init__(size, scale_factor, "nearest")


class UpsamplingBilinear2d(Upsample):
    """Resize images (N, C, H, W) by bilinear interpolation: ``Upsample`` with aligned corners.

    The centres of the corner pixels of input and output coincide. The new sizes are ``size``, or ⌊size of x ·
    ``scale_factor``⌋.
    """

    def __init__(
        self, size: int | Sequence[int] | None = None, scale_factor: float | Sequence[float] | None = None
    ) -> None:
        super().__init__(size, scale_factor, "bilinear", True)


class PixelShuffle(Ranked):
    """Move channels to positions: (N, C · r², H, W) → (N, C, H · r, W · r) for r = ``upscale_factor``

    Each position becomes a block of r × r positions, filled row by row from r² consecutive channels. Shi et al.,
    arXiv:1609.05158.
    """

    layer_kind: ClassVar[LayerKind] = LayerKind.RESHAPE
    rank = 2

    def __init__(self, upscale_factor: int) -> None:
        self.upscale_factor = whole_number("PixelShuffle: upscale_factor", upscale_factor, 1, LARGEST_FACTOR)

    def forward(self, x: Value) -> Value:
        return pixel_shuffle(x, self.upscale_factor)

    def torch_layer(self) -> ForeignLayer:
        return ForeignLayer("PixelShuffle", {"upscale_factor": self.upscale_factor})

    def extra_repr(self) -> str:
        return str(self.upscale_factor)


class ChannelShuffle(Ranked):
    """Interleave the channels of ``groups`` groups: y[n, k · groups + g] = x[n, g · C / groups + k]

    x is (N, C, H, W) or (C, H, W). Zhang et al. (ShuffleNet), arXiv:1707.01083.
    """

    layer_kind: ClassVar[LayerKind] = LayerKind.RESHAPE
    rank = 2

    def __init__(self, groups: int) -> None:
        self.groups = whole_number("ChannelShuffle: groups", groups, 1)

    def forward(self, x: Value) -> Value:
        return channel_shuffle(x, self.groups)

    def torch_layer(self) -> ForeignLayer:
        return ForeignLayer("ChannelShuffle", {"groups": self.groups})

    def extra_repr(self) -> str:
        return f"groups={self.groups}"


class PixelUnshuffle(Ranked):
    """Move positions to channels: (N, C, H · r, W · r) → (N, C · r², H, W) for r = ``downscale_factor``

    The layer is the inverse of ``PixelShuffle``.
    """

    layer_kind: ClassVar[LayerKind] = LayerKind.RESHAPE
    rank = 2

    def __init__(self, downscale_factor: int) -> None:
        self.downscale_factor = whole_number("PixelUnshuffle: downscale_factor", downscale_factor, 1, LARGEST_FACTOR)

    def forward(self, x: Value) -> Value:
        return pixel_unshuffle(x, self.downscale_factor)

    def torch_layer(self) -> ForeignLayer:
        return ForeignLayer("PixelUnshuffle", {"downscale_factor": self.downscale_factor})

    def extra_repr(self) -> str:
        return str(self.downscale_factor)
