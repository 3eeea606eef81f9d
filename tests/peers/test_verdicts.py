"""The verdicts of the benchmarks on trainings that diverge from each other."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest


def test_smoothing_takes_whole_windows() -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed: pip install '.[peers]'")
    import curves

    found = curves.smoothed([0.0] * curves.WINDOW + [1.0] * curves.WINDOW)
    assert len(found) == curves.WINDOW + 1
    assert (found[0], found[5], found[-1]) == pytest.approx((0, 5 / curves.WINDOW, 1))


@pytest.mark.parametrize(("ours", "holds"), [(0.019, True), (0.021, False), (float("nan"), False)])
def test_curves_hold_up_to_twice_the_layouts_distance(ours: float, holds: bool) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed: pip install '.[peers]'")
    import curves

    losses = np.linspace(2.3, 1.0, 100)
    seeds = [
        curves.Curves("vgg_small", 64, 0.01, seed, list(losses + ours), list(losses), list(losses + 0.01))
        for seed in (1, 2)
    ]
    found = curves.verdict(seeds)
    assert (found.holds, found.alone, found.seeds) == (holds, 2 * holds, 2)


def test_one_late_excursion_is_too_much() -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed: pip install '.[peers]'")
    import curves

    losses = np.linspace(2.3, 1.0, 300)
    apart = losses.copy()
    apart[-curves.WINDOW :] += 0.05
    found = curves.verdict([curves.Curves("vgg_small", 64, 0.01, 1, list(apart), list(losses), list(losses + 0.01))])
    assert found.ours.mean < 2 * found.own.mean
    assert not found.holds


def test_differences_are_paired_by_seed() -> None:
    import accuracy

    plan = accuracy.Plan("vgg_small", 1, 1000, 64)
    scores = [
        accuracy.Score(plan, form, seed, 0.5, right / 100, right / 100, 1.0)
        for form, shift in (("winograd", 0.2), ("direct", 0.0), ("bfloat16", -0.2))
        for seed, right in ((1, 70 + shift), (2, 80 + shift))
    ]
    near = accuracy.difference(("winograd", "direct"), scores)
    assert (near.mean, near.error, near.test) == pytest.approx((0.2, 0.0, 0.2), abs=1e-9)
    assert near.holds
    assert near.sure
    assert not accuracy.difference(("winograd", "bfloat16"), scores).holds
    lone = accuracy.difference(("winograd", "direct"), [each for each in scores if each.seed == 1])
    assert lone.holds
    assert not lone.sure


def test_scores_of_another_plan_are_not_taken(tmp_path: Path) -> None:
    import accuracy

    plan, other = (accuracy.Plan("vgg_small", epochs, 1000, 64) for epochs in (1, 2))
    scores = [accuracy.Score(each, "direct", 1, 0.5, 0.7, 0.7, 1.0) for each in (plan, other)]
    path = tmp_path / "scores.jsonl"
    path.write_text("".join(json.dumps(asdict(each)) + "\n" for each in scores))
    assert accuracy.kept(path, plan) == scores[:1]
    assert accuracy.kept(tmp_path / "none", plan) == []


def test_pytorch_follows_the_schedule() -> None:
    import accuracy

    import striate as st

    plan = accuracy.Plan("vgg_small", 1, 6400, 64)
    schedule = st.optim.CosineSchedule(plan.steps, warmup=plan.warmup)
    assert (plan.steps, plan.warmup) == (100, 20)
    model = st.nn.Linear(1, 1, bias=False)
    step = st.TrainingStep(model, st.nn.MSELoss(), st.optim.SGD(lr=accuracy.RATE, schedule=schedule))
    model.infer((1,))
    model.load_state_dict({"weight": np.ones((1, 1))})
    x, y = np.ones((1, 1), np.float32), np.zeros((1, 1), np.float32)
    weight = 1.0
    for number in range(plan.steps):
        step(x, y)
        weight -= accuracy.rate(plan, number) * 2 * weight
        assert float(model.state_dict()["weight"][0, 0]) == pytest.approx(weight, rel=1e-4)


def test_pictures_are_moved_and_mirrored_by_themselves() -> None:
    import pictures

    x = np.arange(2 * 3 * 32 * 32, dtype=np.float32).reshape(2, 3, 32, 32) + 1
    found = pictures.shifted_and_mirrored(np.repeat(x[:1], 200, axis=0), np.random.default_rng(0))
    centre = found[:, 0, 8:24, 8:24]
    distinct = {one.tobytes() for one in centre}
    assert len(distinct) > 100  # of 9 · 9 · 2
    padded = np.pad(x[0], ((0, 0), (4, 4), (4, 4)))
    windows = [padded[:, t : t + 32, left : left + 32] for t in range(9) for left in range(9)]
    known = {one.tobytes() for window in windows for one in (window, np.ascontiguousarray(window[:, :, ::-1]))}
    assert {one.tobytes() for one in found} <= known


def test_a_run_goes_on_from_its_lines_and_says_which_one_is_damaged(tmp_path: Path) -> None:
    import report

    path = tmp_path / "results.jsonl"
    assert report.lines_of(None) == report.lines_of(path) == []
    report.add_line(None, {"seed": 0})
    report.add_line(path, {"seed": 1})
    report.add_line(path, {"seed": 2})
    assert report.lines_of(path) == [{"seed": 1}, {"seed": 2}]
    with path.open("a") as file:
        file.write('{"seed": 3, "los')
    with pytest.raises(report.FileError, match="line 3"):
        report.lines_of(path)
    with pytest.raises(report.FileError, match=r"nothing\.json"):
        report.read_json(tmp_path / "nothing.json")
