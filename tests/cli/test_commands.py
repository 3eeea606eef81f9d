"""Test the command line: output, exit codes, files."""

from __future__ import annotations

import json
import os
import re
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image, ImageOps
from typer.testing import CliRunner

from striate.cli import app
from striate.data import Standardizer
from striate.persistence import load
from striate.version import VERSION

CHECKOUT = Path(__file__).parents[2]


def write_stripes(folder: Path, offset: int = 0, bright: int = 250, spread: int = 60) -> None:
    """Write a small data set in MNIST's four files: 8×8 pictures with bright columns (0) or bright rows (1).

    All other pixels are ``offset`` plus noise.
    """
    folder.mkdir()
    for prefix, count, seed in (("train", 96, 0), ("t10k", 30, 1)):
        random = np.random.default_rng(seed)
        images = random.integers(offset, offset + spread, (count, 8, 8), dtype=np.uint8)
        labels = (np.arange(count) % 2).astype(np.uint8)
        for image, label, place in zip(images, labels, random.integers(0, 8, count)):
            image[place if label else slice(None), slice(None) if label else place] = bright
        header = struct.pack(">4I", 0x0803, count, 8, 8)
        (folder / f"{prefix}-images-idx3-ubyte").write_bytes(header + images.tobytes())
        (folder / f"{prefix}-labels-idx1-ubyte").write_bytes(struct.pack(">2I", 0x0801, count) + labels.tobytes())


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small data set with two classes."""
    folder = tmp_path_factory.mktemp("data") / "stripes"
    write_stripes(folder)
    return folder


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run on that data set."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    result = striate("train", data, "--epochs", 4, "--batch-size", 16, "--out", folder)
    assert result.exit_code == 0, result.output
    return folder


def striate(*arguments: object) -> Any:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_version_and_help() -> None:
    assert striate("--version").stdout == f"striate {VERSION}\n"
    assert {"train", "evaluate", "predict", "show"} <= set(striate("--help").stdout.split())
    assert striate("train", "--nonsense").exit_code == 2


def test_the_help_of_train_begins_with_the_common_options() -> None:
    lines = striate("train", "--help").stdout.splitlines()
    assert max(map(len, lines)) <= 80
    first = "\n".join(lines[:40])
    assert all(option in first for option in ("--model", "--epochs", "--batch-size", "--lr", "--seed", "--out"))
    assert "--clip-value" not in first
    groups = [line.strip("╭─╮ ") for line in lines if line.startswith("╭")]
    assert groups[:3] == ["Arguments", "Options", "Optimizer"]


@pytest.mark.parametrize("stage", ["fused", "memory", "program"])
def test_what_show_prints_fits_the_terminal(stage: str) -> None:
    assert max(map(len, striate("show", "lenet5", "--stage", stage).stdout.splitlines())) <= 80


def test_importing_striate_loads_nothing_that_only_a_terminal_needs() -> None:
    code = "import striate, sys; print(sorted({'rich', 'typer', 'PIL'} & set(sys.modules)))"
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    assert subprocess.check_output([sys.executable, "-c", code], env=environment, text=True) == "[]\n"


def test_train_writes_the_run_and_ends_with_the_accuracy(run: Path, data: Path) -> None:
    assert sorted(entry.name for entry in run.iterdir()) == [
        "checkpoints", "config.toml", "curves.svg", "log.txt", "model.safetensors", "progress.jsonl", "run.json",
    ]  # fmt: skip
    document = json.loads((run / "run.json").read_text())
    assert document["finished"] is True
    assert document["seed"] == 0
    assert document["data"] == str(data)
    assert document["arguments"]["model"] == "lenet5"
    assert len(document["history"]["epochs"]) == 4
    assert document["evaluation"]["accuracy"] >= 0.9
    assert document["versions"]["striate"] == VERSION
    model = load(run / "model.safetensors")
    assert model.classes == ("0", "1")
    assert isinstance(model.standardizer, Standardizer)
    assert model.standardizer.epsilon == 1e-8


def test_what_train_prints(data: Path, tmp_path: Path) -> None:
    result = striate("train", data, "--epochs", 2, "--model", "first_cnn", "--out", tmp_path / "run")
    assert result.exit_code == 0
    assert re.fullmatch(r"test accuracy \d+\.\d\d %", result.stdout.splitlines()[-1])
    assert "held-out loss" in result.stdout
    assert "epoch 2/2  loss" in result.stderr
    assert "epoch 2/2" not in result.stdout


def test_the_table_fits_a_narrow_terminal(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    lines = striate("train", data, "--epochs", 1, "--model", "first_cnn", "--out", tmp_path / "run").stdout.splitlines()
    assert lines[0].split() == ["epoch", "loss", "held-out", "accuracy"]
    assert "…" not in "".join(lines)


def test_train_in_json(data: Path, tmp_path: Path) -> None:
    arguments = ["--optimizer", "adam", "--schedule", "constant", "--threads", 1, "--no-standardize", "--seed", 5]
    result = striate("train", data, "--epochs", 1, *arguments, "--json", "--out", tmp_path / "run")
    document = json.loads(result.stdout)
    assert document == json.loads((tmp_path / "run" / "run.json").read_text())
    assert document["arguments"]["lr"] == 0.002
    assert document["arguments"]["threads"] == 1
    assert load(tmp_path / "run" / "model.safetensors").standardizer is None


@pytest.mark.slow
def test_the_network_is_chosen_on_the_command_line(data: Path, tmp_path: Path) -> None:
    chosen = ["--activation", "relu", "--norm", "none", "--init", "he", "--depth", 2, "--width", 5]
    result = striate("train", data, "--epochs", 1, "--model", "mlp", *chosen, "--json", "--out", tmp_path / "run")
    arguments = json.loads(result.stdout)["arguments"]
    wanted = {"activation": "relu", "norm": "none", "negative_slope": 0.1, "init": "he", "depth": 2, "width": 5}
    assert {name: arguments[name] for name in wanted} == wanted
    names = load(tmp_path / "run" / "model.safetensors").state_dict()
    assert names["3.weight"].shape == (5, 5)
    assert not any("running_mean" in name for name in names)


def test_everything_about_the_optimizer_is_chosen_on_the_command_line(data: Path, tmp_path: Path) -> None:
    options = [
        "--optimizer", "adamw", "--weight-decay", 0.05, "--no-decay-norm-and-bias", "--schedule", "one_cycle",
        "--warmup", 1, "--max-norm", 1, "--clip-value", 0.5, "--accumulate", 2, "--ema", 0.9, "--label-smoothing", 0.1,
        "--class-weights", "balanced", "--patience", 1, "--min-delta", 1e6, "--augment", "flip mixup",
    ]  # fmt: skip
    result = striate("train", data, "--epochs", 9, *options, "--out", tmp_path / "run")
    assert "stopped after epoch 2: validation_loss has not improved for 1 epoch\n" in result.stdout
    assert re.search(r"the weights are those of epoch [12], the best one", result.stdout)
    assert re.search(r"\nwaited for data \S+ % of that time, augmentation included\n", result.stdout)
    document = json.loads((tmp_path / "run" / "run.json").read_text())
    assert document["finished"] is True
    assert document["history"]["stopped"] == "validation_loss has not improved for 1 epoch"
    given = {
        "optimizer": "adamw", "weight_decay": 0.05, "decay_norm_and_bias": False, "schedule": "one_cycle", "warmup": 1,
        "max_norm": 1.0, "clip_value": 0.5, "accumulate": 2, "ema": 0.9, "label_smoothing": 0.1,
        "class_weights": "balanced", "patience": 1, "min_delta": 1e6, "augment": "flip mixup",
    }  # fmt: skip
    assert {name: document["arguments"][name] for name in given} == given


def test_a_learning_rate_is_suggested_and_its_curve_drawn(data: Path, tmp_path: Path) -> None:
    result = striate("train", data, "--find-lr", "--out", tmp_path / "run")
    rate = re.search(r"suggested: --lr (\S+)\n", result.stdout)
    assert rate is not None
    document = json.loads(striate("train", data, "--find-lr", "--json", "--out", tmp_path / "run").stdout)
    assert document["suggestion"] == pytest.approx(float(rate[1]), rel=0.1)
    assert len(document["rates"]) == len(document["losses"]) == len(document["smoothed"])
    assert not (tmp_path / "run").exists()
    assert result.stdout.count("●") > 10
    assert result.stdout.count("← suggested") == 1
    picture = ElementTree.fromstring((tmp_path / "run-rates.svg").read_text())
    assert len(picture.findall(".//{*}polyline")) == 2


def test_the_same_seed_gives_the_same_file(data: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        striate("train", data, "--epochs", 1, "--seed", 3, "--out", tmp_path / name)
    first, second = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("a", "b"))
    assert first == second


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "no data set of that name[\\s\\S]*known by name: digits, mnist"),
        (["--model", "lenet"], "did you mean 'lenet5'"),
        (["--optimizer", "sdg"], "did you mean 'sgd'"),
        (["--schedule", "cos"], "known: constant, cosine, step, multi_step"),
        (["--class-weights", "even"], "unknown --class-weights 'even'"),
        (["--label-smoothing", "2"], "label_smoothing=2.0; expected a finite number from 0 to 1"),
        (["--patience", "0"], "patience=0; expected a whole number of 1 or more"),
        (["--min-delta", "0.1"], "--min-delta has no effect without --patience"),
        (["--accumulate", "0"], "accumulate=0; expected a whole number of 1 or more"),
        (["--ema", "1"], "ema=1.0; expected a finite number of 0 or more and below 1"),
        (["--warmup", "-1"], "--warmup=-1; expected a whole number from 0 to"),
        (
            ["--optimizer", "adagrad", "--schedule", "one_cycle"],
            "Adagrad has no momentum that its schedule",
        ),
        (["--epochs", "0"], "--epochs=0; expected a whole number of 1 or more"),
        (["--batch-size", "0"], "--batch-size=0; expected a whole number of 1 or more"),
        (["--threads", "0"], "--threads=0; expected a whole number from 1 to 1,024"),
        (["--threads", "100000"], "--threads=100000; expected a whole number from 1 to 1,024"),
        (["--seed", "-1"], "seed=-1; expected a whole number from 0 to 2⁶⁴ − 1"),
        (["--optimizer", "adam", "--momentum", "0.5"], "unknown option of adam 'momentum'"),
        (["--momentum", "1.5"], "momentum=1.5; expected a finite number of 0 or more and below 1"),
        (["--weight-decay", "nan"], "weight_decay=nan; expected a finite number of 0 or more"),
        (["--lr", "-1"], "lr=-1.0"),
        (["--lr", "nan"], "lr=nan"),
        (["--momentum", "-1"], "momentum"),
        (["--activation", "rely"], "did you mean 'relu'"),
        (["--norm", "batch"], "known: before_activation, block_start, none"),
        (["--init", "random"], "known: fitted, torch, he, xavier, orthogonal"),
        (["--depth", "3"], "unknown option of lenet5 'depth'"),
    ],
)
def test_bad_arguments_get_one_clean_message(arguments: list[str], message: str, data: Path, tmp_path: Path) -> None:
    given = [*([] if arguments == ["nowhere"] else [data]), *arguments]
    result = striate("train", *given, "--out", tmp_path / "run")
    assert result.exit_code == 2
    assert re.search(message, result.stderr)
    assert result.stderr.startswith("error: ")
    assert "Traceback" not in result.output
    assert not (tmp_path / "run").exists()


def test_a_foreign_folder_is_left_alone(data: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    result = striate("train", data, "--epochs", 1, "--out", tmp_path)
    assert result.exit_code == 2
    assert "thesis.tex" in result.stderr
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_breakdown_of_the_training_exits_with_1(data: Path, tmp_path: Path) -> None:
    result = striate("train", data, "--model", "first_cnn", "--lr", "1e38", "--epochs", 2, "--out", tmp_path / "run")
    assert result.exit_code == 1
    assert "learning rate" in result.stderr
    state = load(tmp_path / "run" / "model.safetensors").state_dict()
    assert all(np.isfinite(array).all() for array in state.values())
    assert json.loads((tmp_path / "run" / "run.json").read_text())["finished"] is False


def test_evaluate(run: Path, data: Path, tmp_path: Path) -> None:
    result = striate("evaluate", run)
    assert result.exit_code == 0
    accuracy = json.loads((run / "run.json").read_text())["evaluation"]["accuracy"]
    assert result.stdout.splitlines()[-1] == f"test accuracy {100 * accuracy:.2f} %"
    assert "15" in result.stdout
    assert striate("evaluate", run / "model.safetensors", data).stdout == result.stdout
    document = json.loads(striate("evaluate", run, "--json").stdout)
    assert document["accuracy"] == accuracy
    assert [one["count"] for one in document["classes"]] == [15, 15]


def test_evaluate_reads_other_pictures_as_the_input_of_the_model(run: Path, tmp_path: Path) -> None:
    for name in "01":
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for number in range(5):
            picture = np.full((9 + number, 12), 40 * number, np.uint8)
            Image.fromarray(picture).save(tmp_path / "pictures" / name / f"{number}.png")
    assert "pictures: 10 images" in striate("evaluate", run, tmp_path / "pictures").stdout
    (tmp_path / "pictures" / "0" / "note.png").write_text("a note")
    refused = striate("evaluate", run, tmp_path / "pictures")
    assert (refused.exit_code, "give --on-error skip to do without" in refused.stderr) == (2, True)
    skipped = striate("evaluate", run / "model.safetensors", tmp_path / "pictures", "--on-error", "skip")
    assert (skipped.exit_code, "pictures: 10 images" in skipped.stdout) == (0, True)


def test_evaluate_says_what_is_wrong(run: Path, data: Path, tmp_path: Path) -> None:
    for arguments, message in [
        ((tmp_path / "none",), "no such file"),
        ((tmp_path,), "model.safetensors: no such file"),
        ((run / "model.safetensors",), "give DATA too"),
        ((run, "digits"), "10 classes"),
        ((run, "imagenet"), "known by name: digits"),
    ]:
        result = striate("evaluate", *arguments)
        assert result.exit_code == 2, arguments
        assert message in result.stderr
        assert "Traceback" not in result.output


def test_predict(run: Path, tmp_path: Path) -> None:
    row = np.zeros((16, 24, 3), np.uint8)
    row[6:8] = 250
    Image.fromarray(row).save(tmp_path / "row.png")
    Image.fromarray(row[:, :, 0].T.copy()).save(tmp_path / "column.jpg")
    result = striate("predict", run, tmp_path / "row.png", tmp_path / "column.jpg")
    assert result.exit_code == 0
    first, second = result.stdout.splitlines()
    assert re.fullmatch(r".*row\.png: 1 \(\d+\.\d\d %\), 0 \(\d+\.\d\d %\)", first)
    assert re.match(r".*column\.jpg: 0 \(", second)
    rows = json.loads(striate("predict", run, tmp_path / "row.png", "--json").stdout)
    assert rows[0]["classes"][0]["class"] == "1"
    assert sum(one["probability"] for one in rows[0]["classes"]) == pytest.approx(1)


def test_what_is_far_from_the_training_data_is_said_in_one_line(data: Path, tmp_path: Path) -> None:
    write_stripes(tmp_path / "faint", offset=100, bright=101, spread=1)
    trained = striate("train", tmp_path / "faint", "--epochs", 1, "--model", "first_cnn", "--out", tmp_path / "run")
    assert trained.exit_code == 0
    assert "far from the training data" not in trained.stderr
    assert "far from" not in striate("evaluate", tmp_path / "run").stderr
    (warning,) = striate("evaluate", tmp_path / "run", data).stderr.splitlines()
    assert re.match(r"warning: stripes.*: feature 0: x = \d+ in sample \d+ is .*far from the training data$", warning)
    for shade, expected in ((100, 0), (250, 1)):
        Image.new("L", (8, 8), shade).save(tmp_path / "picture.png")
        result = striate("predict", tmp_path / "run", tmp_path / "picture.png")
        assert result.exit_code == 0
        assert result.stderr.count("far from the training data") == expected


def test_a_picture_that_is_none_is_named_and_the_others_are_predicted(run: Path, tmp_path: Path) -> None:
    Image.new("L", (8, 8)).save(tmp_path / "good.png")
    (tmp_path / "bad.png").write_bytes(b"no picture")
    result = striate("predict", run, tmp_path / "bad.png", tmp_path / "good.png", tmp_path / "none.png")
    assert result.exit_code == 2
    assert "bad.png: not a picture that can be read" in result.stderr
    assert "none.png: no such file" in result.stderr
    assert result.stdout.splitlines()[0].split(": ")[0].endswith("good.png")


def test_show(run: Path) -> None:
    traced = striate("show", "lenet5", "--stage", "traced").stdout
    assert "0.weight: f32 (16, 1, 5, 5)" in traced
    assert "loss = " in traced
    assert "gradient of 0.weight = " in striate("show", "lenet5", "--stage", "differentiated").stdout
    assert "f32 (N, 1, 8, 8)" in striate("show", run).stdout
    assert "f32 (N, 3, 16, 16)" in striate("show", "vgg_small", "--shape", "3x16x16").stdout
    for arguments, message in [
        (("lenet5", "--stage", "fuse"), "did you mean 'fused'"),
        (("lenet",), "did you mean 'lenet5'"),
        (("lenet5", "--shape", "3x-1"), "--shape"),
        (("lenet5", "--shape", "1x0x8"), "--shape"),
    ]:
        result = striate("show", *arguments)
        assert result.exit_code == 2
        assert message in result.stderr


def test_show_says_that_a_saved_model_predicts(run: Path) -> None:
    for given in (run, run / "model.safetensors"):
        shown = striate("show", given)
        assert shown.exit_code == 0
        assert "holds only the graph that predicts" in shown.stderr
        assert "running_mean" in shown.stdout
    assert "holds the graph" not in striate("show", "lenet5").stderr


def test_a_native_object(run: Path, data: Path, tmp_path: Path) -> None:
    result = striate("export", run, "--native", "-o", tmp_path / "net", "--data", data, "--softmax", "--no-uint8")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith(f"exported {tmp_path / 'net'}: net.o, net.h, net_test.c, net.json\n  targets  ")
    for arguments, words in (
        ((), "writes one of two forms"),
        (("--native", "--onnx", "net.onnx"), "writes one of two forms"),
        (("--native",), "needs a folder to write"),
        (("--native", "-o", tmp_path, "--fold"), "--fold belongs to --onnx"),
        (("--native", "-o", tmp_path, "--target", "x86-64-v5"), "did you mean 'x86-64-v"),
        (("--onnx", "net.onnx", "-o", tmp_path), "--output belongs to --native"),
    ):
        refused = striate("export", run, *arguments)
        assert refused.exit_code == 2
        assert words in refused.stderr


@pytest.mark.slow
def test_a_disk_without_room_is_noticed_before_training(data: Path, tmp_path: Path) -> None:
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))\n"
        "from striate.cli import main; main()"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, "train", str(data), "--epochs", "1", "--out", str(tmp_path / "run")],
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert result.returncode == 2, result.stderr
    assert re.search(r"run: the run cannot be saved here \(\d\.\d MB\): File too large", result.stderr)
    assert "epoch" not in result.stderr
    assert not list((tmp_path / "run").iterdir())


def test_an_out_that_cannot_be_a_folder(data: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")
    for out in (tmp_path / "file", tmp_path / "file" / "run", "/proc/run"):
        result = striate("train", data, "--epochs", 1, "--out", out)
        assert result.exit_code == 2
        assert "cannot be the folder of a run" in result.stderr


def process(*arguments: object) -> subprocess.Popen[str]:
    code = "from striate.cli import main; main()"
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def interrupt(child: subprocess.Popen[str]) -> None:
    """Send Ctrl-C to the whole process group, as a terminal does, including workers that compile."""
    os.killpg(child.pid, signal.SIGINT)


def after_first_epoch(child: subprocess.Popen[str]) -> str:
    assert child.stderr is not None
    seen = ""
    for line in child.stderr:
        seen += line
        if line.startswith("epoch"):
            return seen
    raise AssertionError(seen)


@pytest.mark.slow
def test_ctrl_c_finishes_the_step_saves_and_exits_130(data: Path, tmp_path: Path) -> None:
    child = process("train", data, "--epochs", 100_000, "--batch-size", 32, "--out", tmp_path / "run")
    after_first_epoch(child)
    interrupt(child)
    output, errors = child.communicate(timeout=60)
    assert child.returncode == 130, errors
    assert "interrupted after step" in errors
    assert "Traceback" not in output + errors
    document = json.loads((tmp_path / "run" / "run.json").read_text())
    assert document["finished"] is False
    assert document["history"]["epochs"]
    assert load(tmp_path / "run" / "model.safetensors").input_shape == (1, 8, 8)
    assert sorted(entry.name for entry in (tmp_path / "run").iterdir()) == [
        "checkpoints", "config.toml", "curves.svg", "log.txt", "model.safetensors", "progress.jsonl", "run.json",
    ]  # fmt: skip


@pytest.mark.slow
def test_a_second_ctrl_c_leaves_at_once(data: Path, tmp_path: Path) -> None:
    child = process(
        "train", data, "--model", "resnet18", "--epochs", 100, "--batch-size", 96, "--out", tmp_path / "run"
    )
    assert child.stderr is not None
    assert child.stderr.readline().startswith("96 images")
    time.sleep(1)  # into the first step: compiling, or seconds of NumPy
    start = time.monotonic()
    interrupt(child)
    time.sleep(0.05)
    interrupt(child)
    output, errors = child.communicate(timeout=60)
    assert child.returncode == 130, errors
    assert "Traceback" not in output + errors
    assert time.monotonic() - start < 10


def test_an_inverted_picture_is_read_like_the_data(tmp_path: Path) -> None:
    """As in the lab, light and dark are swapped with a warning, and the figure is centred and scaled."""
    trained = striate("train", "digits", "--model", "first_cnn", "--epochs", 4, "--out", tmp_path / "run")
    assert trained.exit_code == 0
    seven = Image.open(CHECKOUT / "examples" / "seven.png").convert("L")
    inverted = tmp_path / "inverted.png"
    ImageOps.invert(seven).save(inverted)
    upright, swapped = (
        striate("predict", tmp_path / "run", path) for path in (CHECKOUT / "examples/seven.png", inverted)
    )
    assert "swapped" not in upright.stderr
    assert f"{inverted}: light and dark were swapped" in swapped.stderr
    assert [result.stdout.split(": ")[1].split(" ")[0] for result in (upright, swapped)] == ["7", "7"]
    left = striate("predict", tmp_path / "run", inverted, "--no-centre").stderr.splitlines()
    assert left[0].startswith(
        f"warning: {inverted} is unlike the training data: its mean is 168, theirs are 56.2 to 108"
    )
    assert left[0].endswith("; with light and dark exchanged it would fit")
    assert left[1:] == [f"warning: {inverted} is 128×128, where those of the training data are 8×8; resized"]
