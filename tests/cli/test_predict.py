"""``striate predict`` on many pictures: folders, archives, standard input, tables, files that cannot be read."""

from __future__ import annotations

import csv
import io
import json
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from striate import nn
from striate.cli import app
from striate.cli.predict_pictures import predict_pictures
from striate.cli.predictions import Form, csv_text
from striate.data.centring import Centring
from striate.data.dataset import Dataset
from striate.data.number_options import Task
from striate.data.reading import Reading
from striate.data.sources import Sources
from striate.data.standardizer import Standardizer
from striate.errors import OptionError
from striate.persistence import save

NAMES = ["1.png", "2.png", "10.png", "dark/3.png"]


def striate(*arguments: object, given: bytes | None = None) -> Any:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], input=given)


def picture(left: int, right: int) -> Image.Image:
    """Return a grey picture of 8×8 pixels with a left and a right half."""
    return Image.fromarray(np.repeat([[left] * 4 + [right] * 4], 8, axis=0).astype(np.uint8))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a model that compares the left half of a picture with the right one."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    network.infer((1, 8, 8))
    sides = np.repeat([[1.0] * 4 + [-1.0] * 4], 8, axis=0).ravel() / 3000
    network.load_state_dict({"1.weight": np.stack([sides, -sides, 0 * sides]), "1.bias": np.zeros(3)})
    path = tmp_path_factory.mktemp("model") / "sides.safetensors"
    save(network, path, input_shape=(1, 8, 8), classes=("left", "right", "none"))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with four pictures, the first with a bright left half and the others with a bright right half."""
    place = tmp_path / "pictures"
    (place / "dark").mkdir(parents=True)
    (place / "notes.txt").write_text("no picture")
    for name in NAMES:
        picture(*((250, 10) if name == "1.png" else (10, 250))).save(place / name)
    return place


def test_folders_and_archives_are_predicted_like_single_files(model: Path, folder: Path, tmp_path: Path) -> None:
    packed, tarred = tmp_path / "pictures.zip", tmp_path / "pictures.tar.gz"
    with zipfile.ZipFile(packed, "w") as archive:
        for name in NAMES:
            archive.write(folder / name, name)
    with tarfile.open(tarred, "w:gz") as archive:
        archive.add(folder, ".")
    single = json.loads(striate("predict", model, *(folder / name for name in NAMES), "--json").stdout)
    assert [row["classes"][0]["class"] for row in single] == ["left", "right", "right", "right"]
    for source in (folder, packed, tarred):
        result = striate("predict", model, source, "--json")
        assert result.exit_code == 0, result.output
        rows = json.loads(result.stdout)
        assert [row["image"] for row in rows] == [f"{source}/{name}" for name in NAMES]
        assert [row["classes"] for row in rows] == [row["classes"] for row in single]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("striate.cli.predict_pictures._TOGETHER", 3)  # a full batch and a short one
        assert json.loads(striate("predict", model, folder, packed, "--json").stdout)[4:] == rows_of(packed, single)


def rows_of(source: Path, single: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return predictions with the names that the pictures have in another place."""
    return [{**row, "image": f"{source}/{name}"} for name, row in zip(NAMES, single, strict=True)]


def test_standard_input_has_paths_or_a_picture(model: Path, folder: Path) -> None:
    paths = [str(folder / name) for name in NAMES[:2]]
    for given in ("\n".join(paths) + "\n\n", "\r\n".join(paths), "\0".join(paths)):
        result = striate("predict", model, "-", given=given.encode())
        assert [line.partition(": ")[0] for line in result.stdout.splitlines()] == paths
    result = striate("predict", model, folder / "2.png", "-", given=(folder / "1.png").read_bytes())
    assert [line.split(" (")[0] for line in result.stdout.splitlines()] == [f"{folder / '2.png'}: right", "-: left"]
    for given, message in {
        b"\n": "nothing in it",
        b"\x89PNG\r\n\x1a\n\x01": "neither a picture",
        b"x": "no such",
    }.items():
        wrong = striate("predict", model, "-", given=given)
        assert (wrong.exit_code, wrong.stdout) == (2, "")
        assert message in wrong.stderr
    assert "only once" in striate("predict", model, "-", "-", given=b"").stderr


def test_tables_and_numbers_of_classes(model: Path, folder: Path, tmp_path: Path) -> None:
    table = tmp_path / "found.csv"
    result = striate("predict", model, folder, "--csv", table)
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == f"saved {table}: 4 lines\n"
    head, *rows = csv.reader(io.StringIO(table.read_text()))
    assert head == ["image", "class", "probability"]
    assert [row[:2] for row in rows][:2] == [[f"{folder / '1.png'}", "left"], [f"{folder / '2.png'}", "right"]]
    printed = striate("predict", model, folder, "--csv", "-", "--top-k", 2).stdout
    head, *rows = csv.reader(io.StringIO(printed))
    assert head == ["image", "class_1", "probability_1", "class_2", "probability_2"]
    assert rows[0][1::2] == ["left", "none"]
    assert float(rows[0][2]) > float(rows[0][4]) > 0
    assert [line.count("%") for line in striate("predict", model, folder, "--top-k", 9).stdout.splitlines()] == [3] * 4
    both = striate("predict", model, folder, "--csv", table, "--json", "--top-k", 1)
    assert [len(row["classes"]) for row in json.loads(both.stdout)] == [1] * 4
    for options, message in {
        ("--csv", tmp_path / "none" / "x.csv"): "its folder does not exist",
        ("--csv", "-", "--json"): "both print to standard output",
        ("--top-k", 0): "whole number of 1 or more",
        ("--on-error", "skp"): "did you mean 'skip'",
    }.items():
        wrong = striate("predict", model, folder, *options)
        assert (wrong.exit_code, wrong.stdout) == (2, "")
        assert message in wrong.stderr


def test_files_that_cannot_be_read_are_named_or_skipped(model: Path, folder: Path, tmp_path: Path) -> None:
    for number in range(20, 34):
        (folder / f"{number}.png").write_bytes(b"<html>" if number % 2 else b"")
    result = striate("predict", model, folder, tmp_path / "missing")
    assert result.exit_code == 2
    assert len(result.stdout.splitlines()) == 4
    assert result.stderr.count("error: ") == 11
    assert f"error: {tmp_path / 'missing'}: no such file" in result.stderr
    assert f"{folder / '21.png'}: not a picture that can be read" in result.stderr
    assert "object at" not in result.stderr
    assert "… and 5 more cannot be read" in result.stderr
    skipped = striate("predict", model, folder, "--on-error", "skip")
    assert (skipped.exit_code, skipped.stdout) == (0, result.stdout)
    assert "14 of 18 cannot be read and were skipped" in skipped.stderr
    assert len(skipped.stderr.splitlines()) == 1
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.zip").write_bytes(b"PK")
    for given, message in {
        "empty": "no pictures in it",
        "broken.zip": "not a zip or tar archive that can be read",
    }.items():
        wrong = striate("predict", model, tmp_path / given, "--on-error", "skip")
        assert wrong.exit_code == 2
        assert message in wrong.stderr


def test_warnings_about_many_pictures_are_one_line(folder: Path) -> None:
    data = np.zeros((8, 1, 8, 8), np.uint8)
    data[:, :, 2:6, 2:6] = np.arange(8, dtype=np.uint8)[:, None, None, None]
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    network.standardizer = Standardizer.fit(Dataset(data, np.arange(8) % 2, channels_first=True).images)
    network.infer((1, 8, 8))
    for name in NAMES:
        picture(255, 255).save(folder / name)
    with Sources([folder]) as sources:
        far, faint = predict_pictures(network, Reading(1, (8, 8)), None, sources, None, "").warnings
        centring = Centring(0, 0.8, False)
        swapped, _ = predict_pictures(network, Reading(1, (8, 8)), centring, sources, None, "").warnings
    assert far.startswith("4 of 4 pictures are far from the training data: ")
    assert "1.png" in far
    assert "10.png and 1 more" in far
    assert faint.startswith("4 of 4 pictures are nearly uniform, with less than a tenth")
    picture(0, 3).save(folder / "2.png")  # as much as the training data have
    picture(0, 0).save(folder / "1.png")
    with Sources([folder / "1.png", folder / "2.png"]) as sources:
        (faint,) = predict_pictures(network, Reading(1, (8, 8)), None, sources, None, "").warnings
    assert faint.startswith(f"{folder / '1.png'}: nearly uniform")
    assert swapped.startswith("light and dark were swapped in 4 of 4 pictures")


def test_tables_of_numbers_and_labels_have_a_column_for_each() -> None:
    numbers = [{"file": "a,b.csv", "sample": "line 2", "numbers": {"price": 31.5, "age": 2.0}}]
    assert csv_text(numbers) == 'file,sample,price,age\n"a,b.csv",line 2,31.5,2.0\n'
    labels = [{"image": "x.png", "labels": {"rain": 0.25, "wind": 0.75}}]
    assert csv_text(labels) == "image,rain,wind\nx.png,0.25,0.75\n"
    for task in (Task.regress, Task.multilabel):
        with pytest.raises(OptionError, match="--top-k is for classes"):
            Form(top_k=2).require_for(task)
