"""PyTorch's samples of its optimizers, run through ``optim``: thirty updates and the optimizer state agree."""

from __future__ import annotations

from typing import Any

import pytest

from striate import optim
from striate.errors import StriateError
from tests.conformance.torch_imports import undisturbed
from tests.optim.conftest import torch  # noqa: F401 (a fixture)
from tests.optim.peer import compare

ABSENT: dict[str, str] = {
    "Adadelta": "superseded by Adam", "Adafactor": "for models that do not fit into memory", "Adamax": "a rare Adam",
    "ASGD": "averages weights", "LBFGS": "evaluates the loss several times in a step", "Muon": "for transformers",
    "Rprop": "needs the gradient of all data at once", "SparseAdam": "gradients are not sparse",
}  # fmt: skip
"""The optimizers that striate does not have, and why."""
EXCLUSIONS: dict[str, str] = {"lr is a Tensor": "a learning rate is a number; schedules change it"}
"""Words of a refusal → its reason."""


@pytest.mark.slow
def test_samples_pass_or_are_refused_with_a_reason(torch: Any) -> None:  # noqa: F811
    pytest.importorskip("expecttest", reason="expecttest, which PyTorch's samples need, is not installed")
    with undisturbed():
        from torch.testing._internal.common_optimizers import optim_db
    absent: set[str] = set()
    needed: set[str] = set()
    passed = 0
    for info in optim_db:
        name = info.optim_cls.__name__
        if name not in optim.__all__:
            absent.add(name)
            continue
        for sample in info.optim_inputs_func(device="cpu"):
            try:
                ours = getattr(optim, name)(**sample.kwargs)
            except StriateError as error:
                words = [words for words in EXCLUSIONS if words in str(error)]
                assert words, f"{name}: {sample.desc}: {error}"
                needed |= set(words)
                continue
            compare(torch, ours, name, sample.kwargs)
            passed += 1
    assert absent == set(ABSENT)
    assert needed == set(EXCLUSIONS), "exclusions that nothing needs"
    assert passed >= 45
