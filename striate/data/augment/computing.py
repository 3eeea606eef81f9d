"""Write the part of the augmentation kernel that computes colour, tone and noise, in scratch memory.

In every function, ``s`` is the ``Sample`` that writes the code of the kernel.
"""

from __future__ import annotations

import math
from typing import Any

from striate.codegen.lanes import LANES, Index
from striate.codegen.words import Word, lanes_of_words
from striate.data.augment.draft import GREY
from striate.data.augment.sample import Sample
from striate.data.augment.specification import F32
from striate.dtypes import DType
from striate.ops.random import mix


def colour(s: Sample) -> None:
    """Write kernel code that replaces the colour x of each pixel by y = M x + t μ.

    ``s`` writes the code. For 3 channels, M is the colour matrix (3, 3) of the sample; otherwise M is one factor for
    all channels. μ is the mean grey value of the sample. The number t is 0 unless the contrast is changed.
    """
    k, colours = s.k, s.columns.colours
    shift = k.mul(s.float_at(s.columns.grey), mean_grey(s))
    gain = [s.float_at(s.columns.colour + number) for number in range(colours**2)]
    if colours == 1:
        with k.loop(0, s.channels) as channels, k.loop(0, s.spec.plane, LANES) as loop:
            place = s.scratch(channels.index, loop.index)
            k.store(k.add(k.mul(gain[0], k.load(place, F32)), shift), place, F32)
        return
    with k.loop(0, s.spec.plane, LANES) as loop:
        places = [s.scratch(channel, loop.index) for channel in range(3)]
        values = [k.load(place, F32) for place in places]
        for row, place in enumerate(places):
            total = k.mul(gain[3 * row], values[0])
            for column in (1, 2):
                total = k.add(total, k.mul(gain[3 * row + column], values[column]))
            k.store(k.add(total, shift), place, F32)


def mean_grey(s: Sample) -> Any:
    """Write kernel code that computes a sample's mean grey value μ; return μ, as a vector with μ in every lane.

    ``s`` writes the code. For 3 channels, the grey value of a pixel is the sum of the channels, weighted by ``GREY``;
    otherwise it is the mean of the channels. The order of the additions is fixed: each lane adds up its own elements,
    then the lanes are added in pairs.
    """
    k, spec = s.k, s.spec
    zero = k.constant(0, F32)

    def masked(value: Any, element: Index) -> Any:
        return k.select(k.mask(k.isub(spec.plane, element)), value, zero)

    if s.columns.colours == 3:
        with k.loop(0, spec.plane, LANES, carry=[zero]) as loop:
            grey = zero
            for channel, weight in enumerate(GREY):
                value = k.load(s.scratch(channel, loop.index), F32)
                grey = k.add(grey, k.mul(k.constant(weight, F32), value))
            loop.carry = [k.add(loop.carry[0], masked(grey, loop.index))]
        total, count = loop.result[0], spec.plane
    else:
        with k.loop(0, s.channels, carry=[zero]) as channels:
            with k.loop(0, spec.plane, LANES, carry=channels.carry) as loop:
                value = k.load(s.scratch(channels.index, loop.index), F32)
                loop.carry = [k.add(loop.carry[0], masked(value, loop.index))]
            channels.carry = loop.result
        total, count = channels.result[0], spec.plane * s.channels
    return k.mul(k.splat(k.add_lanes(total)), k.constant(1 / count, F32))


def tone(s: Sample) -> None:
    """Write kernel code that solarizes, posterizes and stretches the contrast of a picture.

    ``s`` writes the code. Pixel values are from 0 to 255. The parameters of the sample, which the kernel reads, say
    which of the three changes are made.
    """
    k, first = s.k, s.columns.tone
    threshold, step, stretch = (s.float_at(first + number) for number in range(3))
    zero, most = k.constant(0, F32), k.constant(255, F32)
    posterizes = k.compared(step, ">", zero)
    inverse = k.div(k.constant(1, F32), k.select(posterizes, step, k.constant(1, F32)))
    stretches = k.compared(stretch, ">", zero)
    with k.loop(0, s.channels) as channels:
        with k.loop(0, s.spec.plane, LANES, carry=[most, zero]) as loop:
            place = s.scratch(channels.index, loop.index)
            value = k.min(k.max(k.load(place, F32), zero), most)
            value = k.select(k.compared(value, ">=", threshold), k.sub(most, value), value)
            value = k.select(posterizes, k.mul(k.floor(k.mul(value, inverse)), step), value)
            k.store(value, place, F32)
            mask = k.mask(k.isub(s.spec.plane, loop.index))
            loop.carry = [
                k.min(loop.carry[0], k.select(mask, value, most)), k.max(loop.carry[1], k.select(mask, value, zero))
            ]  # fmt: skip
        low = k.splat(k.fold_lanes(loop.result[0], k.min))
        high = k.splat(k.fold_lanes(loop.result[1], k.max))
        wide = k.builder.and_(k.compared(high, ">", low), stretches)
        factor = k.div(most, k.select(wide, k.sub(high, low), most))
        with k.loop(0, s.spec.plane, LANES) as loop:
            place = s.scratch(channels.index, loop.index)
            value = k.load(place, F32)
            k.store(k.select(wide, k.mul(k.sub(value, low), factor), value), place, F32)


def noise(s: Sample) -> None:
    """Write kernel code that adds normal noise with mean 0 to every element of a sample.

    ``s`` writes the code. The kernel reads the standard deviation from the parameters of the sample. Each normal number
    is computed from two random words (Box and Muller, 1958).
    """
    k, words = s.k, s.columns.words
    first, second = (k.load_scalar(k.offset(s.ints, words + i, DType.int32), DType.int32) for i in (0, 1))
    rows = Word(k, first), Word(k, second)
    sigma = s.float_at(s.columns.noise)
    with k.loop(0, s.channels) as channels, k.loop(0, s.spec.plane, LANES) as loop:
        number_of_first = k.imul(k.iadd(k.imul(channels.index, s.spec.plane), loop.index), 2)
        drawn: list[Any] = []
        for number in (0, 1):
            element = lanes_of_words(k, k.iadd(number_of_first, number), 2)
            drawn.append(k.convert((mix(rows, element) >> 8).value, F32))
        place = s.scratch(channels.index, loop.index)
        u = k.mul(k.add(drawn[0], k.constant(1, F32)), k.constant(2.0**-24, F32))
        angle = k.mul(drawn[1], k.constant(2 * math.pi * 2.0**-24, F32))
        normal = k.mul(k.sqrt(k.mul(k.constant(-2, F32), k.log(u))), k.cos(angle))
        k.store(k.add(k.load(place, F32), k.mul(sigma, normal)), place, F32)
