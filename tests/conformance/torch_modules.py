"""Run PyTorch's samples of its modules through ``nn`` and compare state keys and outputs."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import striate as st
from striate import nn
from striate.errors import OptionError, StriateError
from tests.conformance.torch_imports import undisturbed

torch: Any = pytest.importorskip("torch", reason="torch is not installed")
pytree: Any = pytest.importorskip("torch.utils._pytree")


def modules() -> Iterator[Any]:
    """Return PyTorch's descriptions of its modules."""
    with undisturbed():
        from torch.testing._internal.common_modules import module_db
    yield from module_db


def samples(info: Any, training: bool) -> list[Any]:
    """Return PyTorch's samples of a module, with fixed random numbers."""
    torch.manual_seed(0)
    options = {"device": "cpu", "dtype": torch.float64, "requires_grad": False, "training": training}
    with undisturbed():
        return list(info.module_inputs_func(info, **options))


def outcome(name: str, sample: Any, training: bool) -> str | None:
    """Return None if a sample passes, else what is wrong; "refused: " starts the text for an error of striate."""
    arguments, options = sample.constructor_input.args, dict(sample.constructor_input.kwargs)
    try:
        ours = _built(name, arguments, options)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs = getattr(torch.nn, name)(*arguments, **options).double().train(training)
            state = {key: value.detach().clone().numpy() for key, value in theirs.state_dict().items()}
            forward = sample.forward_input
            inputs = [value.clone() for value in pytree.tree_leaves((forward.args, forward.kwargs))]
            expected = [value.detach().numpy() for value in pytree.tree_leaves(theirs(*inputs))]
        ours.double()
        ours.load_state_dict(state)
        assert list(ours.state_dict()) == list(state), f"keys {list(ours.state_dict())}, expected {list(state)}"
        found = pytree.tree_leaves(_applied(ours, [one.numpy() for one in inputs], training))
        assert len(found) == len(expected), f"{len(found)} outputs, expected {len(expected)}"
        for one, other in zip(found, expected):
            _compare(one, other)
    except StriateError as error:
        return f"refused: {' '.join(str(error).split())}"
    except AssertionError as error:
        return f"different: {' '.join(str(error).split())[:300]}"
    return None


def _built(name: str, arguments: Any, options: Any) -> Any:
    def plain(tree: Any) -> Any:
        return pytree.tree_map(lambda leaf: leaf.numpy() if isinstance(leaf, torch.Tensor) else leaf, tree)

    try:
        return getattr(nn, name)(*plain(arguments), **plain(options))
    except TypeError as error:
        raise OptionError(str(error)) from None


def _applied(ours: Any, arrays: list[np.ndarray], training: bool) -> Any:
    """Apply the module in training or evaluation.

    Evaluation uses a compiled function, which also accepts unbatched inputs; a model's axis 0 is always the batch.
    """
    if training and not isinstance(ours, nn.Loss):
        return ours(*arrays, training=True)
    return st.compile(lambda *values: ours(*values))(*arrays)


def _compare(ours: np.ndarray, theirs: np.ndarray) -> None:
    assert ours.shape == theirs.shape, f"shape {ours.shape}, expected {theirs.shape}"
    if theirs.dtype.kind != "f":
        np.testing.assert_array_equal(ours, theirs)
        return
    assert ours.dtype == theirs.dtype, f"{ours.dtype}, expected {theirs.dtype}"
    finite = np.abs(theirs[np.isfinite(theirs)])
    np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-9 * max(1.0, float(finite.max(initial=0.0))))
