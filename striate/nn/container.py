"""Modules that contain modules: sequences, lists, dictionaries, branches, and skip connections."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, cast, overload

from striate.errors import OptionError, unknown_option
from striate.graph.value import Value, shape_text
from striate.nn.module import Module
from striate.nn.trail import layer_error
from striate.ops.indexing import concat
from striate.tracing import current_trace


class Sequential(Module):
    """Apply modules one after the other: y = f_n(… f_2(f_1(x)))

    ``Sequential(a, b)`` names its modules 0, 1, …; ``Sequential({"conv": a, "act": b})`` uses the given names. Raises
    ``OptionError`` for an argument that is not a module.
    """

    def __init__(self, *modules: Module | Mapping[str, Module]) -> None:
        self._chain: list[str] = []
        only = modules[0] if len(modules) == 1 else None
        named = only.items() if isinstance(only, Mapping) else ((str(i), module) for i, module in enumerate(modules))
        for name, module in named:
            _require_module("Sequential", module)
            self._chain.append(name)
            setattr(self, name, module)

    def append(self, module: Module) -> Sequential:
        """Add a module at the end, named by its index, and return this ``Sequential``."""
        _require_module("Sequential", module)
        self._chain.append(str(len(self._chain)))
        setattr(self, self._chain[-1], module)
        return self

    def forward(self, x: Any) -> Any:
        for name in self._chain:
            x = self._modules[name](x)
        return x

    def __len__(self) -> int:
        return len(self._chain)

    def __iter__(self) -> Iterator[Module]:
        return (self._modules[name] for name in self._chain)

    @overload
    def __getitem__(self, index: int) -> Module: ...
    @overload
    def __getitem__(self, index: slice) -> Sequential: ...
    def __getitem__(self, index: int | slice) -> Module | Sequential:
        """Return the module at ``index``, or for a slice a ``Sequential`` of the same modules under the same names."""
        if isinstance(index, slice):
            return Sequential({name: self._modules[name] for name in self._chain[index]})
        return self._modules[self._chain[index]]


class Residual(Module):
    """Add a shortcut to the output of a body: y = body(x) + shortcut(x)

    Without a shortcut, y = body(x) + x. Raises ``ShapeError`` if the two terms differ in shape. He et al.,
    arXiv:1512.03385.
    """

    def __init__(self, body: Module, shortcut: Module | None = None) -> None:
        _require_module("Residual", body)
        if shortcut is not None:
            _require_module("Residual", shortcut)
        self.body = body
        self.shortcut = shortcut

    def forward(self, x: Value) -> Value:
        y = self.body(x)
        skip = x if self.shortcut is None else self.shortcut(x)
        if y.shape != skip.shape:
            raise layer_error(
                current_trace(),
                self.where(),
                f"its body returns {shape_text(y.shape)}, its shortcut {shape_text(skip.shape)}",
                ["only values of the same shape can be added"],
                "use a shortcut that returns the body's shape, such as a 1×1 convolution with the body's stride",
            )
        return y + skip

    def describe(self) -> str:
        return "Residual"


class Concat(Module):
    """Apply several branches to the same x and join their outputs along the channels (axis 1).

    Outputs (N, C₁, …) and (N, C₂, …) give (N, C₁ + C₂, …). Raises ``OptionError`` without branches, and ``ShapeError``
    if the outputs differ in another axis.
    """

    def __init__(self, *branches: Module) -> None:
        if not branches:
            raise OptionError(
                "Concat() has no branches\n  help: give at least one module, as in nn.Concat(nn.Identity(), block)"
            )
        for branch in branches:
            _require_module("Concat", branch)
        self._chain = [str(index) for index in range(len(branches))]
        for name, branch in zip(self._chain, branches):
            setattr(self, name, branch)

    def forward(self, x: Value) -> Value:
        return concat([self._modules[name](x) for name in self._chain])

    def describe(self) -> str:
        return "Concat"


class ModuleList(Module):
    """A list of modules for your own ``forward``: ``for layer in self.layers: x = layer(x)``

    The modules belong to the network: training changes their parameters, and ``state_dict`` has them under the names 0,
    1, …
    """

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        self._count = 0
        self.extend(modules)

    def append(self, module: Module) -> ModuleList:
        """Add a module at the end, named by its index, and return this list."""
        _require_module("ModuleList", module)
        setattr(self, str(self._count), module)
        self._count += 1
        return self

    def extend(self, modules: Iterable[Module]) -> ModuleList:
        """Add several modules at the end, named by their indices, and return this list."""
        for module in modules:
            self.append(module)
        return self

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Module]:
        return (self._modules[str(index)] for index in range(self._count))

    @overload
    def __getitem__(self, index: int) -> Module: ...
    @overload
    def __getitem__(self, index: slice) -> list[Module]: ...
    def __getitem__(self, index: int | slice) -> Module | list[Module]:
        return list(self)[index]


class ModuleDict(Module):
    """A dictionary of modules for your own ``forward``: ``x = self.branches["left"](x)``

    The modules belong to the network: training changes their parameters, and ``state_dict`` has them under their keys.
    """

    def __init__(self, modules: Mapping[str, Module] | None = None) -> None:
        self._names: list[str] = []
        for name, module in (modules or {}).items():
            self[name] = module

    def __setitem__(self, name: str, module: Module) -> None:
        _require_module("ModuleDict", module)
        setattr(self, name, module)
        if name not in self._names:
            self._names.append(name)

    def __getitem__(self, name: str) -> Module:
        if name not in self._names:
            raise unknown_option("module", name, self._names)
        return self._modules[name]

    def __len__(self) -> int:
        return len(self._names)

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._names))

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def keys(self) -> list[str]:
        """Return the keys, in the order in which they were added."""
        return list(self._names)

    def values(self) -> list[Module]:
        """Return the modules, in the order of ``keys``."""
        return [self._modules[name] for name in self._names]

    def items(self) -> list[tuple[str, Module]]:
        """Return (key, module) pairs, in the order of ``keys``."""
        return [(name, self._modules[name]) for name in self._names]


def _require_module(container: str, module: object) -> None:
    """Raise ``OptionError`` unless ``module`` is a module object.

    Lists, functions and classes are refused.
    """
    if not isinstance(module, Module):
        parts = cast("list[object]", module) if isinstance(module, list | tuple) else ()
        several = any(isinstance(one, Module) for one in parts)
        cure = f"nn.{container}(*layers) for a list of layers" if several else "give objects, such as nn.ReLU()"
        raise OptionError(f"{container} takes modules, not {module!r:.60}\n  help: {cure}")
