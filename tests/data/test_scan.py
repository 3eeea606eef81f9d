"""The scan names every planted fault, and nothing else."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from striate.data import Dataset, load_digits, scan_data
from striate.data.class_sheet import class_sheet
from striate.data.dataset import Array
from striate.data.likeness import near_pairs
from striate.data.picture import image_of
from striate.data.scan import MEASURED
from striate.errors import DataError, OptionError


def saved(path: Path, image: Array, quality: int = 95) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image_of(image).save(path, quality=quality)


@pytest.fixture
def planted(tmp_path: Path) -> Path:
    """Digits in given parts, with one fault of every kind."""
    digits = load_digits("train")
    for name in range(4):
        for number, place in enumerate(np.flatnonzero(digits.labels == name)[:12]):
            saved(tmp_path / ("train" if number < 9 else "test") / str(name) / f"{number}.png", digits.images[place])
    first = {name: digits.images[np.flatnonzero(digits.labels == name)] for name in range(4)}
    saved(tmp_path / "test" / "1" / "copy.png", first[1][0])
    saved(tmp_path / "test" / "2" / "again.jpg", first[2][1], quality=85)
    saved(tmp_path / "train" / "1" / "wrong.png", first[2][2])
    saved(tmp_path / "train" / "2" / "grey.png", np.full((1, 8, 8), 77, np.uint8))
    (tmp_path / "train" / "1" / "text.jpg").write_text("hello")
    (tmp_path / "train" / "1" / "empty.png").write_bytes(b"")
    stream = io.BytesIO()
    Image.effect_noise((64, 64), 99).save(stream, "JPEG")
    (tmp_path / "test" / "2" / "cut.jpg").write_bytes(stream.getvalue()[:900])
    for file in (tmp_path / "test" / "3").iterdir():
        file.unlink()
    return tmp_path


def test_every_planted_fault_of_pictures_is_named(planted: Path) -> None:
    found = scan_data(planted)
    assert {(one.kind, *sorted(one.samples)) for one in found.problems} == {
        ("bad file", "train/1/text.jpg"),
        ("bad file", "train/1/empty.png"),
        ("bad file", "test/2/cut.jpg"),
        ("absent class", "3"),
        ("equal across parts", "test/1/copy.png", "train/1/0.png"),
        ("nearly equal across parts", "test/2/again.jpg", "train/2/1.png"),
        ("equal under two labels", "train/1/wrong.png", "train/2/2.png"),
        ("constant sample", "train/2/grey.png"),
    }
    assert found.counts["1"] == {"train": 10, "held out": 4}
    assert found.modes["L"] == sum(found.sizes.values())


def test_near_pairs_do_not_mind_brightness_and_size() -> None:
    random = np.random.default_rng(0)
    pictures = [Image.fromarray(random.integers(40, 200, (8, 8), np.uint8)).resize((64, 64)) for _ in range(6)]
    lighter = Image.eval(pictures[1], lambda value: value // 2 + 90)
    smaller = pictures[2].resize((48, 48))
    flat = [Image.new("L", (64, 64), shade) for shade in (90, 91)]
    thumbnails = [
        np.asarray(one.resize((32, 32), Image.Resampling.BOX)) for one in (*pictures, lighter, smaller, *flat)
    ]
    assert near_pairs(np.stack(thumbnails)) == [(1, 6), (2, 7)]


def test_tables_signals_and_sets_in_memory(tmp_path: Path) -> None:
    rows = [f"{row},1,{row % 3}.5,{'ab'[row % 2]}" for row in range(12)]
    (tmp_path / "data.csv").write_text("\n".join(["x,same,y,label", *rows, "three,1,2,a", rows[0], "0,1,0.5,b"]))
    found = scan_data(tmp_path / "data.csv")
    assert {(one.kind, *one.samples) for one in found.problems} == {
        ("bad row", "line 14, column 'x'"),
        ("constant column", "same"),
        ("equal under two labels", "line 2", "line 15", "line 16"),
    }
    assert "line 14, column 'x': 'three' is not a number" in found.problems[0].text
    assert found.counts == {"a": {"": 7}, "b": {"": 7}}
    x = np.random.default_rng(0).normal(size=(20, 2, 9))
    x[:, 1] = 3
    np.savez(tmp_path / "x.npz", x=x, y=np.arange(20) / 7)
    measured = scan_data(tmp_path / "x.npz")
    assert [(one.kind, one.samples) for one in measured.problems] == [("constant channel", ("channel 1",))]
    assert list(measured.counts) == [MEASURED]
    digits = scan_data("digits")
    assert digits.count == 1797
    assert [one.kind for one in digits.problems] == ["nearly equal across parts"]
    with pytest.raises(OptionError):
        scan_data(tmp_path / "nowhere")


def test_a_sheet_has_a_row_for_each_class_also_augmented(tmp_path: Path) -> None:
    digits = load_digits("test")
    plain, changed = class_sheet(digits, "digits"), class_sheet(digits, "digits", augment="crop:1 flip")
    assert plain.width == changed.width
    assert changed.height > 1.8 * plain.height
    random = np.random.default_rng(0)
    for shape in ((12, 3, 40), (12, 1, 5, 6, 7), (12, 4, 8, 8)):
        assert class_sheet(Dataset(random.normal(size=shape), np.arange(12) % 2), "any").height > 100
    with pytest.raises(DataError, match="no picture"):
        class_sheet(Dataset(random.normal(size=(12, 3)), np.arange(12) % 2), "table")
    with pytest.raises(OptionError):
        class_sheet(digits, "digits", augment="no such thing")


def test_a_scan_names_columns_and_counts_groups(tmp_path: Path) -> None:
    rows = [f"{number},{number % 7},{'ab'[number % 2]},p{number % 3}" for number in range(30)]
    (tmp_path / "table.csv").write_text("\n".join(["x,y,label,patient", *rows]))
    found = scan_data(tmp_path / "table.csv")
    assert (found.columns, found.targets, found.groups) == (("x", "y"), ("label",), 3)
    assert found.to_json()["groups"] == 3
