"""Compiled quotients and remainders at infinity, zero and NaN equal those of NumPy."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import striate as st

ENDS = (0.0, -0.0, 1.0, -1.0, 2.5, -2.5, 3.0, np.inf, -np.inf, np.nan)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_division_at_the_ends_of_numbers(dtype: type) -> None:
    a, b = np.array(list(itertools.product(ENDS, ENDS)), dtype).T.copy()
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(st.ops.remainder(a, b), np.remainder(a, b))
        np.testing.assert_array_equal(st.ops.floor_divide(a, b), np.floor_divide(a, b))
