"""Run the kernels that augment and mix samples on all threads, or run their NumPy references."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from striate import settings
from striate.codegen import driver, jit
from striate.codegen.launch import KernelSpec
from striate.data.augment.kernel import SampleKernel
from striate.data.augment.mix_kernel import MixKernel, mixed
from striate.data.augment.reference import augmented
from striate.runtime.program import External, Phase, Program
from striate.runtime.threads import Helpers
from striate.settings import Engine

Array = npt.NDArray[Any]
_SMALL = 1 << 15
"""The number of elements below which one thread is done before another one has woken up."""


class Native:
    """A compiled kernel that runs once for each sample of a batch, on all threads.

    ``spec`` is its specification, ``operands`` the number of its operands, and ``thread_scratch`` the number of bytes
    of scratch memory that each thread needs.
    """

    def __init__(self, spec: KernelSpec, operands: int, thread_scratch: int = 0) -> None:
        loaded = jit.kernels.get([spec])
        self._names = [f"operand {number}" for number in range(operands)]
        phase = Phase(type(spec).__name__, "input", loaded[spec.key], [External(name) for name in self._names], 1, 1)
        self._program = Program([phase], driver.load(), thread_scratch=thread_scratch, keep=[loaded])

    def run(self, arrays: Sequence[Array], count: int, elements: int) -> None:
        """Run the kernel on its operands ``arrays``, once for each of ``count`` samples.

        ``elements`` is the number of elements of all these samples together; if it is below 2¹⁵, no sleeping thread is
        woken.
        """
        addresses = {name: array.ctypes.data for name, array in zip(self._names, arrays, strict=True)}
        self._program.run(count, addresses, helpers=Helpers.AWAKE if elements < _SMALL else Helpers.ALL)


class Augmenter:
    """Augments samples by a ``SampleKernel`` or, with the NumPy engine, by the kernel's NumPy reference."""

    def __init__(self, spec: SampleKernel) -> None:
        self.spec = spec
        compiled = settings.current().engine is Engine.COMPILED
        self._native = Native(spec, 5, spec.thread_scratch) if compiled else None

    def batch(self, data: Array, rows: Array, ints: Array, floats: Array) -> Array:
        """Return the augmented batch (B, C, D′, H′, W′).

        ``data`` (N, C, D, H, W) are the samples of the data set, and ``rows`` (B,) the indices of the samples to
        augment. ``ints`` and ``floats`` are the parameters of these samples, with the columns that
        ``specification.Columns`` describes.
        """
        if self._native is None:
            return augmented(self.spec, data, rows, ints, floats)
        batch = np.empty((len(rows), self.spec.source[0], *self.spec.size), self.spec.dtype.numpy)
        if len(rows):
            self._native.run((data, rows, ints, floats, batch), len(rows), batch.size)
        return batch


class Blender:
    """Mixes samples with their partners by a ``MixKernel`` or, with the NumPy engine, by its NumPy reference."""

    def __init__(self, spec: MixKernel) -> None:
        self.spec = spec
        compiled = settings.current().engine is Engine.COMPILED
        self._native = Native(spec, 5) if compiled else None

    def mix(self, batch: Array, partners: Array, places: Array, boxes: Array, shares: Array) -> None:
        """Mix the samples of ``batch`` (B, …) at indices ``places`` (M,) with their ``partners`` (M, …), in place.

        ``boxes`` (M, 6) are the boxes that are taken from the partners, and ``shares`` (M,) the factors λ of the
        samples; see ``MixKernel``.
        """
        if self._native is None:
            mixed(batch, partners, places, boxes, shares)
        elif len(places):
            self._native.run((batch, partners, places, boxes, shares), len(places), partners.size)
