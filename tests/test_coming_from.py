"""In the tables for users of other libraries, each expression in striate's column runs."""

from __future__ import annotations

import re
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import striate as st
from striate import nn, optim

PAGE = Path(__file__).parents[1] / "docs" / "coming-from.md"


def expressions() -> list[str]:
    found: list[str] = []
    for line in PAGE.read_text("utf-8").splitlines():
        if line.startswith("| ") and not line.startswith("| PyTorch"):
            found += re.findall(r"`([^`]+)`", line.rstrip("| ").rpartition(" | ")[2])
    return found


@pytest.mark.slow
def test_every_expression_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    x, y = random.standard_normal((8, 3, 6, 6)).astype(np.float32), np.arange(8) % 2
    names = {
        "st": st, "nn": nn, "optim": optim, "np": np, "x": x, "y": y, "data": st.data.Dataset(x, y),
        "model": nn.Sequential(nn.Flatten(), nn.Linear(None, 2)).infer((3, 6, 6)), "loss": nn.CrossEntropyLoss(),
        "optimizer": optim.SGD(lr=0.1),
    }  # fmt: skip
    if find_spec("sklearn"):
        sklearn = import_module("striate.sklearn")
        estimator = sklearn.ConvNetClassifier(epochs=1).fit(x, y)
        names |= {name: getattr(sklearn, name) for name in sklearn.__all__} | {"history_": estimator.history_}
    all_of_them = expressions()
    assert len(all_of_them) >= 40
    for expression in all_of_them:
        if not find_spec("sklearn") and re.search("ConvNet|history_", expression):
            continue
        try:
            eval(expression, dict(names))  # noqa: S307 - our own documentation
        except Exception as error:  # noqa: BLE001 - whatever is wrong with it
            pytest.fail(f"{expression}: {type(error).__name__}: {error}")
