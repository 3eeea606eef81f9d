"""Options in a TOML file: ``striate train FILE.toml``, the file of a run, and the one that ``striate init`` writes."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from striate.cli import app
from striate.cli.configuration import NOT_CONFIGURED, line_of, read_configuration
from striate.cli.configuration_text import configuration_text, toml_value
from striate.cli.option import options_of
from striate.cli.train import train
from striate.errors import OptionError


def striate(*arguments: object) -> Any:
    return CliRunner().invoke(app, list(map(str, arguments)))


@pytest.mark.slow
def test_a_wrong_file_is_refused_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    for text, problem in {
        "epoch = 3": ", line 2: unknown option 'epoch'; did you mean 'epochs'?\n  help: striate train --help",
        "batch_size = 3": ", line 2: unknown option 'batch_size'; did you mean 'batch-size'?",
        'epochs = "3"': ', line 2: epochs = "3"; expected a whole number\n',
        "epochs = 3.5": ", line 2: epochs = 3.5; expected a whole number\n",
        "epochs = true": ", line 2: epochs = true; expected a whole number\n",
        "lr = 'fast'": ', line 2: lr = "fast"; expected a number\n',
        "doctor = 1": ", line 2: doctor = 1; expected true or false\n",
        "model = 5": ", line 2: model = 5; expected text in quotes\n",
        "label-column = 5": ", line 2: label-column = 5; expected text in quotes, or an array of texts\n",
        "model = lenet5": ", line 2: not TOML: ",
        "epochs = 3\nepochs = 4": ", line 3: not TOML: cannot overwrite a value\n",
        "\n[optimizer]\nlr = 3": ", line 3: [optimizer] is a table; a configuration has none\n",
        "optimizer.lr = 3": ", line 2: [optimizer] is a table",
        'resume = "runs/x"': ", line 2: resume is for the command line only\n",
        'augment = """\nepochs = 3\n"""\nepochs = "x"': ', line 5: epochs = "x"',
        # Values of the right type that the training refuses.
        'optimizer = "sdg"': ", line 2: unknown optimizer 'sdg'; did you mean 'sgd'?\n",
        "epochs = -3": ", line 2: --epochs=-3; expected",
    }.items():
        file.write_text(f'data = "digits"\n{text}\n')
        found = striate("train", file, "--out", tmp_path / "run")
        assert found.exit_code == 2, text
        assert found.stderr.startswith(f"error: {file}{problem}"), (text, found.stderr)
        assert not (tmp_path / "run").exists()
    file.write_bytes(b'data = "digits"\n# \xff')
    assert f"{file}, line 2: not UTF-8 text" in striate("train", file).stderr
    file.write_text("epochs = 3")
    assert f"error: {file}: no data\n" in striate("train", file).stderr
    assert "striate init PATH writes" in striate("train", tmp_path / "none.toml").stderr


def test_lines_are_those_of_keys_and_not_of_text_that_looks_alike() -> None:
    text = 'a = """\nlr = 1\n"""\nb = [\n  "lr = 2",\n]\n"lr" = 3\n'
    assert (line_of(text, "lr"), line_of(text, "b")) == (7, 4)


def test_numbers_arrays_and_paths_become_what_the_command_line_takes(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text(
        'data = "pictures"\nout = "runs/a"\nsize = [48, 64]\nlabel-column = ["a", "b"]\n'
        "lr = 1\ncheckpoint-every = 500\n"
    )
    assert read_configuration(file, options_of(train)) == {
        "data": str(tmp_path / "pictures"), "out": str(tmp_path / "runs/a"), "size": "48x64", "label_column": "a,b",
        "lr": 1, "checkpoint_every": "500",
    }  # fmt: skip
    text = ' a "b" \\ é 𝄞 \n'
    assert tomllib.loads("x = " + toml_value(text)) == {"x": text}


@pytest.mark.slow
def test_a_run_is_repeated_from_its_own_file_and_options_win_over_it(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('data = "digits"\nmodel = "mlp"\ndepth = 2\nwidth = 8\nepochs = 3\nema = 0.9\ndoctor = false\n')
    first, again = tmp_path / "first", tmp_path / "again"
    assert striate("train", file, "--epochs", 1, "--augment", "crop:1", "--out", first).exit_code == 0
    kept = tomllib.loads((first / "config.toml").read_text())
    expected = {"data": "digits", "epochs": 1, "width": 8, "ema": 0.9, "doctor": False, "augment": "crop:1"}
    assert {name: kept[name] for name in expected} == expected
    assert striate("train", first / "config.toml", "--out", again).exit_code == 0
    for name in ("model.safetensors", "config.toml"):
        assert (first / name).read_bytes() == (again / name).read_bytes(), name
    refused = striate("train", file, "--resume", first)
    assert (refused.exit_code, "does not go with --resume" in refused.stderr) == (2, True)


def test_init_writes_a_file_for_the_data_that_train_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for number in range(8):
        picture = tmp_path / "my pictures" / "ab"[number % 2] / f"{number}.png"
        picture.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((70 + number, 80, 3), 20 * number, np.uint8)).save(picture)
    (tmp_path / "my pictures" / "a" / "text.png").write_text("hello")
    rows = ["a,b,who,price", *(f"{i % 7},{i % 5},{i // 4},{i / 7}" for i in range(60))]
    (tmp_path / "table.csv").write_text("\n".join(rows))
    made = striate("init", "my pictures")
    assert made.exit_code == 0, made.stderr
    text = Path("striate.toml").read_text()
    values = tomllib.loads(text)
    assert "# 8 pictures, 2 classes: a (4), b (4)\n# colour, sizes 70×80, 72×80, 74×80 …\n" in text
    expected = {"data": "my pictures", "size": 64, "channels": 3, "on-error": "skip", "model": "resnet20"}
    assert {name: values[name] for name in expected} == expected
    assert "window" not in text
    refused = striate("init", "my pictures")
    assert (refused.exit_code, "--overwrite replaces it" in refused.stderr) == (2, True)
    (tmp_path / "sub").mkdir()
    assert striate("init", "table.csv", "--label-column", "price", "--out", "sub/t.toml").exit_code == 0
    values = tomllib.loads(Path("sub/t.toml").read_text())
    expected = {"data": str(tmp_path / "table.csv"), "task": "regress", "label-column": "price", "model": "mlp"}
    assert {name: values[name] for name in expected} == expected
    # Every line that is commented out is one that the reader takes, and every option is there.
    every = configuration_text(options_of(train), {"data": "digits"}, (), explained=True)
    Path("all.toml").write_text(re.sub(r"(?m)^#(?=[a-z])", "", every))
    read = read_configuration(Path("all.toml"), options_of(train))
    once = {*NOT_CONFIGURED, "overwrite", "find_lr", "as_json"}
    assert set(read) == {one.name for one in options_of(train)} - once
    with pytest.raises(OptionError, match="no such file"):
        read_configuration(Path("none.toml"), options_of(train))
