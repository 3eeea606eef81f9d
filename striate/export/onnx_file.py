"""``export_onnx``: write a model as an ONNX file, after checking and running it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from onnx import ModelProto, helper

from striate.data.dataset import class_names
from striate.data.standardizer import Standardizer, standardizer_of
from striate.errors import DTypeError, OptionError, ShapeError
from striate.export.check import differences, require_valid
from striate.export.translate import translate
from striate.graph.graph import Graph
from striate.graph.value import Array, DType
from striate.nn.module import Module
from striate.nn.normalization import Normalization
from striate.options import flag, require_instance
from striate.options import path as checked_path
from striate.persistence import LoadedModel, predict_graph, write_atomically
from striate.persistence.deployment import drawn_input, with_softmax, without_standardizer
from striate.version import VERSION

OPSET = 20
IR_VERSION = 10


@dataclass(frozen=True)
class Exported:
    """The result of an export: path, number of operators, and number of samples that were compared.

    ``differences`` has the largest absolute difference between the outputs of the model and of the file for each
    program that ran the file: "onnxruntime" and "reference" (ONNX's reference evaluator).
    """

    path: Path
    operators: int
    samples: int
    differences: Mapping[str, float]

    @property
    def difference(self) -> float:
        """The largest absolute difference between the model's outputs and those of a program that ran the file."""
        return max(self.differences.values())

    def __str__(self) -> str:
        judged = ", ".join(f"{difference:.2g} in {name}" for name, difference in self.differences.items())
        return (
            f"exported {self.path}: opset {OPSET}, {self.operators} operators; "
            f"largest difference over {self.samples} samples {judged}"
        )


def export_onnx(
    model: Module,
    path: str | Path,
    *,
    input_shape: Sequence[int] | None = None,
    samples: Array | Sequence[Array] | None = None,
    standardizer: bool = True,
    softmax: bool = False,
    fold: bool = False,
    classes: Sequence[str] | None = None,
) -> Exported:
    """Write the prediction of a float32 model as an ONNX file (opset 20, IR version 10), for any batch size.

    st.export_onnx(model, "net.onnx", samples=test_images[:100])

    ``input_shape`` is the shape of one sample; the default is the shape in the model's last call, or else the shape in
    ``samples``. With ``standardizer``, the model's standardizer becomes part of the file; otherwise the file expects
    standardized inputs. ``softmax`` turns the last output into probabilities over axis 1. ``fold`` multiplies batch
    normalizations into the convolutions before them. ``classes``, the names of the classes, are stored in the metadata;
    the default is the names in the model.

    The file is written only if ONNX's checker accepts it, and onnxruntime and ONNX's reference evaluator compute from
    it the outputs of the model for ``samples``. ``samples`` is an array (N, …), or one array per input; by default 16
    random samples. Raises ``ModelFileError`` if the check or the comparison fails, ``OptionError`` for an operation
    that ONNX cannot express or a path without the ending ".onnx", ``ShapeError`` for samples or shapes that do not fit,
    and ``DTypeError`` for a float64 model.
    """
    require_instance("model", model, Module, "nn.Sequential(…)")
    target = checked_path("path", path)
    if target.suffix != ".onnx":
        raise OptionError(f"{target}: a file of ONNX ends with .onnx")
    _require_float32(model)
    flag("standardizer", standardizer)
    if input_shape is None and model.input_types is None and isinstance(samples, np.ndarray):
        input_shape = samples.shape[1:]
    graph = predict_graph(model, input_shape)
    inside = standardizer_of(model)
    if inside is not None and not standardizer:
        graph, inside = without_standardizer(graph), None
    if flag("softmax", softmax):
        graph = with_softmax(graph)
    state = model.state_dict()
    names = class_names(model.classes if classes is None else classes)
    built = _built(graph, state, flag("fold", fold), names, _momenta(model))
    content = require_valid(built)
    given = _inputs(graph, samples, inside)
    outputs = LoadedModel(graph, state, (), None)(*given.values())
    expected = list(outputs.values()) if isinstance(outputs, dict) else [outputs]
    found = differences(content, built, given, expected)
    write_atomically(target, content)
    return Exported(target, len(built.graph.node), len(expected[0]), found)


def onnx_bytes(model: Module, input_shape: Sequence[int] | None = None) -> bytes:
    """Return the prediction of a model as the bytes of an ONNX file, checked but not run.

    ``input_shape`` is as in ``export_onnx``. Raises ``ShapeError`` if the shape of the input is unknown,
    ``OptionError`` for an operation that ONNX cannot express, ``DTypeError`` for a float64 model, and
    ``ModelFileError`` if ONNX's checker does not accept the file.
    """
    _require_float32(model)
    return require_valid(_built(predict_graph(model, input_shape), model.state_dict(), False, (), {}))


def _require_float32(model: Module) -> None:
    if model.dtype is DType.float64:
        raise DTypeError("onnxruntime convolves float32 only\n  help: model.float() converts it")


def _momenta(model: Module) -> dict[str, float]:
    """Return the momenta of the layers with running statistics, by path."""
    layers = {path: layer for path, layer in model.named_modules() if isinstance(layer, Normalization)}
    found = {path: layer.running_statistics() for path, layer in layers.items()}
    return {path: one.momentum for path, one in found.items() if one is not None and one.momentum is not None}


def _built(
    graph: Graph, state: Mapping[str, Array], fold: bool, classes: Sequence[str], momenta: Mapping[str, float]
) -> ModelProto:
    model = helper.make_model(
        translate(graph, state, fold, momenta),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="striate",
        producer_version=VERSION,
    )
    if classes:
        helper.set_model_props(model, {"classes": json.dumps(list(classes), ensure_ascii=False)})
    return model


def _inputs(graph: Graph, samples: object, inside: Standardizer | None) -> dict[str, Array]:
    """Return the arrays for the graph's inputs by name: the samples, or random ones if those are None.

    Raises ``ShapeError`` if their number or shapes do not fit.
    """
    types = {name: value.type for name, value in graph.given().items()}
    if samples is None:
        return {name: drawn_input(type, inside if not i else None) for i, (name, type) in enumerate(types.items())}
    arrays = list(samples) if isinstance(samples, tuple | list) else [samples]
    if len(arrays) != len(types):
        raise ShapeError(f"samples: {len(arrays)} arrays for a model of {len(types)} inputs")
    found: dict[str, Array] = {}
    for (name, type), array in zip(types.items(), arrays):
        given = np.asarray(array).astype(type.dtype.numpy)
        if given.ndim != type.rank or given.shape[1:] != type.concrete(1)[1:] or len(given) == 0:
            raise ShapeError(f"samples of shape {given.shape} for an input {type}\n  help: give one sample or more")
        found[name] = given
    return found
