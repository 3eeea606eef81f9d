"""PyTorch's own samples of its optimizers, ``optim_db``: the same parameters after every step, in float64."""

from __future__ import annotations

import warnings
from typing import Any

import pytest

from striate import optim
from striate.errors import OptionError
from tests.optim.peer import compare

torch_library = pytest.importorskip("torch", reason="PyTorch is the peer that this compares with")
pytest.importorskip("expecttest", reason="PyTorch's samples need it")

ENGINE = ("foreach", "fused", "capturable", "differentiable")
"""Options of how PyTorch computes the same numbers."""
_CHANGING = "a learning rate is a number; one that changes is a schedule"
REFUSED = {"tensor lr": _CHANGING, "Tensor lr": _CHANGING}
ABSENT = {
    "ASGD": "averages of weights are those of TrainingStep(ema=)",
    "Adadelta": "out of scope", "Adamax": "out of scope", "Adafactor": "out of scope", "Muon": "out of scope",
    "LBFGS": "it needs the loss several times a step", "Rprop": "for whole data sets, not for batches",
    "SparseAdam": "there are no sparse gradients",
}  # fmt: skip


def samples() -> list[Any]:
    """(name, description, options), each once."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torch.testing._internal.common_optimizers import optim_db
    found: list[Any] = []
    for info in optim_db:
        name = info.optim_cls.__name__
        if name in ABSENT:
            continue
        seen: list[dict[str, Any]] = []
        for one in info.optim_inputs_func(device="cpu"):
            options = {key: value for key, value in one.kwargs.items() if key not in ENGINE}
            if one.desc in REFUSED or options not in seen:
                seen.append({} if one.desc in REFUSED else options)
                quick = len(seen) <= 2
                label = f"{name}, {one.desc}"
                found.append(pytest.param(name, one.desc, options, id=label, marks=[] if quick else [pytest.mark.slow]))
    return found


@pytest.mark.parametrize(("name", "description", "options"), samples())
def test_a_sample_of_pytorch(name: str, description: str, options: dict[str, Any], torch: Any) -> None:
    kind = getattr(optim, name)
    if description in REFUSED:
        with pytest.raises(OptionError, match="expected a finite number"):
            kind(**options)
        return
    compare(torch, kind(**options), name, options)


def test_what_is_absent_is_absent() -> None:
    assert not [name for name in ABSENT if name in vars(optim)]
