"""Malicious model files: each false claim is refused by name, and no memory is allocated for it."""

from __future__ import annotations

import json
import os
import resource
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from striate import nn, settings
from striate.errors import ModelFileError, StriateError
from striate.persistence import load, save
from striate.persistence.container import encode

Document = dict[str, Any]


@pytest.fixture(autouse=True)
def _reference(kept_settings: settings.Settings) -> None:
    settings.override(engine=settings.Engine.REFERENCE)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("model") / "m.safetensors"
    model = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(None, 2)
    )
    save(model, path, input_shape=(1, 6, 6), classes=["no", "yes"])
    return path.read_bytes()


def split(content: bytes) -> tuple[Document, bytes]:
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def joined(header: object, tensors: bytes) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + tensors


def refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match=message) as caught:
        load(path)
    assert str(path) in str(caught.value)


def with_model(content: bytes, change: Callable[[Document], Any]) -> bytes:
    """Return the file with its model document changed."""
    header, tensors = split(content)
    document = json.loads(header["__metadata__"]["striate"])
    change(document)
    header["__metadata__"]["striate"] = json.dumps(document)
    return joined(header, tensors)


def with_header(content: bytes, change: Callable[[Document], Any]) -> bytes:
    header, tensors = split(content)
    change(header)
    return joined(header, tensors)


def test_the_good_file_is_good(good: bytes, tmp_path: Path) -> None:
    (tmp_path / "m.safetensors").write_bytes(good)
    assert load(tmp_path / "m.safetensors").classes == ("no", "yes")


# Missing, foreign, truncated


def test_missing_folder_and_pipe(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="no such file"):
        load(tmp_path / "none.safetensors")
    with pytest.raises(ModelFileError, match="a folder"):
        load(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ModelFileError, match="not a regular file"):
        load(tmp_path / "pipe")
    with pytest.raises(ModelFileError):
        load("nul\0byte")


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", "not a safetensors file"),
        (b"\x80\x04K\x01.", "not a safetensors file"),
        (b"{}" * 40, "not a safetensors file"),
        (b"PK\x03\x04" + bytes(60), "a zip archive, not a model"),
        (b"\x89PNG\r\n\x1a\n" + bytes(60), "a PNG picture, not a model"),
    ],
)
def test_foreign_files(content: bytes, kind: str, tmp_path: Path) -> None:
    refused(tmp_path, content, kind)


def test_a_safetensors_file_of_somebody_else(tmp_path: Path) -> None:
    content = encode({"w": np.zeros(2, np.float32)}, {"format": "pt"})
    refused(tmp_path, content, "striate did not write[\\s\\S]*load_torch_state")


def test_every_truncation_is_refused(good: bytes, tmp_path: Path) -> None:
    for length in [*range(40), *range(40, len(good), 97), len(good) - 1]:
        refused(tmp_path, good[:length], "help|bytes")
    refused(tmp_path, good + b"x", "belong to no tensor")


def test_another_version_of_the_format(good: bytes, tmp_path: Path) -> None:
    refused(tmp_path, with_model(good, lambda d: d.update(version=99)), "version 99")


# Lies in the container


@pytest.mark.parametrize("length", [2**63, 2**64 - 1, 10**9, 50_000_000])
def test_a_huge_declared_header_allocates_nothing(length: int, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    with path.open("wb") as stream:
        stream.write(struct.pack("<Q", length))
        if length < 2**33:
            stream.truncate(8 + length)  # sparse: the bytes are there, and are zeros
        else:
            stream.write(b"{" * 100)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ModelFileError, match="declares a header"):
        load(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000  # KB


def test_a_huge_declared_shape_allocates_nothing(good: bytes, tmp_path: Path) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for shape in ([2**40, 9], [2**62, 2**62, 2**62], [1] * 5000, [-2, -9], [2.0, 9], [True, 18], "18", None):
        changed = with_header(good, lambda h, shape=shape: h["0.weight"].update(shape=shape))
        refused(tmp_path, changed, r"0\.weight")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000


@pytest.mark.parametrize(
    "offsets", [[0, 2**60], [-8, 64], [72, 0], [0], [0, 72, 144], [0, 1e3], ["0", "72"], None, [10**30, 10**30]]
)
def test_places_outside_of_the_file(offsets: Any, good: bytes, tmp_path: Path) -> None:
    refused(tmp_path, with_header(good, lambda h: h["0.weight"].update(data_offsets=offsets)), r"0\.weight")


def test_overlapping_tensors_and_gaps(good: bytes, tmp_path: Path) -> None:
    def overlap(header: Document) -> None:
        header["1.bias"]["data_offsets"] = header["1.weight"]["data_offsets"]

    refused(tmp_path, with_header(good, overlap), "overlap|gap")
    refused(tmp_path, with_header(good, lambda h: h.pop("0.weight")), "gap|belong to no tensor")


def test_dtypes(good: bytes, tmp_path: Path) -> None:
    refused(tmp_path, with_header(good, lambda h: h["0.weight"].update(dtype="F8_E4M3")), "known: F64, F32")
    refused(tmp_path, with_header(good, lambda h: h["0.weight"].update(dtype=["F32"])), "unknown")
    refused(tmp_path, with_header(good, lambda h: h["0.weight"].update(extra=1)), "expected dtype, shape")
    refused(tmp_path, with_header(good, lambda h: h["0.weight"].update(dtype="I32")), "i32|int32")


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (b"[" * 100_000, "nested deeper"),
        (b'{"a":' * 60_000, "nested deeper"),
        (b'{"a": "' + b"[" * 1000 + b'", "b": NaN}', "NaN"),
        (b'{"a": 1, "a": 2}', "twice"),
        (b"[]", "expected an object"),
        (b'{"__metadata__": {"format": 1}}', "__metadata__"),
        (b'{"a": 1}', "expected an object"),
        (b"\xff\xfe{}", "not the JSON"),
        (b'{"a": ' + b"9" * 10_000 + b"}", "not the JSON"),
        (b'{"a": "' + b'\\"' * 50_000, "not the JSON"),
    ],
)
def test_headers_that_are_not_headers(header: bytes, message: str, tmp_path: Path) -> None:
    refused(tmp_path, joined(header, b""), message)


# Lies in the graph


def node(document: Document, op: str) -> Document:
    return next(one for one in document["graph"]["nodes"] if one["op"] == op)


def test_an_unknown_operation_is_refused_by_name(good: bytes, tmp_path: Path) -> None:
    for name in ("System", "Convolutionn", "Op", "Elementwise", "__import__", 7, None, ["Add"]):
        changed = with_model(good, lambda d, name=name: node(d, "Convolution").update(op=name))
        refused(tmp_path, changed, "unknown operation")
    refused(tmp_path, with_model(good, lambda d: node(d, "Convolution").update(op="Convolutionn")), "'Convolution'")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("groups", 1.5), ("groups", True), ("groups", "1"), ("groups", None), ("groups", [1]), ("groups", 0),
        ("groups", -1), ("groups", 2**70), ("groups", {"tuple": []}), ("groups", {"float": "inf"}),
        ("stride", 1), ("stride", [1, 1]), ("stride", {"tuple": [1]}), ("stride", {"tuple": [0, 0]}),
        ("stride", {"tuple": [-1, 1]}), ("stride", {"tuple": [{"batch": "N"}, 1]}), ("stride", {"tuple": {"a": 1}}),
        ("stride", {"list": [1, 1]}), ("padding", {"tuple": [{"tuple": [0, 0, 0]}, {"tuple": [0, 0]}]}),
        ("padding", {"tuple": [{"tuple": [2**40, 2**40]}, {"tuple": [2**40, 0]}]}),
        ("dilation", {"tuple": [2**62, 1]}), ("dilation", {"enum": "same"}),
    ],
)  # fmt: skip
def test_wrong_fields_are_refused(field: str, value: Any, good: bytes, tmp_path: Path) -> None:
    refused(
        tmp_path, with_model(good, lambda d: node(d, "Convolution")["fields"].update({field: value})), "Convolution"
    )


def test_numbers_that_are_not_floats(good: bytes, tmp_path: Path) -> None:
    for number in (10**400, True, "1", None, [1.0], {"float": "1"}, {"float": 1}):
        changed = with_model(good, lambda d, number=number: node(d, "Constant")["fields"].update(number=number))
        refused(tmp_path, changed, "Constant")


def test_unknown_and_missing_fields_are_refused(good: bytes, tmp_path: Path) -> None:
    refused(tmp_path, with_model(good, lambda d: node(d, "Convolution")["fields"].update(kernel=1)), "unknown field")
    refused(tmp_path, with_model(good, lambda d: node(d, "Convolution")["fields"].pop("stride")), "missing")
    refused(tmp_path, with_model(good, lambda d: node(d, "Convolution").update(code="1")), "expected")


@pytest.mark.parametrize("inputs", [[], [[0, 0]], [[99, 0], [0, 0]], [[0, 9], [0, 0]], [[-1, 0], [0, 0]], [0, 1], None])
def test_wrong_edges_are_refused(inputs: Any, good: bytes, tmp_path: Path) -> None:
    refused(tmp_path, with_model(good, lambda d: node(d, "Convolution").update(inputs=inputs)), "Convolution|node")


def test_the_graph_and_its_tensors_must_agree(good: bytes, tmp_path: Path) -> None:
    def grow(document: Document) -> None:
        wide = next(n for n in document["graph"]["nodes"] if n["fields"].get("name") == "1.bias")
        wide["fields"]["type"] = {"type": ["float32", {"tuple": [3]}]}

    def rename(document: Document) -> None:
        next(n for n in document["graph"]["nodes"] if n["fields"].get("name") == "1.bias")["fields"]["name"] = "other"

    def huge(document: Document) -> None:
        x = next(n for n in document["graph"]["nodes"] if n["op"] == "Input")
        x["fields"]["type"]["type"][1]["tuple"][1:] = [1, 2**30, 2**30]

    refused(tmp_path, with_model(good, grow), "1.bias|broadcast|differ in size")
    refused(tmp_path, with_model(good, rename), "missing")
    refused(tmp_path, with_model(good, huge), "larger than")


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.pop("graph"),
        lambda d: d.update(more=1),
        lambda d: d.update(state=["0.weight"]),
        lambda d: d.update(classes=[1, 2]),
        lambda d: d.update(classes="ab"),
        lambda d: d.update(standardizer={"mean": [0], "sigma": [0], "epsilon": 0}),
        lambda d: d.update(standardizer=[1]),
        lambda d: d["graph"].update(nodes=[]),
        lambda d: d["graph"].update(outputs={}),
        lambda d: d["graph"].update(inputs=[]),
        lambda d: d["graph"].update(inputs=["y"]),
        lambda d: d["graph"].update(captured=["0.weight"]),
        lambda d: d["graph"].update(captured=["none"]),
        lambda d: d["graph"]["nodes"].append(d["graph"]["nodes"][0]),
    ],
)
def test_a_model_document_of_another_form(change: Callable[[Document], Any], good: bytes, tmp_path: Path) -> None:
    refused(tmp_path, with_model(good, change), "m.safetensors")


@given(position=st.integers(0, 10**6), byte=st.integers(0, 255))
@hypothesis_settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_flipped_byte_loads_or_is_refused(position: int, byte: int, good: bytes, tmp_path: Path) -> None:
    content = bytearray(good)
    content[position % len(good)] = byte
    path = tmp_path / "m.safetensors"
    path.write_bytes(content)
    try:
        model = load(path)
        model(np.zeros((1, *model.input_shape), np.float32))
    except StriateError:
        pass
