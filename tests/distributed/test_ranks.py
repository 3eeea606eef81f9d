"""Steps and trainings on several ranks against one process."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.distributed.launched import environment, program, require_hosts, require_mpi, striate

TINY = {"tiny": (3, 24)}
FOUR = {"lenet5": (20, 24), "vgg_small": (20, 12), "resnet20": (20, 12), "resnet18": (20, 8)}
EACH = [name if name == "lenet5" else pytest.param(name, marks=pytest.mark.long) for name in FOUR]
"""The number of steps, and the size of a batch, for each of the four networks."""


def steps(folder: Path, ranks: int, network: str, **options: Any) -> dict[str, np.ndarray]:
    """Return the losses and the contents of the model after some steps on the ranks."""
    number, batch = (TINY | FOUR)[network]
    given = {"network": network, "steps": number, "batch": batch, "lr": 0.01, "sync": True, **options}
    program(ranks, "steps", json.dumps(given), folder / "state.npz")
    return dict(np.load(folder / "state.npz"))


def agree(found: dict[str, np.ndarray], expected: dict[str, np.ndarray], rtol: float) -> None:
    for name, array in expected.items():
        scale = float(np.abs(array).max()) or 1.0
        np.testing.assert_allclose(found[name], array, rtol=0, atol=rtol * scale, err_msg=name)


def differences(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> list[float]:
    """Return the largest difference in each array, relative to the largest number of the array."""
    scales = {name: float(np.abs(array).max()) or 1.0 for name, array in expected.items()}
    return [float(np.abs(found[name] - array).max()) / scales[name] for name, array in expected.items()]


@pytest.mark.slow
def test_two_ranks_make_the_step_of_one_process(tmp_path: Path) -> None:
    require_mpi()
    found = steps(tmp_path, 2, "tiny", reduce="fast", wide=True)
    agree(found, steps(tmp_path, 1, "tiny", reduce="none", wide=True), 1e-11)


@pytest.mark.slow
def test_sums_over_ranks() -> None:
    require_mpi()
    assert program(3, "sums").split() == ["right"] * 3


@pytest.mark.slow
@pytest.mark.parametrize("network", EACH)
def test_fast_mode_agrees_with_one_process(network: str, tmp_path: Path) -> None:
    require_mpi()
    found = steps(tmp_path, 4, network, reduce="fast", lr=0.001)
    expected = steps(tmp_path, 1, network, reduce="none", lr=0.001)
    print(network, np.abs(found["losses"] / expected["losses"] - 1))  # shown if the test fails, or with -s
    np.testing.assert_allclose(found["losses"][:3], expected["losses"][:3], rtol=2e-5)
    np.testing.assert_allclose(found["losses"], expected["losses"], rtol=1e-2)  # rounding grows from step to step


@pytest.mark.slow
@pytest.mark.parametrize("network", EACH)
def test_fast_mode_differs_from_one_process_by_rounding_alone(network: str, tmp_path: Path) -> None:
    """In float64, 20 steps agree to many more digits than a wrong weight or statistic would leave.

    In float32, they agree as well as those of one process that starts from weights with a relative error of 1e-7.
    """
    require_mpi()
    found = steps(tmp_path, 3, network, reduce="fast", wide=True, lr=0.001)
    agree(found, steps(tmp_path, 1, network, reduce="none", wide=True, lr=0.001), 1e-9)
    one = steps(tmp_path, 1, network, reduce="none", lr=0.001)
    ranks = differences(steps(tmp_path, 3, network, reduce="fast", lr=0.001), one)
    nudged = differences(steps(tmp_path, 1, network, reduce="none", lr=0.001, nudge=1e-7), one)
    assert max(ranks) < 10 * max(nudged), network
    assert np.median(ranks) < 10 * np.median(nudged), network


@pytest.mark.slow
@pytest.mark.parametrize("sync", [True, False])
@pytest.mark.parametrize("network", EACH)
def test_exact_mode_has_the_same_bits_on_any_number_of_ranks(network: str, sync: bool, tmp_path: Path) -> None:
    require_mpi()
    one, *others = (steps(tmp_path, ranks, network, reduce="exact", sync=sync) for ranks in (1, 2, 4))
    assert np.isfinite(one["losses"]).all()
    for other in others:
        assert all(np.array_equal(other[name], array) for name, array in one.items())


@pytest.mark.slow
def test_every_rank_sees_its_part_of_the_same_data(tmp_path: Path) -> None:
    """With augmentation, dropout, an average, early stopping and mixed labels, exact mode gives the same file."""
    require_mpi()
    options = (
        "digits", "--epochs", 2, "--reduce", "exact", "--augment", "crop:1 mixup:0.2", "--ema", 0.9, "--patience", 5,
        "--model", "lenet5", "--label-smoothing", 0.1,
    )  # fmt: skip
    digests: set[str] = set()
    for ranks in (1, 2, 4):
        out = tmp_path / str(ranks)
        finished = striate(ranks, "train", *options, "--out", out)
        assert finished.returncode == 0, finished.stderr
        assert finished.stderr.count("epoch 2/2") == 1  # rank 0 alone prints
        digests.add(hashlib.sha256((out / "model.safetensors").read_bytes()).hexdigest())
    assert len(digests) == 1
    found = [striate(ranks, "evaluate", tmp_path / "1", "--json").stdout for ranks in (1, 3)]
    assert found[0] == found[1]
    assert json.loads(found[0])["count"] == 355


@pytest.mark.slow
def test_three_hosts_compute_what_one_process_computes() -> None:
    """The hosts are network namespaces with links of 1 Gbit/s, which the launcher enters as it would call ssh."""
    require_hosts()
    script = Path(__file__).parents[2] / "benchmarks" / "ranks.py"
    options = ("--networks", "lenet5", "--batch", "24", "--repetitions", "4", "--hosts", "1gbit", "--json")
    command = [sys.executable, script, "--measure", "1", "3", *options]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    alone, hosts = json.loads(done.stdout)
    assert (alone["ranks"], hosts["ranks"]) == (1, 3)
    assert hosts["loss"] == pytest.approx(alone["loss"], rel=1e-4)
