"""The short forms of the campaigns against files, crashes and the lab: nothing is found."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.importorskip("onnx", reason="the export is an extra: pip install 'striate[onnx]'")
pytest.importorskip("starlette", reason="the lab is an extra: pip install 'striate[lab]'")

from striate import settings
from tests.campaign import files, kill_writers, lab, power_cut
from tests.campaign.kinds import KINDS, Kind, Open

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _reference(kept_settings: settings.Settings) -> None:
    settings.override(engine=settings.Engine.REFERENCE)


def test_changed_files_of_every_kind_are_refused_or_read(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    tried, findings = files.run(list(KINDS), 12, 0, tmp_path, "own", 150)
    assert findings == 0, capfd.readouterr().out
    assert tried > 20 * len(KINDS)


@pytest.mark.parametrize(
    ("fault", "found"),
    [
        (lambda folder: [][1], "IndexError"),
        (lambda folder: bytearray(400_000_000), "memory"),
        (lambda folder: "wait" in iter(int, 1), "hang"),
    ],
)  # fmt: skip
def test_planted_faults_are_found(fault: Open, found: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "SECONDS", 0.3)
    tester = files.Tester(Kind(lambda: [{"x": b"1"}], (fault,)), tmp_path / "case")
    assert (tester.finding({"x": b"1"}, 0) or "").startswith(found)


@pytest.mark.parametrize("name", list(power_cut.SCENARIOS))
def test_a_power_cut_leaves_whole_files(name: str) -> None:
    moments, states = power_cut.verified(name, 8, 0)
    assert moments >= 5
    assert states >= moments


def test_a_lost_file_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without ``fsync``, the new name may point to an empty file."""
    import os

    monkeypatch.setattr(os, "fsync", lambda file: None)
    with pytest.raises(power_cut.LostError):
        power_cut.verified("saved_model", 40, 0)


def test_killed_writers_leave_whole_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert kill_writers.kill_forks(tmp_path, 40, 0) == 0, capsys.readouterr().out


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[lab.Target]:
    with lab.running(tmp_path_factory.mktemp("lab"), patience=0.1) as target:
        target.enter()
        yield target


@pytest.mark.parametrize("attack", lab.ATTACKS)
def test_the_lab_withstands(attack: Callable[[lab.Target], None], target: lab.Target) -> None:
    attack(target)


def test_the_lab_withstands_damaged_requests(target: lab.Target) -> None:
    lab.attack_at_random(target, 2, 0)
