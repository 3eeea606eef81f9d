"""The groups in which ``striate train --help`` and configuration files list the options, with the common ones first."""

from __future__ import annotations

GROUPS = {
    "Optimizer": (
        "momentum", "nesterov", "weight_decay", "groups", "schedule", "warmup", "max_norm", "clip_value", "accumulate",
        "ema",
    ),
    "Loss and stopping": ("label_smoothing", "class_weights", "patience", "min_delta"),
    "Network": ("activation", "norm", "negative_slope", "init", "depth", "width", "weights", "freeze"),
    "Data": ("held_out", "on_error", "task"),
    "Pictures": ("size", "resize", "channels"),
    "Tables, signals, volumes": (
        "kind", "label_column", "group_column", "ignore_columns", "window", "stride", "length", "channels_last",
    ),
    "Running": (
        "find_lr", "tta", "precision", "threads", "checkpoint_every", "recompute_statistics", "tensorboard", "reduce",
        "allow_changes", "as_json",
    ),
    "Switches": ("decay_norm_and_bias", "standardize", "doctor", "sync_batch_norm"),
}  # fmt: skip
GROUP_OF = {name: group for group, names in GROUPS.items() for name in names}
"""The group of an option of ``striate train``, by the name of its parameter; the others are shown first."""
