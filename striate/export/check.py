"""Check an ONNX file with ONNX's checker, and by running it in onnxruntime and ONNX's reference evaluator."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import numpy as np
import onnxruntime
from onnx import ModelProto, checker
from onnx.reference import ReferenceEvaluator
from onnx.reference.ops.op_conv_transpose import ConvTranspose
from onnx.reference.ops.op_max_pool import MaxPool

from striate.errors import ModelFileError
from striate.graph.value import Array

TOLERANCE = 1e-4
"""The largest accepted difference, relative to the largest |output| of the array, or to 1 if that is larger."""

REFERENCE_SAMPLES = 4
"""The number of samples for ONNX's reference evaluator, which is slow because it is plain NumPy."""

Run = Callable[[Mapping[str, Array]], Sequence[Array]]


class WindowedMaxPool(MaxPool):
    """The MaxPool of ONNX's reference evaluator, always computed by its general algorithm.

    The evaluator's special case for stride 1 fails with padding.
    """

    op_domain = ""

    def _run(
        self, x: Any, auto_pad: Any = None, ceil_mode: Any = None, dilations: Any = None, kernel_shape: Any = None,
        pads: Any = None, storage_order: Any = None, strides: Any = None,
    ) -> Any:  # fmt: skip
        return self._max_pool(
            x, auto_pad or "NOTSET", ceil_mode, dilations, kernel_shape, pads, storage_order or 0, strides
        )


WindowedMaxPool.__name__ = "MaxPool"  # the evaluator finds an operator by the name of its class


class GroupedConvTranspose(ConvTranspose):
    """The ConvTranspose of ONNX's reference evaluator, with each group computed on its own.

    The evaluator's own algorithm fails if a group has several output channels.
    """

    op_domain = ""

    def _run(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, X: Any, W: Any, B: Any = None, *, group: int | None = None, **attributes: Any
    ) -> Any:
        groups = group or 1
        biases = [None] * groups if B is None else np.split(B, groups)
        parts = zip(np.split(X, groups, 1), np.split(W, groups), biases, strict=True)
        found = [super(GroupedConvTranspose, self)._run(*part, group=1, **attributes)[0] for part in parts]
        return (np.concatenate(found, axis=1),)


GroupedConvTranspose.__name__ = "ConvTranspose"


def require_valid(model: ModelProto) -> bytes:
    """Check a model and its types with ONNX's checker, and return its bytes.

    Raises ``ModelFileError`` if the checker refuses the model, or the model exceeds 2 GB.
    """
    try:
        content = model.SerializeToString()
        checker.check_model(content, full_check=True)
    except (ValueError, checker.ValidationError, RuntimeError) as error:  # a message of over 2 GB is a ValueError
        raise ModelFileError(f"not exported: ONNX's checker refuses it: {error}") from error
    return content


def differences(
    content: bytes, model: ModelProto, inputs: Mapping[str, Array], expected: Sequence[Array]
) -> dict[str, float]:
    """Run an ONNX file in onnxruntime and ONNX's reference evaluator; return their differences from striate.

    ``content`` are the bytes of the file, and ``model`` is the model in them. ``inputs`` are arrays (N, …) by name, and
    ``expected`` the outputs that striate computes from them. The result has the largest absolute difference of each
    program, under the names "onnxruntime" and "reference". onnxruntime computes all samples together and the first one
    alone; the evaluator, which is slow, computes up to four samples. Raises ``ModelFileError`` if a difference exceeds
    ``TOLERANCE`` times the largest absolute output (at least 1), or a program cannot run the file.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session: Any = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    evaluator: Any = ReferenceEvaluator(model, new_ops=[WindowedMaxPool, GroupedConvTranspose])
    judges: dict[str, tuple[Run, Sequence[int]]] = {
        "onnxruntime": (lambda given: cast("list[Array]", session.run(None, dict(given))), (len(expected[0]), 1)),
        "reference": (
            lambda given: cast("list[Array]", evaluator.run(None, dict(given))),
            (min(REFERENCE_SAMPLES, len(expected[0])),),
        ),
    }
    return {
        name: max(_difference(name, run, inputs, expected, count) for count in counts)
        for name, (run, counts) in judges.items()
    }


def _difference(name: str, run: Run, inputs: Mapping[str, Array], expected: Sequence[Array], count: int) -> float:
    try:
        found = run({key: array[:count] for key, array in inputs.items()})
    except Exception as error:
        raise ModelFileError(f"not exported: {name} cannot run it: {str(error)[:500]}") from error
    largest = 0.0
    for theirs, ours in zip(found, expected, strict=True):
        ours = ours[:count]
        if theirs.shape != ours.shape:
            raise ModelFileError(f"not exported: {name} returns {theirs.shape}, expected {ours.shape}")
        difference = np.abs(theirs.astype(np.float64) - ours)
        if not np.array_equal(np.isnan(theirs), np.isnan(ours)):
            raise ModelFileError(f"not exported: {name} returns NaN where striate does not, or the other way round")
        difference = float(np.nanmax(difference, initial=0.0))
        scale = max(1.0, float(np.nanmax(np.abs(ours), initial=0.0)))
        if difference > TOLERANCE * scale:
            raise ModelFileError(
                f"not exported: {name} differs by {difference:.3g} from striate, whose largest output is {scale:.3g}\n"
                f"  help: samples that are not what the network was trained on make a network imprecise; give others"
            )
        largest = max(largest, difference)
    return largest
