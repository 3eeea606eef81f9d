"""A graph as blocks: each node is in one, each weight counts once, and no block precedes its inputs."""

from __future__ import annotations

import math

import pytest

from striate.graph.graph import Graph, Input
from striate.graph.op import Kind
from striate.persistence import predict_graph
from striate.report.anatomy import Block, blocks_of
from striate.report.labels import colour_of, label_of
from tests.report.networks import NETWORKS


def graph_of(name: str) -> tuple[Graph, object]:
    build, shape = NETWORKS[name]
    model = build()
    model.infer(shape)
    return predict_graph(model, shape), model


def blocks(name: str) -> list[Block]:
    return blocks_of(graph_of(name)[0])


@pytest.mark.parametrize("name", NETWORKS)
def test_every_node_is_in_one_block_and_reads_only_what_stands_before(name: str) -> None:
    graph, _ = graph_of(name)
    found = blocks_of(graph)
    data = [node for block in found for node in block.nodes if node.outputs[0].type.batched]
    assert len(data) == len(set(data))
    assert set(data) == {n for n in graph.nodes if n.op.kind is not Kind.SOURCE and n.outputs[0].type.batched}
    home = {node: block for block in found for node in block.nodes}
    for block in found:
        assert len({node.path for node in block.nodes}) == 1
        for value in block.inputs:
            before = home.get(value.node)
            assert isinstance(value.node.op, Input) or (before is not None and before.index < block.index)
    assert found[-1].output in graph.outputs.values()


@pytest.mark.parametrize("name", NETWORKS)
def test_parameters_and_work_are_those_of_the_summary(name: str) -> None:
    graph, model = graph_of(name)
    found = blocks_of(graph)
    parameters = sum(math.prod(parameter.sizes) for _, parameter in model.named_state() if parameter.learned)
    assert sum(block.parameters for block in found) == parameters
    total = model.summary(NETWORKS[name][1]).splitlines()[-1].split()
    assert total[1:] == [f"{parameters:,}", f"{sum(block.multiply_adds for block in found):,}"]


def test_labels_and_colours() -> None:
    named = {block.path: (label_of(block), colour_of(block)) for block in blocks("resnet20")}
    assert named["conv1"] == ("conv 3×3, 3 → 16", "contraction")
    assert named["layer2.0.conv1"] == ("conv 3×3, 16 → 32 /2", "contraction")
    assert named["bn1"] == ("batch norm", "normalization")
    assert named["relu"] == ("leaky ReLU 0.1", "activation")
    assert named["layer1.0"] == ("add", "join")
    assert named["avgpool"] == ("mean of each channel", "window")
    assert named["flatten"] == ("flatten", "view")
    assert named["fc"] == ("linear, 64 → 10", "contraction")
    labels = [label_of(block) for block in blocks("branched")]
    assert "max pool 3×3" in labels
    assert "concat" in labels
    assert labels.count("sigmoid") == 1, "the arithmetic around an operation is one block with it"


def test_operations_of_the_model_itself_are_blocks_of_their_own() -> None:
    own = [label_of(block) for block in blocks("dense") if block.path == ""]
    assert own == ["concat", "concat", "ReLU", "flatten"]
