from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from striate.data import Dataset, batch_count, batches
from striate.data.loader import order
from striate.errors import OptionError


def _data(count: int) -> Dataset:
    return Dataset(np.arange(count, dtype=np.float32).reshape(-1, 1), np.arange(count) % 3, ("a", "b", "c"))


@given(count=st.integers(1, 60), size=st.integers(1, 70), seed=st.integers(0, 2**64 - 1), shuffle=st.booleans())
def test_every_sample_once(count: int, size: int, seed: int, shuffle: bool) -> None:
    data = _data(count)
    seen = list(batches(data, size, seed=seed, shuffle=shuffle))
    assert len(seen) == batch_count(count, size)
    assert {len(batch.y) for batch in seen} <= {count // len(seen), -(-count // len(seen))}
    assert max(len(batch.y) for batch in seen) <= size
    indices = np.concatenate([batch.indices for batch in seen])
    assert sorted(indices.tolist()) == list(range(count))
    assert shuffle or indices.tolist() == list(range(count))
    for x, y, places in seen:
        assert np.array_equal(x, data.images[places])
        assert np.array_equal(y, data.labels[places])
        assert x.flags.c_contiguous


def test_the_order_is_a_function_of_seed_and_epoch() -> None:
    assert order(8, 1, 2).tolist() == [4, 2, 0, 6, 1, 5, 7, 3]
    assert order(50, 1, 2).tolist() != order(50, 2, 1).tolist()
    assert order(50, 0, 0).tolist() != order(50, 0, 1).tolist()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size=0; expected a whole number of 1 or more"),
        ({"batch_size": -1}, "batch_size=-1"),
        ({"batch_size": 2.5}, "batch_size=2.5"),
        ({"batch_size": "8"}, "batch_size='8'"),
        ({"seed": -1}, "seed=-1; expected a whole number from 0 to 2⁶⁴ − 1"),
        ({"seed": 2**64}, "seed=18446744073709551616"),
        ({"seed": 1.5}, "seed=1.5"),
        ({"epoch": -1}, "epoch=-1"),
        ({"shuffle": 1}, "shuffle=1; expected True or False"),
    ],
)
def test_options_that_have_no_meaning_are_refused_at_once(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        batches(_data(3), **{"batch_size": 2, **options})


def test_what_is_not_a_data_set_is_refused_at_once() -> None:
    with pytest.raises(OptionError, match="expected a Dataset, not ndarray"):
        batches(_data(3).images, 2)  # type: ignore[arg-type]
