"""A model twice, once compiled by striate and once as PyTorch runs it, and the comparison of the two."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from striate.torch import StriateNotice, backend  # noqa: E402

__all__ = ["Pair", "StriateNotice", "backend", "batches", "close"]


def close(one: Any, other: Any, relative: float = 1e-9) -> None:
    """Assert that two tensors have the same dtype and shape, and equal elements up to ``relative``."""
    assert (one is None) == (other is None)
    if one is not None:
        torch.testing.assert_close(one, other, rtol=relative, atol=relative, equal_nan=True)


class Pair:
    """``ours`` is a model compiled by striate, whose parameters are those of ``model``; ``eager`` is its copy."""

    def __init__(self, model: Any, dtype: Any = torch.float64, **options: Any) -> None:
        torch._dynamo.reset()
        self.model = model.to(dtype)
        self.eager = copy.deepcopy(self.model)
        self.ours = torch.compile(self.model, backend=backend, **options)

    def both(self, action: Callable[[Any, Any], Any], relative: float = 1e-9) -> tuple[Any, Any]:
        """Do the same with both models, as ``action(call, module)``, from the same seed; compare what it returns."""
        results: list[Any] = []
        for call, module in ((self.ours, self.model), (self.eager, self.eager)):
            torch.manual_seed(7)
            results.append(action(call, module))
        self._compare(*results, relative)
        return results[0], results[1]

    def _compare(self, one: Any, other: Any, relative: float) -> None:
        if isinstance(one, tuple | list):
            for a, b in zip(one, other, strict=True):
                self._compare(a, b, relative)
        elif one is None or isinstance(one, torch.Tensor):
            close(one, other, relative)
        else:
            assert one == pytest.approx(other, rel=relative, abs=relative)

    def same_state(self, relative: float = 1e-9) -> None:
        """Assert that parameters, buffers and gradients of both models are equal."""
        for (name, a), (_, b) in zip(self.model.state_dict().items(), self.eager.state_dict().items(), strict=True):
            torch.testing.assert_close(a, b, rtol=relative, atol=relative, msg=lambda text, n=name: f"{n}: {text}")
        for (name, a), (_, b) in zip(self.model.named_parameters(), self.eager.named_parameters(), strict=True):
            assert (a.grad is None) == (b.grad is None), name
            close(a.grad, b.grad, relative)


def batches(shape: Iterable[int], count: int, classes: int = 10, dtype: Any = torch.float64) -> list[tuple[Any, Any]]:
    """Return ``count`` random batches (x, y) of samples of the given shape, N first."""
    sizes = tuple(shape)
    return [(torch.randn(sizes, dtype=dtype), torch.randint(0, classes, sizes[:1])) for _ in range(count)]
