"""Plots: they show the right numbers, need no display, and are written completely or not at all."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import striate as st
from striate import insight, nn
from striate.data import Dataset, Standardizer
from striate.errors import DataError, OptionError, ShapeError, StriateError
from striate.train.history import Epoch, History
from striate.train.rate_search import RateSearch

Figure = pytest.importorskip("matplotlib.figure").Figure


@pytest.fixture(scope="module")
def model() -> nn.Sequential:
    """A network of three classes for colour pictures."""
    made = nn.Sequential({
        "conv1": nn.Conv2d(3, 5, 3, padding=1), "act1": nn.ReLU(), "pool": nn.MaxPool2d(2),
        "conv2": nn.Conv2d(5, 4, 3), "flat": nn.Flatten(), "fc": nn.Linear(None, 3),
    }).infer((3, 10, 8)).initialize(0)  # fmt: skip
    made.standardizer = Standardizer(np.full(3, 120, np.float32), np.full(3, 70, np.float32), 1e-8)
    return made


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    """A data set of forty pictures."""
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (40, 3, 10, 8), dtype=np.uint8)
    return Dataset(images, random.integers(0, 3, 40), ("cat", "dog", "owl"), "animals")


def _shown(figure: Any) -> list[Any]:
    """Return the arrays that the figure's axes show, in drawing order."""
    axes = [inner for outer in figure.axes for inner in (outer, *outer.child_axes)]
    return [np.asarray(image.get_array()) for one in axes for image in one.images]


def _texts(figure: Any) -> str:
    found = [text.get_text() for text in figure.texts]
    for axes in figure.axes:
        found += [text.get_text() for text in axes.texts] + [axes.get_title(loc="left"), axes.get_title()]
    return "\n".join(found)


def test_filters_show_the_weights_each_to_its_own_scale(model: nn.Sequential) -> None:
    figure = st.plot.filters(model, "conv1")
    weights = model.conv1.weight
    shown = _shown(figure)
    assert len(shown) == 5 * 4
    for number in range(5):
        colour, red, green, blue = shown[4 * number : 4 * number + 4]
        limit = np.abs(weights[number]).max()
        np.testing.assert_allclose(colour, (0.5 + 0.5 * weights[number] / limit).transpose(1, 2, 0), atol=1e-6)
        np.testing.assert_array_equal(np.stack([red, green, blue]), weights[number])
    assert f"0   ±{np.abs(weights[0]).max():.3g}" in _texts(figure)
    deep = _shown(st.plot.filters(model, "conv2"))
    np.testing.assert_array_equal(np.stack(deep).reshape(4, 5, 3, 3), model.conv2.weight)
    for axes in st.plot.filters(model, "conv2").axes:
        low, high = axes.images[0].get_clim()
        assert low == -high  # zero is white
    np.testing.assert_array_equal(_shown(st.plot.filters(nn.Conv1d(1, 2, 5)))[0].shape, (1, 5))


def test_layers_without_filters_are_refused_with_the_known(model: nn.Sequential) -> None:
    with pytest.raises(OptionError, match=r"unknown layer with filters 'act1'[\s\S]*known: conv1, conv2"):
        st.plot.filters(model, "act1")
    with pytest.raises(OptionError, match="no convolution"):
        st.plot.filters(nn.Linear(3, 3))
    with pytest.raises(ShapeError, match="none of these layers"):
        st.plot.features(model, np.zeros((3, 10, 8)), "fc")


def test_features_show_the_maps_and_mark_what_is_silent(dataset: Dataset) -> None:
    model = nn.Sequential({"conv1": nn.Conv2d(3, 4, 3), "act": nn.ReLU(), "pool": nn.GlobalAveragePool()})
    model.infer((3, 10, 8)).initialize(0)
    bias = np.array([0, -1e6, 0, 0], np.float32)
    model.load_state_dict({"conv1.weight": model.conv1.weight, "conv1.bias": bias})
    image = dataset.images[0]
    figure = st.plot.features(model, image)
    maps = insight.feature_maps(model, image[np.newaxis])
    shown = _shown(figure)
    np.testing.assert_array_equal(shown[1], maps["conv1"][0, 0])
    np.testing.assert_array_equal(shown[5], maps["act"][0, 0])
    assert len(shown) == 1 + 4 + 3  # the picture, four maps, and three that fire; the mean has no positions
    assert _texts(figure).count("silent") == 1
    assert "act  ReLU   4 × 8 × 6" in _texts(figure)


@pytest.mark.parametrize("name", ["saliency", "integrated_gradients", "grad_cam", "occlusion"])
def test_explanations_lie_over_the_picture(model: nn.Sequential, dataset: Dataset, name: str) -> None:
    image = dataset.images[1]
    figure = getattr(st.plot, name)(model, image, 1, classes=dataset.classes)
    numbers = getattr(insight, name)(model, image, 1)
    if name == "saliency":
        numbers = np.take_along_axis(numbers, np.abs(numbers).argmax(axis=0)[np.newaxis], 0)[0]
    elif name == "integrated_gradients":
        numbers = numbers.sum(axis=0)
    picture, alone, below, over = _shown(figure)[:4]
    np.testing.assert_allclose(picture, image.transpose(1, 2, 0) / 255)
    np.testing.assert_allclose(alone, numbers, rtol=1e-6)
    np.testing.assert_allclose(over, numbers, rtol=1e-6)
    assert below.shape == over.shape
    logits = model(image[np.newaxis])[0].astype(np.float64)
    share = np.exp(logits[1]) / np.exp(logits).sum()
    assert f"class dog ({100 * share:.1f} %)" in _texts(figure)
    assert ("predicted is" in _texts(figure)) == (logits.argmax() != 1)


def test_one_picture_at_a_time(model: nn.Sequential, dataset: Dataset) -> None:
    with pytest.raises(ShapeError, match="one picture"):
        st.plot.saliency(model, dataset.images[:2])


def test_confusion_counts_and_names(model: nn.Sequential, dataset: Dataset) -> None:
    figure = st.plot.confusion(model, dataset)
    counts = insight.confusion(model, dataset).counts
    written = [text.get_text() for text in figure.axes[0].texts]
    assert [int(text) for text in written if text.isdecimal()] == counts[counts > 0].tolist()
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == list(dataset.classes)
    assert f"{100 * np.trace(counts) / 40:.2f} % right on animals" in _texts(figure)
    many = insight.Confusion(np.eye(120, dtype=np.int64), tuple(f"class {i}" for i in range(120)))
    assert st.plot.confusion(many).axes
    with pytest.raises(OptionError, match="needs a data set"):
        st.plot.confusion(model)


def test_mistakes_are_the_worst_and_none_is_said(model: nn.Sequential, dataset: Dataset) -> None:
    worst = insight.worst_mistakes(model, dataset, 3)
    figure = st.plot.mistakes(model, dataset, 3)
    for one, shown in zip(worst, _shown(figure), strict=True):
        np.testing.assert_allclose(shown, one.image.transpose(1, 2, 0) / 255)
        assert f"{one.label} → {one.predicted}  {100 * one.probability:.0f} %\nno. {one.index}" in _texts(figure)
    right = Dataset(dataset.images, model(dataset.images).argmax(axis=1), dataset.classes)
    assert "No mistakes" in _texts(st.plot.mistakes(model, right))


def test_top_activations_are_those_of_insight(model: nn.Sequential, dataset: Dataset) -> None:
    figure = st.plot.top_activations(model, "act1", dataset, [2, 0], 3)
    found = [one for unit in (2, 0) for one in insight.top_activations(model, "act1", unit, dataset, 3)]
    for one, shown in zip(found, _shown(figure), strict=True):
        np.testing.assert_allclose(shown, one.patch.transpose(1, 2, 0) / 255)
    whole = st.plot.top_activations(model, "act1", dataset, 2, 3, whole=True)
    for one, axes in zip(found, whole.axes):
        np.testing.assert_allclose(axes.images[0].get_array(), one.image.transpose(1, 2, 0) / 255)
        rows, columns = one.region
        (frame,) = axes.lines
        assert (min(frame.get_ydata()), max(frame.get_ydata())) == (rows.start - 0.5, rows.stop - 0.5)
        assert (min(frame.get_xdata()), max(frame.get_xdata())) == (columns.start - 0.5, columns.stop - 0.5)
    assert f"unit 2:  {found[0].label}  {found[0].value:.3g}" in _texts(figure)


def test_a_filter_is_shown_with_its_picture_and_its_weights() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (9, 12), dtype=np.uint8)
    before, weights, after = _shown(st.plot.filter(picture, "sobel_x"))
    np.testing.assert_allclose(before, picture / 255)
    assert weights.tolist() == [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]
    np.testing.assert_array_equal(after, st.filter(picture, "sobel_x"))
    _, _, blurred = _shown(st.plot.filter(np.stack([picture] * 3), "gaussian_blur", sigma=2))
    assert blurred.shape == (9, 12, 3)


def _history(losses: list[float], validated: bool = True) -> History:
    return History([
        Epoch(number, loss, 1.0, 100.0, loss + 0.1 if validated else None, 1 - loss / 4 if validated else None)
        for number, loss in enumerate(losses, 1)
    ])  # fmt: skip


def test_curves_are_those_of_the_history(tmp_path: Path) -> None:
    figure = _history([2.0, 1.0, 1.5]).plot()
    training, held_out = figure.axes[0].lines
    assert training.get_ydata().tolist() == [2.0, 1.0, 1.5]
    assert list(held_out.get_ydata()) == [2.1, 1.1, 1.6]
    assert list(figure.axes[1].lines[0].get_ydata()) == [50.0, 75.0, 62.5]
    assert "best 75.00 in epoch 2" in _texts(figure)
    assert len(_history([1.0], False).plot().axes) == 1
    assert _history([5.0, 0.01]).plot().axes[0].get_yscale() == "log"
    with pytest.raises(DataError, match="no finished epoch"):
        History().plot()


def test_rates_are_those_of_the_search() -> None:
    search = RateSearch((1e-3, 1e-2, 1e-1, 1.0), (2.0, 1.9, 1.0, 3.0), (2.0, 1.9, 1.1, 2.5))
    axes = search.plot().axes[0]
    assert [list(line.get_ydata()) for line in axes.lines[:2]] == [list(search.losses), list(search.smoothed)]
    assert axes.get_xscale() == "log"
    assert "suggested learning rate 0.01" in _texts(search.plot())
    assert "no learning rate" in _texts(RateSearch((1.0, 2.0, 3.0), (1.0, 2.0, 3.0), (1.0, 2.0, 3.0)).plot())
    with pytest.raises(DataError, match="took no step"):
        RateSearch((), (), ()).plot()


def test_files_are_written_by_their_ending_and_never_half(tmp_path: Path, model: nn.Sequential) -> None:
    figure = st.plot.filters(model, path=tmp_path / "filters.png")
    assert isinstance(figure, Figure)
    assert figure._repr_png_() == (tmp_path / "filters.png").read_bytes()
    with Image.open(tmp_path / "filters.png") as picture:
        assert picture.size == tuple(int(side * 120) for side in figure.get_size_inches())
    st.plot.filters(model, path=tmp_path / "filters.svg")
    assert "<svg" in (tmp_path / "filters.svg").read_text("utf-8")
    with pytest.raises(OptionError, match="png"):
        st.plot.filters(model, path=tmp_path / "filters.docx")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["filters.png", "filters.svg"]


def test_drawing_leaves_pyplot_alone() -> None:
    program = (
        "import sys, numpy as np, striate as st\n"
        "st.plot.filters(st.models.build('first_cnn', seed=0).infer((1, 8, 8)))\n"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True)


def test_augmented_samples_are_those_of_the_input_stage(dataset: Dataset) -> None:
    stage = st.data.augment.InputStage(dataset, "flip crop:1 cutmix", seed=4)
    shown = _shown(figure := st.plot.augmented(dataset, "flip crop:1 cutmix", count=2, epochs=3, seed=4))
    assert len(shown) == 2 * 4
    np.testing.assert_allclose(shown[0], dataset.images[0].transpose(1, 2, 0) / 255)
    np.testing.assert_allclose(shown[7], stage.batch([39], 2)[0][0].transpose(1, 2, 0) / 255)
    assert dataset.classes[dataset.labels[39]] in _texts(figure)
    assert " % " in _texts(figure)
    signals = Dataset(np.ones((3, 2, 9), np.float32), np.arange(3))
    named = st.plot.augmented(signals, {"shifted": "shift:2", "noisy": "noise"}, epochs=2)
    assert [len(axes.lines) for axes in named.axes] == [2] * 6
    assert {"shifted", "noisy", "epoch 2"} <= set(_texts(named).splitlines())
    with pytest.raises(OptionError, match="cannot be drawn"):
        st.plot.augmented(Dataset(np.ones((3, 2), np.float32), np.arange(3)), "noise")


def test_without_matplotlib_the_extra_is_named_and_notebooks_still_show() -> None:
    program = (
        "import sys, importlib.abc\n"
        "class Absent(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name.partition('.')[0] == 'matplotlib':\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Absent())\n"
        "import striate as st\n"
        "from striate.train.history import Epoch, History\n"
        "history = History([Epoch(1, 0.5, 1.0, 10.0, 0.6, 0.7)])\n"
        "assert '<svg' in history._repr_html_()\n"
        "assert '<table' in st.models.build('first_cnn')._repr_html_()\n"
        "for ask in (lambda: st.plot, history.plot):\n"
        "    try:\n"
        "        ask()\n"
        "    except st.StriateError as error:\n"
        "        assert \"pip install 'striate[plot]'\" in str(error), error\n"
        "    else:\n"
        "        raise SystemExit('no error')\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True)


@pytest.mark.parametrize("bad", [None, "text", [1, 2]], ids=repr)
def test_wrong_arguments_are_refused_by_name(bad: Any, model: nn.Sequential, dataset: Dataset) -> None:
    image = dataset.images[0]
    for call in (
        lambda: st.plot.filters(bad), lambda: st.plot.filters(model, None, bad), lambda: st.plot.features(bad, image),
        lambda: st.plot.features(model, image, None, bad), lambda: st.plot.top_activations(bad, "conv1", dataset),
        lambda: st.plot.top_activations(model, "conv1", bad), lambda: st.plot.curves(bad),
        lambda: st.plot.confusion(bad, dataset), lambda: st.plot.mistakes(model, bad),
        lambda: st.plot.saliency(bad, image),
    ):  # fmt: skip
        with pytest.raises(StriateError):
            call()
