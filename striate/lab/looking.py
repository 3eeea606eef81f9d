"""Passes one picture through a trained network, and describes each layer's output for the page."""

from __future__ import annotations

import base64
import io
import math
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from striate.data import Dataset, Split
from striate.data.centring import Centring
from striate.data.picture import decoded, fitted_pixels
from striate.errors import OptionError, StriateError
from striate.graph.elementwise import Elementwise
from striate.graph.op import Op
from striate.insight import feature_maps, saliency
from striate.lab.limits import PICTURE_PIXELS
from striate.locks import Lock
from striate.persistence import LoadedModel, load_saved
from striate.report.anatomy import Block, blocks_of
from striate.report.labels import colour_of, label_of
from striate.train.evaluation import log_softmax
from striate.train.run import MODEL_FILE, read_run

Array = npt.NDArray[Any]

MOST_UNITS = 32
"""The most feature maps of one layer that are sent; the page shows the total number too."""
MOST_NUMBERS = 128
"""The most numbers that are sent for a layer without spatial axes."""
_MOST_MODELS = 4


@dataclass
class Opened:
    """A loaded model of a run, with its held-out data.

    ``version`` is the modification time (ns) and size of the model file, and ``blocks`` are the network's layers by
    name. ``centring`` says how the figures in the pictures of the data set are centred and scaled. Each of ``held_out``
    and ``centring`` is None if it is not available.
    """

    model: LoadedModel
    version: tuple[int, int]
    held_out: Dataset | None
    centring: Centring | None
    blocks: dict[str, Block]
    """The operations of each layer, by its path."""


class Looking:
    """Shows pictures and layer outputs of the models of runs; caches the four most recently used models.

    Each method takes the ``folder`` of a run. A lock admits only one picture at a time, since predictions share the
    cores with trainings. Methods raise ``OptionError`` for a run that has no model yet, or a model whose inputs are not
    pictures.
    """

    def __init__(self) -> None:
        self._models: OrderedDict[Path, Opened] = OrderedDict()
        self._turn = Lock()

    def sample(self, folder: Path, index: int) -> tuple[Array, dict[str, Any]]:
        """Return a held-out picture (C, H, W), and a dict with its "index", its "label" and the "count" of pictures.

        ``index`` is taken modulo that count. Raises ``OptionError`` if the data are not available on this computer.
        """
        with self._turn:
            data = self._opened(folder).held_out
        if data is None:
            raise OptionError("the data of this run cannot be opened here")
        place = index % len(data)
        label: object = data.labels[place].tolist()
        name = data.classes[label] if isinstance(label, int) and data.is_classification else str(label)
        return data.images[place], {"index": place, "count": len(data), "label": name}

    def drawn(self, folder: Path, content: bytes, centred: bool) -> tuple[Array, dict[str, Any]]:
        """Decode an uploaded PNG or JPEG into the network's input shape (C, H, W).

        With ``centred``, the figure in the picture is centred and scaled as in the training data, if the data set says
        how. Returns the picture, and a dict whose entries "centred" and "swapped" say whether the figure was centred,
        and whether light and dark were swapped.
        """
        with self._turn:
            found = self._opened(folder)
        channels, size = picture_shape(found.model)
        with io.BytesIO(content) as stream:
            picture = decoded(stream, "the picture", most_pixels=PICTURE_PIXELS, formats=("PNG", "JPEG"))
        swapped = False
        if centred and found.centring is not None:
            picture, swapped = found.centring.apply(picture, size)
        return fitted_pixels(picture, channels, size), {
            "swapped": swapped,
            "centred": centred and found.centring is not None,
        }

    def look(self, folder: Path, pixels: Array, with_saliency: bool) -> dict[str, Any]:
        """Return prediction and layer outputs for one picture (C, H, W), as JSON-compatible data.

        If ``with_saliency``, the saliency map is included.
        """
        with self._turn:
            found = self._opened(folder)
            x = pixels[np.newaxis]
            maps = feature_maps(found.model, x)
            logits = np.asarray(found.model(x))[0]
            sensitivity = saliency(found.model, pixels) if with_saliency else None
        probabilities = np.exp(log_softmax(logits[np.newaxis]))[0]
        names = found.model.classes or tuple(str(index) for index in range(len(probabilities)))
        answer: dict[str, Any] = {
            "classes": [
                {"name": name, "probability": float(probability), "score": finite(score)}
                for name, probability, score in zip(names, probabilities, logits)
            ],
            "seen": picture_text(pixels),
            "layers": [described(name, array[0], found.blocks.get(name)) for name, array in maps.items()],
        }
        if sensitivity is not None:
            answer["saliency"] = encoded(abs(sensitivity).max(axis=0)[np.newaxis])
        return answer

    def about(self, folder: Path) -> dict[str, Any]:
        """Return what the page needs before the first picture, as JSON-compatible data.

        The data are the shape of the input, the classes, the number of held-out pictures, and whether drawings are
        centred.
        """
        with self._turn:
            found = self._opened(folder)
        channels, (height, width) = picture_shape(found.model)
        return {
            "channels": channels, "height": height, "width": width, "classes": list(found.model.classes),
            "held_out": 0 if found.held_out is None else len(found.held_out),
            "centring": found.centring is not None,
            "background": 0 if found.centring is None else found.centring.background,
        }  # fmt: skip

    def _opened(self, folder: Path) -> Opened:
        path = folder / MODEL_FILE
        if not path.is_file():
            raise OptionError("this run has no model yet: it is saved when the training ends or is stopped")
        state = path.stat()
        version = (state.st_mtime_ns, state.st_size)
        known = self._models.pop(folder, None)
        if known is None or known.version != version:
            known = opened_model(folder, version)
        self._models[folder] = known
        while len(self._models) > _MOST_MODELS:
            self._models.popitem(last=False)
        return known


def opened_model(folder: Path, version: tuple[int, int]) -> Opened:
    """Load the model of a run, and its data if they are available on this computer.

    ``version`` is the modification time (ns) and size of the model file, which tell when the model must be loaded
    again.
    """
    model = load_saved(folder / MODEL_FILE)
    held_out = centring = None
    try:
        run = read_run(folder)
        centring = Centring.from_json(run.centring)
        held_out = _fitting(run.dataset(Split.TEST), model)
    except StriateError:
        pass  # the run comes from another computer, and its data are not available here
    return Opened(model, version, held_out, centring, {block.path: block for block in blocks_of(model.graph)})


def _fitting(data: Dataset, model: LoadedModel) -> Dataset | None:
    return data if data.images.shape[1:] == model.input_shape and data.images.dtype == np.uint8 else None


def picture_shape(model: LoadedModel) -> tuple[int, tuple[int, int]]:
    """Return (channels, (height, width)) of the model's input.

    Raises ``OptionError`` if its inputs are not pictures of 1 or 3 channels.
    """
    channels, *size = model.input_shape
    if len(size) != 2 or channels not in (1, 3):
        raise OptionError(f"this model takes samples of shape {model.input_shape}, not pictures")
    return channels, (size[0], size[1])


def described(name: str, array: Array, block: Block | None) -> dict[str, Any]:
    """Describe one layer's output for one picture, as JSON-compatible data.

    ``name`` is the name of the layer, ``array`` its output, (C, H, W) or (D,), and ``block`` has the layer's
    operations, or is None if they are unknown. At most 32 maps or 128 numbers are included, with statistics of the
    whole array.
    """
    main = None if block is None else block.main
    maps = array if array.ndim == 3 else array.reshape(-1)
    shown = maps[: MOST_UNITS if array.ndim == 3 else MOST_NUMBERS]
    finite_values = array[np.isfinite(array)].astype(np.float64)
    return {
        "name": name,
        "label": "" if block is None else label_of(block),
        "kind": "other" if block is None else colour_of(block),
        "effect": "" if main is None else effect_of(main),
        "equation": "" if main is None else main.own_equation(),
        "shape": list(array.shape),
        "least": finite(finite_values.min()) if finite_values.size else None,
        "most": finite(finite_values.max()) if finite_values.size else None,
        "zeros": float((array == 0).mean()),
        "active": int((maps.reshape(len(maps), -1) > 0).any(axis=1).sum()),
        **encoded(shown),
    }


def effect_of(op: Op) -> str:
    """Return a sentence about the effect of an activation, or "" for another operation."""
    return op.effect if isinstance(op, Elementwise) else ""


def encoded(array: Array) -> dict[str, Any]:
    """Encode numbers as base64 of the bytes round(128 + 127·v / max|v|), so that 0 becomes 128.

    NaN and infinity are encoded as 0. Returns the text as "data", the shape as "sent", and max|v| as "scale".
    """
    values = np.nan_to_num(array.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    largest = float(abs(values).max()) if values.size else 0.0
    scaled = np.zeros_like(values) if largest == 0 else values / largest
    data = np.round(128 + 127 * scaled).astype(np.uint8)
    return {"scale": largest, "sent": list(array.shape), "data": base64.b64encode(data.tobytes()).decode("ascii")}


def picture_text(pixels: Array) -> dict[str, Any]:
    """Encode a picture (C, H, W), C = 1 or 3, as JSON-compatible data.

    The result has "height" and "width", and as "data" the RGB bytes (H, W, 3) in base64.
    """
    colours = np.repeat(pixels, 3, axis=0) if len(pixels) == 1 else pixels
    data = np.ascontiguousarray(colours.transpose(1, 2, 0))
    return {
        "height": pixels.shape[1],
        "width": pixels.shape[2],
        "data": base64.b64encode(data.tobytes()).decode("ascii"),
    }


def finite(value: Any) -> float | None:
    """Return the number, or None for NaN and infinity, which JSON does not have."""
    number = float(value)
    return number if math.isfinite(number) else None
