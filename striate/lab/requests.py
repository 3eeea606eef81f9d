"""Requests for trainings: each value is checked and becomes an argument of ``striate train``."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from striate import settings
from striate.data.catalog import KNOWN
from striate.errors import OptionError, unknown_option
from striate.models import MODELS, options_of
from striate.models.block import ACTIVATIONS, STARTS, NormPlacement
from striate.optim import OPTIMIZERS, SCHEDULES

NORMS = tuple(placement.value for placement in NormPlacement)


@dataclass(frozen=True)
class Field:
    """A setting that the page may send: the option of ``striate train`` that it sets, and its check.

    ``parse(name, value)`` returns the value or raises ``OptionError``.
    """

    option: str
    parse: Callable[[str, Any], Any]


def _among(*known: str) -> Callable[[str, Any], str]:
    def parse(name: str, value: Any) -> str:
        if value not in known:
            raise unknown_option(name, value, known)
        return cast(str, value)

    return parse


def _number(least: float, most: float) -> Callable[[str, Any], float]:
    def parse(name: str, value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= most:
            raise OptionError(f"{name} = {str(value)[:40]}; expected a number from {least:g} to {most:g}")
        return float(value)

    return parse


def _whole(least: int, most: int) -> Callable[[str, Any], int]:
    def parse(name: str, value: Any) -> int:
        number = _number(least, most)(name, value)
        if number != math.floor(number):
            raise OptionError(f"{name} = {value}; expected a whole number")
        return int(number)

    return parse


def _truth(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise OptionError(f"{name}: expected true or false")
    return value


FIELDS: dict[str, Field] = {
    "model": Field("--model", _among(*MODELS)),
    "activation": Field("--activation", _among(*ACTIVATIONS)),
    "norm": Field("--norm", _among(*NORMS)),
    "negative_slope": Field("--negative-slope", _number(0, 1)),
    "init": Field("--init", _among(*STARTS)),
    "depth": Field("--depth", _whole(1, 64)),
    "width": Field("--width", _whole(1, 1024)),
    "optimizer": Field("--optimizer", _among(*OPTIMIZERS)),
    "lr": Field("--lr", _number(1e-8, 1e4)),
    "momentum": Field("--momentum", _number(0, 0.9999)),
    "weight_decay": Field("--weight-decay", _number(0, 10)),
    "schedule": Field("--schedule", _among(*SCHEDULES)),
    "epochs": Field("--epochs", _whole(1, 1000)),
    "batch_size": Field("--batch-size", _whole(2, 4096)),
    "seed": Field("--seed", _whole(0, 2**31 - 1)),
    "standardize": Field("", _truth),
}


def available_data() -> list[str]:
    """Return the names of the data sets that can be opened on this computer."""
    data = settings.current().data
    return [name for name in KNOWN if name != "mnist" or (data is not None and (data / "mnist").is_dir())]


@dataclass(frozen=True)
class TrainingRequest:
    """A checked request for a training.

    ``data`` is the name of a data set or a path that the lab allows, and ``settings`` are the values of the ``Field``
    entries by name.
    """

    data: str
    settings: Mapping[str, Any]

    @classmethod
    def of(cls, document: Mapping[str, Any], data: Mapping[str, str]) -> TrainingRequest:
        """Check a request from a page; raise ``OptionError`` for anything that is not allowed.

        ``document`` has the settings by name, and "data". ``data`` maps the allowed names of data sets to names or
        paths that ``striate train`` takes; the first one is the default.
        """
        chosen = document.get("data", next(iter(data)))
        if not isinstance(chosen, str) or chosen not in data:
            raise unknown_option("data", chosen, data)
        given = {name: value for name, value in document.items() if name != "data" and value is not None}
        for name in given:
            if name not in FIELDS:
                raise unknown_option("setting", name, FIELDS)
        parsed = {name: FIELDS[name].parse(name, value) for name, value in given.items()}
        model = parsed.get("model", "lenet5")
        known = options_of(model)
        for name in ("activation", "norm", "negative_slope", "init", "depth", "width"):
            if name in parsed and name not in known:
                raise OptionError(f"{model} has no setting {name}")
        return cls(data[chosen], parsed)

    def command(self, folder: Path) -> list[str]:
        """Return the command line of a training that writes into ``folder``, as words that no shell interprets."""
        words = [sys.executable, "-P", "-m", "striate", "train", self.data, "--out", str(folder)]
        for name, value in self.settings.items():
            if name == "standardize":
                words.append("--standardize" if value else "--no-standardize")
            else:
                words += [FIELDS[name].option, str(value)]
        return words
