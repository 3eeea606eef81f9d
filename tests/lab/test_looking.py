"""Predictions and feature maps of pictures, as the page receives them."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw
from starlette.testclient import TestClient

from striate.data import load_digits
from striate.data.centring import Centring
from striate.errors import OptionError
from striate.lab.looking import Looking, encoded
from striate.persistence import load
from tests.lab.conftest import Front


def decoded(layer: dict[str, Any]) -> np.ndarray[Any, Any]:
    data = np.frombuffer(base64.b64decode(layer["data"]), np.uint8).astype(np.float32)
    return ((data - 128) / 127 * layer["scale"]).reshape(layer["sent"])


def seven(size: int = 280, shift: tuple[int, int] = (0, 0), ink: int = 255, paper: int = 0) -> Image.Image:
    picture = Image.new("L", (size, size), paper)
    across, down = shift
    points = [(70 + across, 50 + down), (200 + across, 50 + down), (120 + across, 235 + down)]
    ImageDraw.Draw(picture).line(points, fill=ink, width=26, joint="curve")
    return picture


def png(picture: Image.Image) -> bytes:
    with io.BytesIO() as stream:
        picture.save(stream, "PNG")
        return stream.getvalue()


@pytest.mark.slow
def test_a_held_out_picture_layer_by_layer(client: TestClient, front: Front, run: Path) -> None:
    about = client.get(f"/api/runs/{front.key}/model").json()
    assert (about["channels"], about["height"], about["width"], about["held_out"]) == (1, 8, 8, 355)
    answer = client.post(f"/api/runs/{front.key}/look?saliency=1", json={"sample": 3}).json()
    held_out, model = load_digits("test"), load(run / "model.safetensors")
    assert answer["label"] == held_out.classes[held_out.labels[3]]
    scores = model(held_out.images[3:4])[0]
    np.testing.assert_allclose([one["score"] for one in answer["classes"]], scores, rtol=1e-6)
    assert sum(one["probability"] for one in answer["classes"]) == pytest.approx(1)
    first = answer["layers"][0]
    assert first["label"] == "standardize"
    assert model.standardizer is not None
    wanted = model.standardizer.transform(held_out.images[3:4])[0]
    np.testing.assert_allclose(decoded(first), wanted, atol=0.5 * first["scale"] / 127 + 1e-6)
    labels = [layer["label"] for layer in answer["layers"]]
    assert labels[1:5] == ["conv 5×5, 1 → 16", "batch norm", "leaky ReLU 0.1", "max pool 2×2 /2"]
    np.testing.assert_allclose(decoded(answer["layers"][-1]), scores, atol=answer["layers"][-1]["scale"] / 250)
    assert answer["saliency"]["sent"] == [1, 8, 8]
    seen = np.frombuffer(base64.b64decode(answer["seen"]["data"]), np.uint8).reshape(8, 8, 3)
    np.testing.assert_array_equal(seen[:, :, 0], held_out.images[3, 0])


@pytest.mark.parametrize(("shift", "ink", "paper"), [((0, 0), 255, 0), ((40, 30), 255, 0), ((-40, -20), 20, 240)])
def test_a_drawing_is_known_wherever_it_is_drawn(
    client: TestClient, front: Front, shift: tuple[int, int], ink: int, paper: int
) -> None:
    content = png(seven(shift=shift, ink=ink, paper=paper))
    headers = {"Content-Type": "image/png"}
    answer = client.post(f"/api/runs/{front.key}/look?centred=1", content=content, headers=headers).json()
    best = max(answer["classes"], key=lambda one: one["probability"])
    assert best["name"] == "7"
    assert answer["centred"] is True
    assert answer["swapped"] is (paper > 127)
    raw = client.post(f"/api/runs/{front.key}/look", content=content, headers=headers).json()
    assert raw["centred"] is False


def test_the_form_of_the_digits_is_measured() -> None:
    centring = Centring.of(load_digits("train").images)
    assert centring is not None
    assert centring.background == 0
    assert centring.extent == 1.0
    assert not centring.by_mass
    sheet, swapped = centring.apply(seven(), (8, 8))
    assert not swapped
    assert sheet.size == (256, 256)
    ink = np.asarray(sheet.convert("L")) > 64
    assert ink[:8].any()
    assert ink[-8:].any()
    left, right = np.flatnonzero(ink.any(axis=0))[[0, -1]]
    assert abs((left + right) / 2 - 128) < 4


def test_the_form_of_mnist_is_measured(mnist_folder: Path) -> None:
    from striate.data import load_mnist

    centring = Centring.of(load_mnist("train", mnist_folder).images)
    assert centring is not None
    assert centring.extent == pytest.approx(20 / 28)
    assert centring.by_mass


def test_pictures_without_a_plain_background_are_left_alone() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (50, 3, 16, 16), dtype=np.uint8)
    assert Centring.of(noise) is None
    assert Centring.of(np.zeros((4, 1, 8, 8), np.uint8)) is None
    assert Centring.of(np.zeros((4, 1, 8, 8), np.float32)) is None


def test_an_empty_sheet_has_no_figure() -> None:
    centring = Centring(0, 0.7, True)
    sheet, swapped = centring.apply(Image.new("RGB", (30, 20), "white"), (8, 8))
    assert swapped
    assert np.asarray(sheet).max() == 0


def test_numbers_as_bytes() -> None:
    values = np.array([[-2.0, 0.0, 1.0, 2.0]], np.float32)
    assert list(base64.b64decode(encoded(values)["data"])) == [1, 128, 192, 255]
    assert encoded(np.zeros((1, 2), np.float32))["scale"] == 0
    assert list(base64.b64decode(encoded(np.array([[np.nan, np.inf, 1.0]]))["data"])) == [128, 128, 255]


def test_a_run_without_a_model_says_so(client: TestClient, front: Front, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    key = front.lab.runs.add(tmp_path / "empty").key
    answer = client.get(f"/api/runs/{key}/model")
    assert answer.status_code == 422
    assert "no model yet" in answer.json()["error"]


def test_a_damaged_model_is_told_and_not_believed(client: TestClient, front: Front, tmp_path: Path) -> None:
    folder = tmp_path / "damaged"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"\xff" * 200)
    key = front.lab.runs.add(folder).key
    assert client.get(f"/api/runs/{key}/model").status_code == 422


def test_a_new_model_in_the_same_folder_is_noticed(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    model = folder / "model.safetensors"
    model.write_bytes((run / "model.safetensors").read_bytes())
    looking = Looking()
    assert looking.about(folder)["held_out"] == 0  # no run.json says what its data are
    model.unlink()
    with pytest.raises(OptionError, match="no model yet"):
        looking.about(folder)
