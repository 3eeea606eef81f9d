"""``Module``, the base class of layers and networks, which holds parameters and other modules."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from inspect import signature
from typing import Any, ClassVar, Protocol, Self, cast, runtime_checkable

import numpy as np

from striate import habits
from striate.arguments import Named
from striate.errors import DTypeError, OptionError, ShapeError, TracingError
from striate.graph.elementwise import cast as cast_value
from striate.graph.op import at_path
from striate.graph.value import Array, DType, N, TensorType, Value, dtype_of
from striate.nn.foreign import ForeignLayer
from striate.nn.freezing import set_frozen
from striate.nn.kind import LayerKind
from striate.nn.parameter import Parameter, Role
from striate.nn.pickling import packed, unpacked
from striate.nn.prediction import Predictor, as_input
from striate.nn.state import StateMismatch, placed, write_state
from striate.nn.summary import Summary
from striate.nn.trail import explained_error
from striate.options import flag
from striate.runtime.state import StateArena
from striate.tracing import LayerCall, Trace, TracedFunction, active_trace, contains_value, current_trace


@runtime_checkable
class Preprocessing(Protocol):
    """An object fitted to data, such as ``data.Standardizer``, that can be a model's first layer."""

    def layer(self) -> Module:
        """Return a layer that applies the fitted preprocessing."""
        ...


_DEVICES = ("cpu", "cuda", "mps", "xpu", "meta")
"""The names of PyTorch's devices, for which ``Module.to`` raises an error of its own."""


class Module(metaclass=Named):
    """Base class of layers and networks.

    A subclass assigns layers and parameters to attributes and defines ``forward``.

        class Net(nn.Module):
            def __init__(self):
                self.conv1 = nn.Conv2d(1, 16, 5)
                self.fc = nn.Linear(None, 10)

            def forward(self, x):
                return self.fc(st.ops.flatten(self.conv1(x)))

    A module called on arrays predicts, with a program that is compiled once for any number of samples N. A module
    called inside ``forward`` or another traced function adds its operations to the graph.
    """

    portable: ClassVar[bool] = False
    """Whether ``forward`` uses only operators and the module's own layers.

    It then also works when these are replaced by layers of ``torch.nn``.
    """
    layer_kind: ClassVar[LayerKind] = LayerKind.OTHER
    """The kind of layer, such as linear or pooling, for code that examines networks."""
    classes: tuple[str, ...] = ()
    """The names of the network's outputs, in order; empty if none were set. ``st.save`` writes them."""

    _parameters: dict[str, Parameter]
    _modules: dict[str, Module]
    _parents: list[Module]
    _version: int
    _seed: int | None
    _arena: StateArena | None
    _arena_version: int
    _dtype: tuple[int, DType | None]
    _predictor: Predictor

    def __new__(cls, *arguments: Any, **options: Any) -> Self:
        # Set up here rather than in __init__, so that a subclass need not call super().__init__().
        self = super().__new__(cls)
        start: dict[str, Any] = {
            "_parameters": {}, "_modules": {}, "_parents": [], "_version": 0, "_seed": None, "_arena": None,
            "_arena_version": -1, "_dtype": (-1, None), "_predictor": Predictor(),
        }  # fmt: skip
        vars(self).update(start)
        return self

    def __init__(self) -> None:
        # Without this method, Python would accept any arguments for a layer that has no options.
        pass

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the outputs of the module from traced values; every subclass defines this method."""
        raise NotImplementedError(f"{type(self).__name__} defines no forward")

    def traced_forward(self, inputs: tuple[Any, ...]) -> Any:
        """Call ``forward`` on traced inputs.

        Layers for a fixed number of spatial axes (``Ranked``) override this method to accept one sample without the N
        axis.
        """
        return self.forward(*inputs)

    # Other frameworks

    def torch_layer(self) -> ForeignLayer | None:
        """Return the equivalent layer of ``torch.nn`` with its options, or None if PyTorch has no equivalent."""
        return None

    # Attributes

    def __setattr__(self, name: str, value: object) -> None:
        parameter = self._parameters.get(name)
        if parameter is not None and isinstance(value, np.ndarray):
            parameter.assign(cast("Array", value))
            return
        if parameter is not None and value is not None and not isinstance(value, Parameter | Module):
            raise DTypeError(
                f"{type(self).__name__}: {name} is a parameter; it takes an array or nn.Parameter, not {value!r:.60}\n"
                "  help: np.asarray(x, np.float32), or None to remove it"
            )
        if isinstance(vars(Module).get(name), property):
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
        elif isinstance(value, Module):
            self._contain(name, value)
        else:
            object.__setattr__(self, name, value)

    def _contain(self, name: str, module: Module) -> None:
        """Add ``module`` as a child under ``name``; raises ``OptionError`` if it contains this module."""
        if any(inner is self for _, inner in module.named_modules()):
            raise OptionError(f"{name} = {type(module).__name__}: a module cannot contain itself")
        self._modules[name] = module
        module._parents.append(self)

    def __getattr__(self, name: str) -> Any:
        own = vars(self)
        if name in own.get("_modules", ()):
            return own["_modules"][name]
        if name in own.get("_parameters", ()):
            parameter = cast("Parameter", own["_parameters"][name])
            trace = current_trace()
            return parameter.data if trace is None else trace.read(parameter)
        raise habits.missing(type(self).__name__, name, [*dir(type(self)), *own.get("_modules", ())], habits.MODULE)

    @property
    def standardizer(self) -> Module | Preprocessing | None:
        """The layer applied to the first input before ``forward``, as part of the compiled program, or None.

        Assign a layer, or a fitted object such as ``data.Standardizer.fit(images)``, which is converted to a layer.
        Assigning anything else raises ``OptionError``.
        """
        return self._modules.get("standardizer")

    @standardizer.setter
    def standardizer(self, value: Module | Preprocessing | None) -> None:
        layer = value if value is None or isinstance(value, Module) else None
        if layer is None and value is not None:
            if isinstance(value, type) or not isinstance(cast("object", value), Preprocessing):
                raise OptionError(f"standardizer={value!r}\n  help: data.Standardizer.fit(images)")
            layer = value.layer().to(self.dtype or DType.float32)
        self.invalidate()
        self._modules.pop("standardizer", None)
        if layer is not None:
            self._contain("standardizer", layer)

    def register_buffer(self, name: str, array: Array) -> None:
        """Add ``array`` as a buffer called ``name``, which is saved with the model but not changed by the optimizer."""
        setattr(self, name, Parameter(np.asarray(array), role=Role.BUFFER))

    def register_parameter(self, name: str, parameter: Parameter | None) -> None:
        """Assign the parameter to the attribute ``name``.

        None means that the layer does not have this parameter.
        """
        setattr(self, name, parameter)

    def parameter(self, name: str) -> Parameter:
        """Return the ``Parameter`` object of the parameter or buffer ``name``.

        Reading the attribute ``name`` would return the array instead.
        """
        return self._parameters[name]

    def assign(self, name: str, value: Value) -> None:
        """Set the buffer ``name`` to ``value`` at the end of the training step that is being traced.

        It is set only if the step succeeds, that is, if its loss and gradients are finite. Running statistics are
        updated this way.
        """
        active_trace("assign").update(self._parameters[name], value)

    def invalidate(self) -> None:
        """Mark all programs compiled from this module, or from a module that contains it, as out of date."""
        vars(self)["_version"] += 1
        for parent in self._parents:
            parent.invalidate()

    @property
    def version(self) -> int:
        """A number that increases whenever the structure, an option or the memory of the module changes."""
        return self._version

    # Traversal

    def children(self) -> Iterator[Module]:
        """Iterate over the modules assigned to attributes of this module, without their own children."""
        yield from self._modules.values()

    def named_modules(self) -> Iterator[tuple[str, Module]]:
        """Iterate over (dotted path, module), from this module, whose path is "", downwards.

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

        yield from walk(self, "")

    def own_state(self) -> dict[str, Parameter]:
        """Return the parameters and buffers of this module without those of its children, by attribute name."""
        return dict(self._parameters)

    def named_state(self) -> Iterator[tuple[str, Parameter]]:
        """Iterate over (dotted name, ``Parameter``) of all parameters and buffers, in PyTorch's order.

        A parameter that is used in several places appears once.
        """
        seen: set[int] = set()
        for path, module in self.named_modules():
            for name, parameter in module._parameters.items():
                if id(parameter) not in seen:
                    seen.add(id(parameter))
                    yield (f"{path}.{name}" if path else name), parameter

    def named_parameters(self) -> Iterator[tuple[str, Array]]:
        """Iterate over (dotted name, array) of the learned parameters, as read-only views of their memory.

        To change them, use ``load_state_dict``, or assign an array to the attribute of a layer.
        """
        yield from ((name, parameter.data) for name, parameter in self.named_state() if parameter.learned)

    def parameters(self) -> Iterator[Array]:
        """Iterate over the arrays of ``named_parameters``, without the names."""
        yield from (array for _, array in self.named_parameters())

    def named_buffers(self) -> Iterator[tuple[str, Array]]:
        """Iterate over (dotted name, array) of the buffers, such as running statistics, as read-only views."""
        yield from ((name, parameter.data) for name, parameter in self.named_state() if not parameter.learned)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Set whether training changes the parameters of this module and of the modules in it.

        ``requires_grad=False`` freezes all of them. Returns the module.
        """
        for _, parameter in self.named_state():
            parameter.requires_grad = requires_grad and parameter.learned
        self.invalidate()
        return self

    def freeze(self, *patterns: str, statistics: bool = False) -> list[str]:
        """Exclude the parameters whose dotted names match one of the patterns from training.

        "layer1" and "layer1*" match all parameters of that layer, "*.bias" all biases; without a pattern, all are
        frozen. No gradients are computed for frozen parameters. With ``statistics=True`` the batch normalizations that
        match keep their running statistics, and normalize with them in training as in prediction. Returns the names of
        the parameters. Raises ``OptionError`` for a pattern that matches nothing; then nothing is changed.

            model.freeze("layer1*", "layer2*", statistics=True)
        """
        return set_frozen(self, patterns, True, flag("freeze: statistics", statistics))

    def unfreeze(self, *patterns: str, statistics: bool = True) -> list[str]:
        """Undo ``freeze`` for the names that match one of the patterns (default: all).

        Returns the names of the parameters. ``statistics=False`` leaves the running statistics frozen.
        """
        return set_frozen(self, patterns, False, flag("unfreeze: statistics", statistics))

    def freeze_statistics(self, frozen: bool) -> bool:
        """Set whether training leaves the running statistics of this layer unchanged (``frozen=True``).

        Returns whether the layer has running statistics; this base class has none.
        """
        return False

    # Memory

    @property
    def dtype(self) -> DType | None:
        """The dtype of the parameters and buffers, float32 or float64; None if the module has none."""
        version, dtype = self._dtype
        if (
            version != self._version
        ):  # cached, because traversing a deep network at every call would cost more than the call itself
            dtype = next((parameter.dtype for _, parameter in self.named_state() if parameter.dtype.is_float), None)
            vars(self)["_dtype"] = (self._version, dtype)
        return dtype

    def to(self, dtype: str | DType) -> Self:
        """Convert all floating-point parameters and buffers to float32 or float64; returns the module.

        Raises ``DTypeError`` for another dtype, such as int32, and ``OptionError`` for an unknown name, such as
        "float16" or that of a device.
        """
        if isinstance(dtype, str) and dtype.partition(":")[0] in _DEVICES:
            raise OptionError(
                f"to({dtype!r}): a model has no device\n"
                "  help: leave it out, since striate runs on the CPU; model.double() converts to float64"
            )
        chosen = dtype_of(dtype)
        if not chosen.is_float:
            raise DTypeError(
                f"a model computes in float32 or float64, not {chosen.value}\n  help: model.float() or model.double()"
            )
        for _, parameter in self.named_state():
            if parameter.role is not Role.COUNTER:
                parameter.dtype = chosen
        self.invalidate()
        return self

    def double(self) -> Self:
        """Convert the model to float64 and return it."""
        return self.to(DType.float64)

    def float(self) -> Self:
        """Convert the model to float32 and return it."""
        return self.to(DType.float32)

    def initialize(self, seed: int) -> Self:
        """Draw all parameters anew from a seed and reset all buffers to their initial contents.

        Parameters that were created from an array get that array again. Returns the module. Raises ``OptionError`` for
        a seed that is not a whole number.
        """
        vars(self)["_seed"] = whole_seed(seed)
        vars(self)["_arena"] = None
        for _, parameter in self.named_state():
            parameter.forget()
        self.invalidate()
        return self

    def infer(self, *shapes: tuple[int, ...]) -> Self:
        """Infer all sizes given as None from the shape of one sample, without data and without compiling.

        Give one shape, without N, for each input. Returns the module. Raises ``OptionError`` for an argument that is
        not a shape, and ``ShapeError`` if the layers do not fit together.

            model = nn.Sequential(nn.Flatten(), nn.Linear(None, 10)).infer((1, 28, 28))
        """
        dtype = self.dtype or DType.float32
        if not shapes or not all(isinstance(cast("object", shape), tuple | list) for shape in shapes):
            raise OptionError(f"infer{shapes}: expected the shape of one sample, such as (1, 28, 28)")
        with Trace() as trace:
            types = [TensorType(dtype, (N, *shape)) for shape in shapes]
            self.trace(tuple(trace.input(f"x{i}" if i else "x", type) for i, type in enumerate(types)))
        self._predictor.example = tuple(types)
        return self

    def seed(self, seed: int) -> Self:
        """Set the seed for drawing parameters that have no values yet; a seed that was set earlier is kept."""
        if self._seed is None:
            vars(self)["_seed"] = whole_seed(seed)
        return self

    def initialized(self) -> bool:
        """Return whether all parameters and buffers have their arrays in memory."""
        return all(parameter.array is not None for _, parameter in self.named_state())

    def _ancestors(self) -> list[Module]:
        """Return the chain of modules that contain this one, outermost first and this module last.

        Where a module is contained in several, the chain follows the one that it was assigned to last.
        """
        return [*(self._parents[-1]._ancestors() if self._parents else ()), self]

    def materialize(self) -> None:
        """Allocate and fill the arrays of this module, together with those of a module that contains it if possible.

        The arrays allocated are those of the outermost containing module that has no size left to infer. If there is
        none, they are those of this module.
        """
        for module in self._ancestors():
            if module is self or all(parameter.known for _, parameter in module.named_state()):
                module.arena()
                return

    def arena(self) -> StateArena:
        """Return the state arena: the block of memory with all parameters and buffers of this module.

        It is created at the first call, and created again with the same contents after a change of the structure.
        """
        if self._arena is not None and self._arena_version == self._version:
            return self._arena
        root = self._ancestors()[0]
        names = {id(parameter): name for name, parameter in root.named_state()}
        former = self._arena
        arena = placed(dict(self.named_state()), self.dtype or DType.float32, former, root._seed or 0, names)
        if arena is former:
            vars(self)["_arena_version"] = self._version
            return arena
        for _, module in self.named_modules():
            module.invalidate()  # also for other models that share a layer, whose programs read the former memory
        vars(self).update(_arena=arena, _arena_version=self._version)
        return arena

    def _structure(self) -> dict[str, Any]:
        """Return the attributes that a copy takes over: all but memory, programs and parents."""
        own = {"_arena", "_predictor", "_parents", "_version", "_arena_version", "_dtype"}
        return {name: value for name, value in vars(self).items() if name not in own}

    def _adopt(self) -> None:
        """Become the owner of the parameters and the parent of the children, after a copy or unpickling."""
        for parameter in self._parameters.values():
            parameter.materialize, parameter.restructured = self.materialize, self.invalidate
        for child in self.children():
            child._parents.append(self)

    def __deepcopy__(self, memory: dict[int, Any]) -> Self:
        """Return an independent model with the same contents.

        Its memory and programs are created when it first runs.
        """
        copied = type(self).__new__(type(self))
        memory[id(self)] = copied
        vars(copied).update({name: copy.deepcopy(value, memory) for name, value in self._structure().items()})
        copied._adopt()
        return copied

    def __getstate__(self) -> dict[str, Any]:
        """Return what a pickle contains: the structure, and the arrays as safetensors bytes.

        Programs and memory are left out.
        """
        current = {name: parameter.current for name, parameter in self._parameters.items()}
        initial = {name: parameter.initial for name, parameter in self._parameters.items()}
        return {**self._structure(), "_tensors": packed(current), "_initial": packed(initial)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        structure = dict(state)
        tensors, initial = unpacked(structure.pop("_tensors")), unpacked(structure.pop("_initial"))
        vars(self).update(structure)
        for name, parameter in self._parameters.items():
            parameter.loaded, parameter.initial = tensors.get(name), initial.get(name)
        self._adopt()

    def state_dict(self) -> dict[str, Array]:
        """Return copies of all parameters and buffers, by the names that PyTorch gives them."""
        self.materialize()
        return {name: np.array(parameter.data) for name, parameter in self.named_state()}

    def load_state_dict(self, state: Mapping[str, Array], strict: bool = True) -> StateMismatch:
        """Copy arrays into the parameters and buffers of the same names.

        If one array is invalid, nothing is written. Returns the names that were skipped: ``missing_keys`` (in the
        model, not in ``state``) and ``unexpected_keys`` (in ``state``, not in the model). Raises ``ShapeError``, whose
        message lists wrong shapes, contents that are not numbers and, with ``strict``, missing and unexpected names.
        Without ``strict``, the error is still raised if no name matches. Raises ``DataError`` or ``DTypeError`` unless
        ``state`` is a mapping of names to arrays.
        """
        mismatch = write_state(dict(self.named_state()), state, flag("strict", strict))
        for _, module in self.named_modules():
            module.adopt_sizes()
        return mismatch

    def forget_inputs(self) -> None:
        """Discard the weights of a layer, and let it infer its number of inputs again at the next call.

        The weights are then drawn anew. Raises ``OptionError`` for a layer that cannot infer its inputs.
        """
        raise OptionError(
            f"{self.describe()} cannot infer its number of inputs\n  help: create a new layer for fewer inputs"
        )

    def adopt_sizes(self) -> None:
        """Update options such as ``in_features`` to the sizes of a loaded state.

        Layers that infer sizes override this.
        """

    # Calling

    def __call__(self, *inputs: Any, training: bool = False, **named: Any) -> Any:
        """Predict on arrays (N, …), or add the module to the graph if the inputs are traced values.

        Inputs may also be given by the names of the parameters of ``forward``. ``training=True`` computes as in
        training, with batch statistics and dropout, but changes nothing in the model.
        """
        if named:
            inputs = self.ordered(inputs, named)
        latest = self._predictor.latest
        if latest is not None and len(inputs) == 1 and latest.takes(inputs[0], training, self._version):
            return latest.program({"x": inputs[0]}, len(inputs[0]))
        if contains_value(inputs):
            return self.trace(inputs)
        return self._predictor.predict(self, inputs, training)

    def ordered(self, inputs: tuple[Any, ...], named: Mapping[str, Any]) -> tuple[Any, ...]:
        """Return positional and named inputs as one tuple, in the order of the parameters of ``forward``.

        Raises ``OptionError`` if they do not fit the parameters.
        """
        parameters = signature(self.forward)
        try:
            bound = parameters.bind(*inputs, **named)
        except TypeError as error:
            raise OptionError(
                f"{self.describe()}: {error}\n  help: its inputs are {', '.join(parameters.parameters)}"
            ) from None
        if bound.kwargs:
            raise OptionError(f"{self.describe()}: {', '.join(bound.kwargs)} cannot be given by name\n  help: in order")
        return bound.args

    def trace(self, inputs: tuple[Any, ...]) -> Any:
        """Add the module to the graph that is being traced and return its outputs, as values of that graph.

        Arrays among the inputs become constants. Raises ``TracingError`` if ``forward`` returns None.
        """
        trace = active_trace(type(self).__name__)
        if self not in trace.paths:
            for path, module in self.named_modules():
                trace.paths.setdefault(module, path)
            for name, parameter in self.named_state():
                trace.names.setdefault(parameter, name)
        path = trace.paths[self]
        with at_path(path):
            inputs = tuple(
                trace.capture(as_input(self, cast("Array", x), first=not i)) if isinstance(x, np.ndarray) else x
                for i, x in enumerate(inputs)
            )
            if inputs and isinstance(inputs[0], Value):
                inputs = (self._preprocessed(inputs[0]), *inputs[1:])
            try:
                output = self.traced_forward(inputs)
            except (ShapeError, DTypeError, OptionError) as error:
                if any(error is known for known in trace.explained):
                    raise
                own = type(self).__module__.startswith("striate.nn.")
                raise explained_error(trace, self.where(), error, applies_one=own) from error
        if output is None:
            raise TracingError(f"{self.where()}: its forward returned None\n  help: end forward with `return`")
        if isinstance(output, Value) and (not self._modules or self._parameters):
            values = tuple(value for value in inputs if isinstance(value, Value))
            trace.calls.append(LayerCall(path, self, values, output, not self._modules))
        return output

    def _preprocessed(self, x: Value) -> Value:
        """Convert uint8 to the model's dtype and apply the standardizer, as part of the traced program."""
        if x.dtype is DType.uint8:
            x = cast_value(x, self.dtype or DType.float32)
        return self._modules["standardizer"](x) if "standardizer" in self._modules else x

    @property
    def input_types(self) -> tuple[TensorType, ...] | None:
        """The types of the inputs of the module's last trace, with N on axis 0; None before the first trace.

        A module is traced by ``infer`` and by the first call on arrays of a new shape.
        """
        return self._predictor.example

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one sample of the first input, such as (C, H, W), from ``input_types``.

        Raises ``ShapeError`` if the module has not been traced yet, by a call on arrays or by ``infer``.
        """
        if not self.input_types:
            raise ShapeError(
                "the model has not been called, so the shape of its input is unknown\n"
                "  help: call the model on data once, or model.infer((3, 32, 32))"
            )
        return self.input_types[0].concrete(1)[1:]

    def computed(self, key: object, arrays: Mapping[str, Array], function: Callable[..., Any]) -> Any:
        """Trace, compile and run ``function`` on named arrays with N on axis 0, in prediction mode.

        Returns its outputs as arrays. The function receives one traced value per array, by name. The function may call
        the model, inspect the active trace, and differentiate. The compiled program, one for all N, is kept under
        ``key``, which must identify everything that the function depends on besides the model and the types of the
        arrays.
        """
        return self._predictor.computed(self, key, arrays, function)

    def program(self, *inputs: Any, training: bool = False) -> TracedFunction:
        """Return the compiled program that ``model(*inputs)`` runs, without running it; for profiling.

        The program is compiled unless an earlier call, on inputs of the same dtypes and shapes apart from N, did so.
        ``training`` is as in a call.
        """
        return self._predictor.program(self, inputs, training)

    def as_input(self, array: Any, first: bool = True) -> Array:
        """Return an array as the model's programs take it: uint8 unchanged, others in the model's dtype.

        ``first`` says whether it is the first input. Integers and bools of later inputs keep their type, because they
        may be labels or conditions. If the model has no parameters, so do floats. Raises ``DTypeError`` for anything
        that is not an array of real numbers.
        """
        return as_input(self, array, first)

    # Description

    def extra_repr(self) -> str:
        """Return the options as text, which ``repr`` shows between the parentheses."""
        return ""

    def describe(self) -> str:
        """Return the layer in one line, such as ``ReLU()``, for error messages."""
        return f"{type(self).__name__}({self.extra_repr()})"

    def where(self) -> str:
        """Return the path and the layer, as in ``"fc1" Linear(in_features=128)``, for error messages.

        The path is the one in the active trace.
        """
        trace = current_trace()
        path = trace.paths.get(self, "") if trace else ""
        return f'"{path}" {self.describe()}' if path else self.describe()

    def multiply_adds(self, inputs: tuple[Value, ...], output: Value) -> int:
        """Return the number of multiply-adds that the layer needs for one sample.

        ``inputs`` and ``output`` are the traced values of one call, whose types give the shapes. The base class returns
        0; layers with weights override this method.
        """
        return 0

    def __repr__(self) -> str:
        if not self._modules:
            try:
                return self.describe()
            except (AttributeError, TypeError):  # the __init__ of the subclass has not finished
                return f"{type(self).__name__}(…)"
        lines = [f"({name}): {child!r}".replace("\n", "\n  ") for name, child in self._modules.items()]
        return f"{type(self).__name__}(\n  " + "\n  ".join(lines) + "\n)"

    def summary(self, shape: tuple[int, ...] | None = None) -> str:
        """Return a table of all layers: path, layer, output shape, parameters, multiply-adds for one sample.

        ``shape`` is the shape of one sample, without N; the default is that of ``input_types``. The method raises no
        errors: an error of ``forward`` is shown below the table.
        """
        return Summary.of(self, shape).text()

    def _repr_html_(self) -> str:
        """Return the summary as HTML, which notebooks show."""
        return Summary.of(self, None).html()


def whole_seed(seed: object) -> int:
    """Return the seed as an int; raises ``OptionError`` for anything but a whole number."""
    if not isinstance(seed, int | np.integer) or isinstance(seed, bool):
        raise OptionError(f"seed={seed!r} must be a whole number")
    return int(cast("int", seed))


def _holds_modules(value: object) -> bool:
    """Return whether this is a list, tuple or dictionary with a module or parameter in it."""
    if isinstance(value, Mapping):
        value = tuple(cast("Mapping[object, object]", value).values())
    return isinstance(value, list | tuple) and any(
        isinstance(one, Module | Parameter) for one in cast("tuple[object, ...]", value)
    )
