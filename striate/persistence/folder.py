"""Load models from folders in the layout of Hugging Face and timm.

    config.json          {"architecture", "num_classes", "label_names", "model_args",
                          "pretrained_cfg": {"input_size", "mean", "std"}}
    model.safetensors    the weights, under the names of the architecture (or pytorch_model.bin)

``architecture`` must be one of ``striate.models``. That network is built and its weights are loaded. ``mean`` and
``std`` refer to pixels in [0, 1]; striate standardizes bytes in [0, 255], so both are multiplied by 255.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from striate.data.dataset import class_names
from striate.data.standardizer import Standardizer
from striate.errors import ModelFileError, StriateError, unknown_option
from striate.models import MODELS, build, options_of
from striate.nn.module import Module
from striate.persistence.container import names_of, numbers_of, object_of, open_regular, parse_json
from striate.persistence.weights import load_torch_state

CONFIG = "config.json"
WEIGHTS = ("model.safetensors", "pytorch_model.bin")
_AS_PUBLISHED = {"stem": "imagenet", "activation": "relu"}
"""Default options of the published networks; ``model_args`` in config.json overrides them."""
_LARGEST_CONFIG = 16_000_000
_LARGEST_SIZE = 1 << 20


def load_folder(folder: Path) -> Module:
    """Build the network that ``config.json`` in a folder names, and load the weights from the same folder.

    Raises ``ModelFileError`` if the architecture is not in ``striate.models``, if a field is missing or invalid, or if
    the weights do not fit.
    """
    config = _config(folder)
    name = _text(folder, config, "architecture").partition(".")[0]  # timm appends the training after a dot
    if name not in MODELS:
        raise ModelFileError(
            f"{folder / CONFIG}: {unknown_option('architecture', name, MODELS)}\n"
            "  help: export it to ONNX where it was trained, and open that file with st.load"
        )
    pretrained = object_of(config.get("pretrained_cfg", {}), f"{folder / CONFIG}: pretrained_cfg")
    names = names_of(config["label_names"], f"{folder / CONFIG}: label_names") if config.get("label_names") else []
    classes = _size(folder, config.get("num_classes", pretrained.get("num_classes", len(names) or None)))
    input_size = (
        numbers_of(pretrained["input_size"], f"{folder / CONFIG}: input_size") if "input_size" in pretrained else None
    )
    options = object_of(config.get("model_args", {}), f"{folder / CONFIG}: model_args")
    try:
        known = options_of(name)
        given = {option: value for option, value in _AS_PUBLISHED.items() if option in known} | options
        model = build(name, channels=input_size[0] if input_size else None, classes=classes, **cast("Any", given))
        if input_size and max(input_size) <= _LARGEST_SIZE:
            model.infer(input_size)
        load_torch_state(model, _weights(folder))
        model.classes = class_names(names)
        if "mean" in pretrained or "std" in pretrained:
            model.standardizer = _standardizer(folder, pretrained)
    except ModelFileError:
        raise
    except StriateError as error:
        raise ModelFileError(f"{folder}: {error}") from error
    if names and len(names) != classes:
        raise ModelFileError(f"{folder / CONFIG}: {len(names)} label_names for {classes} classes")
    return model


def _config(folder: Path) -> dict[str, object]:
    path = folder / CONFIG
    with open_regular(path) as stream:
        content = stream.read(_LARGEST_CONFIG + 1)
    if len(content) > _LARGEST_CONFIG:
        raise ModelFileError(f"{path}: larger than {_LARGEST_CONFIG // 10**6} MB")
    return object_of(parse_json(content, str(path)), str(path))


def _text(folder: Path, config: Mapping[str, object], key: str) -> str:
    found = config.get(key)
    if not isinstance(found, str):
        raise ModelFileError(f'{folder / CONFIG}: {key} is not a text\n  help: "{key}": "resnet18", for example')
    return found


def _size(folder: Path, given: object) -> int:
    if not isinstance(given, int) or isinstance(given, bool) or not 0 < given <= _LARGEST_SIZE:
        raise ModelFileError(f"{folder / CONFIG}: num_classes is {str(given)[:40]}, not a whole number from 1")
    return given


def _weights(folder: Path) -> Path:
    found = next((folder / name for name in WEIGHTS if (folder / name).exists()), None)
    if found is None:
        raise ModelFileError(f"{folder}: no weights\n  help: {' or '.join(WEIGHTS)} beside {CONFIG}")
    return found


def _standardizer(folder: Path, pretrained: Mapping[str, object]) -> Standardizer:
    """Return the standardizer x̂ = (x / 255 − mean) / std for x in [0, 255]."""
    mean, std = (255 * np.array(_numbers(folder, pretrained, key)) for key in ("mean", "std"))
    return Standardizer(mean, std, 0.0)


def _numbers(folder: Path, pretrained: Mapping[str, object], key: str) -> Sequence[float]:
    found = pretrained.get(key)
    numbers = cast("list[object]", found) if isinstance(found, list) else []
    if not 0 < len(numbers) <= 1024 or not all(
        isinstance(one, int | float) and not isinstance(one, bool) and abs(one) < 1e6 for one in numbers
    ):
        raise ModelFileError(f"{folder / CONFIG}: {key} is not a list of numbers")
    return cast("list[float]", numbers)
