"""The networks of the zoo compute the same in striate and in PyTorch: the loss and every gradient, in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import striate as st

torch: Any = pytest.importorskip("torch", reason="PyTorch is not installed: pip install '.[peers]'")


def test_the_same_seed_draws_the_same_networks_of_every_kind() -> None:
    import zoo_networks

    once, again = zoo_networks.drawn(20, 3), zoo_networks.drawn(20, 3)
    assert once == again
    assert {name.partition("-")[0] for name in once} == set(zoo_networks.KINDS)
    assert once != zoo_networks.drawn(20, 4)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(20))
def test_loss_and_gradients_are_those_of_pytorch(number: int) -> None:
    import zoo_networks
    from networks import initial_state

    network = list(zoo_networks.drawn(number + 1, 11).values())[number]
    model, twin = zoo_networks.built(network.layers, st.nn).to("float64"), zoo_networks.built(network.layers, torch.nn)
    model.infer(network.sample)
    state = initial_state({name: array.shape for name, array in model.state_dict().items()})
    model.load_state_dict(state)
    twin.double().load_state_dict({name: torch.from_numpy(array) for name, array in state.items()})
    random = np.random.default_rng(number)
    x, y = random.standard_normal((3, *network.sample)), random.integers(0, 10, 3)

    rate = 1e-3
    step = st.TrainingStep(model, st.nn.CrossEntropyLoss(), st.optim.SGD(lr=rate))
    found = step(x, y)
    loss = torch.nn.functional.cross_entropy(twin.train()(torch.from_numpy(x)), torch.from_numpy(y))
    loss.backward()
    assert found == pytest.approx(loss.item(), rel=1e-9)
    after = model.state_dict()
    largest = max(float(parameter.grad.abs().max()) for parameter in twin.parameters())
    for name, parameter in twin.named_parameters():
        gradient = (state[name] - after[name]) / rate
        np.testing.assert_allclose(
            gradient, parameter.grad.numpy(), rtol=1e-6, atol=1e-8 * max(1, largest), err_msg=name
        )
