"""``Module``, the base class of layers and networks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from inspect import signature
from typing import Any, ClassVar, Protocol, Self, cast, runtime_checkable

import numpy as np

from striate.errors import DTypeError, OptionError, ShapeError, TracingError
from striate.graph.elementwise import cast as cast_value
from striate.graph.op import at_path
from striate.graph.value import Array, DType, N, TensorType, Value
from striate.nn.foreign import ForeignLayer
from striate.nn.freezing import set_frozen
from striate.nn.kind import LayerKind
from striate.nn.memory import ModuleMemory
from striate.nn.prediction import Predictor, as_input
from striate.nn.summary import Summary
from striate.nn.trail import explained_error
from striate.options import flag
from striate.tracing import LayerCall, Trace, TracedFunction, active_trace, contains_value, current_trace


@runtime_checkable
class Preprocessing(Protocol):
    """An object fitted to data, such as ``data.Standardizer``, that can be a model's first layer."""

    def layer(self) -> Module:
        """Return a layer that applies the fitted preprocessing."""
        ...


class Module(ModuleMemory):
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

    _predictor: Predictor

    def __new__(cls, *arguments: Any, **options: Any) -> Self:
        self = super().__new__(cls)
        vars(self)["_predictor"] = Predictor()
        return self

    def __init__(self) -> None:
        # Without this method, Python would accept any arguments for a layer that has no options.
        pass

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the outputs of the module from its inputs, which are symbolic values of a graph.

        Every subclass defines this method.
        """
        raise NotImplementedError(f"{type(self).__name__} defines no forward")

    def traced_forward(self, inputs: tuple[Any, ...]) -> Any:
        """Return ``forward(*inputs)`` for symbolic values of a graph.

        Layers for a fixed number of spatial axes (``Ranked``) override this method to accept one sample without the N
        axis.
        """
        return self.forward(*inputs)

    # Other frameworks

    def torch_layer(self) -> ForeignLayer | None:
        """Return the equivalent layer of ``torch.nn`` with its options, or None if PyTorch has no equivalent."""
        return None

    # Preprocessing and buffers

    @property
    def standardizer(self) -> Module | Preprocessing | None:
        """The layer that the compiled program applies to the first input before ``forward``, or None.

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

    def assign(self, name: str, value: Value) -> None:
        """Set the buffer ``name`` to ``value`` at the end of the training step that is being traced.

        Layers update running statistics this way. If the step fails because its loss or a gradient is not finite, the
        buffer keeps its contents.
        """
        active_trace("assign").update(self._parameters[name], value)

    # Training

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Set whether training changes the parameters of this module and of all modules in it, and return the module.

        ``requires_grad=False`` freezes all of them.
        """
        for _, parameter in self.named_state():
            parameter.requires_grad = requires_grad and parameter.learned
        self.invalidate()
        return self

    def freeze(self, *patterns: str, statistics: bool = False) -> list[str]:
        """Exclude the parameters whose dotted names match one of the patterns from training, and return their names.

        "layer1" and "layer1*" match all parameters of that layer, "*.bias" all biases; without a pattern, all
        parameters are frozen. No gradients are computed for frozen parameters. With ``statistics=True``, batch
        normalizations whose paths match no longer update their running statistics, and normalize with them in training
        as in prediction. Raises ``OptionError`` for a pattern that matches nothing; then nothing is changed.

            model.freeze("layer1*", "layer2*", statistics=True)
        """
        return set_frozen(self, patterns, True, flag("freeze: statistics", statistics))

    def unfreeze(self, *patterns: str, statistics: bool = True) -> list[str]:
        """Include the parameters whose dotted names match one of the patterns (default: all) in training again.

        Returns the names of the parameters. The running statistics of matching layers are updated again as well, unless
        ``statistics=False``.
        """
        return set_frozen(self, patterns, False, flag("unfreeze: statistics", statistics))

    def freeze_statistics(self, frozen: bool) -> bool:
        """Set whether training leaves the running statistics of this layer unchanged (``frozen=True``).

        Returns whether the layer has running statistics; this base class has none.
        """
        return False

    def infer(self, *shapes: tuple[int, ...]) -> Self:
        """Infer all sizes given as None from the shape of one sample, without data, and return the module.

        ``shapes`` are the shapes of one sample without N, one for each input of the module. Nothing is compiled. Raises
        ``OptionError`` for an argument that is not a shape, and ``ShapeError`` if the layers do not fit together.

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

    def forget_inputs(self) -> None:
        """Discard the weights of this layer, so that the next call infers its number of inputs and draws new weights.

        Raises ``OptionError`` for a layer that cannot infer its number of inputs.
        """
        raise OptionError(
            f"{self.describe()} cannot infer its number of inputs\n  help: create a new layer for fewer inputs"
        )

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

        Raises ``OptionError`` if the inputs do not fit these parameters.
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
        """Add the module's operations to the graph that is being traced, and return its outputs as values of the graph.

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
        """The dtypes and shapes of the inputs in the last trace, with N on axis 0; None before the first trace.

        The module is traced by ``infer``, and by the first call on arrays of a new shape.
        """
        return self._predictor.example

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one sample of the first input, such as (C, H, W), in the last trace of the module.

        The module is traced by ``infer``, and by the first call on arrays of a new shape. Raises ``ShapeError`` if it
        has not been traced.
        """
        if not self.input_types:
            raise ShapeError(
                "the model has not been called, so the shape of its input is unknown\n"
                "  help: call the model on data once, or model.infer((3, 32, 32))"
            )
        return self.input_types[0].concrete(1)[1:]

    def computed(self, key: object, arrays: Mapping[str, Array], function: Callable[..., Any]) -> Any:
        """Compile ``function``, run it on named arrays with N on axis 0, and return its outputs as arrays.

        The function is called with one symbolic value per array, by name. It may call the model (as in prediction),
        inspect the active trace, and differentiate. The compiled program is kept, and later calls with an equal ``key``
        and arrays of the same dtypes and shapes, apart from N, run it again. Therefore, functions that compute
        different things need different keys.
        """
        return self._predictor.computed(self, key, arrays, function)

    def program(self, *inputs: Any, training: bool = False) -> TracedFunction:
        """Return the compiled program that ``model(*inputs)`` runs, without running it; for profiling.

        If there is no program yet for inputs of these dtypes and shapes (apart from N), it is compiled.
        ``training=True`` means that dropout and batch normalization work as in training.
        """
        return self._predictor.program(self, inputs, training)

    def as_input(self, array: Any, first: bool = True) -> Array:
        """Return an array in the dtype in which the model's programs take it.

        Floats are converted to the dtype of the model's parameters, or kept if there are no parameters. uint8 is always
        kept. ``first`` says that the array is the first input of the model: then other integers and bools are converted
        to the dtype of the parameters, or to float32 if there are no parameters. In later inputs, which may be labels
        or conditions, integers and bools are kept. Raises ``DTypeError`` for anything that is not an array of real
        numbers.
        """
        return as_input(self, array, first)

    # Description

    def extra_repr(self) -> str:
        """Return the options as text, which ``repr`` shows between the parentheses."""
        return ""

    def describe(self) -> str:
        """Return the layer with its options in one line, such as ``ReLU()``, for error messages."""
        return f"{type(self).__name__}({self.extra_repr()})"

    def where(self) -> str:
        """Return the layer with its path, as in ``"fc1" Linear(in_features=128)``, for error messages.

        The path leads from the model that is being traced to the layer. Outside a trace, the path is left out.
        """
        trace = current_trace()
        path = trace.paths.get(self, "") if trace else ""
        return f'"{path}" {self.describe()}' if path else self.describe()

    def multiply_adds(self, inputs: tuple[Value, ...], output: Value) -> int:
        """Return the number of multiply-adds that the layer needs for one sample.

        ``inputs`` and ``output`` are the symbolic values of one call, from whose shapes the number follows. The base
        class returns 0; layers with weights override this method.
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

        ``shape`` is the shape of one sample, without N; by default, it is the shape in ``input_types``. If ``forward``
        fails, no error is raised: the message of the error is printed below the table.
        """
        return Summary.of(self, shape).text()

    def _repr_html_(self) -> str:
        """Return the summary as HTML, which notebooks show."""
        return Summary.of(self, None).html()
