"""The tree of a network: modules by attribute name, and the parameters and buffers that they hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Self, cast

import numpy as np

from striate import habits
from striate.arguments import Named
from striate.errors import DTypeError, OptionError
from striate.graph.value import Array
from striate.nn.parameter import Parameter, Role
from striate.tracing import current_trace

if TYPE_CHECKING:
    from striate.nn.module import Module


class ModuleTree(metaclass=Named):
    """Base class of modules, with access by name to the modules and parameters in their attributes (abstract)."""

    _parameters: dict[str, Parameter]
    _modules: dict[str, Module]
    _parents: list[Module]
    _version: int

    def __new__(cls, *arguments: Any, **options: Any) -> Self:
        # Set up here rather than in __init__, so that a subclass need not call super().__init__().
        self = super().__new__(cls)
        vars(self).update(_parameters={}, _modules={}, _parents=[], _version=0)
        return self

    def materialize(self) -> None:
        """Allocate the arrays of all parameters and buffers of this module, and fill them."""
        raise NotImplementedError

    # Attributes

    def __setattr__(self, name: str, value: object) -> None:
        parameter = self._parameters.get(name)
        if parameter is not None and isinstance(value, np.ndarray):
            parameter.assign(cast("Array", value))
            return
        if parameter is not None and value is not None and not isinstance(value, Parameter | ModuleTree):
            raise DTypeError(
                f"{type(self).__name__}: {name} is a parameter; it takes an array or nn.Parameter, not {value!r:.60}\n"
                "  help: np.asarray(x, np.float32), or None to remove it"
            )
        if any(isinstance(vars(base).get(name), property) for base in type(self).__mro__):
            object.__setattr__(self, name, value)
            return
        if name not in vars(self) and _holds_modules(value):  # the attributes set in __new__ may hold modules
            kind, plain = ("ModuleDict", "dictionary") if isinstance(value, Mapping) else ("ModuleList", "list")
            raise OptionError(
                f"{type(self).__name__}: {name} would hide its modules in a {plain}: they would not be "
                f"trained or saved\n  help: self.{name} = nn.{kind}(…)"
            )
        self.invalidate()
        self._parameters.pop(name, None)
        self._modules.pop(name, None)
        vars(self).pop(name, None)
        if isinstance(value, Parameter):
            value.materialize, value.restructured = self.materialize, self.invalidate
            self._parameters[name] = value
        elif isinstance(value, ModuleTree):
            self._contain(name, cast("Module", value))
        else:
            object.__setattr__(self, name, value)

    def _contain(self, name: str, module: Module) -> None:
        """Add ``module`` as a child under ``name``; raises ``OptionError`` if it contains this module."""
        if any(inner is self for _, inner in module.named_modules()):
            raise OptionError(f"{name} = {type(module).__name__}: a module cannot contain itself")
        self._modules[name] = module
        module._parents.append(cast("Module", self))

    def __getattr__(self, name: str) -> Any:
        own = vars(self)
        if name in own.get("_modules", ()):
            return own["_modules"][name]
        if name in own.get("_parameters", ()):
            parameter = cast("Parameter", own["_parameters"][name])
            trace = current_trace()
            return parameter.data if trace is None else trace.read(parameter)
        raise habits.missing(type(self).__name__, name, [*dir(type(self)), *own.get("_modules", ())], habits.MODULE)

    def register_buffer(self, name: str, array: Array) -> None:
        """Add ``array`` as a buffer called ``name``, which is saved with the model but not changed by the optimizer."""
        setattr(self, name, Parameter(np.asarray(array), role=Role.BUFFER))

    def register_parameter(self, name: str, parameter: Parameter | None) -> None:
        """Make ``parameter`` the attribute ``name`` of the module, trained and saved with it.

        None means that the layer does not have this parameter; the attribute is then None.
        """
        setattr(self, name, parameter)

    def parameter(self, name: str) -> Parameter:
        """Return the ``Parameter`` object of the parameter or buffer ``name``.

        Reading the attribute ``name`` would return the array instead.
        """
        return self._parameters[name]

    def invalidate(self) -> None:
        """Mark all programs compiled for this module, or for a module that contains it, as out of date."""
        vars(self)["_version"] += 1
        for parent in self._parents:
            parent.invalidate()

    @property
    def version(self) -> int:
        """A number that increases whenever the structure, an option or the memory of the module changes."""
        return self._version

    def children(self) -> Iterator[Module]:
        """Iterate over the modules assigned to attributes of this module, without their own children."""
        yield from self._modules.values()

    def named_modules(self) -> Iterator[tuple[str, Module]]:
        """Iterate over (dotted path, module) for this module, whose path is "", and all modules in it.

        A module that is used in several places appears once, under its first path.
        """
        seen: set[int] = set()

        def walk(module: Module, path: str) -> Iterator[tuple[str, Module]]:
            if id(module) in seen:
                return
            seen.add(id(module))
            yield path, module
            for name, child in module._modules.items():
                yield from walk(child, f"{path}.{name}" if path else name)

        yield from walk(cast("Module", self), "")

    def own_state(self) -> dict[str, Parameter]:
        """Return the parameters and buffers of this module without those of its children, by attribute name."""
        return dict(self._parameters)

    def named_state(self) -> Iterator[tuple[str, Parameter]]:
        """Iterate over (dotted name, ``Parameter``) for all parameters and buffers, in PyTorch's order.

        A parameter that is used in several places appears once.
        """
        seen: set[int] = set()
        for path, module in self.named_modules():
            for name, parameter in module._parameters.items():
                if id(parameter) not in seen:
                    seen.add(id(parameter))
                    yield (f"{path}.{name}" if path else name), parameter

    def named_parameters(self) -> Iterator[tuple[str, Array]]:
        """Iterate over (dotted name, array) for the learned parameters; the arrays are read-only.

        To change a parameter, use ``load_state_dict``, or assign an array to the attribute of its layer.
        """
        yield from ((name, parameter.data) for name, parameter in self.named_state() if parameter.learned)

    def parameters(self) -> Iterator[Array]:
        """Iterate over the arrays of ``named_parameters``, without the names."""
        yield from (array for _, array in self.named_parameters())

    def named_buffers(self) -> Iterator[tuple[str, Array]]:
        """Iterate over (dotted name, array) for the buffers, such as running statistics; the arrays are read-only."""
        yield from ((name, parameter.data) for name, parameter in self.named_state() if not parameter.learned)

    def _ancestors(self) -> list[Module]:
        """Return the chain of modules that contain this one, outermost first and this module last.

        Where a module is contained in several, the chain follows the one that it was assigned to last.
        """
        return [*(self._parents[-1]._ancestors() if self._parents else ()), cast("Module", self)]


def _holds_modules(value: object) -> bool:
    """Return whether this is a list, tuple or dictionary with a module or parameter in it."""
    if isinstance(value, Mapping):
        value = tuple(cast("Mapping[object, object]", value).values())
    return isinstance(value, list | tuple) and any(
        isinstance(one, ModuleTree | Parameter) for one in cast("tuple[object, ...]", value)
    )
