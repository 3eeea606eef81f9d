"""The kernel that augments one sample: it reads the sample from the data set and writes it into the batch.

    gather + crop, flip, shift │ or resample at arbitrary positions → colour → tone → noise → boxes → round and store

If elements only change places, they are copied directly from the data set to the batch. Otherwise the sample is
computed in float32, in scratch memory that stays in the cache, and rounded once. Each sample is one chunk of work, so
the result does not depend on the number of threads. ``reference.py`` computes the same with NumPy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from striate.codegen.kernel import Kernel
from striate.codegen.lanes import LANES
from striate.data.augment.computing import colour, noise, tone
from striate.data.augment.moving import move
from striate.data.augment.resampling import resample
from striate.data.augment.sample import Sample
from striate.data.augment.specification import AXES, F32, Specification


@dataclass(frozen=True)
class SampleKernel(Specification):
    """The kernel that augments the samples of a batch; the base class describes its fields and operands."""

    def write(self, k: Kernel) -> None:
        sample = Sample(k, self)
        if self.affine:
            resample(sample)
        else:
            move(sample)
        if self.colour:
            colour(sample)
        if self.tone:
            tone(sample)
        if self.noise:
            noise(sample)
        if self.computes:
            store(sample)
        if self.boxes:
            erase(sample)


def store(s: Sample) -> None:
    """Write kernel code that copies the computed sample from scratch memory to the batch.

    ``s`` writes the code. For uint8, numbers are rounded to the nearest integer and limited to 0 … 255.
    """
    k, spec = s.k, s.spec

    def stored(value: Any) -> Any:
        if spec.dtype is F32:
            return value
        return k.convert(k.min(k.max(k.round(value), k.constant(0, F32)), k.constant(255, F32)), spec.dtype)

    with k.loop(0, s.channels) as channels:
        if spec.plane < LANES:
            value = stored(k.load(s.scratch(channels.index), F32))
            for lane in range(spec.plane):
                k.store_scalar(k.lane(value, lane), s.final(channels.index, lane))
        else:
            s.run(
                spec.plane,
                lambda i: k.store(
                    stored(k.load(s.scratch(channels.index, i), F32)), s.final(channels.index, i), spec.dtype
                ),
                lambda i: None,
            )


def erase(s: Sample) -> None:
    """Write kernel code that fills all boxes of a sample in the batch, one after the other; ``s`` writes the code."""
    k, spec = s.k, s.spec
    fills = [one for fill in spec.boxes for one in fill]
    with k.loop(0, len(spec.boxes)) as boxes:
        first = k.iadd(s.columns.box(0), k.imul(boxes.index, 2 * AXES))
        starts, stops = ([s.int_at(k.iadd(first, AXES * part + axis)) for axis in range(AXES)] for part in (0, 1))
        count = k.isub(stops[2], starts[2])
        with (
            k.loop(0, s.channels) as channels,
            k.loop(starts[0], stops[0]) as depths,
            k.loop(starts[1], stops[1]) as rows,
        ):
            row = k.iadd(k.imul(depths.index, spec.size[1]), rows.index)
            to = s.final(channels.index, k.iadd(k.imul(row, spec.size[2]), starts[2]))
            fill = s.filled(fills, k.iadd(k.imul(boxes.index, s.channels), channels.index), spec.dtype)
            s.fill_run(to, count, fill, spec.dtype)
