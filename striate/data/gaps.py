"""Combine samples in one array: fill missing numbers, give signals one length, and scale intensities.

Features      a missing number becomes the median of its column in the training part
Signals       a missing number is interpolated linearly between its neighbours in time; at the ends, it has the value of
              the nearest number; a channel without any number has the channel's median in the training part. Shorter
              signals repeat their last values, longer ones are cut at the end
Volumes       integers become (x − low) / (high − low), limited to 0 … 1; low and high are the 0.5 % and 99.5 %
              quantiles of the training part. Pictures of other integers than uint8 are scaled in the same way
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from striate.data.number_options import Kind, NumberOptions
from striate.data.samples import Array, Samples, gaps
from striate.errors import DataError

_SAMPLED = 1_000_000  # numbers of a column from which its median, and voxels from which the quantiles are computed
_QUANTILES = (0.005, 0.995)
_MOST_PADDING = 64  # times as many numbers as there are, beyond ``_SMALL``
_SMALL = 1_000_000


def completed(samples: Samples, train: Sequence[int], options: NumberOptions, name: str) -> NumberOptions:
    """Return ``options`` with missing fields set from the samples, so that other files are read in the same way.

    ``kind`` is that of the samples. The fields ``channels_last``, ``columns``, ``length``, ``fill`` and ``limits`` are
    only set if they are missing and samples of this kind need them. The last three are computed from the training
    samples, whose indices are ``train``. ``name`` is the name of the data set in messages.
    """
    values = [samples.values[place] for place in train]
    last = samples.channels_last if options.channels_last is None else options.channels_last
    options = replace(options, kind=samples.kind, columns=options.columns or samples.columns, channels_last=last)
    if samples.kind is Kind.signals and options.length is None:
        options = replace(options, length=max(one.shape[1] for one in values))
    if samples.kind in (Kind.table, Kind.signals):
        return options if options.fill else replace(options, fill=_medians(values, samples.columns, name))
    if options.limits is None and values[0].dtype.kind in "iu" and values[0].dtype != np.uint8:
        options = replace(options, limits=_limits(values))
    return options


def assembled(samples: Samples, options: NumberOptions, name: str) -> Array:
    """Return all samples as one array (N, …), with gaps filled, signals of one length and intensities scaled.

    ``options`` are those that ``completed`` returned. Raises ``DataError``, which begins with ``name``, for samples of
    different shapes, for signals that would mostly consist of padding, and for missing numbers that need a median of
    the training data which is not in ``options.fill``.
    """
    if samples.kind is Kind.signals:
        length = options.length or max(one.shape[1] for one in samples.values)
        _require_similar(samples, length, name)
        return np.stack([_fitted(one, length, options.fill, name) for one in samples.values])
    shape = samples.values[0].shape
    for one, place in zip(samples.values, samples.places):
        if one.shape != shape:
            raise DataError(f"{name}, {place}: shape {one.shape}, but {samples.places[0]} has {shape}")
    array = np.stack(samples.values)
    if samples.kind is Kind.table:
        if gaps(array):
            if not options.fill:
                raise _unknown("numbers are missing, and the columns' medians", name)
            array = np.where(np.isnan(array), np.array(options.fill), array)
    elif options.limits is not None and array.dtype.kind in "iu" and array.dtype != np.uint8:
        low, high = options.limits
        array = np.clip((array.astype(np.float32) - np.float32(low)) / np.float32(high - low), 0, 1)
    return array


def _unknown(what: str, name: str) -> DataError:
    return DataError(
        f"{name}: {what} in the training data are not known\n"
        "  help: give the run folder, which records them, instead of the model file; or fill the gaps in the data"
    )


def _require_similar(samples: Samples, length: int, name: str) -> None:
    """Raise ``DataError`` if bringing all signals to one length would make them far more than they are."""
    numbers = sum(one.size for one in samples.values)
    padded = len(samples) * len(samples.values[0]) * length
    if padded > _MOST_PADDING * numbers + _SMALL:
        lengths = sorted(one.shape[1] for one in samples.values)
        usual = lengths[len(lengths) // 2]
        raise DataError(
            f"{name}: {len(samples):,} signals of {lengths[0]:,} to {lengths[-1]:,} steps would become {padded:,} "
            f"numbers at {length:,} steps\n"
            f"  help: length={max(usual, 1)} is the usual length; longer signals are cut at their end"
        )


def notes_on(samples: Samples, options: NumberOptions) -> list[str]:
    """Return messages for the user about missing numbers, unequal lengths, and scaled intensities in the samples."""
    notes: list[str] = []
    missing = sum(gaps(one) for one in samples.values)
    if missing and samples.kind in (Kind.table, Kind.signals):
        how = "interpolated" if samples.kind is Kind.signals else "replaced by the column's median in the training part"
        notes.append(f"{missing:,} missing number{'s are' if missing > 1 else ' is'} {how}")
    if samples.kind is Kind.signals:
        lengths = sorted({one.shape[1] for one in samples.values})
        if lengths != [options.length]:
            steps = f"{lengths[0]} to {lengths[-1]}" if len(lengths) > 1 else f"{lengths[0]}"
            notes.append(
                f"signals of {steps} steps are brought to {options.length}: shorter ones repeat "
                "their last values, longer ones are cut at the end"
            )
    if options.limits is not None and samples.values[0].dtype.kind in "iu":
        low, high = options.limits
        notes.append(f"intensities from {low:g} to {high:g} become 0 to 1; those beyond are limited")
    return notes


def _medians(values: Sequence[Array], columns: tuple[str, ...], name: str) -> tuple[float, ...]:
    """Return the median of each column or channel; raises ``DataError`` for one without any number."""
    found: list[float] = []
    for place, column in enumerate(columns):
        numbers = np.concatenate([np.atleast_1d(one[place]) for one in values])
        numbers = numbers[:: max(1, len(numbers) // _SAMPLED)].astype(np.float64)
        numbers = numbers[~np.isnan(numbers)]
        if not len(numbers):
            raise DataError(
                f"{name}: {column!r} has no number in the training part\n"
                f'  help: leave it out, of a table with ignore_columns="{column}"'
            )
        found.append(float(np.median(numbers)))
    return tuple(found)


def _limits(values: Sequence[Array]) -> tuple[float, float]:
    """Return the 0.5 % and 99.5 % quantiles of the intensities."""
    step = max(1, sum(one.size for one in values) // _SAMPLED)
    numbers = np.concatenate([one.ravel()[::step] for one in values])
    low, high = (float(one) for one in np.quantile(numbers, _QUANTILES))
    return low, high if high > low else low + 1


def _fitted(signal: Array, length: int, fill: tuple[float, ...], name: str) -> Array:
    """Return a signal (C, L) without missing numbers, with ``length`` steps.

    ``fill`` are the channels' medians in the training part; if they are not known, it is empty, and a channel without
    any number raises ``DataError``, which begins with ``name``.
    """
    signal = signal[:, :length]
    if gaps(signal):
        signal = signal.copy()
        steps = np.array(range(signal.shape[1]))
        for channel, median in zip(signal, fill or len(signal) * [math.nan]):
            missing = np.isnan(channel)
            if missing.all() and not fill:
                raise _unknown("a channel has no number, and the channels' medians", name)
            channel[missing] = (
                median if missing.all() else np.interp(steps[missing], steps[~missing], channel[~missing])
            )
    return np.pad(signal, ((0, 0), (0, length - signal.shape[1])), mode="edge")
