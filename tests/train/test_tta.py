"""Test-time augmentation: which views there are, and what is averaged."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from striate import nn, optim
from striate.cli import app
from striate.data import Dataset
from striate.errors import OptionError, ShapeError
from striate.graph.value import Value
from striate.persistence import save
from striate.train import Averaged, Trainer, Views, evaluate
from striate.train.evaluation import log_softmax


def test_views_are_all_combinations_of_flips_and_shifts() -> None:
    x = np.arange(2 * 3 * 4 * 5, dtype=np.uint8).reshape(2, 3, 4, 5)
    views = list(Views.parse("flip vflip crop:1").of(x))
    assert len(views) == 4 * 5
    for place, expected in enumerate((x, x[..., ::-1, :], x[..., ::-1], x[..., ::-1, ::-1])):
        assert any((one == expected).all() for one in views[:4]), place
    corner = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)), mode="edge")[:, :, :4, 2:]
    assert any((one == corner).all() for one in views)
    assert all(one.flags.c_contiguous and one.dtype == np.uint8 and one.shape == x.shape for one in views)
    assert len(list(Views.parse("crop:2").of(np.zeros((1, 2, 9))))) == 3
    assert Views.parse("") == Views()


def data(count: int = 40) -> Dataset:
    random = np.random.default_rng(0)
    return Dataset(random.standard_normal((count, 1, 6, 6)).astype(np.float32), np.arange(count) % 3)


def net() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(None, 3)).initialize(2)


def test_probabilities_are_averaged_and_evaluated() -> None:
    model, held_out = net().infer((1, 6, 6)), data()
    x = held_out.images
    shown = [np.exp(log_softmax(np.asarray(model(view)))) for view in (x, np.ascontiguousarray(x[..., ::-1]))]
    found = Averaged(model, Views((-1,)))(x)
    assert found.dtype == np.float32
    np.testing.assert_allclose(np.exp(found), np.mean(shown, axis=0), rtol=1e-5)
    trainer = Trainer(model, nn.CrossEntropyLoss(), optim.SGD(), progress=False)
    result = trainer.evaluate(held_out, tta="flip")
    assert result.correct == int((np.mean(shown, axis=0).argmax(axis=1) == held_out.labels).sum())
    expected = -np.log(np.mean(shown, axis=0)[np.arange(40), held_out.labels]).mean()
    assert result.loss == pytest.approx(expected, rel=1e-5)
    assert trainer.evaluate(held_out) == trainer.evaluate(held_out, tta="")


def test_measured_targets_are_averaged() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 1)).initialize(0)
    targets = Dataset(data().images, np.linspace(0, 1, 40, dtype=np.float32)[:, None])
    outputs = [np.asarray(model(np.ascontiguousarray(x))) for x in (targets.images, targets.images[..., ::-1])]
    found = evaluate(model, targets, tta="flip")
    assert found.mean_error == pytest.approx(np.abs(np.mean(outputs, axis=0) - targets.labels).mean(), rel=1e-5)


@pytest.mark.parametrize("text", ["flop", "flip:2", "crop:0", "crop:x", "crop:9"])
def test_unsuitable_views_are_refused(text: str) -> None:
    with pytest.raises(OptionError, match="test-time augmentation"):
        evaluate(net().infer((1, 6, 6)), data(), tta=text)


def test_samples_without_axes_and_outputs_with_positions_are_refused() -> None:
    class Same(nn.Module):
        def forward(self, x: Value) -> Value:
            return x

    with pytest.raises(OptionError, match="too few axes"):
        Averaged(Same(), Views((-2,)))(np.zeros((2, 3, 4), np.float32))
    with pytest.raises(ShapeError, match="outputs"):
        Averaged(Same(), Views((-1,)))(np.zeros((2, 3, 4, 4), np.float32))


def test_on_the_command_line(tmp_path: Any) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).initialize(0)
    save(model, tmp_path / "m.safetensors", input_shape=(1, 8, 8))
    for arguments in (
        ("evaluate", str(tmp_path / "m.safetensors"), "digits", "--tta", "flip crop:1"),
        ("predict", str(tmp_path / "m.safetensors"), "examples/seven.png", "--tta", "flip"),
    ):
        plain = CliRunner().invoke(app, arguments[:3])
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 0, result.output
        assert result.stdout != plain.stdout
    assert CliRunner().invoke(app, (*arguments[:3], "--tta", "flap")).exit_code == 2
