"""PyTorch's samples of its modules, run through the backend: results and gradients agree in float64."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("expecttest", reason="expecttest, which PyTorch's samples need, is not installed")

from pairs import backend, close  # noqa: E402

torch_modules: Any = pytest.importorskip("tests.conformance.torch_modules")
pytree: Any = pytest.importorskip("torch.utils._pytree")


def _run(module: Any, call: Any, forward: Any, seed: int = 3) -> tuple[list[Any], list[Any]]:
    """Return the results and the gradients of inputs and parameters of one forward and backward pass."""
    arguments, options = copy.deepcopy((forward.args, forward.kwargs))
    floats = [one for one in pytree.tree_leaves((arguments, options)) if _is_float(one)]
    for one in floats:
        one.requires_grad_()
    torch.manual_seed(seed)
    results = [one for one in pytree.tree_leaves(call(*arguments, **options)) if isinstance(one, torch.Tensor)]
    moving = [one for one in results if one.requires_grad]
    if moving:
        torch.manual_seed(5)
        torch.autograd.backward(moving, [torch.randn(one.shape, dtype=one.dtype) for one in moving])
    learned = [parameter.grad for parameter in module.parameters()]
    return [one.detach() for one in results], [*(one.grad for one in floats), *learned]


def _is_float(one: Any) -> bool:
    return isinstance(one, torch.Tensor) and one.is_floating_point()


def _judged(first: int | None) -> int:
    failed: list[str] = []
    passed = 0
    for info in torch_modules.modules():
        for training in (True, False) if info.train_and_eval_differ else (False,):
            for number, sample in enumerate(torch_modules.samples(info, training)[:first]):
                if sample.forward_input is None:
                    continue
                problem = _problem(info.module_cls, sample, training)
                passed += problem is None
                failed += [] if problem is None else [f"{info.name} {number}, training={training}: {problem}"]
    assert not failed, "\n".join(failed)
    return passed


def _problem(cls: Any, sample: Any, training: bool) -> str | None:
    """Return what is wrong with a sample, or None; samples that PyTorch refuses, or that are random, count as right."""
    torch._dynamo.reset()
    given = sample.constructor_input
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            eager = cls(*given.args, **given.kwargs).double().train(training)
            models = [copy.deepcopy(eager) for _ in range(2)]
            expected = _run(eager, eager, sample.forward_input)
            again = _run(models[0], models[0], sample.forward_input, seed=4)
        except Exception:  # noqa: BLE001 - whatever PyTorch refuses
            return None
        if any(not torch.equal(a, b) for a, b in zip(expected[0], again[0], strict=True) if not a.isnan().any()):
            return None
        try:
            found = _run(models[1], torch.compile(models[1], backend=backend), sample.forward_input)
            for ours, theirs in zip((*found[0], *found[1]), (*expected[0], *expected[1]), strict=True):
                close(ours, theirs, 2e-7)  # PyTorch computes some gradients with constants in float32
        except Exception as error:  # noqa: BLE001 - reported with the sample that it belongs to
            return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
    return None


@pytest.mark.parametrize(
    ("first", "least"),
    [pytest.param(1, 120, marks=pytest.mark.slow), pytest.param(None, 500, marks=pytest.mark.long)],
    ids=["first samples", "all"],
)
def test_samples_of_modules(first: int | None, least: int) -> None:
    assert _judged(first) >= least
