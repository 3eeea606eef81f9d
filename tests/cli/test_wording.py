"""Messages of the command line name options, and are broken between words."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest

from striate.cli.evaluate import print_evaluation
from striate.cli.wording import fitted, with_options
from striate.data import Dataset
from striate.train.evaluation import Evaluation, TargetResult

OPTIONS = {"--size", "--on-error", "--lr"}


@pytest.mark.parametrize(
    ("python", "shell"),
    [
        ("sizes differ\n  help: give size=16", "sizes differ\n  help: give --size 16"),
        ('bad\n  help: give on_error="skip" to do', "bad\n  help: give --on-error skip to do"),
        ("bad\n  help: optim.SGD(lr=0.1)", "bad\n  help: optim.SGD(lr=0.1)"),  # a call of Python
        ("bad\n  help: give seed=3", "bad\n  help: give seed=3"),  # no option of this command
        ("size=16 is bad", "size=16 is bad"),  # what was wrong stays as it is
    ],
)
def test_help_lines_name_options(python: str, shell: str) -> None:
    assert with_options(python, OPTIONS) == shell


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_long_lines_are_broken_between_words_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    text = "error: " + "several words " * 8 + "\n  help: " + "and a cure " * 6 + "/a/very/long/path" * 4
    lines = fitted(text, Terminal()).split("\n")
    assert [line for line in lines if len(line) > 40] == ["    " + "/a/very/long/path" * 4]
    assert " ".join(text.split()) == " ".join(" ".join(lines).split())
    assert fitted(text, io.StringIO()) == text


def test_names_of_targets_are_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    targets = tuple(TargetResult(name, 1.0, 2.0, 0.5) for name in ("flow [m/s]", "rate [/s]"))
    result = Evaluation(1.0, 0, 0, (), math.nan, 1.0, 0.5, rmse=2.0, targets=targets)
    print_evaluation(result, Dataset(np.zeros((3, 2), np.float32), np.zeros((3, 2), np.float32)), "")
    said = capsys.readouterr().out
    assert "flow [m/s]" in said
    assert "rate [/s]" in said
