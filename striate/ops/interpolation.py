"""The function ``interpolate``, which resamples in all modes of PyTorch, and the checks of its options."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from striate import options
from striate.errors import OptionError
from striate.graph.value import Value
from striate.ops.adaptive import adaptive_avg_pool
from striate.ops.matrix_resampling import matrix_resampling
from striate.ops.requirement import place, require_positions, shape_error
from striate.ops.resampling import LinearResampling, NearestResampling, steps_between
from striate.ops.unbatched import over_samples, position_axes
from striate.ops.window import LARGEST, Sizes, per_axis, positions, times

SMOOTH_MODES = {"linear": 1, "bilinear": 2, "trilinear": 3, "bicubic": 2}
"""Modes of interpolation, and the number of spatial axes that each one requires."""


MODES = ("nearest", "nearest-exact", *SMOOTH_MODES, "area")


def interpolate(
    input: Value,
    size: int | Sequence[int] | None = None,
    scale_factor: float | Sequence[float] | None = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Value:
    """Return x resampled to the spatial sizes ``size``, or to ⌊``scale_factor`` · size of x⌋, as in PyTorch.

    ``input`` is x, a batch (N, C, positions…) or one sample (C, positions…), in float32 or float64. ``size`` and
    ``scale_factor`` are one number, or one for each spatial axis; exactly one of the two is given.

    ``mode`` is one of the following. In the result y, "nearest" takes element ⌊p · step⌋ of x for position p along each
    of one to three spatial axes, and "nearest-exact" takes element ⌊(p + ½) · step⌋. "linear" (one axis), "bilinear"
    (two) and "trilinear" (three) interpolate linearly, and "bicubic" (two) by cubic polynomials. "area" is
    ``adaptive_avg_pool``.

    With ``scale_factor``, the step is 1 / ``scale_factor``, and the outer edges of the first positions of x and y
    coincide. With ``size`` or ``recompute_scale_factor``, the step is the ratio of the sizes of x and y, so the outer
    edges of the last positions coincide too. With ``align_corners``, the centres of the first and of the last positions
    coincide instead. ``antialias`` ("bilinear" and "bicubic") smooths an image that becomes smaller, as Pillow does.

    If neither the mode nor a sequence as ``size`` or ``scale_factor`` says how many spatial axes there are, an input of
    two axes is one sample (C, L), and any other is a batch. Raises ShapeError if the number of axes does not suit the
    mode, DTypeError for another dtype, and OptionError for invalid options.
    """
    aligned, again = checked_options("interpolate", size, scale_factor, mode, align_corners, recompute_scale_factor)

    smoothed = options.flag("interpolate: antialias", antialias)
    if smoothed and mode not in ("bilinear", "bicubic"):
        raise OptionError(
            f'interpolate: antialias=True with mode="{mode}"\n  help: mode="bilinear" or "bicubic", or leave it out'
        )

    def of_batch(x: Value) -> Value:
        require_positions("interpolate", x.type)
        own = positions(x.type)
        if mode in SMOOTH_MODES and len(own) != SMOOTH_MODES[mode]:
            fitting = next(name for name, rank in SMOOTH_MODES.items() if rank == len(own))
            raise shape_error("interpolate", f'mode="{mode}" for {x.type}', f'mode="{fitting}", or "nearest"')
        count = _counts(own, size, scale_factor)
        if mode == "area":
            return adaptive_avg_pool(x, count)
        steps = steps_between(own, count, aligned) if 0 not in count else (1.0,) * len(own)
        if scale_factor is not None and not again and not aligned:
            steps = tuple(1 / scale for scale in _scales(scale_factor, len(own)))
        if mode == "bicubic" or smoothed:
            return matrix_resampling(x, count, steps, mode, aligned, smoothed)
        if mode in SMOOTH_MODES:
            return LinearResampling(count, steps, aligned)(x)
        return NearestResampling(count, steps, mode == "nearest-exact")(x)

    rank = SMOOTH_MODES.get(mode) or position_axes(input.type, size, scale_factor)
    return over_samples(of_batch, input, rank)


def checked_options(
    what: str,
    size: int | Sequence[int] | None,
    scale_factor: float | Sequence[float] | None,
    mode: object,
    align_corners: object,
    recompute_scale_factor: object,
) -> tuple[bool, bool]:
    """Check the options of ``interpolate``; return (align_corners, recompute_scale_factor), where None becomes False.

    Raises ``OptionError`` for an unknown mode, for options that would have no effect, and unless exactly one of
    ``size`` and ``scale_factor`` is given. ``what`` is the function or layer that the error names.
    """
    options.choice(f"{what}: mode", mode, MODES)
    if mode not in SMOOTH_MODES and align_corners is not None:
        raise OptionError(
            f'{what}: align_corners={align_corners!r} has no effect with mode="{mode}"\n  help: leave it out'
        )
    aligned = align_corners is not None and options.flag(f"{what}: align_corners", align_corners)
    again = recompute_scale_factor is not None and options.flag(
        f"{what}: recompute_scale_factor", recompute_scale_factor
    )
    if (size is None) == (scale_factor is None):
        raise OptionError(f"{what}: give either size or scale_factor\n  help: scale_factor=2 doubles every axis")
    if again and size is not None:
        raise OptionError(f"{what}: recompute_scale_factor=True has no effect with size\n  help: leave it out")
    if size is not None:
        per_axis(f"{what}: size", size, len(size) if isinstance(size, Sequence) else 1)
    else:
        _scales(scale_factor, len(scale_factor) if isinstance(scale_factor, Sequence) else 1)
    return aligned, again


def _scales(scale_factor: object, rank: int) -> tuple[float, ...]:
    each = isinstance(scale_factor, Sequence)
    given = tuple(cast("Sequence[object]", scale_factor)) if each else (scale_factor,) * rank
    if len(given) != rank:
        raise OptionError(f"scale_factor must be one number or {rank}, one for each axis, not {scale_factor!r}")
    return tuple(options.number("scale_factor", one, above=0.0) for one in given)


def _counts(own: Sizes, size: int | Sequence[int] | None, scale_factor: object) -> Sizes:
    """Return the spatial sizes of the result, from ``size`` or ``scale_factor``; ``own`` are the sizes of the input.

    Raises ``OptionError`` if a size would be 0 or too large.
    """
    if size is not None:
        return per_axis("size", size, len(own))
    scales = _scales(scale_factor, len(own))
    counts = tuple(int(length * scale) for length, scale in zip(own, scales, strict=True))
    if max(counts) > LARGEST or (0 not in own and min(counts) < 1):
        raise OptionError(
            f"{place('interpolate')}: scale_factor={scale_factor!r} makes {times(counts)} positions of {times(own)}\n"
            f"  help: choose a factor for which every axis has 1 to {LARGEST:,} positions"
        )
    return counts
