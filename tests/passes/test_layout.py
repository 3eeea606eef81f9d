"""Layouts: readers find the layout they need, results have memory in NumPy's layout, no number changes."""

from __future__ import annotations

import numpy as np
import pytest

from striate.codegen.options import CompileOptions
from striate.codegen.storage import BLOCK, NO_HALO
from striate.codegen.target import named
from striate.engine import with_batch
from striate.graph.check import check
from striate.graph.graph import Graph
from striate.graph.interpreter import interpret
from striate.graph.op import Kind
from striate.graph.value import N
from striate.passes.layout import PLAIN, Convert, Layouts, layout
from striate.passes.simplify import expand, simplify
from tests.passes.graphs import SAMPLES, convolution, given, network

OPTIONS = CompileOptions(named("x86-64-v3"))
ANCHORS = (Kind.CONTRACTION, Kind.WINDOW, Kind.ROWWISE, Kind.GATHER)


@pytest.fixture(scope="module")
def laid_out() -> Layouts:
    return layout(simplify(expand(network()[0])), OPTIONS)


def test_every_value_has_a_layout(laid_out: Layouts) -> None:
    check(laid_out.graph, "layout")
    for node in laid_out.graph.nodes:
        for value in node.outputs:
            assert laid_out.block[value] in (PLAIN, BLOCK)


def test_readers_find_the_block_and_the_halo_that_they_ask_for(laid_out: Layouts) -> None:
    seen = 0
    for node in laid_out.graph.nodes:
        if node.op.kind in ANCHORS:
            blocks = [laid_out.block[value] for value in node.inputs]
            types = [value.type for value in node.inputs]
            needs = node.op.input_layouts(types, blocks, laid_out.algorithms[node])  # type: ignore[attr-defined]
            for value, need in zip(node.inputs, needs, strict=True):
                seen += 1
                assert laid_out.block[value] in need.blocks, (node.op, value)
                halo = laid_out.halo.get(value, NO_HALO)
                for (before, after), (least, last) in zip(halo, need.halo, strict=True):
                    assert before >= least, (node.op, value)
                    assert after >= last, (node.op, value)
    assert seen > 10


def test_results_are_plain_and_whole(laid_out: Layouts) -> None:
    for name, value in laid_out.graph.outputs.items():
        base = laid_out.base(value)
        assert laid_out.block[base] == PLAIN, name
        assert laid_out.halo.get(base, NO_HALO) == NO_HALO, name
        assert base.node.op.kind is not Kind.SOURCE, f"{name} is a copy, not the caller's array"


def test_what_is_viewed_has_no_halo(laid_out: Layouts) -> None:
    """A view reinterprets contiguous elements, so its base must not be stored with padding."""
    assert laid_out.alias
    for view, value in laid_out.alias.items():
        assert laid_out.halo.get(value, NO_HALO) == NO_HALO, view
        assert laid_out.block[view] == laid_out.block[value] or value.type.rank < 2


def test_conversions_change_no_number(laid_out: Layouts) -> None:
    graph, arrays = network()
    assert any(isinstance(node.op, Convert) for node in laid_out.graph.nodes)
    expected, _ = interpret(with_batch(simplify(expand(graph)), SAMPLES), arrays)
    found, _ = interpret(with_batch(laid_out.graph, SAMPLES), arrays)
    for name, y in expected.items():
        np.testing.assert_array_equal(found[name], y, err_msg=name)


def test_storage_holds_every_channel_and_the_halo() -> None:
    x, w, v = given("x", N, 17, 6, 7), given("w", 20, 17, 3, 3), given("v", 20, 20, 3, 3)
    laid = layout(Graph({"x": x, "w": w, "v": v}, {"y": convolution(convolution(x, w), v)}), OPTIONS)
    inner = next(
        value
        for node in laid.graph.nodes
        for value in node.outputs
        if value.shape == (N, 20, 6, 7) and laid.halo.get(value, NO_HALO) != NO_HALO
    )
    storage = laid.storage(inner)
    assert (storage.block, storage.blocks, storage.sizes) == (BLOCK, 2, (1, 6, 7))
    (_, _), (top, bottom), (left, right) = storage.halo
    assert min(top, bottom, left, right) >= 1
    assert storage.per_sample == 2 * BLOCK * (6 + top + bottom) * (7 + left + right)
    assert "+" in laid.note(inner)


def test_a_graph_that_only_repeats_its_input_copies_it() -> None:
    x = given("x", N, 4)
    laid = layout(Graph({"x": x}, {"y": x}), OPTIONS)
    assert isinstance(laid.graph.outputs["y"].node.op, Convert)
