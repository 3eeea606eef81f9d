"""The dissection of a step for the picture of milliseconds: its parts add up, and each layer appears."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from striate import settings
from striate.settings import Engine


def apart(framework: str, name: str) -> Any:
    """Dissect one step with few images."""
    import configuration
    import dissection
    import networks
    import worker

    network = replace(networks.NETWORKS[name], batch=4)
    fresh = networks.batches(network, 4, 0)
    if framework == "striate":
        step, convert = worker.striate_step(networks.striate_model(network), 4, 0)
        apart = dissection.striate_dissection
    else:
        pytest.importorskip("torch", reason="PyTorch is not installed: pip install '.[peers]'")
        import twins

        step, convert = worker.torch_step(twins.torch_model(network), configuration.CHANNELS_LAST, 1)
        apart = dissection.torch_dissection
    step(*convert(*next(fresh)))
    return apart(step, lambda: convert(*next(fresh)), 1)


@pytest.mark.slow
@pytest.mark.parametrize("framework", ["striate", "torch"])
@pytest.mark.parametrize("name", ["vgg_small", "resnet20"])
def test_parts_add_up_and_name_every_layer(framework: str, name: str) -> None:
    if framework == "striate" and settings.current().engine is not Engine.COMPILED:
        pytest.skip("a profile needs compiled kernels")
    import networks
    from dissection import LOSS, OPTIMIZER, Work

    from striate.nn import BatchNorm2d, Conv2d

    found = apart(framework, name)
    assert sum(found.parts.values()) == pytest.approx(found.seconds)
    works = {layer: {work for each, work in found.parts if each == layer} for layer, _ in found.parts}
    model = networks.striate_model(networks.NETWORKS[name])
    convolutions = [path for path, layer in model.named_modules() if isinstance(layer, Conv2d)]
    for place, path in enumerate(convolutions):
        wanted = {Work.FORWARD, Work.WEIGHT_GRADIENT} | ({Work.INPUT_GRADIENT} if place else set[Work]())
        assert works[path] - {Work.COPY, Work.REST, Work.ADDITION} == wanted, path
    for path, layer in model.named_modules():
        if isinstance(layer, BatchNorm2d):
            assert Work.NORMALIZATION in works[path], path
    assert Work.LOSS in works[LOSS]
    assert Work.UPDATE in works[OPTIMIZER]


def test_both_gradients_of_a_convolution_are_told_apart() -> None:
    import dissection
    from dissection import Work

    class Operator:
        def __init__(self, name: str) -> None:
            self.name = name

    operators: Any = [Operator("aten::mkldnn_convolution"), Operator("aten::convolution_backward")]
    ran = [
        ("reorder", 1.0), ("forward_training", 2.0),
        ("reorder", 3.0), ("backward_data", 4.0), ("backward_weights", 5.0), ("reorder", 6.0),
    ]  # fmt: skip
    assert dissection.by_operator(ran, operators) == [
        {Work.COPY: 1.0, Work.FORWARD: 2.0},
        {Work.COPY: 9.0, Work.INPUT_GRADIENT: 4.0, Work.WEIGHT_GRADIENT: 5.0},
    ]
    for wrong in (ran[:-2], [*ran, ("forward_training", 1.0)]):
        with pytest.raises(RuntimeError, match="oneDNN"):
            dissection.by_operator(wrong, operators)


def test_the_middle_half_still_adds_up() -> None:
    from dissection import Dissection, Work, middle, whole

    random = np.random.default_rng(0)
    steps = [whole(1 + x, {("a", Work.FORWARD): 0.3 + x / 2, ("b", Work.UPDATE): 0.1}) for x in random.random(8)]
    found = middle([*steps, whole(100.0, {})])
    assert found.seconds < 2
    assert sum(found.parts.values()) == pytest.approx(found.seconds)
    assert sum(found.scaled(5.0).parts.values()) == pytest.approx(5.0)
    assert Dissection.from_json(found.to_json()) == found
