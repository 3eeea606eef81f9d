"""The benchmark networks: their work in floating-point operations, and their PyTorch twins."""

from __future__ import annotations

import pytest

GIGAFLOPS = {"lenet5": 2.24, "vgg_small": 29.5, "resnet20": 31.2, "resnet18": 213}


@pytest.mark.parametrize("name", GIGAFLOPS)
def test_work_of_a_step(name: str) -> None:
    import networks

    assert networks.NETWORKS[name].work() == pytest.approx(GIGAFLOPS[name], rel=2e-3)


@pytest.mark.parametrize("name", GIGAFLOPS)
def test_work_is_what_striate_counts(name: str) -> None:
    import networks

    network = networks.NETWORKS[name]
    summary = networks.striate_model(network).summary(network.sample)
    counted = int(summary.splitlines()[-1].split()[-1].replace(",", ""))
    assert counted == network.multiply_adds()


@pytest.mark.parametrize("name", GIGAFLOPS)
def test_twins_have_the_same_keys_and_weights(name: str) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed: pip install '.[peers]'")
    import networks
    import twins

    network = networks.NETWORKS[name]
    ours = networks.striate_model(network).state_dict()
    theirs = {key: tensor.numpy() for key, tensor in twins.torch_model(network).state_dict().items()}
    assert list(ours) == list(theirs)
    for key, array in ours.items():
        assert array.dtype == theirs[key].dtype
        assert (array == theirs[key]).all()
