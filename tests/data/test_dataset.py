from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from striate.data import Dataset, Split, Standardizer, check_labels
from striate.errors import DataError, DTypeError, LabelError, OptionError
from tests.data.layouts import LAYOUTS, memory_mapped


def _images(count: int = 3) -> np.ndarray:
    return np.zeros((count, 1, 8, 8), dtype=np.float32)


def test_samples_are_reached_as_in_a_list() -> None:
    data = Dataset(np.arange(12, dtype=np.float32).reshape(4, 3), np.array([1, 0, 1, 0]))
    x, y = data[-1]
    assert (x.tolist(), int(y)) == ([9, 10, 11], 0)
    assert [int(label) for _, label in data] == [1, 0, 1, 0]
    assert data[1:3].labels.tolist() == [0, 1]
    with pytest.raises(IndexError):
        data[4]


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


def test_what_exceeds_float32_is_named() -> None:
    with pytest.raises(DataError, match=r"inputs\[1, 0\] is 1e\+300; .* 3.4e\+38, the largest of float32"):
        Dataset(np.array([[0.0], [1e300]]), np.array([0, 1]))


@pytest.mark.parametrize("dtype", [np.float64, np.int64])
def test_digits_that_float32_cannot_hold_are_not_lost_silently(dtype: type) -> None:
    x = 1e9 + 5 * np.random.default_rng(0).standard_normal((200, 2))
    x[:, 0] = 1e9  # what is constant has nothing to lose
    with pytest.raises(DataError, match=r"feature 1 has a standard deviation of [45](.|\n)*Standardizer.fit\(images\)"):
        Dataset(x.astype(dtype), np.arange(200) % 2)
    Dataset(x[:, :1].astype(dtype), np.arange(200) % 2)
    scaled = Standardizer.fit(x.astype(dtype)).transform(x.astype(dtype))
    assert Dataset(scaled, np.arange(200) % 2).images[:, 1].std() == pytest.approx(1, rel=1e-5)
    Dataset(1e4 + np.random.default_rng(0).standard_normal((200, 2)), np.arange(200) % 2)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [np.uint8, np.float16, np.float32, np.float64, np.int32])
def test_arrays_of_any_layout_and_type(layout: str, dtype: type, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    values = random.integers(0, 200, (6, 3, 4, 5)).astype(dtype)
    labels = np.array([0, 1, 2, 0, 1, 2]).repeat(1)
    for images in (LAYOUTS[layout](values), memory_mapped(values, tmp_path)):
        data = Dataset(images, LAYOUTS["negative strides"](labels[:, np.newaxis])[:, 0], ("a", "b", "c"))
        assert data.images.dtype == (np.uint8 if dtype is np.uint8 else np.float32)
        assert data.images.flags.c_contiguous
        assert data.images.dtype.isnative
        assert type(data.images) is np.ndarray
        np.testing.assert_array_equal(data.images, values)
        np.testing.assert_array_equal(data.labels, labels)
        np.testing.assert_array_equal(data.subset([4, -1]).images, values[[4, 5]])


def test_a_broadcast_array_is_taken() -> None:
    images = np.broadcast_to(np.arange(3, dtype=np.float32), (4, 3))
    labels = np.broadcast_to(np.int64(1), (4,))
    data = Dataset(images, labels)
    np.testing.assert_array_equal(data.images, images)
    np.testing.assert_array_equal(data.labels, labels)
    np.testing.assert_array_equal(data.subset([3, 0]).images, images[:2])


@pytest.mark.parametrize("dtype", [np.complex64, object, "U3", "datetime64[s]"])
def test_inputs_that_are_not_numbers(dtype: object) -> None:
    with pytest.raises(DTypeError, match="not real numbers"):
        Dataset(np.zeros((1, 2), dtype=dtype), np.array([0]))  # type: ignore[call-overload]


def test_channels_last_is_explained() -> None:
    with pytest.raises(DataError, match=r"channels-last(.|\n)*\(2, 3, 32, 28\)(.|\n)*transpose\(0, 3, 1, 2\)"):
        Dataset(np.zeros((2, 32, 28, 3), np.uint8), np.array([0, 1]))
    Dataset(np.zeros((2, 3, 32, 1), np.uint8), np.array([0, 1]))  # a picture one pixel wide


@pytest.mark.parametrize("shape", [(3, 9, 128, 1), (3, 6, 50, 3), (3, 32, 28, 3)])
def test_a_caller_may_insist_on_channels_first(shape: tuple[int, ...]) -> None:
    labels = np.array([0, 1, 0])
    with pytest.raises(DataError, match=f"channels_first=True\\) if they have {shape[1]} channels"):
        Dataset(np.zeros(shape, np.float32), labels)
    data = Dataset(np.zeros(shape, np.float32), labels, channels_first=True)
    assert data.images.shape == shape
    assert data.subset([2, 0]).images.shape == (2, *shape[1:])
    assert replace(data, labels=labels + 1, classes=()).images.shape == shape
    with pytest.raises(OptionError, match="channels_first='yes'; expected True or False"):
        Dataset(np.zeros(shape, np.float32), labels, channels_first="yes")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 3, 1], r"labels\[1\] = 3 is out of range; expected 0 … 2, the 3 classes"),
        ([0, 1, -1], r"labels\[2\] = -1 is out of range"),
        ([0.0, 1.5, 1.0], r"labels\[1\] = 1.5 is of type float64"),
        ([0.0, 1.0, 2.0], r"labels\[0\] = 0.0 is of type float64(.|\n)*astype"),
        (["a", "b", "c"], r"labels\[0\] = 'a' is of type(.|\n)*np.unique\(labels, return_inverse=True\)"),
        (np.eye(3), "help: labels.argmax"),
        (np.eye(3, dtype=np.float16), "help: labels.argmax"),
        ([[0], [1], [2]], r"shape \(3, 1\)(.|\n)*reshape\(-1\)"),
        ([[0], [1, 2], [2]], "different lengths"),
        (None, r"shape \(\)"),
        ([0.0, np.nan, 1.0], r"labels\[1\] = nan"),
    ],
)
def test_bad_labels_are_named(labels: object, message: str) -> None:
    with pytest.raises(LabelError, match=message):
        Dataset(_images(), labels, ("a", "b", "c"))  # type: ignore[arg-type]


def test_labels_that_are_not_class_numbers_are_kept_for_the_loss() -> None:
    images = _images(3)
    measured = Dataset(images, np.array([0.5, 1.0, -2.0]))
    assert (measured.labels.dtype, measured.classes, measured.is_classification) == (np.float32, (), False)
    assert "targets ()" in repr(measured)
    assert Dataset(images, np.eye(3)).labels.shape == (3, 3)
    several = Dataset(images, np.eye(3, dtype=bool))
    assert (several.labels.dtype, several.classes) == (np.uint8, ())
    positions = Dataset(images, np.full((3, 2, 2), -100), ("a", "b"))
    assert (positions.labels.dtype, positions.classes) == (np.int64, ("a", "b"))
    assert positions.subset([1]).labels.shape == (1, 2, 2)
    assert Dataset(images, np.array([True, False, True])).classes == ("0", "1")
    with pytest.raises(LabelError, match=r"labels\[1, 0, 1\] = 2 is out of range; expected 0 … 1, the 2 classes"):
        Dataset(images, np.array([[[0, 1]], [[1, 2]], [[0, 0]]]), ("a", "b"))
    with pytest.raises(LabelError, match=r"labels\[2, 0\] = nan; every target must be finite"):
        Dataset(images, np.array([[0.0], [1.0], [np.nan]]))


def test_labels_beyond_int64() -> None:
    with pytest.raises(LabelError, match="out of range"):
        check_labels(np.array([2**63 + 1], np.uint64), 3)
    with pytest.raises(LabelError, match=r"labels\[1\] = 9223372036854775808 is out of range; expected 0 … 999,999"):
        Dataset(_images(2), np.array([0, 2**63], np.uint64))
    with pytest.raises(LabelError, match=r"labels\[0\] = 1000000 is out of range"):
        Dataset(_images(1), np.array([1_000_000]))  # a million names and a model with as many outputs


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ([], "without samples; choose one or more of the 3"),
        (np.zeros(3, bool), "without samples"),
        (np.empty(0, np.float32), "without samples"),
        ([0, 3], r"no sample 3; the 3 samples are 0 … 2"),
        ([-4], "no sample -4"),
        (np.array([2**64 - 1], np.uint64), "no sample 18446744073709551615"),
        ([0.5], r"not by float64 of shape \(1,\)"),
        ([True], r"a mask \(3,\), not by bool of shape \(1,\)"),
        ("first", "not by <U5"),
        (1, r"not by int64 of shape \(\)"),
        ([[0, 1]], r"of shape \(1, 2\)"),
    ],
)
def test_a_subset_that_does_not_exist(index: object, message: str) -> None:
    data = Dataset(_images(3), np.array([0, 1, 2]))
    with pytest.raises(DataError, match=message):
        data.subset(index)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("classes", "message"),
    [("ab", "expected a list of names"), (3, "expected a list of names"), (["a", "a"], "two classes are named 'a'")],
)
def test_names_of_classes(classes: object, message: str) -> None:
    assert Dataset(_images(2), np.array([0, 1]), [7, 9]).classes == ("7", "9")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match=message):
        Dataset(_images(2), np.array([0, 1]), classes)  # type: ignore[arg-type]


@pytest.mark.parametrize(("images", "error"), [([[1, 2], [3]], DTypeError), (None, DataError), ("text", DataError)])
def test_what_is_not_an_array(images: object, error: type[Exception]) -> None:
    with pytest.raises(error):
        Dataset(images, np.array([0, 1]))  # type: ignore[arg-type]


def test_an_unknown_split_lists_the_known() -> None:
    assert Split.parse("test") is Split.parse(Split.TEST)
    with pytest.raises(OptionError, match="'trian'; did you mean 'train'"):
        Split.parse("trian")


def test_masks_and_objects_are_refused() -> None:
    x, y = np.ones((3, 2), np.float32), np.arange(3)
    with pytest.raises(DTypeError, match="labels is a masked array"):
        Dataset(x, np.ma.masked_equal(y, 1))
    with pytest.raises(DTypeError, match="inputs is a masked array"):
        Dataset(np.ma.masked_equal(x, 1), y)
    with pytest.raises(DTypeError, match="masked array"):
        Standardizer.fit(np.ma.masked_equal(x, 2))
    with pytest.raises(LabelError, match="type object"):
        Dataset(x, y.astype(object))
