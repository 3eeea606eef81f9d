"""The same network with the same weights in other frameworks, for ``striate bench --against``."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Any, cast

from striate import nn
from striate.dtypes import Precision
from striate.errors import MissingExtraError, OptionError, opened_room
from striate.graph.value import Array
from striate.nn.module import Module

LEARNING_RATE, MOMENTUM = 0.01, 0.9

Step = Callable[[Array, Array], float]
Predictor = Callable[[Array], Array]


def imported(name: str, needed: Sequence[str]) -> Any:
    """Import an optional package; raises ``MissingExtraError`` if it is not installed.

    ``needed`` are the packages that the message tells the user to install.
    """
    try:
        return importlib.import_module(name)
    except ImportError:
        raise MissingExtraError(
            f"this comparison needs the package {name}, which is not installed\n  help: pip install {' '.join(needed)}"
        ) from None


def _cannot(layer: Module) -> OptionError:
    return OptionError(f"{layer.describe()} cannot be rebuilt for PyTorch; use `striate bench` without --against")


def _children(model: Module) -> dict[str, Module]:
    children = {path: layer for path, layer in model.named_modules() if path and "." not in path}
    if "standardizer" in children:
        raise OptionError("a network with a standardizer cannot be compared; name one of the known networks instead")
    return children


# PyTorch


def torch_twin(model: Module) -> Any:
    """Return the same network in PyTorch, with the same weights, in training mode.

    Raises ``OptionError`` for a layer without a PyTorch equivalent.
    """
    torch = imported("torch", ["torch"])

    def added(body: Any, shortcut: Any) -> Any:
        """Return a module that computes body(x) + shortcut(x), with striate's names in its state dict."""

        def forward(self: Any, x: Any) -> Any:
            return self.body(x) + (x if self.shortcut is None else self.shortcut(x))

        both = type("Residual", (torch.nn.Module,), {"forward": forward})()
        both.body, both.shortcut = body, shortcut
        return both

    def mirrored(layer: Module) -> Any:
        """Return a PyTorch module with the layer's own ``forward`` and the PyTorch twins of its children."""
        made = type(type(layer).__name__, (torch.nn.Module,), {"forward": type(layer).forward})()
        for name, value in vars(layer).items():
            if not name.startswith("_"):
                setattr(made, name, value)
        for name, child in _children(layer).items():
            setattr(made, name, twin(child))
        return made

    def twin(layer: Module) -> Any:
        match layer:
            case nn.Sequential():
                named = {name: twin(child) for name, child in _children(layer).items()}
                chain = torch.nn.Sequential()
                for name, child in named.items():
                    chain.add_module(name, child)
                return chain
            case nn.Residual():
                return added(twin(layer.body), None if layer.shortcut is None else twin(layer.shortcut))
            case _:
                found = layer.torch_layer()
                if found is None and layer.portable:
                    return mirrored(layer)
                if found is None:
                    raise _cannot(layer)
                return getattr(torch.nn, found.name)(**found.options)

    made = twin(model)
    made.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in model.state_dict().items()})
    return made.train()


def torch_steps(model: Module, threads: int, precision: Precision = Precision.full) -> dict[str, Step]:
    """Return training steps in PyTorch's eager mode: {"PyTorch NCHW": step, "PyTorch channels_last": step}.

    A step is called with a batch (x, y) and returns the loss. For bfloat16, the steps use PyTorch's autocast.
    """
    torch = imported("torch", ["torch"])
    torch.set_num_threads(threads)

    def step_in(layout: Any, fused: bool | None) -> Step:
        twin = torch_twin(model).to(memory_format=layout)
        optimizer = torch.optim.SGD(twin.parameters(), LEARNING_RATE, MOMENTUM, fused=fused)
        loss_of = torch.nn.CrossEntropyLoss()

        def step(x: Array, y: Array) -> float:
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast("cpu", torch.bfloat16, enabled=precision is Precision.bfloat16):
                loss = loss_of(twin(torch.from_numpy(x).contiguous(memory_format=layout)), torch.from_numpy(y))
            loss.backward()
            optimizer.step()
            return loss.item()

        return step

    return {
        "PyTorch NCHW": step_in(torch.contiguous_format, None),
        "PyTorch channels_last": step_in(torch.channels_last, True),
    }


def torch_predictors(model: Module, threads: int) -> dict[str, Predictor]:
    """Return PyTorch's eager predictions: {"PyTorch NCHW": function of x, "PyTorch channels_last": function of x}."""
    torch = imported("torch", ["torch"])
    torch.set_num_threads(threads)

    def predictor_in(layout: Any) -> Predictor:
        twin = torch_twin(model).to(memory_format=layout).eval()

        def predict(x: Array) -> Array:
            with torch.inference_mode():
                return twin(torch.from_numpy(x).contiguous(memory_format=layout)).numpy()

        return predict

    return {
        "PyTorch NCHW": predictor_in(torch.contiguous_format),
        "PyTorch channels_last": predictor_in(torch.channels_last),
    }


# onnxruntime


def onnx_predictors(model: Module, shape: tuple[int, ...], threads: int) -> dict[str, Predictor]:
    """Return {"onnxruntime": f}: f(x) predicts with onnxruntime and its default graph optimizations.

    ``shape`` is the shape of one sample, and ``threads`` the number of threads.
    """
    needed = ["onnx", "onnxruntime"]
    runtime = imported("onnxruntime", needed)
    content = opened_room("export", *needed, extra="onnx").onnx_bytes(model, shape)
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    session = runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return {"onnxruntime": lambda x: cast("Array", session.run(None, {"x": x})[0])}
