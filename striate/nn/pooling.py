"""Pooling layers for 1, 2 and 3 spatial axes; names and options are those of ``torch.nn``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, cast

import numpy as np

from striate.errors import quantity
from striate.graph.value import Array, Batch, Value, shape_text
from striate.nn.foreign import ForeignLayer, symmetric
from striate.nn.kind import LayerKind
from striate.nn.module import Module
from striate.nn.ranked import Ranked
from striate.nn.trail import layer_error
from striate.ops.adaptive import AdaptiveSizes, adaptive_avg_pool, adaptive_max_pool, global_max_pool, output_sizes
from striate.ops.average_pooling import avg_pool, global_avg_pool, lp_pool, require_divisor
from striate.ops.max_pooling import max_pool
from striate.ops.pooling import require_half
from striate.ops.unpooling import max_unpool
from striate.ops.window import Padding, Pairs, PerAxis, brief, padding_pairs, per_axis, reach, times, windows_that_fit
from striate.options import flag, number
from striate.tracing import current_trace


class Positional(Ranked):
    """Base class of layers that act on the spatial axes of each channel: pooling and padding (abstract)."""

    layer_kind: ClassVar[LayerKind] = LayerKind.POOLING

    def require_rank(self, x: Value) -> None:
        """Raise ``ShapeError`` unless x is (N, C, spatial axes…) with the layer's number of spatial axes."""
        if x.type.rank != self.rank + 2:
            axes = ", ".join(("L", "HW", "DHW")[self.rank - 1])
            raise layer_error(
                current_trace(),
                self.where(),
                f"its input {shape_text(x.shape)} has {quantity(x.type.rank, 'axis')}, "
                f"not {self.rank + 2}: (N, C, {axes})",
                [],
                "is there a Flatten too early?" if x.type.rank == 2 else "give one sample as a batch of one, x[None]",
            )


class Pooling(Positional):
    """Base class of pooling over sliding windows: x (N, C, spatial axes…) → (N, C, windows…) (abstract).

    One sample (C, spatial axes…) is accepted too. ``kernel_size`` and ``stride`` are a number, or one per spatial axis;
    ``stride=None`` means the kernel size. ``padding`` is at most half of the kernel size. ``ceil_mode`` rounds the
    number of windows up instead of down. Raises ``OptionError`` for invalid options, such as a stride of 0, and
    ``ShapeError`` for inputs with another number of axes or smaller than the window.
    """

    def __init__(self, kernel_size: PerAxis, stride: PerAxis | None, padding: Padding, ceil_mode: bool) -> None:
        self.kernel_size = per_axis("kernel_size", kernel_size, self.rank)
        self.stride = self.kernel_size if stride is None else per_axis("stride", stride, self.rank)
        self.padding = padding
        self.dilation = (1,) * self.rank
        self.ceil_mode = flag(f"{type(self).__name__}: ceil_mode", ceil_mode)
        pairs = padding_pairs(padding, self.kernel_size, self.stride, self.dilation)
        require_half(type(self).__name__, self.kernel_size, pairs)

    def require(self, x: Value) -> None:
        """Raise ``ShapeError`` if the input x has the wrong number of axes or is smaller than the window."""
        self.require_rank(x)
        size = x.type.concrete(1)[2:]
        counts = windows_that_fit(size, self.kernel_size, self.stride, self._pairs(), self.dilation, self.ceil_mode)
        if min(counts) < 1:
            window = reach(self.kernel_size, self.dilation)
            raise layer_error(
                current_trace(),
                self.where(),
                f"its window of {times(window)} is larger than its input of {times(size)}",
                [],
                "use a smaller kernel, or less pooling before it",
            )

    def _pairs(self) -> Pairs:
        return padding_pairs(self.padding, self.kernel_size, self.stride, self.dilation)

    def foreign_options(self) -> dict[str, object] | None:
        """Return the keyword arguments for the equivalent layer of ``torch.nn`` that max and average pooling share.

        The result is None for padding that PyTorch does not have, such as one that differs before and after an axis.
        """
        padding = symmetric(self._pairs())
        if padding is None:
            return None
        return {
            "kernel_size": self.kernel_size, "stride": self.stride, "padding": padding, "ceil_mode": self.ceil_mode,
        }  # fmt: skip

    def extra_repr(self) -> str:
        sizes = self.kernel_size
        parts = [brief(sizes)]
        parts += [f"stride={self.stride}"] if self.stride != sizes else []
        parts += [f"padding={self.padding}"] if self.padding not in (0, "valid") else []
        parts += [f"dilation={self.dilation}"] if any(d != 1 for d in self.dilation) else []
        parts += ["ceil_mode=True"] if self.ceil_mode else []
        return ", ".join(parts)


class MaxPool(Pooling):
    """Max pooling: y = the largest element of each window (abstract)

    Padding counts as −∞, so it is never the largest. ``dilation`` is the distance between the elements of a window. See
    the base class ``Pooling`` for the other options. With ``return_indices``, the layer returns (y, indices):
    ``indices``, int64 in the shape of y, has for each element of y its position in the flattened channel of x.
    ``MaxUnpool`` takes these indices.
    """

    def __init__(
        self,
        kernel_size: PerAxis,
        stride: PerAxis | None = None,
        padding: Padding = 0,
        dilation: PerAxis = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__(kernel_size, stride, padding, ceil_mode)
        self.return_indices = flag(f"{type(self).__name__}: return_indices", return_indices)
        self.dilation = per_axis("dilation", dilation, self.rank)

    def forward(self, x: Value) -> Value | tuple[Value, Value]:
        self.require(x)
        options = (self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode)
        return max_pool(x, *options, return_indices=True) if self.return_indices else max_pool(x, *options)

    def torch_layer(self) -> ForeignLayer | None:
        options = self.foreign_options()
        if options is None:
            return None
        options |= {"dilation": self.dilation, "return_indices": self.return_indices}
        return ForeignLayer(f"MaxPool{self.rank}d", options)

    def extra_repr(self) -> str:
        return super().extra_repr() + (", return_indices=True" if self.return_indices else "")


class AvgPool(Pooling):
    """Average pooling: y = the mean of each window (abstract)

    With ``count_include_pad``, the zeros of the padding count as elements of the window. If ``divisor_override`` is
    given, every sum is divided by this number instead of by the number of elements. See the base class ``Pooling`` for
    the other options.
    """

    def __init__(
        self,
        kernel_size: PerAxis,
        stride: PerAxis | None = None,
        padding: Padding = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> None:
        super().__init__(kernel_size, stride, padding, ceil_mode)
        name = type(self).__name__
        self.count_include_pad = flag(f"{name}: count_include_pad", count_include_pad)
        self.divisor_override = None if divisor_override is None else require_divisor(name, divisor_override)

    def forward(self, x: Value) -> Value:
        self.require(x)
        counts, divisor = self.count_include_pad, self.divisor_override
        return avg_pool(x, self.kernel_size, self.stride, self.padding, self.ceil_mode, counts, divisor)

    def torch_layer(self) -> ForeignLayer | None:
        options = self.foreign_options()
        if options is None or (self.rank == 1 and self.divisor_override is not None):
            return None
        divisor = {"divisor_override": self.divisor_override} if self.rank > 1 else {}
        name = f"AvgPool{self.rank}d"
        return ForeignLayer(name, {**options, "count_include_pad": self.count_include_pad, **divisor})

    def extra_repr(self) -> str:
        parts = [super().extra_repr()]
        parts += ["count_include_pad=False"] if not self.count_include_pad else []
        parts += [f"divisor_override={self.divisor_override}"] if self.divisor_override is not None else []
        return ", ".join(parts)


class LPPool(Pooling):
    """Power-average pooling: y = (Σ xᵖ)^(1/p) over each window (abstract)

    p is ``norm_type``, above 0: p = 1 gives the sum, p = 2 the Euclidean norm. The result is NaN where the root of a
    negative number would be taken. See the base class ``Pooling`` for the other options.
    """

    def __init__(
        self, norm_type: float, kernel_size: PerAxis, stride: PerAxis | None = None, ceil_mode: bool = False
    ) -> None:
        super().__init__(kernel_size, stride, 0, ceil_mode)
        self.norm_type = number(f"{type(self).__name__}: norm_type", norm_type, above=0.0)

    def forward(self, x: Value) -> Value:
        self.require(x)
        return lp_pool(x, self.norm_type, self.kernel_size, self.stride, self.ceil_mode)

    def torch_layer(self) -> ForeignLayer:
        options = {"kernel_size": self.kernel_size, "stride": self.stride, "ceil_mode": self.ceil_mode}
        return ForeignLayer(f"LPPool{self.rank}d", {"norm_type": self.norm_type, **options})

    def extra_repr(self) -> str:
        return f"{self.norm_type:g}, {super().extra_repr()}"


class AdaptivePool(Positional):
    """Base class of pooling to ``output_size`` windows along each axis (abstract).

    ``output_size`` is a number, or one per spatial axis; None keeps the size of the input. Window p covers the
    positions from ⌊p · size / windows⌋ up to, but not including, ⌈(p + 1) · size / windows⌉, where ``size`` is the size
    of the axis in the input and ``windows`` its size in the output.
    """

    def __init__(self, output_size: AdaptiveSizes) -> None:
        self.output_size = output_sizes(type(self).__name__, output_size, self.rank)

    @property
    def is_global(self) -> bool:
        """Whether each channel has a single window, which covers all positions."""
        return all(size == 1 for size in self.output_size)

    def torch_layer(self) -> ForeignLayer:
        return ForeignLayer(type(self).__name__, {"output_size": self.output_size})

    def extra_repr(self) -> str:
        return brief(self.output_size)


class AdaptiveAvgPool(AdaptivePool):
    """Average pooling to a given output size: y = the mean of each window (abstract)

    See the base class ``AdaptivePool`` for ``output_size`` and the windows.
    """

    def forward(self, x: Value) -> Value:
        self.require_rank(x)
        return adaptive_avg_pool(x, self.output_size)


class AdaptiveMaxPool(AdaptivePool):
    """Max pooling to a given output size: y = the largest element of each window (abstract)

    See the base class ``AdaptivePool`` for ``output_size``. With ``return_indices``, the layer returns (y, indices):
    ``indices``, int64 in the shape of y, has for each element of y its position in the flattened channel of x.
    """

    def __init__(self, output_size: AdaptiveSizes, return_indices: bool = False) -> None:
        super().__init__(output_size)
        self.return_indices = flag(f"{type(self).__name__}: return_indices", return_indices)

    def forward(self, x: Value) -> Value | tuple[Value, Value]:
        self.require_rank(x)
        return (
            adaptive_max_pool(x, self.output_size, True)
            if self.return_indices
            else adaptive_max_pool(x, self.output_size)
        )

    def torch_layer(self) -> ForeignLayer:
        options = {"output_size": self.output_size, "return_indices": self.return_indices}
        return ForeignLayer(type(self).__name__, options)

    def extra_repr(self) -> str:
        return super().extra_repr() + (", return_indices=True" if self.return_indices else "")


class MaxUnpool(Positional):
    """Max unpooling: y = x at the positions that max pooling took its elements from, and 0 elsewhere (abstract)

    The layer is called with x (N, C, spatial axes…) and the indices that a pooling with ``return_indices=True``
    returned, or with one sample and its indices. The options are those of that pooling; ``stride=None`` means the
    kernel size. By default, y has (size − 1) · stride − 2 · padding + kernel_size positions along each axis. The
    optional third input ``output_size`` is the shape of y, such as that of the array that was pooled; its sizes may
    differ from the default by less than the stride. Raises ``ShapeError`` for shapes that do not fit, and ``DataError``
    for an index outside y.
    """

    def __init__(self, kernel_size: PerAxis, stride: PerAxis | None = None, padding: PerAxis = 0) -> None:
        self.kernel_size = per_axis("kernel_size", kernel_size, self.rank)
        self.stride = self.kernel_size if stride is None else per_axis("stride", stride, self.rank)
        self.padding = per_axis("padding", padding, self.rank, least=0)

    def forward(self, x: Value, indices: Value, output_size: Sequence[int | Batch] | None = None) -> Value:
        return max_unpool(x, indices, self.kernel_size, self.stride, self.padding, output_size)

    def __call__(self, *inputs: Any, training: bool = False, **named: Any) -> Any:
        given = self.ordered(inputs, named)
        x, indices, size = (*given, None)[:3]
        if not isinstance(x, np.ndarray) or not isinstance(indices, np.ndarray):
            return super().__call__(*given, training=training)
        arrays: dict[str, Array] = {"x": x, "indices": indices}
        given_size = cast("Sequence[object] | None", size)
        kept = tuple(given_size)[-self.rank :] if isinstance(given_size, tuple | list) else given_size

        def applied(x: Value, indices: Value) -> Value:
            return self.trace((x, indices, kept))

        if x.ndim != self.rank + 1:
            return self.computed(("unpool", kept), arrays, applied)
        return self.computed(("unpool", kept), {name: one[None] for name, one in arrays.items()}, applied)[0]

    def torch_layer(self) -> ForeignLayer:
        options = {"kernel_size": self.kernel_size, "stride": self.stride, "padding": self.padding}
        return ForeignLayer(type(self).__name__, options)

    def extra_repr(self) -> str:
        parts = [brief(self.kernel_size)]
        parts += [f"stride={self.stride}"] if self.stride != self.kernel_size else []
        parts += [f"padding={self.padding}"] if any(self.padding) else []
        return ", ".join(parts)


class MaxPool1d(MaxPool):
    """Max pooling of (N, C, L) or (C, L); see the base class ``MaxPool`` for the options."""

    rank = 1


class MaxPool2d(MaxPool):
    """Max pooling of (N, C, H, W) or (C, H, W); see the base class ``MaxPool`` for the options."""

    rank = 2


class MaxPool3d(MaxPool):
    """Max pooling of (N, C, D, H, W) or (C, D, H, W); see the base class ``MaxPool`` for the options."""

    rank = 3


class AvgPool1d(AvgPool):
    """Average pooling of (N, C, L) or (C, L); see the base class ``AvgPool`` for the options."""

    rank = 1


class AvgPool2d(AvgPool):
    """Average pooling of (N, C, H, W) or (C, H, W); see the base class ``AvgPool`` for the options."""

    rank = 2


class AvgPool3d(AvgPool):
    """Average pooling of (N, C, D, H, W) or (C, D, H, W); see the base class ``AvgPool`` for the options."""

    rank = 3


class LPPool1d(LPPool):
    """Power-average pooling of (N, C, L) or (C, L): y = (Σ xᵖ)^(1/p) over each window

    p is ``norm_type``; see the base class ``LPPool`` for the options.
    """

    rank = 1


class LPPool2d(LPPool):
    """Power-average pooling of (N, C, H, W) or (C, H, W): y = (Σ xᵖ)^(1/p) over each window

    p is ``norm_type``; see the base class ``LPPool`` for the options.
    """

    rank = 2


class LPPool3d(LPPool):
    """Power-average pooling of (N, C, D, H, W) or (C, D, H, W): y = (Σ xᵖ)^(1/p) over each window

    p is ``norm_type``; see the base class ``LPPool`` for the options.
    """

    rank = 3


class AdaptiveAvgPool1d(AdaptiveAvgPool):
    """Average pooling of (N, C, L) or (C, L) to ``output_size`` positions; None keeps L."""

    rank = 1


class AdaptiveAvgPool2d(AdaptiveAvgPool):
    """Average pooling of (N, C, H, W) or (C, H, W) to ``output_size`` positions.

    See the base class ``AdaptivePool`` for the windows.
    """

    rank = 2


class AdaptiveAvgPool3d(AdaptiveAvgPool):
    """Average pooling of (N, C, D, H, W) or (C, D, H, W) to ``output_size`` positions.

    See the base class ``AdaptivePool`` for the windows.
    """

    rank = 3


class AdaptiveMaxPool1d(AdaptiveMaxPool):
    """Max pooling of (N, C, L) or (C, L) to ``output_size`` positions; None keeps L."""

    rank = 1


class AdaptiveMaxPool2d(AdaptiveMaxPool):
    """Max pooling of (N, C, H, W) or (C, H, W) to ``output_size`` positions.

    See the base class ``AdaptivePool`` for the windows.
    """

    rank = 2


class AdaptiveMaxPool3d(AdaptiveMaxPool):
    """Max pooling of (N, C, D, H, W) or (C, D, H, W) to ``output_size`` positions.

    See the base class ``AdaptivePool`` for the windows.
    """

    rank = 3


class MaxUnpool1d(MaxUnpool):
    """Max unpooling of (N, C, L) or (C, L); see the base class ``MaxUnpool`` for the options."""

    rank = 1


class MaxUnpool2d(MaxUnpool):
    """Max unpooling of (N, C, H, W) or (C, H, W); see the base class ``MaxUnpool`` for the options."""

    rank = 2


class MaxUnpool3d(MaxUnpool):
    """Max unpooling of (N, C, D, H, W) or (C, D, H, W); see the base class ``MaxUnpool`` for the options."""

    rank = 3


class GlobalPool(Module):
    """Base class of pooling over all positions: x (N, C, spatial axes…) → (N, C, 1, …) (abstract).

    x may have any number of spatial axes.
    """

    layer_kind: ClassVar[LayerKind] = LayerKind.POOLING
    _rank: int = 2  # the spatial axes of the latest input, by which PyTorch names its layers

    def traced_forward(self, inputs: tuple[Any, ...]) -> Any:
        if len(inputs) == 1 and isinstance(inputs[0], Value):
            vars(self)["_rank"] = inputs[0].type.rank - 2
        return super().traced_forward(inputs)

    def foreign(self, name: str) -> ForeignLayer | None:
        """Return the equivalent layer of ``torch.nn``, which is adaptive pooling to one position.

        ``name`` is the name of PyTorch's class without the number of axes: "AdaptiveAvgPool" or "AdaptiveMaxPool". The
        result is None unless the latest input had 1, 2 or 3 spatial axes.
        """
        return ForeignLayer(f"{name}{self._rank}d", {"output_size": 1}) if 1 <= self._rank <= 3 else None


class GlobalAveragePool(GlobalPool):
    """Mean over all positions of each channel: x (N, C, spatial axes…) → (N, C, 1, …)"""

    def forward(self, x: Value) -> Value:
        return global_avg_pool(x)

    def torch_layer(self) -> ForeignLayer | None:
        return self.foreign("AdaptiveAvgPool")


class GlobalMaxPool(GlobalPool):
    """Maximum over all positions of each channel: x (N, C, spatial axes…) → (N, C, 1, …)"""

    def forward(self, x: Value) -> Value:
        return global_max_pool(x)

    def torch_layer(self) -> ForeignLayer | None:
        return self.foreign("AdaptiveMaxPool")
