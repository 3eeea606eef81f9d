"""A running lab withstands every attack of the campaign."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

pytest.importorskip("starlette", reason="the lab is an extra: pip install 'striate[lab]'")

from tests.campaign import lab

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[lab.Target]:
    with lab.running(tmp_path_factory.mktemp("lab"), patience=0.2) as target:
        target.enter()
        yield target


@pytest.mark.parametrize("attack", lab.ATTACKS)
def test_the_lab_withstands(attack: Callable[[lab.Target], None], target: lab.Target) -> None:
    attack(target)


def test_the_lab_withstands_damaged_requests(target: lab.Target) -> None:
    lab.attack_at_random(target, 2, 0)
