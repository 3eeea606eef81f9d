"""The recipes that come with striate, and the options that they brought."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from striate import models, optim
from striate.cli import app
from striate.cli.choices import chosen_optimizer, chosen_schedule
from striate.cli.parameter_groups import parsed_groups
from striate.cli.recipes import NAMES, recipe_options
from striate.cli.train import train
from striate.data.augment.text import parsed
from striate.errors import OptionError
from striate.train.run import read_run
from striate.train.tta import Views


def striate(*arguments: object) -> Any:
    return CliRunner().invoke(app, list(map(str, arguments)))


@pytest.mark.parametrize("name", NAMES)
def test_every_option_of_a_recipe_is_known_and_valid(name: str) -> None:
    options = recipe_options(name, train)
    model = models.build(options["model"], **{key: options[key] for key in ("width", "depth") if key in options})
    parsed(options.get("augment", ""))
    Views.parse(options.get("tta", ""))
    rule = chosen_optimizer(
        options["optimizer"], options["lr"], options.get("momentum"), options.get("weight_decay"),
        chosen_schedule(options["schedule"], 100, options.get("warmup", 0)),
        options.get("decay_norm_and_bias", True), options.get("nesterov", False), options.get("groups", ""),
    )  # fmt: skip
    optim.groups.assign(rule, {name: 1 for name, _ in model.named_parameters()})  # every pattern matches


def test_a_recipe_is_refused_where_it_does_not_fit(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text('data = "digits"\n')
    own = "the recipe signals is for data of your own\n  help: striate train PATH --recipe signals"
    for arguments, problem in {
        ("--recipe", "cifar"): "unknown recipe 'cifar'; did you mean 'cifar10'?",
        ("--recipe", "signals"): own,
        (
            str(file),
            "--recipe",
            "mnist",
        ): f"--recipe mnist does not go with {file}\n  help: copy its lines into the file",
    }.items():
        found = striate("train", *arguments)
        assert found.exit_code == 2
        assert problem in found.output


def test_options_of_the_command_line_win_over_the_recipe() -> None:
    found = striate("train", "digits", "--recipe", "cifar10", "--epochs", "-1")
    assert "--epochs=-1" in found.output


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_trains_data_of_ones_own(name: str, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    source, shape = tmp_path / "data", (28, 28, 1) if name == "mnist" else (32, 32, 3)
    if name == "signals":
        source = tmp_path / "waves.npz"
        waves = np.sin(np.linspace(0, 9, 40) * (1 + np.arange(60)[:, None] % 2)) + random.normal(0, 0.2, (60, 40))
        np.savez(source, x=waves[:, None].astype(np.float32), y=np.array(["slow", "fast"])[np.arange(60) % 2])
    else:
        for label, most in (("dark", 90), ("bright", 250)):
            (source / label).mkdir(parents=True)
            for place in range(30):
                picture = random.integers(0, most, shape, dtype=np.uint8)
                Image.fromarray(picture.squeeze()).save(source / label / f"{place}.png")
    run = tmp_path / "run"
    options = ("--epochs", 2, "--batch-size", 16, "--precision", "float32", "--out", run)
    found = striate("train", source, "--recipe", name, *options)
    assert found.exit_code == 0, found.output
    assert "held-out accuracy" in found.output
    result = read_run(run)
    wanted = recipe_options(name, train)
    assert {key: result.arguments[key] for key in ("model", "lr", "augment", "groups", "tta") if key in wanted} == {
        key: wanted[key] for key in ("model", "lr", "augment", "groups", "tta") if key in wanted
    }
    evaluated = striate("evaluate", run, "--json")
    assert result.evaluation is not None
    assert f'"accuracy": {result.evaluation["accuracy"]}' in evaluated.output  # with the same views


def test_groups_as_text() -> None:
    usual = {"lr": 0.5, "weight_decay": 0.01}
    assert parsed_groups("*norm*.bias:lr=64x:weight-decay=0.5x head*:lr=0.1", usual) == {
        "*norm*.bias": {"lr": 32.0, "weight_decay": 0.005},
        "head*": {"lr": 0.1},
    }
    for text, problem in {
        "*.bias": "a pattern without options",
        ":lr=1": "a pattern without options",
        "a:lr=fast": "'fast' is not a number",
        "a:lr": "'' is not a number",
        "a:momentum=0.5": "unknown option of --groups 'a:momentum=0.5' 'momentum'",
    }.items():
        with pytest.raises(OptionError, match=problem.replace("*", r"\*")):
            parsed_groups(text, usual)


def test_a_warmup_below_1_is_a_share() -> None:
    schedule = chosen_schedule("polynomial", 100, 0.25)
    assert schedule == optim.WarmupSchedule(optim.PolynomialSchedule(75), 25, 1 / 26)
    assert chosen_schedule("polynomial", 100, 25.0) == schedule
    with pytest.raises(OptionError, match=r"--warmup=2\.5"):
        chosen_schedule("polynomial", 100, 2.5)
