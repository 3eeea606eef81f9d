"""What the transforms do, judged by NumPy, PyTorch and SciPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from striate.data import Dataset
from striate.data.augment import (
    AlternatingFlip,
    ColorJitter,
    CutMix,
    Cutout,
    GaussianNoise,
    InputStage,
    MixUp,
    RandAugment,
    RandomAffine,
    RandomCrop,
    RandomErasing,
    RandomFlip,
    RandomHorizontalFlip,
    RandomMask,
    RandomResizedCrop,
    RandomRotation,
    RandomScaling,
    RandomShift,
    RandomVerticalFlip,
)
from striate.data.augment.colour import hue
from striate.data.augment.keys import Keys
from striate.data.augment.mixing import beta


def seen(sample: Any, transforms: Any, count: int = 200) -> Any:
    """Return one sample as it is in many epochs."""
    data = Dataset(np.asarray(sample)[None], np.zeros(1, int), channels_first=True)
    stage = InputStage(data, transforms)
    return np.concatenate([stage.batch([0], epoch)[0] for epoch in range(count)])


def index_of(found: Any, candidates: list[Any]) -> list[int]:
    """Return the number of the candidate that each array equals."""
    return [next(i for i, one in enumerate(candidates) if np.array_equal(one, array)) for array in found]


PICTURE = np.random.default_rng(0).integers(0, 256, (3, 9, 12)).astype(np.uint8)


def test_alternating_flips_show_both_versions_of_every_picture_in_two_epochs() -> None:
    images = np.random.default_rng(1).integers(0, 256, (40, 3, 5, 6)).astype(np.uint8)
    stage = InputStage(Dataset(images, np.zeros(40, int)), "alternate-flip")
    assert stage.transforms == (AlternatingFlip(),)
    first, second, third = (stage.batch(np.arange(40), epoch)[0] for epoch in range(3))
    mirrored = [np.array_equal(seen, image[..., ::-1]) for seen, image in zip(first, images)]
    assert 10 < sum(mirrored) < 30
    for one, other, image, flipped in zip(first, second, images, mirrored):
        assert np.array_equal(other if flipped else one, image)
        assert np.array_equal(one if flipped else other, image[..., ::-1])
    assert np.array_equal(third, first)


def test_crops_are_windows_of_the_padded_picture_all_equally_often() -> None:
    for mode in ("constant", "edge", "reflect", "wrap"):
        fill: dict[str, Any] = {"constant_values": 7} if mode == "constant" else {}
        padded = np.pad(PICTURE, ((0, 0), (1, 1), (2, 2)), mode=mode, **fill)  # ty: ignore
        windows = [padded[:, y : y + 9, x : x + 12] for y in range(3) for x in range(5)]
        counts = np.bincount(index_of(seen(PICTURE, [RandomCrop(None, (1, 2), mode, 7.0)], 600), windows), minlength=15)
        assert 20 <= counts.min() <= counts.max() <= 65, mode
    inside = [PICTURE[:, y : y + 8, x : x + 11] for y in range(2) for x in range(2)]
    assert set(index_of(seen(PICTURE, [RandomCrop((8, 11))], 60), inside)) == {0, 1, 2, 3}


def test_flips_and_shifts() -> None:
    both = [PICTURE, PICTURE[..., ::-1], PICTURE[:, ::-1], PICTURE[:, ::-1, ::-1]]
    counts = np.bincount(index_of(seen(PICTURE, [RandomHorizontalFlip(0.25), RandomVerticalFlip()]), both), minlength=4)
    assert abs(counts[[1, 3]].sum() - 50) < 20
    assert abs(counts[[2, 3]].sum() - 100) < 30
    volume = np.random.default_rng(0).random((2, 4, 3, 5)).astype(np.float32)
    assert set(index_of(seen(volume, [RandomFlip(axis=-3)], 20), [volume, volume[:, ::-1]])) == {0, 1}
    signal = np.arange(1, 21, dtype=np.float32).reshape(1, 20)
    rolled = [np.roll(signal, move, axis=1) for move in range(-2, 3)]
    assert set(index_of(seen(signal, [RandomShift(0.1, "wrap")], 60), rolled)) == set(range(5))


@pytest.mark.parametrize("angle", [90, -90, 180, 0])
def test_rotations_turn_counter_clockwise(angle: int) -> None:
    square = np.random.default_rng(0).random((2, 7, 7)).astype(np.float32)
    (turned,) = seen(square, [RandomRotation((angle, angle))], 1)
    np.testing.assert_allclose(turned, np.rot90(square, angle // 90, axes=(1, 2)), atol=1e-5)


def test_affine_maps_are_those_of_pytorch() -> None:
    torch = pytest.importorskip("torch")
    functional = torch.nn.functional
    angle, (shift_x, shift_y), scale, shear = np.radians(20), (0.0, 0.0), 1.3, np.radians(15)
    rotation = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])  # y points down
    forward = rotation * scale @ np.array([[1, np.tan(shear)], [0, 1]])
    inverse = np.linalg.inv(forward)
    height, width = 9, 12
    grid = np.stack(np.meshgrid(np.arange(width) - (width - 1) / 2, np.arange(height) - (height - 1) / 2), axis=-1)
    places = grid @ inverse.T + [(width - 1) / 2 - shift_x, (height - 1) / 2 - shift_y]
    normal = torch.tensor(places / [(width - 1) / 2, (height - 1) / 2] - 1)[None]
    picture = PICTURE.astype(np.float32)
    for mode, theirs in (("constant", "zeros"), ("edge", "border"), ("reflect", "reflection")):
        made = [RandomAffine((20, 20), None, (1.3, 1.3), (15, 15), mode)]
        expected = functional.grid_sample(
            torch.tensor(picture, dtype=torch.float64)[None], normal, padding_mode=theirs, align_corners=True
        )
        np.testing.assert_allclose(seen(picture, made, 1), expected, atol=2e-3)
    resized = seen(picture, [RandomResizedCrop((5, 20), (1, 1), (12 / 9, 12 / 9))], 1)
    expected = functional.interpolate(torch.tensor(picture)[None], (5, 20), mode="bilinear", align_corners=False)
    np.testing.assert_allclose(resized, expected, atol=2e-3)


def test_crop_flip_and_rotation_are_one_resampling() -> None:
    """Two rotations by opposite angles, with a flip twice between them, are the identity, bit for bit nearly."""
    transforms = [RandomRotation((30, 30)), RandomFlip(1), RandomFlip(1), RandomRotation((-30, -30))]
    np.testing.assert_array_equal(seen(PICTURE, transforms, 3), np.repeat(PICTURE[None], 3, axis=0))


def test_colours() -> None:
    picture = PICTURE.astype(np.float32)
    grey = np.tensordot([0.299, 0.587, 0.114], picture, 1)
    fixed = {
        "brightness": picture * 1.5,
        "contrast": grey.mean() + 1.5 * (picture - grey.mean()),
        "saturation": grey + 1.5 * (picture - grey),
    }
    for name, expected in fixed.items():
        (found,) = seen(picture, [ColorJitter(**{name: (1.5, 1.5)})], 1)  # ty: ignore
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-3)
    (all_at_once,) = seen(PICTURE, [ColorJitter((1.2, 1.2), (0.7, 0.7), (1.4, 1.4))], 1)
    bright = picture * 1.2
    mean = 1.2 * grey.mean()
    contrast = mean + 0.7 * (bright - mean)
    own = np.tensordot([0.299, 0.587, 0.114], contrast, 1)
    expected = np.clip(own + 1.4 * (contrast - own), 0, 255)
    assert np.abs(all_at_once - expected).max() <= 0.51
    turned = hue(np.array([0.0, 1 / 3, 1.0, -1 / 3]))
    np.testing.assert_allclose(turned[[0, 2]], np.tile(np.eye(3), (2, 1, 1)), atol=1e-12)
    np.testing.assert_allclose(turned[1] @ turned[3], np.eye(3), atol=1e-12)
    np.testing.assert_allclose(np.array([0.299, 0.587, 0.114]) @ turned[1], [0.299, 0.587, 0.114], atol=1e-12)
    np.testing.assert_allclose(turned[1] @ np.ones(3), np.ones(3), atol=1e-12)


def test_noise_and_scaling_have_their_moments() -> None:
    signal = np.ones((2, 5000), np.float32)
    noise = seen(signal, [GaussianNoise(2.0), GaussianNoise(1.5)], 3) - 1
    assert np.abs(noise.mean()) < 0.05
    assert noise.std() == pytest.approx(2.5, rel=0.02)
    assert (noise**4).mean() / noise.var() ** 2 == pytest.approx(3, rel=0.1)
    assert abs(np.corrcoef(noise[0, 0], noise[0, 1])[0, 1]) < 0.05
    factors = seen(signal[:, :3], [RandomScaling(0.3)], 500)
    assert (factors == factors[:, :1, :1]).all()
    assert factors.std() == pytest.approx(0.3, rel=0.15)


def test_boxes() -> None:
    picture = np.ones((2, 20, 30), np.float32)
    erased = seen(picture, [RandomErasing(0.5, (0.1, 0.2), value=(5, 6))], 300)
    changed = (erased != 1).any(axis=(1, 2, 3))
    assert abs(changed.sum() - 150) < 40
    shares = (erased[changed][:, 0] == 5).mean(axis=(1, 2))
    assert 0.07 < shares.min() < shares.max() < 0.23
    np.testing.assert_array_equal(erased[:, 1] == 6, erased[:, 0] == 5)
    cut = (seen(picture, [Cutout(6, value="mean")], 100) == 1).all()
    assert cut  # the mean of ones
    holes = (seen(picture, [Cutout(6, count=1)], 100)[:, 0] == 0).sum(axis=(1, 2))
    assert holes.max() == 36
    assert holes.min() >= 9
    masked = (seen(np.ones((2, 50), np.float32), [RandomMask(10)], 300)[:, 0] == 0).sum(axis=1)
    assert set(masked) == set(range(11))


def test_shares_are_beta_distributed_and_boxes_have_their_volume() -> None:
    stats = pytest.importorskip("scipy.stats")
    u = np.linspace(0.001, 0.999, 999)
    for alpha in (0.1, 0.2, 1.0, 4.0):
        np.testing.assert_allclose(beta(alpha, u), stats.beta(alpha, alpha).ppf(u), atol=2e-4)
    mixture = CutMix(1.0).mixture(Keys(0, 0, np.arange(4000)).draws(0), (32, 32))
    assert mixture.label.mean() == pytest.approx(1 - 0.5 * 0.75, abs=0.1)  # λ is uniform, and boxes are cut off
    assert (MixUp(1.0, 0.25).mixture(Keys(0, 0, np.arange(4000)).draws(0), ()).share < 1).mean() < 0.3


def test_randaugment_solarizes_posterizes_and_stretches() -> None:
    grey = np.repeat(np.arange(50, 150, 10, dtype=np.uint8).reshape(1, 1, 10), 10, axis=1)
    found = seen(grey, [RandAugment(1, 30)], 300)[:, 0]
    base = grey[0].astype(float)
    stretched = np.rint((base - 50) * (255 / 90))
    for name, expected in (("solarized", 255 - base), ("posterized", base // 16 * 16), ("stretched", stretched)):
        assert (found == expected).all(axis=(1, 2)).sum() > 5, name
