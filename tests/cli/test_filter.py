"""Test ``striate filter`` through the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import striate as st
from striate.cli import app
from striate.cli.filter import _SHEET, parsed_weights
from striate.data.contact_sheet import shown_pixels, signed_colours
from striate.data.filters import FILTERS
from striate.data.picture import open_picture

RUNNER = CliRunner()


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A coloured picture, 40 wide and 30 high."""
    y, x = np.mgrid[:30, :40]
    pixels = np.stack([255 * (x > 20), 6 * x, 8 * y], axis=2).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def test_a_filtered_picture_is_what_the_filter_gives(photo: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.png"
    done = RUNNER.invoke(app, ["filter", str(photo), "gaussian_blur", "--set", "sigma=2", "-o", str(out)])
    assert done.exit_code == 0, done.output
    assert done.stdout == ""
    assert f"wrote {out}: gaussian_blur gave" in done.stderr
    wanted = np.rint(st.filter(np.asarray(Image.open(photo)), "gaussian_blur", sigma=2))
    np.testing.assert_array_equal(np.asarray(Image.open(out)), wanted)


def test_signed_numbers_are_written_around_middle_grey(photo: Path, tmp_path: Path) -> None:
    out = tmp_path / "edges.jpeg"
    done = RUNNER.invoke(app, ["filter", str(photo), "sobel_x", "--grey", "-o", str(out)])
    assert done.exit_code == 0, done.output
    assert "0 is middle grey" in done.stderr
    shown = np.asarray(Image.open(out)).astype(int)
    assert shown.shape == (30, 40)
    assert shown[:, 20:22].min() > 200  # brighter to the right
    assert np.abs(shown[:, 0] - 128).max() < 40


def test_weights_of_ones_own(photo: Path, tmp_path: Path) -> None:
    done = RUNNER.invoke(app, ["filter", str(photo), "-w", "-1 0 1; -2, 0, 2; -1 0 1", "-o", str(tmp_path / "a.png")])
    same = RUNNER.invoke(app, ["filter", str(photo), "sobel_x", "-o", str(tmp_path / "b.png")])
    assert (done.exit_code, same.exit_code) == (0, 0), done.output
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    np.testing.assert_array_equal(parsed_weights(" .5 -1e2 ;+3,4"), [[0.5, -100], [3, 4]])


def test_the_sheet_shows_every_named_filter(photo: Path, tmp_path: Path) -> None:
    out = tmp_path / "sheet.png"
    done = RUNNER.invoke(app, ["filter", str(photo), "--all", "-o", str(out)])
    assert done.exit_code == 0, done.output
    assert {entry.split()[0] for entry in _SHEET} == set(FILTERS)
    sheet = Image.open(out)
    assert sheet.width > 4 * 80
    first = np.asarray(sheet)[:, : sheet.width // 4]
    photo_pixels = np.asarray(Image.open(photo))
    assert any((first == colour).all(axis=2).any() for colour in photo_pixels[::7, ::7].reshape(-1, 3)[-4:])


def test_the_list_and_json(photo: Path, tmp_path: Path) -> None:
    listed = RUNNER.invoke(app, ["filter", "--list"])
    assert listed.exit_code == 0
    assert all(name in listed.stdout for name in FILTERS)
    assert "size=3" in listed.stdout
    assert all(len(line) <= 80 for line in listed.stdout.splitlines())
    known = json.loads(RUNNER.invoke(app, ["filter", "--list", "--json"]).stdout)
    assert [entry["name"] for entry in known] == list(FILTERS)
    out = tmp_path / "x.png"
    done = json.loads(RUNNER.invoke(app, ["filter", str(photo), "sobel_y", "-o", str(out), "--json"]).stdout)
    assert done["weights"] == [[-1, -2, -1], [0, 0, 0], [1, 2, 1]]
    assert done["signed"]
    assert done["least"] < done["largest"]


def test_without_a_name_it_is_written_here(photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert RUNNER.invoke(app, ["filter", str(photo), "emboss"]).exit_code == 0
    assert [path.name for path in Path().iterdir()] == ["photo-emboss.png"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["sobel"], "known: identity"),
        (["gabor", "--set", "angel=3"], "did you mean 'angle'"),
        (["gabor", "--set", "angle"], "NAME=NUMBER"),
        (["-w", "1 2; 3"], "same number of weights"),
        (["-w", "1 x"], "'x' is not a number"),
        (["sobel_x", "--mode", "circular"], "known: reflect"),
        (["sobel_x", "--all"], "expected a picture and one filter"),
        (["--all", "--set", "sigma=3"], "parameters of its own"),
        ([], "striate filter photo.jpg"),
        (["--list"], "takes no picture"),
        (["-w", ""], "--weights is empty"),
        (["gaussian_blur", "-s", "sigma=1", "-s", "sigma=2"], "sigma is given twice"),
        (["gaussian_blur", "-s", "sigma=-1"], "sigma=-1; expected a finite number above 0 and at most 128"),
        (["sobel_x", "--cval", "5"], "--cval 5 has no effect with --mode reflect"),
        (["sobel_x", "--mode", "constant", "--cval", "nan"], "cval=nan; expected a finite number"),
        (["-w", "1e39"], "exceed float32"),
        (["sobel_x", "-o", "picture.gif"], "must end with one of .png, .jpg, .jpeg"),
        (["sobel_x", "-o", "nowhere/picture.png"], "cannot be written"),
    ],
)
def test_errors_name_the_cure_and_leave_no_file(
    photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    done = RUNNER.invoke(app, ["filter", str(photo), *arguments])
    assert done.exit_code == 2
    assert said in done.stderr
    assert not list(Path().iterdir())


def test_a_missing_or_damaged_picture_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"\x89PNG no")
    for name, said in (("absent.png", "no such file"), ("broken.png", "not a picture that can be read")):
        done = RUNNER.invoke(app, ["filter", str(tmp_path / name), "sobel_x"])
        assert done.exit_code == 2
        assert said in done.stderr
        assert name in done.stderr


def test_pictures_keep_their_kind(tmp_path: Path) -> None:
    Image.new("L", (5, 4), 77).save(tmp_path / "grey.png")
    Image.new("LA", (5, 4), (0, 0)).save(tmp_path / "clear.png")
    Image.new("P", (5, 4)).save(tmp_path / "palette.png")
    Image.new("RGB", (400, 100), (1, 2, 3)).save(tmp_path / "wide.png")
    assert open_picture(tmp_path / "grey.png").tolist() == np.full((1, 4, 5), 77).tolist()
    assert (open_picture(tmp_path / "clear.png") == 255).all()
    assert open_picture(tmp_path / "clear.png").shape == (1, 4, 5)
    assert open_picture(tmp_path / "palette.png").shape == (3, 4, 5)
    assert open_picture(tmp_path / "wide.png", largest=40).shape == (3, 10, 40)
    assert open_picture(tmp_path / "wide.png", grey=True).shape == (1, 100, 400)


def test_how_numbers_are_shown() -> None:
    assert shown_pixels(np.array([[-5.0, 127.6, 300]]), False).tolist() == [[0, 128, 255]]
    assert shown_pixels(np.array([[-2.0, 0, 1]]), True).tolist() == [[0, 128, 192]]
    assert shown_pixels(np.zeros((2, 2)), True).tolist() == [[128, 128], [128, 128]]
    assert signed_colours(np.array([[0.0, 2.0, -2.0]])).tolist() == [[[255, 255, 255], [178, 24, 43], [33, 102, 172]]]
