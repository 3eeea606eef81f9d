"""The worker process of ``zoo`` and its controller's side; it imports only the framework that it measures."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from typing import Any

from configuration import Configuration
from networks import initial_state
from worker import Prepared, Worker, serve, striate_step, torch_step
from zoo_networks import ZooNetwork, built, drawn, fixed


class ZooWorker(Worker):
    """A worker process that builds and trains networks of ``zoo_networks``."""

    script = __file__


def named(name: str, seed: int) -> ZooNetwork:
    """Return a network by its name; names of random networks end with a number, and ``seed`` determines them."""
    number = name.rpartition("-")[2]
    return drawn(int(number) + 1, seed)[name] if number.isdigit() else fixed()[name]


def in_striate(network: ZooNetwork) -> Any:
    """Return the network in striate, with the benchmark's initial weights."""
    from striate import nn

    model = built(network.layers, nn)
    model.infer(network.sample)
    model.load_state_dict(initial_state({name: array.shape for name, array in model.state_dict().items()}))
    return model


def in_torch(network: ZooNetwork) -> Any:
    """Return the network in PyTorch, with the same weights."""
    import torch

    twin = built(network.layers, torch.nn)
    shapes = {name: tuple(tensor.shape) for name, tensor in twin.state_dict().items()}
    twin.load_state_dict({name: torch.from_numpy(array) for name, array in initial_state(shapes).items()})
    return twin


def prepared(order: Mapping[str, Any]) -> Prepared:
    """Return the prepared training step that a message from the controlling process describes."""
    network, configuration = named(order["network"], order["seed"]), Configuration(**order["configuration"])
    if configuration.framework == "striate":
        return striate_step(in_striate(network), order["batch"], 0)
    return torch_step(in_torch(network).train(), configuration, order["threads"], len(network.sample) + 1)


def slowest_layers(step: Any, batch: Callable[[], tuple[Any, Any]], count: int) -> list[str]:
    """Return the three layers and passes that take most of a step in striate, with their shares."""
    profile = step.profile(*batch(), repetitions=count)
    rows = sorted(profile.rows, key=lambda row: row.seconds, reverse=True)
    total = sum(row.seconds for row in rows)
    return [f"{row.layer} {row.kind} {row.stage.value} {row.seconds / total:.0%}" for row in rows[:3]]


if __name__ == "__main__":
    order = json.loads(sys.argv[1])
    striate = order["configuration"]["framework"] == "striate"
    serve(
        prepared,
        slowest_layers if striate else None,
        lambda: {order["network"]: named(order["network"], order["seed"])},
    )
