"""Save a model to one safetensors file, and load models from such files, ONNX files and timm folders.

A file that ``save`` writes contains

    metadata     "striate": JSON {"version", "striate", "graph", "state", "classes", "standardizer"}
    tensors      every array of ``state_dict`` under PyTorch's names, and the arrays that ``forward`` closed over

The graph is the traced prediction (batch normalization uses its running statistics, dropout does nothing). It is stored
as data and never executed as code: see ``document``. Every size that a file claims is checked before memory is
allocated for it: see ``container``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import numpy as np

from striate.arguments import explained
from striate.data.dataset import class_names
from striate.data.standardizer import Standardizer, standardizer_of
from striate.errors import ModelFileError, OptionError, ShapeError, StriateError, quantity
from striate.graph.graph import Graph, Input
from striate.graph.value import DType, N, TensorType, Value
from striate.nn.module import Module
from striate.options import path as checked_path
from striate.options import require_instance, whole_number
from striate.persistence.atomic import write_atomically
from striate.persistence.container import (
    CHECKPOINT,
    LONGEST_NAME,
    OF_OURS,
    OF_TORCH,
    Header,
    encode,
    names_of,
    object_of,
    open_regular,
    parse_json,
    read_header,
    read_tensor,
)
from striate.persistence.document import graph_document, graph_from_document
from striate.persistence.folder import CONFIG, WEIGHTS, load_folder
from striate.persistence.loaded import LoadedModel
from striate.persistence.onnx import load_onnx
from striate.persistence.weights import load_torch_state, save_torch_state
from striate.tracing import Trace
from striate.version import VERSION

__all__ = [
    "LoadedModel", "load", "load_saved", "save",
    "load_torch_state", "save_torch_state",
    "predict_graph", "write_atomically",
]  # fmt: skip

ENTRY = "striate"
"""The key of the metadata. Everything is under one key, because safetensors writes several keys in random order."""

FORMAT_VERSION = 1
_UNREAD = np.empty(0, np.float32)


def predict_graph(model: Module, input_shape: Sequence[int] | None = None) -> Graph:
    """Trace the model as for prediction and return the graph, with floating inputs in the model's dtype.

    ``input_shape`` is the shape of one sample, such as (C, H, W); axis 0 of the graph's input is then the symbolic
    batch size N. By default, the inputs have the dtypes and shapes of ``model.input_types``, with the model's dtype in
    place of uint8. For a ``LoadedModel``, ``input_shape`` has no effect: the inputs are those of its file. Raises
    ``ShapeError`` if no shape is given and the model was never called, ``OptionError`` for an invalid ``input_shape``,
    and ``ModelFileError`` for a model that returns neither an array nor a tuple, list or dict of arrays.
    """
    if input_shape is not None and not isinstance(model, LoadedModel):
        types = (TensorType(model.dtype or DType.float32, (N, *_sizes(input_shape))),)
    else:
        types = model.input_types
    if types is None:
        raise ShapeError(
            "the model has not been called, so the shape of its input is unknown\n"
            "  help: call the model on data once, or give input_shape=(channels, height, width)"
        )
    floats = [type.with_dtype(model.dtype or DType.float32) if type.dtype is DType.uint8 else type for type in types]
    with Trace() as trace:
        outputs = model(*(trace.input(f"x{i}" if i else "x", type) for i, type in enumerate(floats)))
        return trace.graph(_named(outputs))


def _sizes(shape: object) -> tuple[int, ...]:
    """Return the shape of one sample as a tuple of ints ≥ 1; raises ``OptionError`` for anything else."""
    if not isinstance(shape, tuple | list):
        raise OptionError(f"input_shape={shape!r}; expected the shape of one sample, such as (3, 32, 32)")
    return tuple(whole_number("input_shape: a size", size, 1) for size in cast("Sequence[object]", shape))


def _named(outputs: object) -> dict[str, Value]:
    if isinstance(outputs, Value):
        return {"out": outputs}
    items: Mapping[object, object] | None = None
    if isinstance(outputs, (tuple, list)):
        items = dict(enumerate(cast("Sequence[object]", outputs)))
    elif isinstance(outputs, Mapping):
        items = cast("Mapping[object, object]", outputs)
    if items and all(isinstance(value, Value) for value in items.values()):
        return {f"out.{name}": cast(Value, value) for name, value in items.items()}
    raise ModelFileError(f"a model is saved if its forward returns arrays, or a tuple or dict of them, not {outputs!r}")


@explained
def save(
    model: Module,
    path: str | Path,
    *,
    input_shape: Sequence[int] | None = None,
    classes: Sequence[str] | None = None,
) -> None:
    """Write weights, graph, class names and standardizer of a model to one safetensors file.

    ``input_shape`` is the shape of one sample, such as (3, 32, 32); by default, the inputs have the shapes in
    ``model.input_types``, which are known after a call. ``classes`` are the names of the model's outputs, by default
    ``model.classes``; () stores no names. An existing file is replaced only when the new one is complete. The model is
    not changed.

    Raises ``ShapeError`` if the input's shape or a size of the model is unknown; ``OptionError`` for an argument of the
    wrong type, for class names that are not all different or not one per output, and for a path with the ending of a
    PyTorch or ONNX file; ``ModelFileError`` if the model cannot be stored or the file cannot be written.
    """
    require_instance("model", model, Module, "nn.Sequential(…)")
    target = checked_path("path", path)
    if target.suffix.lower() in (*OF_TORCH, ".onnx"):
        other = "export_onnx" if target.suffix.lower() == ".onnx" else "save_torch_state"
        raise OptionError(
            f"{target}: st.save writes safetensors files\n"
            f"  help: st.save(model, 'model.safetensors'), or st.{other}(model, {str(target)!r})"
        )
    graph = predict_graph(model, input_shape)
    state = model.state_dict()
    if clash := [name for name in graph.captured if name in state]:
        raise ModelFileError(f"the name {clash[0]!r} is used twice")
    names = _names_of_outputs(graph, classes if classes is not None else model.classes)
    standardizer = standardizer_of(model)
    document = {
        "version": FORMAT_VERSION,
        "striate": VERSION,
        "graph": graph_document(graph),
        "state": list(state),
        "classes": list(names),
        "standardizer": None if standardizer is None else standardizer.to_json(),
    }
    text = json.dumps(document, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    write_atomically(target, encode({**state, **graph.captured}, {ENTRY: text}))


def _names_of_outputs(graph: Graph, names: object) -> tuple[str, ...]:
    """Return the class names, of which there are none or one per output; raises ``OptionError`` otherwise."""
    found = class_names(names)
    if any(len(name) > LONGEST_NAME or not _is_text(name) for name in found):
        raise OptionError(f"classes: expected names of up to {LONGEST_NAME} characters of Unicode")
    counts = [value.shape[1] for value in graph.outputs.values() if value.type.rank > 1]
    if found and len(found) not in counts:
        outputs = " or ".join(str(count) for count in counts) or "no named"
        raise OptionError(
            f"{quantity(len(found), 'class')} for a model of {outputs} outputs\n"
            "  help: one name for each output, or classes=()"
        )
    return found


def _is_text(name: str) -> bool:
    """Return whether a name can be encoded as UTF-8, which is not true of unpaired surrogates."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


@explained
def load(path: str | Path) -> Module:
    """Load a model from a file that ``save`` wrote, the folder of a training run, an ONNX file, or a timm folder.

    A folder with a ``config.json`` is read in the layout of timm and Hugging Face (see ``persistence.folder``). In any
    other folder, the file ``model.safetensors`` is read. A file with the suffix .onnx is read as ONNX, and any other
    file as one that ``save`` wrote. The returned module predicts, and can be trained further. The source code that
    defined the model is not needed. No code from a file is executed.

    Raises ``ModelFileError`` with the path, what is wrong with the file, and what to do; ``OptionError`` if ``path`` is
    not a path.
    """
    path = checked_path("path", path)
    if path.is_dir():
        if (path / CONFIG).exists():
            return load_folder(path)
        if not (path / WEIGHTS[0]).is_file():
            raise ModelFileError(f"{path}: a folder without {WEIGHTS[0]} or {CONFIG}\n  help: {OF_OURS}")
        return load_saved(path / WEIGHTS[0])
    if path.suffix.lower() == ".onnx":
        return load_onnx(path)
    return load_saved(path)


def load_saved(path: Path) -> LoadedModel:
    """Load a file written by ``save``, or the prediction graph of an ONNX file, as a ``LoadedModel``.

    Raises ``ModelFileError`` as ``load`` does, and ``ShapeError`` for an ONNX file that leaves sizes other than the
    batch size open. Unlike ``load``, it does not open folders.
    """
    if path.suffix.lower() == ".onnx":
        opened = load_onnx(path)
        return LoadedModel(predict_graph(opened), opened.state_dict(), opened.classes, None)
    with open_regular(path) as stream:
        try:
            header = read_header(path, stream)
            document = _model_document(path, header)
            # Check the graph and all types first: no tensor is read or allocated before they are known to be valid.
            state = names_of(document["state"], f"{path}: state")
            outside = {name: _UNREAD for name in header.places if name not in set(state)}
            graph = graph_from_document(document["graph"], outside, f"{path}: graph")
            _check_tensors(path, graph, header, state)
            arrays = {name: read_tensor(path, stream, name, header.places[name]) for name in (*state, *graph.captured)}
        except OSError as error:
            raise ModelFileError(f"{path}: cannot be read: {error.strerror or error}") from error
    held = {name: arrays.pop(name) for name in graph.captured}
    classes = tuple(names_of(document["classes"], f"{path}: classes"))
    standardizer = document["standardizer"]
    try:
        found = None if standardizer is None else Standardizer.from_json(standardizer)
        model = LoadedModel(Graph(graph.inputs, graph.outputs, {}, held), arrays, classes, found)
        model.arena()
        return model
    except StriateError as error:
        raise ModelFileError(f"{path}: {error}") from error


def _model_document(path: Path, header: Header) -> dict[str, object]:
    text = header.metadata.get(ENTRY)
    if text is None and CHECKPOINT in header.metadata:
        raise ModelFileError(
            f"{path}: a checkpoint of a training, not a model\n"
            "  help: `striate train --resume RUN`, or trainer.fit(…, resume=PATH), goes on to the model"
        )
    if text is None:
        raise ModelFileError(
            f"{path}: a safetensors file that striate did not write: it holds weights without a network\n"
            "  help: build the network and give it the weights: st.load_torch_state(model, path)"
        )
    document = object_of(parse_json(text.encode(), f"{path}: the model"), f"{path}: the model")
    if document.get("version") != FORMAT_VERSION:
        raise ModelFileError(
            f"{path}: written in version {str(document.get('version'))[:20]} of the format, "
            f"this striate reads version {FORMAT_VERSION}\n  help: update striate"
        )
    expected = {"version", "striate", "graph", "state", "classes", "standardizer"}
    if set(document) != expected:
        raise ModelFileError(f"{path}: the model: expected {sorted(expected)}, found {sorted(document)[:8]}")
    return document


def _check_tensors(path: Path, graph: Graph, header: Header, state: list[str]) -> None:
    """Check that the file has each array of the graph and the state, with the expected dtype and shape."""
    if strange := set(state) ^ (set(header.places) - set(graph.captured)):
        raise ModelFileError(
            f"{path}: tensor {min(strange)[:80]!r} is missing or unknown\n  help: the file is damaged; save it again"
        )
    places = [header.places[name] for name in state]
    floats = {place.dtype for place in places if place.dtype is not None and place.dtype.is_float}
    if len(floats) > 1:
        raise ModelFileError(f"{path}: its tensors mix {', '.join(sorted(dtype.value for dtype in floats))}")
    for name, place in zip(state, places):
        if place.dtype not in floats and (place.dtype is not DType.int64 or place.shape):
            raise ModelFileError(
                f"{path}: tensor {name[:80]!r} is {place.element.value} {place.shape}, expected floats"
            )
    for node in graph.sources():
        op = node.op
        assert isinstance(op, Input)
        if type(op) is Input and op.name not in graph.captured:
            continue
        place = header.places.get(op.name)
        if place is None:
            raise ModelFileError(
                f"{path}: tensor {op.name[:80]!r} is missing\n  help: the file is damaged; save it again"
            )
        if place.dtype is not op.type.dtype or place.shape != op.type.shape:
            raise ModelFileError(
                f"{path}: tensor {op.name[:80]!r} is {place.element.value} {place.shape}, its graph reads {op.type}"
            )
