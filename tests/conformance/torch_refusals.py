"""The errors with which samples of PyTorch are refused here, each with the reason."""

REFUSALS: dict[str, tuple[str, ...]] = {
    "an axis of a number: as in NumPy, an array without axes has none": (
        "axis 0 does not exist in f64 ()", "axis -1 does not exist in f64 ()",
    ),
    "squeezing an axis of another size: refused as in NumPy": ("does not have size 1",),
    "logic takes bools; x != 0 makes them": ("a condition is a bool, got f64",),
    "operands of several dtypes: casts are explicit": ("convert one of them with st.ops.cast",),
    "a result of another dtype: casts are explicit": ("results of another dtype are st.ops.cast",),
    "places that are data": ("places that are data are not indexed with",),
    "sizes together with factors": ("sizes together with factors that differ from their ratio",),
    "options without meaning": ("eps=-0.5", "momentum=-1.", "expected min_val below max_val"),
    "one number in a sequence for several axes": ("one for each spatial axis, not (",),
    "an array without the axes that the layer is for": (
        "multi_margin_loss: expected scores (N, C)", "multilabel_margin_loss: expected scores (N, C)",
        "need one label for each", "flatten: expected a batch of samples",
        "expected (N, C",
    ),
    "PyTorch skips an empty array of one axis among others": ("concat: axis 1 does not exist in f64 (0)",),
}  # fmt: skip
"""Reason → parts of what is said."""
