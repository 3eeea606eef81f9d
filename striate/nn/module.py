"""``Module``: what owns parameters, contains other modules, and computes ``forward``."""

from __future__ import annotations

import copy
import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self, cast

import numpy as np

from striate.engine import prepare
from striate.errors import DTypeError, OptionError, ShapeError, StriateError, TracingError
from striate.graph import arithmetic
from striate.graph.graph import Graph
from striate.graph.op import at_path
from striate.graph.value import Array, DType, N, TensorType, Value, dtype_of
from striate.nn.foreign import ForeignLayer
from striate.nn.kind import LayerKind
from striate.nn.memory import placed, write_state
from striate.nn.parameter import Parameter, Role
from striate.nn.summary import summary_html, summary_rows, summary_table
from striate.nn.trail import explained_error
from striate.state import StateArena
from striate.tracing import (
    KEY,
    Program,
    Programs,
    Step,
    Trace,
    active_trace,
    arenas_of,
    array_type,
    bindings_of,
    contains_value,
    current_trace,
    output_values,
)


class Module:
    """Base of layers and networks. A subclass assigns layers and parameters and writes ``forward``.

        class Net(nn.Module):
            def __init__(self):
                self.conv1 = nn.Conv2d(1, 16, 5)
                self.fc = nn.Linear(None, 10)

            def forward(self, x):
                return self.fc(st.ops.flatten(self.conv1(x)))

    Called on arrays it predicts, through a program compiled for any number of samples; called on traced values it
    becomes part of the graph.
    """

    layer_kind: ClassVar[LayerKind] = LayerKind.OTHER

    _parameters: dict[str, Parameter]
    _modules: dict[str, Module]
    _parents: list[Module]
    _version: int
    _seed: int | None
    _arena: StateArena | None
    _arena_version: int
    _dtype: tuple[int, DType | None]
    _programs: Programs
    _example: tuple[TensorType, ...] | None
    _latest: _Latest | None

    def __new__(cls, *arguments: Any, **options: Any) -> Self:
        # Set up here, so that a subclass need not call super().__init__().
        self = super().__new__(cls)
        start: dict[str, Any] = {
            "_parameters": {}, "_modules": {}, "_parents": [], "_version": 0, "_seed": None, "_arena": None,
            "_arena_version": -1, "_dtype": (-1, None), "_programs": Programs(), "_example": None,
            "_latest": None,
        }  # fmt: skip
        self.__dict__.update(start)
        return self

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the module computes, from and to traced values."""
        raise NotImplementedError(f"{type(self).__name__} defines no forward")

    # In the words of others

    def torch_layer(self) -> ForeignLayer | None:
        """The layer of ``torch.nn`` that computes the same; None where there is none with these options."""
        return None

    def onnx_node(self) -> ForeignLayer | None:
        """The ONNX operator that predicts the same; None where there is none with these options."""
        return None

    # Attributes

    def __setattr__(self, name: str, value: object) -> None:
        slot = self._parameters.get(name)
        if slot is not None and isinstance(value, np.ndarray):
            slot.assign(cast("Array", value))
            return
        self.touch()
        self._parameters.pop(name, None)
        self._modules.pop(name, None)
        self.__dict__.pop(name, None)
        if isinstance(value, Parameter):
            value.materialize = self.materialize
            self._parameters[name] = value
        elif isinstance(value, Module):
            if any(inner is self for _, inner in value.named_modules()):
                raise OptionError(f"{name} = {type(value).__name__}: a module cannot contain itself")
            self._modules[name] = value
            value._parents.append(self)  # pyright: ignore[reportPrivateUsage]
        elif name == "standardizer" and value is not None:
            fitted = cast("Any", value)
            if not (hasattr(fitted, "mean") and hasattr(fitted, "sigma")):
                raise OptionError(f"standardizer={value!r}\n  help: data.Standardizer.fit(images)")
            layer = Standardization(fitted.mean, fitted.sigma, getattr(fitted, "epsilon", 0.0))
            self.standardizer = layer.to(self.dtype or DType.float32)
        else:
            object.__setattr__(self, name, value)

    def __getattr__(self, name: str) -> Any:
        own = self.__dict__
        if name in own.get("_modules", ()):
            return own["_modules"][name]
        if name in own.get("_parameters", ()):
            slot = cast("Parameter", own["_parameters"][name])
            trace = current_trace()
            return slot.data if trace is None else trace.read(slot)
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    def register_buffer(self, name: str, array: Array) -> None:
        """A named array that is saved with the model and not learned."""
        setattr(self, name, Parameter(np.asarray(array), role=Role.BUFFER))

    def register_parameter(self, name: str, parameter: Parameter | None) -> None:
        """The same as assigning the parameter to an attribute; None says that the layer has none."""
        setattr(self, name, parameter)

    def slot(self, name: str) -> Parameter:
        """The parameter or buffer object behind an attribute."""
        return self._parameters[name]

    def assign(self, name: str, value: Value) -> None:
        """Gives a buffer new contents when the training step that is being traced succeeds."""
        active_trace("assign").update(self._parameters[name], value)

    def touch(self) -> None:
        """Notes that programs compiled from this module, or from one that contains it, are out of date."""
        self.__dict__["_version"] += 1
        for parent in self._parents:
            parent.touch()

    @property
    def version(self) -> int:
        """Grows when the structure, an option or the memory of the module changes."""
        return self._version

    # Walking

    def children(self) -> Iterator[Module]:
        """Modules assigned to this one."""
        yield from self._modules.values()

    def named_modules(self) -> Iterator[tuple[str, Module]]:
        """(dotted path, module) from this one ("") downwards; a shared module once, under its first path."""
        seen: set[int] = set()

        def walk(module: Module, path: str) -> Iterator[tuple[str, Module]]:
            if id(module) in seen:
                return
            seen.add(id(module))
            yield path, module
            for name, child in module._modules.items():
                yield from walk(child, f"{path}.{name}" if path else name)

        yield from walk(self, "")

    def own_slots(self) -> dict[str, Parameter]:
        """Parameters and buffers of this module itself, by attribute name."""
        return dict(self._parameters)

    def named_slots(self) -> Iterator[tuple[str, Parameter]]:
        """(dotted name, parameter or buffer), in the order of PyTorch's state dict; shared ones once."""
        seen: set[int] = set()
        for path, module in self.named_modules():
            for name, slot in module._parameters.items():
                if id(slot) not in seen:
                    seen.add(id(slot))
                    yield (f"{path}.{name}" if path else name), slot

    def named_parameters(self) -> Iterator[tuple[str, Array]]:
        """(dotted name, array) of what is learned: views of the model's memory that cannot be written.

        ``load_state_dict`` writes, and so does an array assigned to the attribute of a layer.
        """
        yield from ((name, slot.data) for name, slot in self.named_slots() if slot.learned)

    def parameters(self) -> Iterator[Array]:
        """The arrays of ``named_parameters``."""
        yield from (array for _, array in self.named_parameters())

    def named_buffers(self) -> Iterator[tuple[str, Array]]:
        """(dotted name, array) of running statistics and the like."""
        yield from ((name, slot.data) for name, slot in self.named_slots() if not slot.learned)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Whether training changes the parameters of this module."""
        for _, slot in self.named_slots():
            slot.requires_grad = requires_grad and slot.learned
        self.touch()
        return self

    # Memory

    @property
    def dtype(self) -> DType | None:
        """Element type of the parameters; None without any."""
        version, dtype = self._dtype
        if version != self._version:  # walking a deep network in every step would cost more than the rest of the call
            dtype = next((slot.dtype for _, slot in self.named_slots() if slot.dtype.is_float), None)
            self.__dict__["_dtype"] = (self._version, dtype)
        return dtype

    def to(self, dtype: str | DType) -> Self:
        """Converts parameters and buffers to float32 or float64."""
        wanted = dtype_of(dtype)
        if not wanted.is_float:
            raise DTypeError(f"a model computes in float32 or float64, not {wanted.value}")
        for _, slot in self.named_slots():
            if slot.role is not Role.COUNTER:
                slot.dtype = wanted
        self.touch()
        return self

    def double(self) -> Self:
        """The model in float64."""
        return self.to(DType.float64)

    def float(self) -> Self:
        """The model in float32."""
        return self.to(DType.float32)

    def initialize(self, seed: int) -> Self:
        """Starts all parameters and buffers anew from a seed."""
        self.__dict__["_seed"] = seed
        self.__dict__["_arena"] = None
        for _, slot in self.named_slots():
            slot.array = None
        self.touch()
        return self

    def infer(self, *shapes: tuple[int, ...]) -> Self:
        """Infers sizes given as None from the shape of one sample, by arithmetic alone.

        model = nn.Sequential(nn.Flatten(), nn.Linear(None, 10)).infer((1, 28, 28))
        """
        dtype = self.dtype or DType.float32
        if any(isinstance(cast("object", shape), int) for shape in shapes):
            raise OptionError(f"infer{shapes}: wanted the shape of one sample, such as (1, 28, 28)")
        with Trace() as trace:
            types = [TensorType(dtype, (N, *shape)) for shape in shapes]
            self._trace(tuple(trace.input(f"x{i}" if i else "x", type) for i, type in enumerate(types)))
        self.__dict__["_example"] = tuple(types)
        return self

    def seed(self, seed: int) -> Self:
        """The seed of parameters that have no values yet, unless ``initialize`` gave one."""
        if self._seed is None:
            self.__dict__["_seed"] = seed
        return self

    def initialized(self) -> bool:
        """Whether the parameters have their arrays."""
        return all(slot.array is not None for _, slot in self.named_slots())

    def _ancestors(self) -> list[Module]:
        """The root first, this module last; of several parents the one that took the module in last."""
        return [*(self._parents[-1]._ancestors() if self._parents else ()), self]

    def materialize(self) -> None:
        """Gives arrays to the largest part of the model around this module whose sizes are known."""
        for module in self._ancestors():
            if module is self or all(slot.known for _, slot in module.named_slots()):
                module.arena()
                return

    def arena(self) -> StateArena:
        """The state arena; made, or made again around the same contents, where the structure has changed."""
        if self._arena is not None and self._arena_version == self._version:
            return self._arena
        root = self._ancestors()[0]
        names = {id(slot): name for name, slot in root.named_slots()}
        former = self._arena
        arena = placed(dict(self.named_slots()), self.dtype or DType.float32, former, root._seed or 0, names)
        if arena is former:
            self.__dict__["_arena_version"] = self._version
            return arena
        for _, module in self.named_modules():
            module.touch()  # also for other models that share a layer: their programs read the former memory
        self.__dict__.update(_arena=arena, _arena_version=self._version)
        return arena

    def __deepcopy__(self, memory: dict[int, Any]) -> Self:
        """An independent model with the same contents; its memory and programs are made when it first runs."""
        copied = type(self).__new__(type(self))
        memory[id(self)] = copied
        own = {"_arena", "_programs", "_latest", "_parents", "_version", "_arena_version", "_dtype"}
        copied.__dict__.update(
            {name: copy.deepcopy(value, memory) for name, value in self.__dict__.items() if name not in own}
        )
        for child in copied.children():
            child._parents.append(copied)
        return copied

    def state_dict(self) -> dict[str, Array]:
        """Copies of parameters and buffers under PyTorch's names."""
        self.materialize()
        return {name: np.array(slot.data) for name, slot in self.named_slots()}

    def load_state_dict(self, state: Mapping[str, Array], strict: bool = True) -> None:
        """Writes arrays into the model's memory; nothing is written unless all of them fit.

        Raises ``ShapeError`` listing missing and unexpected names (``strict``) and wrong shapes.
        """
        write_state(dict(self.named_slots()), state, strict)
        for _, module in self.named_modules():
            module.settle()

    def forget_inputs(self) -> None:
        """Lets a layer with weights infer its number of inputs anew; the weights start anew as well.

        Raises ``OptionError`` for a layer that cannot.
        """
        raise OptionError(
            f"{self.describe()} cannot infer its number of inputs\n  help: build the layer anew for fewer inputs"
        )

    def settle(self) -> None:
        """Takes over sizes that loading a state made known; layers with inferred sizes override it."""

    # Calling

    def __call__(self, *inputs: Any, training: bool = False) -> Any:
        """Predicts on arrays; on traced values adds the module to the graph.

        ``training=True`` shows what training sees (statistics of this batch, dropout) and changes nothing.
        """
        latest = self._latest
        if latest is not None and len(inputs) == 1 and latest.takes(inputs[0], training, self._version):
            return latest.program({"x": inputs[0]}, len(inputs[0]))
        if contains_value(inputs):
            return self._trace(inputs)
        return self._predict(inputs, training)

    def _trace(self, inputs: tuple[Any, ...]) -> Any:
        trace = active_trace(type(self).__name__)
        if self not in trace.paths:
            for path, module in self.named_modules():
                trace.paths.setdefault(module, path)
            for name, slot in self.named_slots():
                trace.names.setdefault(slot, name)
        path = trace.paths[self]
        with at_path(path):
            if inputs and isinstance(inputs[0], Value):
                inputs = (self._entered(inputs[0]), *inputs[1:])
            try:
                output = self.forward(*inputs)
            except ShapeError as error:
                if any(error is known for known in trace.explained):
                    raise
                raise explained_error(trace, self.where(), error) from error
        if output is None:
            raise TracingError(f"{self.where()}: its forward returned None\n  help: end forward with `return`")
        if isinstance(output, Value) and (not self._modules or self._parameters):
            values = tuple(value for value in inputs if isinstance(value, Value))
            trace.steps.append(Step(path, self, values, output, not self._modules))
        return output

    def _entered(self, x: Value) -> Value:
        """Bytes become floats and raw data standardized, inside the program."""
        if x.dtype is DType.uint8 and not isinstance(self, Standardization):
            x = arithmetic.cast(x, self.dtype or DType.float32)
        return self._modules["standardizer"](x) if "standardizer" in self._modules else x

    def _predict(self, inputs: tuple[Any, ...], training: bool) -> Any:
        arrays, n = self._arrays(inputs)
        program = self._program(arrays, n, training)
        if KEY in program.graph.inputs:
            arrays[KEY] = np.zeros((), np.int64)
        elif len(inputs) == 1:
            x = arrays["x"]
            self.__dict__["_latest"] = _Latest(self._version, training, x.shape[1:], x.dtype, program, n == 1)
        return program(arrays, n)

    def computed(self, key: object, arrays: Mapping[str, Array], function: Callable[..., Any]) -> Any:
        """What a function of traced values gives for arrays with N on axis 0, in prediction mode.

        The function may call the model, look at the active trace, and differentiate. Its program, one for all N, is
        kept with those of the model under ``key``, which says all that it depends on beside the types of the arrays.
        """
        n = len(next(iter(arrays.values())))
        types = {name: array_type(array, name, batched=True) for name, array in arrays.items()}
        kinds = (key, tuple(types.items()))
        program = self._programs.find((self._version, *kinds))
        if program is None:
            with Trace() as trace:
                outputs = function(**{name: trace.input(name, type) for name, type in types.items()})
                graph = trace.graph(output_values(outputs))
            program = self._prepared(trace, graph, outputs, single_sample=False)
            self._programs.keep((self._version, *kinds), program)
        return program(arrays, n)

    def program(self, *inputs: Any, training: bool = False) -> Program:
        """The compiled program that predicts on arrays like these: for profiles."""
        return self._program(*self._arrays(inputs), training)

    def _arrays(self, inputs: tuple[Any, ...]) -> tuple[dict[str, Array], int]:
        arrays = {f"x{i}" if i else "x": self.as_input(array, first=not i) for i, array in enumerate(inputs)}
        if not arrays or any(array.ndim == 0 for array in arrays.values()):
            raise ShapeError(f"{type(self).__name__} wants arrays whose axis 0 counts the samples")
        sizes = {array.shape[0] for array in arrays.values()}
        if len(sizes) > 1:
            raise ShapeError(f"the inputs have different numbers of samples: {sorted(sizes)}")
        (n,) = sizes
        return arrays, n

    def _program(self, arrays: Mapping[str, Array], n: int, training: bool) -> Program:
        types = {name: array_type(array, name, batched=True) for name, array in arrays.items()}
        shapes = tuple(types.values())
        program = self._programs.find((self._version, training, shapes, n == 1))
        if program is None:
            program = self._build(types, training, n)
            self._programs.keep((self._version, training, shapes, n == 1), program)
            if not program.executable.batch_specialized:
                self._programs.keep((self._version, training, shapes, n != 1), program)
        return program

    def _build(self, types: Mapping[str, TensorType], training: bool, n: int) -> Program:
        with Trace(training) as trace:
            outputs = self._trace(tuple(trace.input(name, type) for name, type in types.items()))
            if not output_values(outputs):
                found = type(outputs).__name__
                raise TracingError(
                    f"{self.describe()}: its forward returned no traced value but {found}\n"
                    "  help: compute the result from its input, with layers and st.ops"
                )
            graph = trace.graph(output_values(outputs))
        self.__dict__["_example"] = tuple(types.values())
        return self._prepared(trace, graph, outputs, single_sample=n == 1)

    def _prepared(self, trace: Trace, graph: Graph, outputs: Any, single_sample: bool) -> Program:
        bindings = bindings_of(trace)
        executable = prepare(
            graph, bindings, {}, None, arenas=arenas_of(trace), keep_packed=True, single_sample=single_sample
        )
        return Program(graph, executable, outputs, tuple(trace.checks))

    def as_input(self, array: Any, first: bool = True) -> Array:
        """An array that the model's programs take: bytes as they are, other numbers in the model's dtype.

        Integers after the ``first`` input stay integers: they may be labels. Raises ``DTypeError`` for what holds no
        numbers, or is no array at all.
        """
        try:
            found = np.ascontiguousarray(array)
        except ValueError as error:
            raise DTypeError(f"{type(self).__name__} wants an array, not nested lists of different lengths") from error
        kind, dtype = found.dtype.kind, self.dtype
        if kind not in "fiub":
            got = f"an array of {found.dtype}" if isinstance(array, np.ndarray) else type(array).__name__
            raise DTypeError(f"{type(self).__name__} wants an array of real numbers, not {got}")
        if kind == "f" and dtype is None and found.dtype.itemsize not in (4, 8):
            dtype = DType.float32  # half precision into a model without parameters
        if kind in "iub" and found.dtype != np.uint8 and (first or kind == "b"):
            dtype = dtype or DType.float32
            kind = "f"
        return found.astype(dtype.numpy) if kind == "f" and dtype is not None and found.dtype != dtype.numpy else found

    # Saying what it is

    def extra_repr(self) -> str:
        """The options, as ``repr`` shows them between the parentheses."""
        return ""

    def describe(self) -> str:
        """The layer in one line, as errors name it."""
        return f"{type(self).__name__}({self.extra_repr()})"

    def where(self) -> str:
        """``"fc1" Linear(in_features=128)``: the path inside the active trace, and the layer."""
        trace = current_trace()
        path = trace.paths.get(self, "") if trace else ""
        return f'"{path}" {self.describe()}' if path else self.describe()

    def multiply_adds(self, inputs: tuple[Value, ...], output: Value) -> int:
        """Multiply-adds of one sample; layers that multiply override it."""
        return 0

    def __repr__(self) -> str:
        if not self._modules:
            try:
                return self.describe()
            except (AttributeError, TypeError):  # a subclass whose __init__ has not finished
                return f"{type(self).__name__}(…)"
        lines = [f"({name}): {child!r}".replace("\n", "\n  ") for name, child in self._modules.items()]
        return f"{type(self).__name__}(\n  " + "\n  ".join(lines) + "\n)"

    def summary(self, shape: tuple[int, ...] | None = None) -> str:
        """A table: path, layer, output shape, parameters, multiply-adds of one sample. Never raises.

        ``shape`` is that of one sample; without it the one that the model was last called with.
        """
        rows, problem = self._summarized(shape)
        return summary_table(rows) + problem

    def _repr_html_(self) -> str:
        """The summary, as notebooks show it."""
        rows, problem = self._summarized(None)
        return summary_html(rows, problem)

    def _summarized(self, shape: tuple[int, ...] | None) -> tuple[list[tuple[str, ...]], str]:
        problem = ""
        types = self._example
        trace = Trace()
        try:
            if shape is not None:
                types = None
                sizes = tuple(operator.index(size) for size in shape)
                types = (TensorType(self.dtype or DType.float32, (N, *sizes)),)
            with trace:
                if types is not None:
                    self._trace(tuple(trace.input(f"x{i}" if i else "x", type) for i, type in enumerate(types)))
        except StriateError as error:
            problem = f"\n{type(error).__name__} {error}"
        except Exception as error:  # noqa: BLE001 - a summary must not raise, whatever a user's forward does
            problem = f"\n{type(error).__name__} {error}"
        rows = summary_rows(self, trace, types)
        for restore in reversed(trace.undo):
            restore()
        return rows, problem


@dataclass(frozen=True)
class _Latest:
    """The program that predicted last, and what it takes: a call on an array of the same kind looks nothing up."""

    version: int
    training: bool
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    program: Program
    single_sample: bool

    def takes(self, x: object, training: bool, version: int) -> bool:
        """Whether the program predicts on ``x`` as it is."""
        return (
            type(x) is np.ndarray
            and x.ndim > 0
            and x.shape[1:] == self.shape
            and x.dtype == self.dtype
            and training == self.training
            and version == self.version
            and ((x.shape[0] == 1) == self.single_sample or not self.program.executable.batch_specialized)
        )


class Standardization(Module):
    """x̂ = (x − μ) / σ, one μ and σ for each feature or channel; they are data, not learned."""

    layer_kind: ClassVar[LayerKind] = LayerKind.STANDARDIZATION
    mean: Value
    sigma: Value

    def __init__(self, mean: Array, sigma: Array, epsilon: float = 0.0) -> None:
        self.register_buffer("mean", mean)
        self.register_buffer("sigma", sigma)
        self.epsilon = float(epsilon)  # is in σ already; kept to be told

    def forward(self, x: Value) -> Value:
        (count,) = self.slot("mean").sizes
        if x.type.rank < 2 or x.shape[1] != count:
            raise ShapeError(f"data of shape {x.shape}, the standardizer was fitted on {count} features or channels")
        sizes = (1, count, *(1,) * (x.type.rank - 2))
        return (x - arithmetic.reshape(self.mean, sizes)) / arithmetic.reshape(self.sigma, sizes)

    def extra_repr(self) -> str:
        return f"{self.slot('mean').shape[0]}"
