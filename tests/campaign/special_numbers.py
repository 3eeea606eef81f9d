"""Put NaN, infinities, huge numbers and denormals into any tensor of a training: it stays finite, or names the step.

    python tests/campaign/special_numbers.py --seconds 3600 --seed 1       search; exit status 1 if there is a finding
    python tests/campaign/special_numbers.py --seed 1 --only 47            run one case again

Each case trains a small random model for some steps. Then a special number is put into one element of an input, a
target, a sample weight, a parameter, a running statistic, a gradient, or, by a loss function, into the gradients of the
backward pass, before a random step. Either the step is refused with an error that names the step, and parameters,
statistics and optimizer keep their bits; or it is made, and everything in the model is finite. After a refused step,
the training continues with the bits of a training that has never seen the number.

Every fifth case is a long training with a random learning rate, up to 10⁴, to its end or until a step is refused.
"""

from __future__ import annotations

import argparse
import collections
import math
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402

import striate as st  # noqa: E402
from striate import nn, ops, optim  # noqa: E402
from striate.codegen import target  # noqa: E402
from striate.errors import DataError, NonFiniteError, StriateError  # noqa: E402
from striate.graph.value import Array, Value  # noqa: E402
from striate.step import TrainingStep  # noqa: E402

Random = np.random.Generator
Numbers = dict[str, Array]

SPECIAL = {
    "NaN": math.nan, "infinity": math.inf, "−infinity": -math.inf, "the largest number": 3.4e38, "3e30": 3e30,
    "a denormal": 1e-42, "−0": -0.0, "the smallest normal": 1.2e-38,
}  # fmt: skip
NOT_FINITE = ("NaN", "infinity", "−infinity")


class FailedError(Exception):
    """A promise was broken."""


# Trainings

MODELS: dict[str, Callable[[], nn.Module]] = {
    "batch norm": lambda: nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.LeakyReLU(0.1), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(None, 4),
    ),
    "residual": lambda: nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(),
        nn.Residual(nn.Sequential(nn.Conv2d(16, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16))), nn.ReLU(),
        nn.AvgPool2d(2), nn.Flatten(), nn.Linear(None, 4),
    ),
    "layer norm": lambda: nn.Sequential(
        nn.Flatten(), nn.Linear(None, 12), nn.LayerNorm(12), nn.GELU(), nn.Dropout(0.2), nn.Linear(12, 4)
    ),
    "group norm": lambda: nn.Sequential(
        nn.Conv2d(1, 6, 3, stride=2), nn.GroupNorm(2, 6), nn.SiLU(), nn.Flatten(), nn.Linear(None, 4)
    ),
    "saturating": lambda: nn.Sequential(
        nn.Conv2d(1, 5, 5), nn.Tanh(), nn.Flatten(), nn.Linear(None, 9), nn.Sigmoid(), nn.Linear(9, 4)
    ),
}  # fmt: skip
OPTIMIZERS: dict[str, Callable[[float], optim.Optimizer]] = {
    "SGD": lambda lr: optim.SGD(lr=lr),
    "momentum": lambda lr: optim.SGD(lr=lr, momentum=0.9, nesterov=True, weight_decay=1e-4),
    "Adam": lambda lr: optim.Adam(lr=lr),
    "AdamW": lambda lr: optim.AdamW(lr=lr),
    "RMSprop": lambda lr: optim.RMSprop(lr=lr),
}


class Training:
    """A random training of few samples, and its batches."""

    def __init__(self, random: Random, learning_rate: float | None = None) -> None:
        pick = lambda choices: choices[int(random.integers(len(choices)))]  # noqa: E731
        self.name = pick(list(MODELS))
        self.loss_name = pick(["CrossEntropyLoss", "MSELoss", "function", "overflowing"])
        rule = pick(list(OPTIMIZERS))
        lr = learning_rate or (0.01 if rule in ("Adam", "AdamW", "RMSprop") else 0.05)
        self.options: dict[str, Any] = {"seed": int(random.integers(1000))}
        if random.random() < 0.3:
            self.options["max_norm"] = 1.0
        if random.random() < 0.2:
            self.options["clip_value"] = 0.5
        if random.random() < 0.25:
            self.options["accumulate"] = 2
        if random.random() < 0.25:
            self.options["ema"] = 0.9
        if target.current().has_bfloat16 and random.random() < 0.15:
            self.options["precision"] = "bfloat16"
        self.watched = random.random() < 0.15
        self._make = lambda: st.TrainingStep(
            MODELS[self.name]().seed(self.options["seed"]), self._loss(), OPTIMIZERS[rule](lr), **self.options
        )
        self.text = f"{self.name}, {self.loss_name}, {rule} lr={lr:.3g}, {self.options}, watched {self.watched}"

    def _loss(self) -> Any:
        if self.loss_name == "function":
            return lambda p, t: ops.mean(ops.square(p - t) + abs(p - t))
        if self.loss_name == "overflowing":
            # e^(p²/50) is finite where its gradient is not.
            def overflowing(p: Value, t: Value) -> Value:
                return ops.mean(ops.exp(ops.square(p) / 50.0) + ops.square(p - t))

            return overflowing
        return getattr(nn, self.loss_name)()

    def step(self) -> st.TrainingStep:
        """Return a new training step, always with the same starting weights."""
        made = self._make()
        if self.watched:
            made.watch("*")
        return made

    def batch(self, random: Random) -> tuple[Array, Array]:
        """Return a batch of an even number of samples."""
        n = int(random.choice([2, 4, 6, 8, 12]))
        x = random.standard_normal((n, 1, 9, 10)).astype(np.float32)
        if self.loss_name == "CrossEntropyLoss":
            return x, random.integers(0, 4, n)
        return x, random.standard_normal((n, 4)).astype(np.float32)


def contents(step: st.TrainingStep) -> Numbers:
    """Return copies of everything that a step may change."""
    return {
        **{f"model {name}": np.array(array) for name, array in step.model.state_dict().items()},
        **{f"step {name}": array for name, array in step.state_dict().items()},
    }


def require_same(found: Numbers, expected: Numbers, when: str) -> None:
    """Raise ``FailedError`` if a bit differs."""
    for name, array in expected.items():
        if found[name].tobytes() != array.tobytes():
            raise FailedError(f"{when}: {name} has changed")


def require_finite(step: st.TrainingStep, before: Numbers, loss: float, when: str) -> None:
    """Raise ``FailedError`` if a committed step made a number that is not finite of one that was."""
    if not math.isfinite(loss):
        raise FailedError(f"{when}: the loss is {loss}, but no error was raised")
    for name, array in contents(step).items():
        source = before.get(
            name.replace("step average.", "model "), before.get(name, 0)
        )  # an average follows its parameter
        if array.dtype.kind == "f" and not (np.isfinite(array) | ~np.isfinite(source)).all():
            raise FailedError(f"{when}: {name} is not finite, but the step was committed")


# Cases


def inject(random: Random, kind: str, number: float, array: Array) -> Array:
    """Return a copy with the number in one place, or in all places."""
    other = np.array(array)
    if random.random() < 0.15:
        other[...] = number
    elif other.size:
        other.reshape(-1)[int(random.integers(other.size))] = number
    return other


PLACES = ("input", "target", "sample weight", "parameter", "statistic", "gradient", "optimizer")


def spoiled_step(random: Random) -> str:
    """Train, spoil one step, and train on; returns a description."""
    training = Training(random)
    step, clean = training.step(), training.step()
    before = int(random.integers(0, 5))
    for _ in range(before):
        batch = training.batch(random)
        try:
            step(*batch), clean(*batch)
        except NonFiniteError:
            return "diverged: before the spoiled step"
    x, y = training.batch(random)
    if not before:  # the parameters need a shape
        step.gradients(x, y), clean.gradients(x, y)
    kind = list(SPECIAL)[int(random.integers(len(SPECIAL)))]
    place = PLACES[int(random.integers(len(PLACES)))]
    number = SPECIAL[kind]
    text = f"{kind} as {place} of step {before + 1}: {training.text}"
    arguments: tuple[Any, ...] = (x, y)
    gradients: Numbers | None = None
    must_refuse = kind in NOT_FINITE
    if place == "input":
        arguments = (inject(random, kind, number, x), y)
    elif place == "target" and y.dtype.kind == "f":
        arguments = (x, inject(random, kind, number, y))
    elif place == "sample weight" and training.loss_name.endswith("Loss"):
        arguments = (x, y, inject(random, kind, number, np.ones(len(x), np.float32)))
        must_refuse |= number < 0
    elif place == "gradient":
        found = step.gradients(x, y)
        name = list(found)[int(random.integers(len(found)))]
        gradients = {**found, name: inject(random, kind, number, found[name])}
    elif place in ("parameter", "statistic"):
        state = {name: np.array(array) for name, array in step.model.state_dict().items()}
        statistics = [name for name in state if "running_" in name]
        names = statistics if place == "statistic" and statistics else [n for n in state if n not in statistics]
        name = names[int(random.integers(len(names)))]
        if state[name].dtype.kind != "f":
            name = next(iter(state))
        state[name] = inject(random, kind, number, state[name])
        text += f" {name}"
        must_refuse = kind == "NaN" or (kind in NOT_FINITE and name in statistics)  # others may have no effect
        try:
            step.model.load_state_dict(state)
        except StriateError:
            return f"refused when loaded: {text}"
        clean = None  # type: ignore[assignment] # the model is another one from now on
    elif place == "optimizer":
        state = step.state_dict()
        names = [name for name, array in state.items() if array.dtype.kind == "f" and array.size > 1]
        if not names:
            return f"nothing to spoil: {text}"
        name = names[int(random.integers(len(names)))]
        state[name] = inject(random, kind, number, state[name])
        kept = contents(step)
        try:
            step.load_state_dict(state)
        except DataError:
            require_same(contents(step), kept, f"after a refused state, {text}")
            return f"refused when loaded: {text}"
        if kind in NOT_FINITE:
            raise FailedError(f"{text}: {name} was loaded")
        clean = None  # type: ignore[assignment]
    else:
        return f"nothing to spoil: {text}"
    kept = contents(step)
    try:
        if gradients is None:
            loss = step(*arguments)
        else:
            step.update(gradients)
            loss = step.loss_value
    except (NonFiniteError, DataError) as error:
        message = str(error)
        if gradients is None and f"step {before + 1}:" not in message and place != "sample weight":
            raise FailedError(f"{text}: the message does not name the step: {message}") from error
        require_same(contents(step), kept, f"after the refused step, {text}")
        outcome = "refused"
    else:
        require_finite(step, kept, loss, text)
        if must_refuse:
            raise FailedError(f"{text}: the step was made, with a loss of {loss}")
        outcome = "made"
    if outcome == "refused" and clean is not None:
        for _ in range(2):
            batch = training.batch(random)
            found, expected = outcome_of(step, batch), outcome_of(clean, batch)
            if found != expected:
                raise FailedError(f"trained on after the refused step, {text}: {found} instead of {expected}")
        require_same(contents(step), contents(clean), f"trained on after the refused step, {text}")
    return f"{outcome}: {text}"


def outcome_of(step: TrainingStep, batch: tuple[Array, Array]) -> str:
    """Return the loss of a step as text, or the message why it was refused: the training may diverge anyway."""
    try:
        return float(step(*batch)).hex()
    except NonFiniteError as error:
        return str(error)


def long_training(random: Random, steps: int) -> str:
    """Train with any learning rate until the end, or until a step is refused."""
    rate = float(10 ** random.uniform(-3, 4))
    training = Training(random, rate)
    step = training.step()
    for number in range(1, steps + 1):
        x, y = training.batch(random)
        kept = contents(step) if number > 1 else {}
        try:
            loss = step(x, y)
        except NonFiniteError as error:
            if f"step {number}:" not in str(error):
                raise FailedError(f"{training.text}: the message does not name step {number}: {error}") from error
            require_same(contents(step), kept, f"after the refused step {number}, {training.text}")
            return f"stopped: at step {number} of {training.text}"
        if number % 10 == 0 or number == steps:
            require_finite(step, {}, loss, f"step {number} of {training.text}")
    return f"finite: {steps} steps of {training.text}"


def run_case(seed: int, number: int, steps: int) -> str:
    """Run a case; returns "outcome: description"."""
    random = np.random.default_rng([seed, number])
    return long_training(random, steps) if number % 5 == 4 else spoiled_step(random)


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cases", type=int, default=sys.maxsize, help="stop after so many")
    parser.add_argument("--steps", type=int, default=300, help="steps of a long training")
    parser.add_argument("--only", type=int, help="run one case")
    parser.add_argument("--keep-going", action="store_true", help="go on after a finding")
    options = parser.parse_args()
    if options.only is not None:
        print(run_case(options.seed, options.only, options.steps))
        return 0
    end, number, findings = time.monotonic() + options.seconds, 0, 0
    outcomes: collections.Counter[str] = collections.Counter()
    while time.monotonic() < end and number < options.cases:
        try:
            outcomes[run_case(options.seed, number, options.steps).partition(":")[0]] += 1
        except Exception as error:  # noqa: BLE001 - whatever a case raises is a finding
            findings += 1
            shown = str(error) if isinstance(error, FailedError) else traceback.format_exc()
            print(f"finding: seed {options.seed}, case {number}: {shown}", flush=True)
            if not options.keep_going:
                return 1
        number += 1
    shown = ", ".join(f"{name} {count}" for name, count in outcomes.items())
    print(f"seed {options.seed}: {number} trainings, {findings} findings: {shown}")
    return int(findings > 0)


if __name__ == "__main__":
    sys.exit(main())
