"""Pooling layers for 1, 2 and 3 axes of positions; options as in PyTorch."""

from __future__ import annotations

from typing import ClassVar

from striate.errors import OptionError
from striate.graph.value import Value, shape_text
from striate.nn.foreign import ForeignLayer, onnx_pads, symmetric
from striate.nn.kind import LayerKind
from striate.nn.module import Module
from striate.nn.trail import layer_error
from striate.ops.pooling import avg_pool, global_avg_pool, max_pool
from striate.ops.window import Padding, Pairs, PerAxis, brief, padding_pairs, per_axis, reach, times, windows_that_fit
from striate.options import flag
from striate.tracing import current_trace


class Pooling(Module):
    """Base of layers with windows (abstract): x (N, C, positions…) → (N, C, windows…)"""

    layer_kind: ClassVar[LayerKind] = LayerKind.POOLING
    rank: ClassVar[int]

    def __init__(self, kernel_size: PerAxis, stride: PerAxis | None, padding: Padding, ceil_mode: bool) -> None:
        self.kernel_size = per_axis("kernel_size", kernel_size, self.rank)
        self.stride = self.kernel_size if stride is None else per_axis("stride", stride, self.rank)
        self.padding = padding
        self.dilation = (1,) * self.rank
        self.ceil_mode = flag(f"{type(self).__name__}: ceil_mode", ceil_mode)
        pairs = padding_pairs(padding, self.kernel_size, self.stride, self.dilation)
        if any(max(pair) > size // 2 for pair, size in zip(pairs, self.kernel_size)):
            raise OptionError(f"padding={padding} is more than half of kernel_size={kernel_size}")

    def require(self, x: Value) -> None:
        """Raises ``ShapeError`` for an input of another rank or smaller than the window."""
        if x.type.rank != self.rank + 2:
            raise layer_error(
                current_trace(),
                self.where(),
                f"its input {shape_text(x.shape)} has {x.type.rank} axes, not {self.rank + 2}",
                [],
                "is there a Flatten too early?" if x.type.rank == 2 else "give one sample as a batch of one, x[None]",
            )
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
        """The options of both kinds of PyTorch's pooling layers; None for padding that they cannot express."""
        padding = symmetric(self._pairs())
        if padding is None:
            return None
        return {
            "kernel_size": self.kernel_size, "stride": self.stride, "padding": padding, "ceil_mode": self.ceil_mode,
        }  # fmt: skip

    def onnx_attributes(self) -> dict[str, object]:
        """The attributes of both kinds of ONNX's pooling operators."""
        return {
            "kernel_shape": self.kernel_size, "strides": self.stride, "pads": onnx_pads(self._pairs()),
            "ceil_mode": int(self.ceil_mode),
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
    """y = the largest element of each window (abstract)"""

    def __init__(
        self,
        kernel_size: PerAxis,
        stride: PerAxis | None = None,
        padding: Padding = 0,
        dilation: PerAxis = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ) -> None:
        if return_indices is not False:
            raise OptionError(f"{type(self).__name__}: return_indices={return_indices!r}; only False is supported")
        super().__init__(kernel_size, stride, padding, ceil_mode)
        self.dilation = per_axis("dilation", dilation, self.rank)

    def forward(self, x: Value) -> Value:
        self.require(x)
        return max_pool(x, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode)

    def torch_layer(self) -> ForeignLayer | None:
        options = self.foreign_options()
        return None if options is None else ForeignLayer(f"MaxPool{self.rank}d", {**options, "dilation": self.dilation})

    def onnx_node(self) -> ForeignLayer:
        return ForeignLayer("MaxPool", {**self.onnx_attributes(), "dilations": self.dilation})


class AvgPool(Pooling):
    """y = the mean of each window (abstract)"""

    def __init__(
        self,
        kernel_size: PerAxis,
        stride: PerAxis | None = None,
        padding: Padding = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        super().__init__(kernel_size, stride, padding, ceil_mode)
        self.count_include_pad = flag(f"{type(self).__name__}: count_include_pad", count_include_pad)

    def forward(self, x: Value) -> Value:
        self.require(x)
        return avg_pool(x, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad)

    def torch_layer(self) -> ForeignLayer | None:
        options = self.foreign_options()
        if options is None:
            return None
        return ForeignLayer(f"AvgPool{self.rank}d", {**options, "count_include_pad": self.count_include_pad})

    def onnx_node(self) -> ForeignLayer:
        return ForeignLayer("AveragePool", {**self.onnx_attributes(), "count_include_pad": int(self.count_include_pad)})


class MaxPool1d(MaxPool):
    """Max pooling of (N, C, L)."""

    rank = 1


class MaxPool2d(MaxPool):
    """Max pooling of (N, C, H, W)."""

    rank = 2


class MaxPool3d(MaxPool):
    """Max pooling of (N, C, D, H, W)."""

    rank = 3


class AvgPool1d(AvgPool):
    """Average pooling of (N, C, L)."""

    rank = 1


class AvgPool2d(AvgPool):
    """Average pooling of (N, C, H, W)."""

    rank = 2


class AvgPool3d(AvgPool):
    """Average pooling of (N, C, D, H, W)."""

    rank = 3


class GlobalAveragePool(Module):
    """(N, C, positions…) → (N, C, 1…): the mean over all positions"""

    layer_kind: ClassVar[LayerKind] = LayerKind.POOLING

    def forward(self, x: Value) -> Value:
        return global_avg_pool(x)

    def torch_layer(self) -> ForeignLayer:
        return ForeignLayer("AdaptiveAvgPool2d", {"output_size": 1})

    def onnx_node(self) -> ForeignLayer:
        return ForeignLayer("GlobalAveragePool")


class AdaptiveAvgPool2d(Module):
    """The mean over all positions, like PyTorch's ``AdaptiveAvgPool2d(1)``; other output sizes are not supported."""

    layer_kind: ClassVar[LayerKind] = LayerKind.POOLING

    def __init__(self, output_size: int | tuple[int, int] = 1) -> None:
        if isinstance(output_size, bool) or output_size not in (1, (1, 1)):
            raise OptionError(
                f"AdaptiveAvgPool2d({output_size}): only size 1 is supported\n  help: AvgPool2d(kernel_size)"
            )
        self.output_size = output_size

    def forward(self, x: Value) -> Value:
        return global_avg_pool(x)

    def torch_layer(self) -> ForeignLayer:
        return ForeignLayer("AdaptiveAvgPool2d", {"output_size": 1})

    def onnx_node(self) -> ForeignLayer:
        return ForeignLayer("GlobalAveragePool")

    def extra_repr(self) -> str:
        return str(self.output_size)
