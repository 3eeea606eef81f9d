"""The base class of optimizers: equations on the flat vector of all parameters, compiled into a single loop."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from numbers import Real
from typing import Any, ClassVar, SupportsFloat
from typing import cast as cast_type

import numpy as np

from striate import habits
from striate.arguments import Explained
from striate.errors import OptionError, unknown_option
from striate.graph.elementwise import cast
from striate.graph.interpreter import interpret
from striate.graph.value import DType, TensorType, Value
from striate.optim.chain import require_schedule
from striate.optim.layers import Layers
from striate.optim.schedule import ConstantSchedule, Schedule
from striate.options import flag, number
from striate.tracing import Trace

Options = Mapping[str, Any]
"""Options of an optimizer by name."""
_OF_ALL = ("groups", "decay_norm_and_bias")
"""The options that a parameter group cannot have."""


@dataclass(frozen=True)
class Optimizer(metaclass=Explained):
    """Base class of optimizers (abstract). A subclass writes ``update`` as equations on vectors of the graph.

    In these equations, θ are the parameters, g is the gradient, and η is the learning rate of the step.

    lr                   η₀, from which the schedule computes η; a finite number ≥ 0
    schedule             the learning rate η as a function of the step
    maximize             True maximizes: the sign of the gradients is changed first
    groups               other options for some parameters: a dict from patterns of dotted names, as in ``fnmatch``, to
                         options, such as ``{"*.bias": dict(weight_decay=0), "head.*": dict(lr=0.1)}``. If several
                         patterns match a parameter, all of them apply. If they set the same option, the last
                         pattern counts.
    decay_norm_and_bias  False sets ``weight_decay`` to 0 for parameters with fewer than two axes: biases, and the
                         weights of normalizations

    Raises ``OptionError`` for an option outside its range.
    """

    slots: ClassVar[tuple[str, ...]] = ()
    """The names of the state vectors, such as the momentum; each is as long as all parameters together."""
    squares: ClassVar[tuple[str, ...]] = ()
    """The slots with averages or sums of squares, which are never negative."""
    products: ClassVar[tuple[str, ...]] = ()
    """The names of running products in the state: float64 numbers from 0 to 1 that start at 1."""
    has_momentum: ClassVar[bool] = False
    """Whether the optimizer has a momentum, or a β₁, that a schedule can vary."""
    usual_lr: ClassVar[float] = 0.01
    """A good first learning rate for small images; the command line uses it by default."""
    lr: float
    schedule: Schedule = field(default_factory=ConstantSchedule, kw_only=True)
    maximize: bool = field(default=False, kw_only=True)
    groups: Mapping[str, Options] = field(default_factory=dict[str, Options], kw_only=True)
    decay_norm_and_bias: bool = field(default=True, kw_only=True)

    def __post_init__(self) -> None:
        name = type(self).__name__
        first: object = self.lr
        if not isinstance(first, Real | str | None):  # a habit from PyTorch: model.parameters()
            number = isinstance(first, SupportsFloat)
            help = "lr=float(…); a rate that changes is a schedule=" if number else habits.FIRST_ARGUMENTS["lr"]
            raise OptionError(
                f"{name}: lr is a {type(first).__name__}; expected a finite number of 0 or more\n  help: {help}"
            )
        self.require("lr", self.lr, 0)
        require_schedule(f"{name}: schedule", self.schedule)
        least = self.schedule.least_start()
        if self.lr < least:
            raise OptionError(
                f"{name}: the schedule's minimum={least!r} is above lr={self.lr!r}; expected a minimum from 0 to lr"
            )
        if self.schedule.cycles_momentum and not self.has_momentum:
            raise OptionError(
                f"{name} has no momentum that its schedule could cycle\n"
                "  help: optim.OneCycleSchedule(total_steps, cycle_momentum=False)"
            )
        flag(f"{name}: maximize", self.maximize)
        if not flag(f"{name}: decay_norm_and_bias", self.decay_norm_and_bias) and "weight_decay" not in _names(self):
            raise OptionError(f"{name}: decay_norm_and_bias=False has no effect, since {name} has no weight_decay")
        self._require_groups()

    def _require_groups(self) -> None:
        """Raise ``OptionError`` for groups with options that this optimizer does not have."""
        what = f"{type(self).__name__}: groups"
        given: object = self.groups
        if not isinstance(given, Mapping):
            raise OptionError(f'{what}={given!r:.200}; expected patterns and their options\n  help: {{"*.bias": {{}}}}')
        known = [name for name in _names(self) if name not in _OF_ALL]
        for pattern, options in self.groups.items():
            pair: tuple[object, object] = pattern, options
            if not isinstance(pair[0], str) or not isinstance(pair[1], Mapping):
                raise OptionError(
                    f"{what}: {pattern!r}: {options!r:.200}; expected a pattern of names and its options\n"
                    '  help: groups={"*.bias": dict(weight_decay=0)}'
                )
            for option in options:
                if option not in known:
                    raise unknown_option(f"option of {type(self).__name__} in groups[{pattern!r}]", option, known)
            try:
                self.changed(options)
            except OptionError as error:
                raise OptionError(f"groups[{pattern!r}]: {error}") from error

    def __getattr__(self, name: str) -> object:
        raise habits.missing(type(self).__name__, name, dir(type(self)), habits.OPTIMIZER)

    def changed(self, options: Options) -> Optimizer:
        """Return a copy of this optimizer with ``options`` changed and without groups, for one group of parameters."""
        return replace(self, **{"groups": {}, "decay_norm_and_bias": True, **options})

    @property
    def bounded(self) -> bool:
        """Whether a step from finite numbers always gives finite numbers.

        If not, the results of every step are checked for overflow.
        """
        return False

    @classmethod
    def summary(cls) -> str:
        """Return what the optimizer does, in one line: the first line of its docstring."""
        return (cls.__doc__ or cls.__name__).strip().splitlines()[0]

    def brief(self) -> str:
        """Return the class and its options that are not defaults, such as ``SGD(lr=0.1, momentum=0.9)``.

        The learning rate is always included.
        """
        default = type(self)(lr=self.lr)
        changed = [name for name in _names(self) if name != "lr" and vars(self)[name] != vars(default)[name]]
        return f"{type(self).__name__}({', '.join(f'{name}={vars(self)[name]!r}' for name in ('lr', *changed))})"

    def _is_bounded(self, decay: float) -> bool:
        """Whether overflow would take at least 10¹⁵ steps.

        That holds if the learning rate is small and weight decay shrinks the parameters.
        """
        largest = self.schedule.largest(self.lr)
        return largest <= 1e3 and decay <= 1e3 and largest * decay <= 0.5

    def kept(self) -> tuple[str, ...]:
        """Return the names of the state vectors, such as momenta, that the optimizer needs with its options."""
        return self.slots

    def initial(self, slot: str) -> float:
        """Return the number with which the state vector called ``slot`` is filled before the first step."""
        return 0.0

    @abstractmethod
    def update(
        self, parameters: Value, gradients: Value, kept: Mapping[str, Value], t: Value
    ) -> tuple[Value, dict[str, Value]]:
        """Return the new parameters and the new state vectors by name, as values of the graph.

        ``parameters`` and ``gradients`` are flat vectors. ``kept`` maps names to the state vectors, and to the running
        products. These are float64 scalars, whose names are in the class attribute ``products``. t = 0, 1, … is the
        number of the step, as a float64 scalar.
        """

    def update_layers(
        self, parameters: Value, gradients: Value, kept: Mapping[str, Value], t: Value, layers: Layers
    ) -> tuple[Value, dict[str, Value]]:
        """Return what ``update`` returns; optimizers that need the norm of each parameter override this method.

        ``parameters`` and ``gradients`` are flat vectors of all parameters, one after the other. For such a vector,
        ``layers.total(vector)`` returns a vector in which each element is the sum over its parameter. The other
        arguments are those of ``update``.
        """
        return self.update(parameters, gradients, kept, t)

    def rate(self, t: Value) -> Value:
        """Return the learning rate η at step t, as a float64 scalar of the graph."""
        return self.schedule.rate(self.lr, t)

    def rate_at(self, t: int) -> float:
        """Return the learning rate η at step t = 0, 1, … as a Python float.

        Parameters in a group that has its own ``lr`` or ``schedule`` may have another rate.
        """
        with Trace() as trace:
            graph = trace.graph({"rate": self.rate(trace.input("t", TensorType(DType.float64, ())))})
        return float(interpret(graph, {"t": np.array(t, np.float64)})[0]["rate"])

    def decayed(self, parameters: Value, decay: float, t: Value) -> Value:
        """Return θ (1 − η λ), the parameters after a weight decay that is not part of the gradient.

        ``decay`` is λ, and η is the learning rate at step t.
        """
        return parameters * cast(1.0 - self.rate(t) * decay, parameters.dtype) if decay else parameters

    def require(
        self, name: str, value: object, least: float = -math.inf, most: float = math.inf, *, below: float = math.inf
    ) -> None:
        """Raise ``OptionError`` unless an option is finite with least ≤ value ≤ most and value < below.

        ``name`` is the name of the option in the message.
        """
        number(f"{type(self).__name__}: {name}", value, least, most, below=below)

    def require_betas(self, betas: object) -> None:
        """Raise ``OptionError`` unless ``betas`` are two numbers with 0 ≤ β₁, β₂ < 1."""
        pair = cast_type("tuple[object, ...]", betas) if isinstance(betas, tuple | list) else ()
        if len(pair) != 2:
            raise OptionError(f"{type(self).__name__}: betas={betas!r}; expected two numbers, such as (0.9, 0.999)")
        for place, beta in enumerate(pair):
            self.require(f"betas[{place}]", beta, 0, below=1)


def coupled(gradients: Value, parameters: Value, decay: float) -> Value:
    """Return g + λ θ, the gradients g with the weight decay added; ``parameters`` is θ and ``decay`` is λ."""
    return gradients + parameters * decay if decay else gradients


def _names(rule: Optimizer) -> list[str]:
    """Return the names of an optimizer's options."""
    return [one.name for one in fields(rule)]
