"""What of PyTorch's samples striate refuses, each with its reason. A test fails for an exclusion that nothing needs."""

from __future__ import annotations

EXCLUSIONS: dict[str, dict[str, tuple[str, ...]]] = {
    "an array of shape () has no axes, as in NumPy": {
        "does not exist in": (
            "sum", "mean", "prod", "amax", "amin", "all", "any", "logsumexp", "max_reduction_with_dim",
            "min_reduction_with_dim", "argmax", "argmin", "norm", "linalg.vector_norm", "nn.functional.normalize",
            "aminmax", "squeeze", "squeeze_multiple", "squeeze_copy", "transpose", "transpose_copy", "softmax",
            "softmax_with_dtype", "log_softmax", "log_softmax_with_dtype", "nn.functional.softmin",
            "nn_functional_softmin_with_dtype",
        ),
        "expected a batch of samples": ("flatten",),
        "expected scores (N, C)": ("nn.functional.multi_margin_loss",),
    },
    "all operands have one dtype": {"operands of f64": ("clamp",)},
    "an axis of another size than 1 is not dropped, as in NumPy": {
        "does not have size 1": ("squeeze", "squeeze_multiple", "squeeze_copy"),
    },
    "an array without axis 1 is not skipped": {"does not exist in f64 (0)": ("cat",)},
    "places that are data are not indexed with": {
        "has no number yet": ("narrow",),
        "only one of the indices may be a list": ("__getitem__",),
        "is not a static index": ("__getitem__",),
    },
    "the places of the maxima are not an output": {
        "return_indices": tuple(
            f"nn.functional.{kind}max_pool{rank}d" for kind in ("", "adaptive_") for rank in (1, 2, 3)
        ),
    },
    "st.ops.interpolate has no such mode": {
        "unknown interpolate: mode": ("nn_functional_interpolate_bicubic", "nn_functional_interpolate_area"),
    },
    "a momentum outside of [0, 1] is a mistake": {
        "momentum=-": (
            "nn.functional.batch_norm", "nn_functional_batch_norm_without_cudnn", "nn.functional.instance_norm",
        ),
    },
    "a negative eps is a mistake": {
        "eps=-": ("nn.functional.layer_norm", "nn.functional.group_norm", "nn.functional.rms_norm"),
    },
    "batch normalization has channels": {
        "expected (N, C, positions…)": ("nn.functional.batch_norm", "nn_functional_batch_norm_without_cudnn"),
        "expected an input (N, C)": ("nn.functional.batch_norm", "nn_functional_batch_norm_without_cudnn"),
    },
    "the label of one sample has shape ()": {"need one label": ("nn.functional.multi_margin_loss",)},
    "a target of another shape is mostly a mistake, and is not broadcast": {
        "differ in shape": ("nn.functional.gaussian_nll_loss",),
        "gaussian_nll_loss: var": ("nn.functional.gaussian_nll_loss",),
    },
    "the bounds of hardtanh differ, as in torch.nn.Hardtanh": {
        "expected min_val below max_val": ("nn.functional.hardtanh",),
    },
}  # fmt: skip
"""Reason → words of the refusal → names in ``op_db``."""

TOLERANCES: dict[str, tuple[float, str]] = {
    "nn.functional.hardsigmoid": (1e-7, "PyTorch's gradient multiplies with 1/6 in float32"),
}
"""The relative tolerance where it is not 1e-9, and why."""
