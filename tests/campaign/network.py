"""A small network as data: it can be run, printed as a program of ``st.ops``, shrunk, and sent to another process.

A ``Network`` is a list of inputs, a list of calls of functions of ``st.ops`` whose arguments are names, the names of
its outputs, and the names of the inputs whose gradients it computes. ``problem`` makes a graph of it, ``text`` a
program that anybody can run.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np

from striate import ops
from striate.dtypes import Precision
from striate.graph.graph import Graph
from striate.graph.graph import Input as GraphInput
from striate.graph.value import Array, DType, N, TensorType, Value
from striate.passes.differentiate import differentiate
from tests.compiled.cases import Problem, total

__all__ = ["Call", "Given", "N", "Network", "Precision", "contents", "smaller", "text", "trace"]


@dataclass(frozen=True)
class Given:
    """An input: its name, its shape for the network's number of samples, and the kind of its contents.

    ``batched`` says whether axis 0 is the number of samples. ``fill`` is "normal", "positive", "signs" (±1), "unit"
    (between 0 and 1), or "labels k" for whole numbers from 0 to k - 1; normal numbers are multiplied by ``scale``.
    """

    name: str
    shape: tuple[int, ...]
    batched: bool = False
    fill: str = "normal"
    scale: float = 1.0


@dataclass(frozen=True)
class Call:
    """A call of a function of ``st.ops``; a string among the arguments and options is the name of a value.

    ``names`` are those of its results; ``"mode=…"`` marks a string that is an option and not a name.
    """

    names: tuple[str, ...]
    function: str
    arguments: tuple[Any, ...]
    options: tuple[tuple[str, Any], ...] = ()

    def reads(self) -> Iterator[str]:
        """The names that the call reads, some of them several times."""
        for argument in (*self.arguments, *(value for _, value in self.options)):
            for one in argument if isinstance(argument, tuple) else (argument,):
                if isinstance(one, str) and "=" not in one:
                    yield one

    def renamed(self, old: str, new: str) -> Call:
        """Return the call with another argument in place of one of this name."""

        def other(argument: Any) -> Any:
            if isinstance(argument, tuple):
                return tuple(other(one) for one in cast("tuple[Any, ...]", argument))
            return new if isinstance(argument, str) and argument == old else argument

        return replace(
            self,
            arguments=tuple(map(other, self.arguments)),
            options=tuple((key, other(value)) for key, value in self.options),
        )


@dataclass(frozen=True)
class Network:
    """Inputs, calls, outputs, and the inputs whose gradients of Σ weight · output are outputs too.

    ``n`` is the number of samples, ``seed`` that of the contents. ``precision`` is as in ``st.TrainingStep``.
    """

    inputs: tuple[Given, ...]
    calls: tuple[Call, ...]
    outputs: tuple[str, ...]
    moved: tuple[str, ...]
    n: int
    batched: bool
    dtype: str = "float32"
    precision: Precision = Precision.full
    seed: int = 0

    def pruned(self) -> Network:
        """Return the network without the calls and inputs on which no output depends."""
        needed = set(self.outputs)
        calls: list[Call] = []
        for call in reversed(self.calls):
            if needed.intersection(call.names):
                calls.insert(0, call)
                needed.update(call.reads())
        inputs = tuple(one for one in self.inputs if one.name in needed)
        return replace(
            self,
            inputs=inputs,
            calls=tuple(calls),
            moved=tuple(name for name in self.moved if name in {one.name for one in inputs}),
        )

    def problem(self) -> Problem:
        """Return the network with its gradients as a graph and the arrays of its inputs."""
        values = trace(self)
        inputs = {one.name: values[one.name] for one in self.inputs}
        arrays = {one.name: contents(self, one) for one in self.inputs}
        outputs = {name: values[name] for name in self.outputs}
        loss: Value | None = None
        for name in self.outputs if self.moved else ():
            y = values[name]
            if not y.dtype.is_float:
                continue
            weight = Given(f"c_{name}", y.type.concrete(self.n), y.type.batched)
            arrays[weight.name] = contents(self, weight)
            inputs[weight.name] = GraphInput(weight.name, y.type)()
            part = total(y * inputs[weight.name])
            loss = part if loss is None else loss + part
        if loss is not None:
            moved = [values[name] for name in self.moved]
            outputs |= {f"d_{name}": d for name, d in zip(self.moved, differentiate(loss, moved), strict=True)}
        label = " → ".join(call.function for call in self.calls)
        return Problem(label, Graph(inputs, outputs), arrays, self.n, precision=self.precision)


def type_of(network: Network, one: Given) -> TensorType:
    """Return the type of an input in the network's graph."""
    dtype = DType.int32 if one.fill.startswith("labels") else DType(network.dtype)
    return TensorType(dtype, (N, *one.shape[1:]) if one.batched and network.batched else one.shape)


def contents(network: Network, one: Given) -> Array:
    """Return the contents of an input, which depend only on the seed and its name, shape and kind."""
    random = np.random.default_rng([network.seed, zlib.crc32(one.name.encode())])
    if one.fill.startswith("labels"):
        return random.integers(0, int(one.fill.split()[1]), one.shape).astype(np.int32)
    drawn = {
        "normal": lambda: one.scale * random.standard_normal(one.shape),
        "positive": lambda: 0.5 + np.abs(random.standard_normal(one.shape)),
        "signs": lambda: random.choice([-1.0, 1.0], one.shape),
        "unit": lambda: random.uniform(0.05, 0.95, one.shape),
    }[one.fill]()
    return np.asarray(drawn, np.float32).astype(network.dtype)


def trace(network: Network) -> dict[str, Value]:
    """Return the symbolic value of each name."""
    values: dict[str, Value] = {one.name: GraphInput(one.name, type_of(network, one))() for one in network.inputs}
    for call in network.calls:
        values.update(apply(call, values))
    return values


def apply(call: Call, values: dict[str, Value]) -> dict[str, Value]:
    """Apply a call to symbolic values; return its results by name."""

    def found(argument: Any) -> Any:
        if isinstance(argument, tuple):
            return tuple(found(one) for one in cast("tuple[Any, ...]", argument))
        if isinstance(argument, str):
            return argument.partition("=")[2] if "=" in argument else values[argument]
        return argument

    result = getattr(ops, call.function)(
        *map(found, call.arguments), **{key: found(value) for key, value in call.options}
    )
    results = result if isinstance(result, tuple) else (result,)
    return dict(zip(call.names, results, strict=True))


# Printing


def text(network: Network) -> str:
    """Return a program that runs the network with both engines and prints the largest differences."""

    def written(argument: Any) -> str:
        if isinstance(argument, tuple):
            inner = ", ".join(written(one) for one in cast("tuple[Any, ...]", argument))
            return f"({inner},)" if len(argument) == 1 else f"({inner})"
        if isinstance(argument, str):
            return repr(argument.partition("=")[2]) if "=" in argument else argument
        return repr(argument)

    lines: list[str] = []
    for call in network.calls:
        given = [written(one) for one in call.arguments] + [f"{k}={written(v)}" for k, v in call.options]
        names = ", ".join(call.names) + ("," if len(call.names) == 1 and call.function in _TUPLES else "")
        lines.append(f"    {names} = ops.{call.function}({', '.join(given)})")
    kinds = "".join(
        f"    {type_of(network, one)} {one.name}, {one.fill}, scale {one.scale:.3g}\n" for one in network.inputs
    )
    precision = "" if network.precision is Precision.full else f", {network.precision.value}"
    return (
        f"def network({', '.join(one.name for one in network.inputs)}):  # N = {network.n}{precision}\n"
        + "\n".join(lines)
        + f"\n    return {', '.join(network.outputs)}\n"
        + (f"\ngradients with respect to {', '.join(network.moved)}\n" if network.moved else "")
        + f"inputs:\n{kinds}"
    )


_TUPLES = ("split", "chunk", "unbind")


# Shrinking


def smaller(network: Network) -> Iterator[Network]:
    """Propose smaller networks, those that remove most first."""
    for name in network.outputs if len(network.outputs) > 1 else ():
        yield replace(network, outputs=(name,)).pruned()
    if network.moved:
        yield replace(network, moved=())
    values = trace(network)
    for call in reversed(network.calls):
        for name in call.names:
            value = values[name]
            if name not in network.outputs:
                yield _output_instead(network, call)
            # An input of the same type and kind of contents takes the place of a result.
            if value.dtype.is_float and value.type.size(network.n or 1):
                shape = value.type.concrete(network.n)
                given = Given(f"i_{name}", shape, value.type.batched)
                yield _instead(network, name, given.name, (given,))
            for other in dict.fromkeys(call.reads()):
                if values[other].type == value.type:
                    yield _instead(network, name, other)
    for name in network.moved if len(network.moved) > 1 else ():
        yield replace(network, moved=tuple(one for one in network.moved if one != name))
    for one in network.inputs:
        for call in network.calls:
            if call.options and one.name in call.reads():
                yield from _fewer_options(network, call)
    if network.n > 1 and all(one.batched or one.shape[:1] != (network.n,) for one in network.inputs):
        for n in (1, 2):
            if n < network.n:
                inputs = tuple(
                    replace(one, shape=(n, *one.shape[1:])) if one.batched else one for one in network.inputs
                )
                yield replace(network, inputs=inputs, n=n)


def _fewer_options(network: Network, call: Call) -> Iterator[Network]:
    for key, _ in call.options:
        less = replace(call, options=tuple(option for option in call.options if option[0] != key))
        yield replace(network, calls=tuple(less if one is call else one for one in network.calls)).pruned()


def _output_instead(network: Network, call: Call) -> Network:
    """Return the network that ends at a call."""
    return replace(network, outputs=call.names[:1]).pruned()


def _instead(network: Network, old: str, new: str, more: tuple[Given, ...] = ()) -> Network:
    """Return the network in which another value takes the place of one."""
    known = {one.name for one in network.inputs}
    return replace(
        network,
        inputs=(*network.inputs, *(one for one in more if one.name not in known)),
        calls=tuple(call.renamed(old, new) if old not in call.names else call for call in network.calls),
        outputs=tuple(dict.fromkeys(new if name == old and not more else name for name in network.outputs)),
        moved=(*network.moved, *(one.name for one in more)) if network.moved else (),
    ).pruned()


def weight(network: Network) -> tuple[int, ...]:
    """Return a measure of a network's size: shrinking makes it smaller."""
    return (
        len(network.calls),
        len(network.outputs) + len(network.moved),
        sum(len(call.options) for call in network.calls),
        sum(math.prod(one.shape) for one in network.inputs),
    )
