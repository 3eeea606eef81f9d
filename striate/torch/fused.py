"""Updates of ``torch.optim`` in one compiled program: ``torch.compile(…, options={"optimizer": "fused"})``.

The optimizer stays PyTorch's, with its groups, its state and its learning rate. A hook before ``optimizer.step()``
updates the parameters with a program of striate, and hides the gradients from PyTorch's own code. A hook after
``optimizer.step()`` shows the gradients again. PyTorch makes only the first update of a parameter, and creates the
optimizer's state in it.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch.optim import SGD, Adam, AdamW
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from striate import ops
from striate.dtypes import Precision
from striate.graph.check import check
from striate.graph.graph import Graph, Input
from striate.graph.value import TensorType, Value
from striate.runtime.threads import Helpers
from striate.torch.compiled import executable_of, run_program
from striate.torch.operations.arithmetic import DTYPES
from striate.torch.table import Unsupported

_adopted: weakref.WeakValueDictionary[int, torch.Tensor] = weakref.WeakValueDictionary()
_hidden: list[tuple[torch.Tensor, torch.Tensor]] = []


class Rule:
    """The equations with which one kind of optimizer updates a parameter (abstract).

    ``slots`` are the names of the state tensors that the optimizer keeps for each parameter, such as "exp_avg".
    """

    slots: tuple[str, ...] = ()

    def numbers(self, group: dict[str, Any], step: float) -> dict[str, float]:
        """Return the numbers in the equations of this update by name, such as the learning rate.

        ``group`` is the parameter group of the optimizer, and ``step`` the number of the step, from 1.
        """
        raise NotImplementedError

    def update(self, p: Value, g: Value, kept: dict[str, Value], number: dict[str, Value]) -> dict[str, Value]:
        """Return the new contents of a parameter, under the name "p", and of its state tensors, by name.

        ``p`` is the parameter, ``g`` its gradient, ``kept`` its state tensors by name, and ``number`` the result of
        ``numbers``.
        """
        raise NotImplementedError


class SGDRule(Rule):
    """SGD: v ← μ v + (1 − τ)(g + λ θ); θ ← θ − η v, or with Nesterov θ ← θ − η (g + λ θ + μ v).

    θ is the parameter, g its gradient, η the learning rate, λ the weight decay, μ the momentum with its state v, and τ
    the dampening. Without momentum, θ ← θ − η (g + λ θ). ``group`` is the parameter group of the optimizer.
    """

    def __init__(self, group: dict[str, Any]) -> None:
        self.nesterov = bool(group["nesterov"])
        self.slots = ("momentum_buffer",) if group["momentum"] else ()
        self.decays = bool(group["weight_decay"])
        self.key = ("sgd", self.nesterov, self.slots, self.decays)

    def numbers(self, group: dict[str, Any], step: float) -> dict[str, float]:
        return {
            "rate": group["lr"], "momentum": group["momentum"], "share": 1 - group["dampening"],
            "decay": group["weight_decay"],
        }  # fmt: skip

    def update(self, p: Value, g: Value, kept: dict[str, Value], number: dict[str, Value]) -> dict[str, Value]:
        if self.decays:
            g = g + p * number["decay"]
        if not self.slots:
            return {"p": p - g * number["rate"]}
        v = kept["momentum_buffer"] * number["momentum"] + g * number["share"]
        return {"momentum_buffer": v, "p": p - (g + v * number["momentum"] if self.nesterov else v) * number["rate"]}


class AdamRule(Rule):
    """Adam and AdamW: m ← β₁ m + (1 − β₁) g; v ← β₂ v + (1 − β₂) g²; θ ← θ − η m̂ / (√v̂ + ε).

    θ is the parameter, g its gradient, and η the learning rate. In step t, m̂ = m / (1 − β₁ᵗ) and v̂ = v / (1 − β₂ᵗ).
    Weight decay λ comes first: Adam adds λ θ to g, and AdamW (``decoupled``) multiplies θ by 1 − η λ. ``group`` is the
    parameter group of the optimizer.
    """

    slots = ("exp_avg", "exp_avg_sq")

    def __init__(self, group: dict[str, Any], decoupled: bool) -> None:
        self.decays, self.decoupled = bool(group["weight_decay"]), decoupled
        self.key = ("adam", self.decays, self.decoupled)

    def numbers(self, group: dict[str, Any], step: float) -> dict[str, float]:
        beta1, beta2 = group["betas"]
        decay = 1 - group["lr"] * group["weight_decay"] if self.decoupled else group["weight_decay"]
        return {
            "rate": group["lr"] / (1 - beta1**step), "root": (1 - beta2**step) ** 0.5, "epsilon": group["eps"],
            "beta1": beta1, "rest1": 1 - beta1, "beta2": beta2, "rest2": 1 - beta2, "decay": decay,
        }  # fmt: skip

    def update(self, p: Value, g: Value, kept: dict[str, Value], number: dict[str, Value]) -> dict[str, Value]:
        if self.decays and self.decoupled:
            p = p * number["decay"]
        elif self.decays:
            g = g + p * number["decay"]
        m = kept["exp_avg"] * number["beta1"] + g * number["rest1"]
        v = kept["exp_avg_sq"] * number["beta2"] + g * g * number["rest2"]
        denominator = ops.sqrt(v) / number["root"] + number["epsilon"]
        return {"exp_avg": m, "exp_avg_sq": v, "p": p - m / denominator * number["rate"]}


def _rule_of(optimizer: Any, group: dict[str, Any]) -> Any:
    """Return the rule of a parameter group; raises ``Unsupported`` for options that are left to PyTorch."""
    others = ("amsgrad", "maximize", "capturable", "differentiable", "fused")
    if any(group.get(name) for name in others) or isinstance(group["lr"], torch.Tensor):
        raise Unsupported("an option of the optimizer")
    if type(optimizer) is SGD:
        return SGDRule(group)
    return AdamRule(group, type(optimizer) is AdamW or bool(group.get("decoupled_weight_decay")))


class Update:
    """The compiled update of some parameters of one group of an optimizer.

    ``rule`` is the ``Rule`` of the group, and ``tensors`` are the parameters.
    """

    def __init__(self, rule: Any, tensors: Sequence[torch.Tensor]) -> None:
        self._rule = rule
        self._dtype = tensors[0].dtype
        dtype = DTYPES[self._dtype]
        names = list(
            rule.numbers({"lr": 1, "momentum": 0, "dampening": 0, "weight_decay": 0, "betas": (0, 0), "eps": 1}, 1)
        )
        number: dict[str, Value] = {name: Input(name, TensorType(dtype, ()))() for name in names}
        inputs, outputs = dict(number), dict[str, Value]()
        for place, tensor in enumerate(tensors):
            flat = TensorType(dtype, (tensor.numel(),))
            own = {name: Input(f"{name}{place}", flat)() for name in ("p", "g", *rule.slots)}
            inputs |= {f"{name}{place}": value for name, value in own.items()}
            new = rule.update(own["p"], own["g"], own, number)
            outputs |= {f"{name}{place}": value for name, value in new.items()}
        self._executable = executable_of(check(Graph(inputs, outputs), "fused update"), (), Precision.full, 1)
        if not all(self._executable.may_share(name, name) for name in outputs):
            raise Unsupported("an update that cannot be made in place")
        self._numbers = names

    def run(self, group: dict[str, Any], tensors: Sequence[torch.Tensor], states: Sequence[dict[str, Any]]) -> None:
        """Update the parameters ``tensors`` and the tensors of their optimizer ``states`` in place.

        ``group`` is the parameter group, with the learning rate of this step; the gradients are those in
        ``tensor.grad``.
        """
        step = 1.0
        if "step" in states[0]:
            steps = [state["step"] for state in states]
            torch._foreach_add_(steps, 1)
            step = float(steps[0])
        given = self._rule.numbers(group, step)
        scalars = torch.tensor([given[name] for name in self._numbers], dtype=self._dtype)
        addresses = {name: scalars.data_ptr() + place * scalars.itemsize for place, name in enumerate(self._numbers)}
        written: list[torch.Tensor] = []
        for place, (tensor, state) in enumerate(zip(tensors, states, strict=True)):
            assert tensor.grad is not None
            addresses[f"g{place}"] = tensor.grad.data_ptr()
            for name, kept in (("p", tensor), *((slot, state[slot]) for slot in self._rule.slots)):
                addresses[f"{name}{place}"] = addresses[f"out:{name}{place}"] = kept.data_ptr()
                written.append(kept)
        program = self._executable.parts(1).first
        wanted = program.externals
        run_program(program, 1, {name: one for name, one in addresses.items() if name in wanted}, None, Helpers.ALL)
        torch.autograd.graph.increment_version(written)


_programs: weakref.WeakKeyDictionary[Any, dict[object, Update]] = weakref.WeakKeyDictionary()
"""The compiled updates of each optimizer."""


@functools.cache
def _hook() -> None:
    """Register the hooks, once in a process."""
    register_optimizer_step_pre_hook(_before)
    register_optimizer_step_post_hook(_after)


def adopt(parameters: Iterable[torch.Tensor]) -> None:
    """Let optimizers of ``torch.optim`` update these parameters with a compiled program from now on."""
    _hook()
    for parameter in parameters:
        _adopted[id(parameter)] = parameter


def _before(optimizer: Any, arguments: Any, options: Any) -> None:
    """Make the update of the groups that a program covers, and hide their gradients."""
    _after(optimizer, arguments, options)  # an earlier step may have ended with an error
    hooked = optimizer._optimizer_step_pre_hooks or optimizer._optimizer_step_post_hooks
    closure = any(one is not None for one in (*arguments[1:], *options.values()))
    if type(optimizer) not in (SGD, Adam, AdamW) or hooked or closure or hasattr(optimizer, "grad_scale"):
        return
    for group in optimizer.param_groups:
        tensors = [one for one in group["params"] if one.grad is not None]
        if tensors and all(_adopted.get(id(one)) is one for one in tensors):
            _update(optimizer, group, tensors)


def _update(optimizer: Any, group: dict[str, Any], tensors: Sequence[torch.Tensor]) -> None:
    states = [optimizer.state.get(one, {}) for one in tensors]
    try:
        rule = _rule_of(optimizer, group)
        if not _suitable(rule, tensors, states):
            return
        key = rule.key, tensors[0].dtype, tuple(one.numel() for one in tensors)
        known = _programs.setdefault(optimizer, {})
        if key not in known:
            known[key] = Update(rule, tensors)
    except Unsupported:
        return
    known[key].run(group, tensors, states)
    for one in tensors:
        assert one.grad is not None
        _hidden.append((one, one.grad))
        one.grad = None


def _suitable(rule: Any, tensors: Sequence[torch.Tensor], states: Sequence[dict[str, Any]]) -> bool:
    """Return whether all tensors lie in row-major order with one dtype, and have the state of earlier updates."""
    dtype = tensors[0].dtype
    if dtype not in (torch.float32, torch.float64):
        return False
    steps = {float(state["step"]) for state in states if "step" in state}
    for one, state in zip(tensors, states, strict=True):
        kept = [state.get(slot) for slot in rule.slots]
        for part in (one, one.grad, *kept):
            if not isinstance(part, torch.Tensor) or part.layout is not torch.strided:
                return False
            if part.dtype is not dtype or not part.is_contiguous():
                return False
    return len(steps) <= 1


def _after(optimizer: Any, arguments: Any, options: Any) -> None:
    """Show the gradients again."""
    while _hidden:
        parameter, gradient = _hidden.pop()
        parameter.grad = gradient
