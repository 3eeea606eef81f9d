from __future__ import annotations

import numpy as np
import pytest

from striate.data import Dataset, Split, check_labels
from striate.errors import DataError, DTypeError, LabelError, OptionError


def _images(count: int = 3) -> np.ndarray:
    return np.zeros((count, 1, 8, 8), dtype=np.float32)


def test_bytes_stay_bytes_and_other_numbers_become_float32() -> None:
    labels = np.array([0, 2], dtype=np.uint8)
    assert Dataset(np.zeros((2, 1, 8, 8), np.uint8), labels).images.dtype == np.uint8
    for dtype in (np.float16, np.float64, np.int32, np.bool_):
        assert Dataset(np.zeros((2, 5), dtype), labels).images.dtype == np.float32
    data = Dataset(np.zeros((8, 8, 1, 2), np.float32).T, labels)
    assert data.images.flags.c_contiguous
    assert data.labels.dtype == np.int64
    assert data.classes == ("0", "1", "2")


def test_subset_takes_order_and_masks() -> None:
    data = Dataset(np.arange(6, dtype=np.float32).reshape(3, 2), np.array([0, 1, 2]), ("a", "b", "c"))
    part = data.subset([2, 0])
    assert part.labels.tolist() == [2, 0]
    assert part.images[:, 0].tolist() == [4, 0]
    assert part.classes == data.classes
    assert len(data.subset(data.labels > 0)) == 2


@pytest.mark.parametrize("shape", [(0, 1, 8, 8), (3, 0, 8, 8), (3,), ()])
def test_empty_data(shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match="nothing to learn from"):
        Dataset(np.zeros(shape, np.float32), np.zeros(shape[:1], np.int64))


def test_lengths() -> None:
    with pytest.raises(DataError, match="3 inputs, but 2 labels"):
        Dataset(_images(), np.array([0, 1]))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_the_first_number_that_is_not_finite_is_named(bad: float) -> None:
    images = np.zeros((70_000, 1, 8, 8), np.float32)  # more than is checked in one piece
    images[69_000, 0, 3, 4] = bad
    images[69_001, 0, 0, 0] = bad
    with pytest.raises(DataError, match=r"inputs\[69000, 0, 3, 4\] is -?(nan|inf)"):
        Dataset(images, np.zeros(70_000, np.int64))


def test_what_exceeds_float32_is_not_finite() -> None:
    with pytest.raises(DataError, match=r"inputs\[1, 0\] is inf"):
        Dataset(np.array([[0.0], [1e300]]), np.array([0, 1]))


@pytest.mark.parametrize("dtype", [np.complex64, object, "U3", "datetime64[s]"])
def test_inputs_that_are_no_numbers(dtype: object) -> None:
    with pytest.raises(DTypeError, match="no real numbers"):
        Dataset(np.zeros((1, 2), dtype=dtype), np.array([0]))  # type: ignore[call-overload]


def test_channels_last_is_explained() -> None:
    with pytest.raises(DataError, match=r"channels-last(.|\n)*\(2, 3, 32, 28\)(.|\n)*transpose\(0, 3, 1, 2\)"):
        Dataset(np.zeros((2, 32, 28, 3), np.uint8), np.array([0, 1]))
    Dataset(np.zeros((2, 3, 32, 1), np.uint8), np.array([0, 1]))  # a picture one pixel wide


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 3, 1], r"labels\[1\] = 3 is out of range; wanted 0 … 2, the 3 classes"),
        ([0, 1, -1], r"labels\[2\] = -1 is out of range"),
        ([0.0, 1.5, 1.0], r"labels\[1\] = 1.5 is of type float64"),
        ([0.0, 1.0, 2.0], r"labels\[0\] = 0.0 is of type float64(.|\n)*astype"),
        ([True, False, True], r"labels\[0\] = True is of type bool"),
        (["a", "b", "c"], r"labels\[0\] = a is of type"),
        (np.eye(3), "argmax"),
        ([[0], [1], [2]], r"shape \(3, 1\)"),
    ],
)
def test_bad_labels_are_named(labels: object, message: str) -> None:
    with pytest.raises(LabelError, match=message):
        Dataset(_images(), labels, ("a", "b", "c"))  # type: ignore[arg-type]


def test_labels_beyond_int64() -> None:
    with pytest.raises(LabelError, match="out of range"):
        check_labels(np.array([2**63 + 1], np.uint64), 3)


def test_an_unknown_split_lists_the_known() -> None:
    assert Split.parse("test") is Split.parse(Split.TEST)
    with pytest.raises(OptionError, match="'trian'; did you mean 'train'"):
        Split.parse("trian")
