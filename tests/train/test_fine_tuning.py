"""A training that begins with the weights of another one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import striate as st
from striate import nn, train
from striate.cli import app
from striate.errors import OptionError


def network(classes: int, seed: int) -> nn.Module:
    model = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, classes))
    return model.seed(seed).infer((4,))


def test_what_fits_is_copied_and_the_head_begins_anew() -> None:
    old, new = network(3, 1), network(2, 2)
    before = new.state_dict()["3.weight"].copy()
    assert train.load_matching(new, old.state_dict()) == ["3.weight", "3.bias"]
    assert (new.state_dict()["0.weight"] == old.state_dict()["0.weight"]).all()
    assert (new.state_dict()["3.weight"] == before).all()
    with pytest.raises(OptionError, match=r"no array of the saved model(.|\n)*same network"):
        train.load_matching(new, {"0.weight": np.zeros((9, 9), np.float32)})


@pytest.mark.slow
def test_on_the_command_line(tmp_path: Path) -> None:
    def striate(*arguments: object) -> Any:
        return CliRunner().invoke(app, ["train", *map(str, arguments)])

    options = ("--model", "mlp", "--depth", 1, "--width", 8, "--epochs", 1)
    assert striate("digits", *options, "--out", tmp_path / "first").exit_code == 0
    rows = ["a,b,label", *(f"{i % 7},{i % 5},{'xy'[i % 2]}" for i in range(30))]
    (tmp_path / "t.csv").write_text("\n".join(rows))
    other = striate(tmp_path / "t.csv", *options, "--weights", tmp_path / "first", "--out", tmp_path / "other")
    assert other.exit_code == 0, other.stderr
    assert "2 of 5 parameters from" in other.stderr
    frozen = ("--weights", tmp_path / "first", "--freeze", "1,2*", "--seed", 5)
    again = striate("digits", *options, *frozen, "--out", tmp_path / "again")
    assert again.exit_code == 0, again.stderr
    assert f"5 of 5 parameters from {tmp_path / 'first'}\n" in again.stderr
    first, last = (st.load(tmp_path / name / "model.safetensors").state_dict() for name in ("first", "again"))
    same = [name for name in first if (first[name] == last[name]).all() and "standardizer" not in name]
    assert same == ["1.weight", "2.weight", "2.bias", "2.running_mean", "2.running_var", "2.num_batches_tracked"]
    resumed = striate("--resume", tmp_path / "again", "--weights", tmp_path / "first")
    assert (resumed.exit_code, "--weights does not go with --resume" in resumed.stderr) == (2, True)
