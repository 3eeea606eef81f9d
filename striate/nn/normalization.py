"""Batch normalization layers, and the base classes of all normalization layers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from striate.errors import OptionError, ShapeError, quantity
from striate.graph.elementwise import cast
from striate.graph.operand import constant
from striate.graph.value import Array, Value, shape_text
from striate.nn.foreign import ForeignLayer
from striate.nn.kind import LayerKind
from striate.nn.module import Module
from striate.nn.parameter import Parameter, Role
from striate.nn.trail import layer_error
from striate.ops.normalization import batch_axes, batch_norm, batch_norm_with_statistics
from striate.ops.reduction import Numel
from striate.ops.synchronized import synchronized_batch_norm
from striate.ops.window import per_axis
from striate.options import flag, number
from striate.tracing import Trace, active_trace, current_trace


@dataclass(frozen=True)
class RunningStatistics:
    """The statistics of each channel that prediction uses: running ← (1 − momentum) · running + momentum · batch.

    ``mean`` and ``variance`` (C,) share the memory of the model's buffers. With ``momentum=None``, batch normalization
    keeps the average over all batches.
    """

    mean: Array
    variance: Array
    momentum: float | None


class Normalization(Module):
    """Base class of layers that normalize and rescale: y = (x − μ)/σ · γ + β (abstract)

    μ is the mean of the elements that are normalized together, and σ is √(variance + ``eps``), where the small number
    ``eps`` avoids a division by 0. γ and β are the parameters ``weight`` and ``bias`` if the layer has them.
    """

    layer_kind: ClassVar[LayerKind] = LayerKind.NORMALIZATION
    eps: float

    def running_statistics(self) -> RunningStatistics | None:
        """Return the running statistics, which prediction uses; None if the layer keeps none."""
        return None

    def unshifted(self, affine: bool) -> dict[str, object]:
        """Return the argument {"bias": False} for the layer of ``torch.nn`` if this layer has γ but not β, else {}.

        ``affine`` says whether the layer has γ.
        """
        return {"bias": False} if affine and "bias" not in self.own_state() else {}


class ChannelNormalization(Normalization):
    """Base class of layers that normalize each channel and may keep running statistics (abstract).

    The arguments are the options of ``BatchNorm``. If the attribute ``frozen_statistics`` is True, training also
    normalizes with the running statistics and leaves them unchanged.
    """

    defaults: ClassVar[tuple[bool, bool]]
    """The default values of ``affine`` and ``track_running_stats``."""
    weight: Value | None
    bias: Value | None
    running_mean: Value
    running_var: Value
    num_batches_tracked: Value

    def __init__(
        self,
        num_features: int | None,
        eps: float,
        momentum: float | None,
        affine: bool,
        track_running_stats: bool,
        bias: bool,
    ) -> None:
        self.num_features = None if num_features is None else per_axis("num_features", num_features, 1)[0]
        name = type(self).__name__
        self.eps = number(f"{name}: eps", eps, above=0.0)
        self.momentum = None if momentum is None else number(f"{name}: momentum", momentum, 0.0, 1.0)
        self.affine = flag(f"{name}: affine", affine)
        self.track_running_stats = flag(f"{name}: track_running_stats", track_running_stats)
        self.frozen_statistics = False
        shape = (self.num_features,)
        self.register_parameter("weight", Parameter(shape, "ones") if affine else None)
        shifted = flag(f"{name}: bias", bias) and affine
        self.register_parameter("bias", Parameter(shape, "zeros") if shifted else None)
        if track_running_stats:
            self.register_parameter("running_mean", Parameter(shape, "zeros", role=Role.BUFFER))
            self.register_parameter("running_var", Parameter(shape, "ones", role=Role.BUFFER))
            self.register_parameter("num_batches_tracked", Parameter(np.zeros((), np.int64), role=Role.COUNTER))

    def running_statistics(self) -> RunningStatistics | None:
        if not self.track_running_stats:
            return None
        return RunningStatistics(self.parameter("running_mean").data, self.parameter("running_var").data, self.momentum)

    def freeze_statistics(self, frozen: bool) -> bool:
        if self.track_running_stats:
            self.frozen_statistics = frozen
        return self.track_running_stats

    def _know(self, features: int | None) -> None:
        vars(self)["num_features"] = features
        for parameter in self._parameters.values():
            if parameter.role is not Role.COUNTER:
                parameter.shape = (features,)

    def _forget(self) -> None:
        if all(parameter.array is None for parameter in self._parameters.values()):
            self._know(None)

    def adopt_sizes(self) -> None:
        if self.num_features is None:
            known = [
                parameter.shape[0] for parameter in self._parameters.values() if parameter.role is not Role.COUNTER
            ]
            self._know(next(iter(known), None))

    def require_features(self, trace: Trace, x: Value) -> None:
        """If ``num_features`` is None, set it to the size of axis 1 of the input x.

        Raises ``ShapeError`` if x has another number of channels than ``num_features``. ``trace`` is the record of the
        traced call; the error message shows the shapes of the earlier layers.
        """
        channels = int(x.type.concrete(1)[1])
        if self.num_features is None:
            trace.undo.append(self._forget)
            self._know(channels)
        if channels != self.num_features:
            raise layer_error(
                trace,
                self.where(),
                f"its input has {quantity(channels, 'channel')}",
                [f"expected {self.num_features} on axis 1, got {shape_text(x.shape)}"],
                f"{type(self).__name__}({channels}), or {type(self).__name__}(None) to have it inferred",
            )

    def by_batch(self, trace: Trace) -> bool:
        """Return whether the layer normalizes with the statistics of its input instead of its running statistics.

        A layer without running statistics returns True. A layer with running statistics returns ``trace.by_batch``
        (True in training), or False if its statistics are frozen.
        """
        return not self.track_running_stats or (trace.by_batch and not self.frozen_statistics)

    def extra_repr(self) -> str:
        affine, track = self.defaults
        parts = [str(self.num_features)]
        parts += [f"eps={self.eps:g}"] if self.eps != 1e-5 else []
        parts += [f"momentum={self.momentum}"] if self.momentum != 0.1 else []
        parts += [f"affine={self.affine}"] if self.affine is not affine else []
        parts += [f"track_running_stats={self.track_running_stats}"] if self.track_running_stats is not track else []
        parts += ["bias=False"] if self.unshifted(self.affine) else []
        return ", ".join(parts)


class BatchNorm(ChannelNormalization):
    """Batch normalization: y = (x − μ) / √(σ² + ε) · γ + β, with μ and σ² of each channel (abstract)

    Training computes the mean μ and the biased variance σ² over the batch and all positions, and updates the running
    statistics by running ← (1 − momentum) · running + momentum · batch, with the unbiased variance. Prediction
    normalizes with the running statistics. With ``track_running_stats=False``, there are none, and prediction
    normalizes with the statistics of its input. ε is ``eps``. γ and β are (C,); ``affine=False`` omits both, and
    ``bias=False`` omits β. ``momentum=None`` averages over all batches seen. C is ``num_features``; if that is None, C
    is the number of channels of the first input. After ``model.freeze("layer1*", statistics=True)``, training also
    normalizes with the running statistics and leaves them unchanged. Raises ``ShapeError`` if training would see only
    one value per channel. Ioffe and Szegedy, arXiv:1502.03167; options as in PyTorch.
    """

    ranks: ClassVar[tuple[int, ...]]
    """The numbers of axes that inputs may have, with axis 0 for the samples."""
    expected: ClassVar[str]
    """The shapes of inputs, as text for error messages."""
    defaults: ClassVar[tuple[bool, bool]] = (True, True)

    def __init__(
        self,
        num_features: int | None,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, bias)

    def forward(self, x: Value) -> Value:
        trace = active_trace("BatchNorm")
        self._require(x)
        self.require_features(trace, x)
        if self.by_batch(trace):
            return self._by_batch(trace, x)
        return batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)

    def _by_batch(self, trace: Trace, x: Value) -> Value:
        if trace.synchronized:
            y, mean, variance, count = synchronized_batch_norm(x, self.weight, self.bias, self.eps)
        else:
            self._require_several_values(trace, x)
            y, mean, variance = batch_norm_with_statistics(x, self.weight, self.bias, self.eps)
            count = None
        if trace.training and self.track_running_stats:
            count = Numel(batch_axes(x.type.rank))(x) if count is None else count
            unbiased = variance * (count / (count - 1.0))
            self._track("running_mean", mean)
            self._track("running_var", unbiased)
            trace.counters.append(self.parameter("num_batches_tracked"))
        return y

    def _track(self, name: str, statistic: Value) -> None:
        running, new = getattr(self, name), statistic
        if self.momentum is None:
            share = constant(1.0, new.dtype) / (cast(self.num_batches_tracked, new.dtype) + 1.0)
            self.assign(name, running + (new - running) * share)
        else:
            self.assign(name, running * (1.0 - self.momentum) + new * self.momentum)

    def _require(self, x: Value) -> None:
        if x.type.rank not in self.ranks:
            raise layer_error(
                current_trace(),
                self.where(),
                f"its input {shape_text(x.shape)} has {quantity(x.type.rank, 'axis')}",
                [f"expected {self.expected}"],
                "BatchNorm1d for (N, C) and (N, C, L), BatchNorm2d for (N, C, H, W), BatchNorm3d for (N, C, D, H, W)",
            )

    def _require_several_values(self, trace: Trace, x: Value) -> None:
        """Check at run time, when N is known, that there are at least two values per channel.

        Otherwise the variance is 0, and the check raises ``ShapeError``.
        """
        where = self.where()

        def verify(n: int) -> None:
            samples, _, *positions = x.type.concrete(n)
            if samples * math.prod(positions) <= 1:
                raise ShapeError(
                    f"at {where}: one value per channel, so there is no variance to normalize by\n"
                    f"  its input is {shape_text(x.shape)} with N = {samples}\n"
                    "  help: train with batches of at least 2 samples"
                )

        trace.checks.append(verify)

    def torch_layer(self) -> ForeignLayer:
        options = {
            "num_features": self.num_features, "eps": self.eps, "momentum": self.momentum, "affine": self.affine,
            "track_running_stats": self.track_running_stats, **self.unshifted(self.affine),
        }  # fmt: skip
        return ForeignLayer(f"BatchNorm{max(self.ranks) - 2}d", options)


class BatchNorm1d(BatchNorm):
    """Batch normalization of (N, C) or (N, C, L): y = (x − μ) / √(σ² + ε) · γ + β

    See the base class ``BatchNorm`` for the symbols and options.
    """

    ranks = (2, 3)
    expected = "(N, C) or (N, C, L)"


class BatchNorm2d(BatchNorm):
    """Batch normalization of images (N, C, H, W): y = (x − μ) / √(σ² + ε) · γ + β

    See the base class ``BatchNorm`` for the symbols and options.
    """

    ranks = (4,)
    expected = "(N, C, H, W)"


class BatchNorm3d(BatchNorm):
    """Batch normalization of volumes (N, C, D, H, W): y = (x − μ) / √(σ² + ε) · γ + β

    See the base class ``BatchNorm`` for the symbols and options.
    """

    ranks = (5,)
    expected = "(N, C, D, H, W)"


def batch_norm_of_rank(rank: int) -> type[BatchNorm]:
    """Return the batch normalization class for inputs with ``rank`` axes, including N.

    Raises ``OptionError`` unless rank is 2 to 5.
    """
    for layer in (BatchNorm1d, BatchNorm2d, BatchNorm3d):
        if rank in layer.ranks:
            return layer
    raise OptionError(
        f"no batch normalization takes inputs with {quantity(rank, 'axis')}\n"
        "  help: use 2 to 5 axes, (N, C) to (N, C, D, H, W)"
    )
