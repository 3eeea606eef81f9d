"""The drawing: each block once, no overlapping boxes, and each skip connection visible."""

from __future__ import annotations

import re
from itertools import combinations

import pytest

from striate.persistence import predict_graph
from striate.report.anatomy import blocks_of
from striate.report.drawing import SIDE, TRUNK, _Drawing, _place, cards_of, drawing, units_of
from tests.report.networks import NETWORKS


def units(name: str):
    build, shape = NETWORKS[name]
    model = build()
    model.infer(shape)
    blocks = blocks_of(predict_graph(model, shape))
    found = units_of(cards_of(blocks))
    for unit in found:
        _place(unit)
    return blocks, found


@pytest.mark.parametrize("name", NETWORKS)
def test_every_block_is_drawn_once_and_no_box_covers_another(name: str) -> None:
    blocks, found = units(name)
    assert [block for unit in found for card in unit.cards for block in card.blocks] == blocks or name == "branched"
    assert sorted(block.index for unit in found for card in unit.cards for block in card.blocks) == [
        block.index for block in blocks
    ]
    for unit in found:
        page = _Drawing(unit, 1000, "", False)
        boxes = [
            (page.left[card.lane], card.top, page.left[card.lane] + (SIDE if card.lane else TRUNK), card.bottom)
            for card in unit.cards
        ]
        for a, b in combinations(boxes, 2):
            assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1], unit
        for card in unit.cards:
            assert all(source is None or source.bottom < card.top for source in card.before)


def test_a_chain_is_cut_at_every_layer_and_a_residual_block_is_one_unit() -> None:
    _, chain = units("lenet5")
    assert all(len(unit.cards) == 1 for unit in chain)
    _, residual = units("resnet20")
    assert [len(unit.cards) for unit in residual].count(3) == 7, "two convolutions and an addition"
    assert [len(unit.cards) for unit in residual].count(4) == 2, "and a convolution in the shortcut"


def skips(name: str) -> int:
    return str(drawing(units(name)[0])).count('class="way skip"')


def test_connections_that_skip_layers_are_drawn() -> None:
    assert skips("lenet5") == 0
    assert skips("resnet20") == 7
    assert skips("dense") == 2


def test_lines_lead_to_what_reads_them() -> None:
    _, found = units("branched")
    unit = max(found, key=lambda unit: len(unit.cards))
    join = unit.cards[-1]
    assert len(join.before) == 4
    assert len({card.lane for card in unit.cards}) == 4
    ways = _Drawing(unit, 1000, "", False).ways
    assert len(ways) == sum(len(card.before) for card in unit.cards)


def test_strips_lead_to_the_layers_and_say_what_they_are() -> None:
    blocks, _ = units("resnet20")
    page = str(drawing(blocks))
    assert re.findall(r'href="#layer-(\d+)"', page) == [str(block.index) for block in blocks]
    assert "16 × 32 × 32" in page
    assert 'aria-label="conv 3×3, 3 → 16, then batch norm, then leaky ReLU 0.1; no connections skip layers"' in page
