"""The equations beside layers are those of the graph and the operations, with the layer's numbers."""

from __future__ import annotations

import re

import pytest

from striate import nn
from striate.ops.convolution import Convolution
from striate.persistence import predict_graph
from striate.report.anatomy import blocks_of
from striate.report.equations import equation_of, typeset, whole_equation


def lines(model: nn.Module, shape: tuple[int, ...], path: str) -> list[str]:
    """Return the equations of the block at a path, without tags except sub- and superscripts."""
    model.infer(shape)
    (block,) = [block for block in blocks_of(predict_graph(model, shape)) if block.path == path]
    return [re.sub(r"</?var>", "", line) for line in equation_of(block).lines]


def test_a_convolution_with_its_options() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2, padding=1, dilation=2))
    short, full = lines(model, (3, 16, 16), "0")
    assert short == "y = x ⊗ w + b"
    assert full == (
        "y<sub>n, o, p</sub> = Σ<sub>c</sub> Σ<sub>k</sub> w<sub>o, c, k</sub> · x<sub>n, c, p · 2 + k · 2 − 1</sub>"
    )


def test_what_changes_nothing_is_left_out() -> None:
    assert Convolution((1, 1), ((0, 0), (0, 0)), (1, 1), 1).own_equation().endswith("x[n, c, p + k]")
    assert Convolution((2, 1), ((1, 0), (0, 0)), (1, 1), 1).own_equation().endswith("x[n, c, p · (2, 1) + k − (1, 0)]")


def test_layers_in_their_letters() -> None:
    norm = nn.Sequential(nn.BatchNorm2d(3), nn.LeakyReLU(0.2), nn.Sigmoid(), nn.Flatten(), nn.Linear(None, 4))
    first, second = lines(norm, (3, 2, 2), "0")
    assert first == "y = (x − μ) / √(σ² + 10<sup>−5</sup>) · γ + β"
    assert second == "while it trains, μ and σ² are the mean and the variance of each channel of the batch"
    assert lines(norm, (3, 2, 2), "1") == ["y = x where x &gt; 0, else 0.2·x"]
    assert lines(norm, (3, 2, 2), "2") == ["y = 1 / (1 + e⁻ˣ)"]
    assert lines(norm, (3, 2, 2), "4")[0] == "y = x wᵀ + b"


def test_a_skip_is_a_sum_of_two() -> None:
    assert lines(nn.Sequential(nn.Residual(nn.Sequential(nn.Tanh()))), (3, 2, 2), "0") == ["y = x₁ + x₂"]


def test_letters_say_what_they_are_called_in_the_file() -> None:
    model = nn.Sequential(nn.BatchNorm2d(3))
    model.infer((3, 4, 4))
    (block,) = blocks_of(predict_graph(model, (3, 4, 4)))
    letters = dict(equation_of(block).letters)
    assert letters["γ"] == "0.weight f32 (3), learned"
    assert letters["μ"] == "0.running_mean f32 (3), a running statistic"


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("x[n, c]", "<var>x</var><sub><var>n</var>, <var>c</var></sub>"),
        ("max_k y", "max<sub><var>k</var></sub> <var>y</var>"),
        ("e^x[j]", "<var>e</var><sup><var>x</var><sub><var>j</var></sub></sup>"),
        ("where the mean", "where the mean"),
        ("2e-05", "2 · 10<sup>−5</sup>"),
        ("x[<b>", "<var>x</var><sub>&lt;<var>b</var>&gt;</sub>"),
    ],
)
def test_typesetting(text: str, html: str) -> None:
    assert typeset(text) == html


def test_a_small_network_in_one_line() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Tanh(), nn.Flatten(), nn.Linear(None, 4))
    model.infer((1, 5, 5))
    line = whole_equation(blocks_of(predict_graph(model, (1, 5, 5))))
    assert line is not None
    assert re.sub(r"</?var>", "", line) == (
        "y = flatten(tanh(x ⊗ w<sub>0</sub> + b<sub>0</sub>)) w<sub>3</sub>ᵀ + b<sub>3</sub>"
    )
    deep = nn.Sequential(*(nn.Linear(4, 4) for _ in range(20)))
    deep.infer((4,))
    assert whole_equation(blocks_of(predict_graph(deep, (4,)))) is None


def test_a_network_in_one_line_reads_skipped_values_twice() -> None:
    model = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Residual(nn.Sequential(nn.Tanh())))
    model.infer((3,))
    line = whole_equation(blocks_of(predict_graph(model, (3,))))
    assert line is not None
    assert re.sub(r"</?var>", "", line) == "y = tanh(x w<sub>0</sub>ᵀ) + x w<sub>0</sub>ᵀ"
