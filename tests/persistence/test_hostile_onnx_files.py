"""Malicious ONNX files: each is refused by name, and no memory is allocated for it."""

from __future__ import annotations

import os
import resource
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from striate import settings
from striate.errors import ModelFileError, StriateError
from striate.persistence import load
from tests.persistence.onnx_bytes import (
    X,
    attribute,
    function,
    graph,
    info,
    message,
    model,
    node,
    of,
    tensor,
    varint,
    whole,
)

RELU = node("Relu", ["x"], ["y"])
W = np.ones((3, 3), np.float32)
GEMM = node("Gemm", ["x", "w"], ["y"])


@pytest.fixture(autouse=True)
def _reference(kept_settings: settings.Settings) -> None:
    settings.override(engine=settings.Engine.REFERENCE)


def external(**entries: str) -> bytes:
    return of(GEMM, tensors=[tensor("w", W, external=entries)])


def nested(levels: int) -> bytes:
    """Return functions that each call the previous one ten times: 10^levels nodes when inlined."""

    def calls(level: int) -> list[bytes]:
        return [node(f"f{level}", ["a"], [name], "f") for name in (*(f"b{i}" for i in range(9)), "b")]

    functions = [function("f0", [node("Relu", ["a"], ["b"])], ["a"], ["b"])]
    functions += [function(f"f{level}", calls(level - 1), ["a"], ["b"]) for level in range(1, levels + 1)]
    return of(node(f"f{levels}", ["x"], ["y"], "f"), functions=functions)


def called(*functions: bytes) -> bytes:
    return of(node("g", ["x"], ["y"], "f"), functions=functions)


HUGE = np.array([2**40, 2**20], np.int64)
CASES: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "it holds no graph"),
    "no field": (b"\x00\x01", "field 0 claims"),
    "a group": (b"\x0b\x0c", "field 1 is of the unknown kind 3"),
    "a length beyond the file": (varint(7 << 3 | 2) + varint(2**40), "field 7 claims 1,099,511,627,776 bytes"),
    "a number without end": (b"\x08" + b"\xff" * 20, "a number has more than 10 bytes"),
    "two graphs": (of(RELU) + message(7, graph([RELU], [X], ["y"])), "the file holds two graphs"),
    "no opset": (message(7, graph([RELU], [X], ["y"])), "its operators are of opset 1"),
    "an opset of tomorrow": (of(RELU, opset=99), "its operators are of opset 99"),
    "an unknown operator": (of(node("Evil", ["x"], ["y"])), r'cannot be computed: Evil at "evil1"'),
    "an unknown domain": (of(node("Relu", ["x"], ["y"], "evil")), r"cannot be computed: evil\.Relu"),
    "a graph inside": (
        of(node("Relu", ["x"], ["y"], body=message(1, "body") + message(6, graph([RELU], [X], ["y"])) + whole(20, 5))),
        "attribute 'body' is a graph",
    ),
    "a loop": (of(node("Add", ["x", "b"], ["a"]), node("Relu", ["a"], ["b"]), output="b"), "the graph has a loop"),
    "a node that reads itself": (of(node("Relu", ["y"], ["y"])), "the graph has a loop"),
    "an unknown name": (of(node("Relu", ["z"], ["y"])), "reads 'z' which nothing computes"),
    "a name given twice": (of(RELU, RELU), "returns 'y', which is given already"),
    "an input computed again": (of(node("Relu", ["x"], ["x"]), output="x"), "returns 'x', which is given already"),
    "two initializers of a name": (of(GEMM, tensors=[tensor("w", W)] * 2), "two initializers have the same name"),
    "an output of nothing": (of(RELU, output="z"), "output 'z' is computed by nothing"),
    "no inputs": (of(node("Constant", [], ["y"], value_float=1.0), inputs=()), "the graph has no inputs"),
    "a text of 2 MB": (of(node("Relu", ["x"], ["y" * 2_000_000])), "a text of 2,000,000 bytes"),
    "a name that is not UTF-8": (of(message(1, b"\xff\xfe")), "a text is not UTF-8"),
    "a huge tensor": (of(GEMM, tensors=[tensor("w", W, shape=(2**40, 2**20))]), "holds 36 bytes, expected"),
    "a negative size": (of(GEMM, tensors=[tensor("w", W, shape=(-3, 3))]), "has the shape"),
    "too many axes": (of(GEMM, tensors=[tensor("w", W, shape=(1,) * 99)]), "has the shape"),
    "too few bytes": (of(GEMM, tensors=[tensor("w", W, raw=b"1234")]), "holds 4 bytes, expected 36"),
    "a lying type": (of(GEMM, tensors=[tensor("w", W, kind=11)]), "holds 36 bytes, expected 72"),
    "texts": (of(GEMM, tensors=[tensor("w", W, kind=8)]), "has the type string"),
    "a type of tomorrow": (of(GEMM, tensors=[tensor("w", W, kind=77)]), "has the type 77"),
    "data in the folder above": (external(location="../w.bin"), r"lie in '\.\./w\.bin', which is refused"),
    "data elsewhere": (external(location="/etc/passwd"), "lie in '/etc/passwd', which is refused"),
    "data of Windows": (external(location="C:\\w.bin"), "which is refused"),
    "data above, by Windows": (external(location="a\\..\\..\\w.bin"), "which is refused"),
    "data under no name": (external(location=""), "which is refused"),
    "data that are missing": (external(location="none.bin"), "is not a file beside the ONNX file"),
    "data behind a link": (external(location="link.bin"), "behind the link 'link.bin'"),
    "data behind a linked folder": (external(location="link/passwd"), "behind the link 'link/passwd'"),
    "data in a pipe": (external(location="pipe"), "is not a file beside the ONNX file"),
    "data beyond their file": (
        external(location="w.bin", offset="16", length="36"),
        "its data end at byte 52 of w.bin",
    ),
    "data of a huge length": (external(location="w.bin", length="9" * 18), "holds 999,999,999,999,999,999 bytes"),
    "data at a negative place": (external(location="w.bin", offset="-4"), "offset '-4' is not a whole number"),
    "a function that calls itself": (
        called(function("g", [node("g", ["a"], ["b"], "f")], ["a"], ["b"])),
        "calls itself",
    ),
    "functions in a circle": (
        called(
            function("g", [node("h", ["a"], ["b"], "f")], ["a"], ["b"]),
            function("h", [node("g", ["a"], ["b"], "f")], ["a"], ["b"]),
        ),
        "calls itself",
    ),
    "functions that explode": (nested(9), "more than 100,000 nodes after its functions are inlined"),
    "too many operands": (
        of(node("g", ["x"] * 3, ["y"], "f"), functions=[function("g", [RELU], ["a"], ["b"])]),
        "has 1 inputs, the call 3",
    ),
    "two functions of a name": (
        called(*[function("g", [node("Relu", ["a"], ["b"])], ["a"], ["b"])] * 2),
        "two functions",
    ),
    "a constant of 4 EB": (
        of(node("ConstantOfShape", ["s"], ["c"]), node("Add", ["x", "c"], ["y"]), tensors=[tensor("s", HUGE)]),
        "has 1,152,921,504,606,846,976 elements",
    ),
    "a constant repeated": (
        of(
            node("Tile", ["c", "s"], ["t"]),
            node("Add", ["x", "t"], ["y"]),
            tensors=[tensor("s", HUGE), tensor("c", W.astype(np.int64))],
        ),
        "elements",
    ),
    "a range without end": (
        of(
            node("Range", ["a", "b", "d"], ["r"]),
            node("Add", ["x", "r"], ["y"]),
            tensors=[tensor("a", np.int64(0)), tensor("b", np.int64(2**62)), tensor("d", np.int64(1))],
        ),
        "elements",
    ),
    "a value of 4 EB": (
        of(
            node("Expand", ["x", "s"], ["y"]),
            tensors=[tensor("s", np.array([1, 2**50, 3]))],
            inputs=[info("x", ["N", 1, 3])],
        ),
        "is larger than 8,589,934,592 elements",
    ),
    "an attribute of another type": (
        of(node("LeakyRelu", ["x"], ["y"], alpha="0.1")),
        "attribute alpha is 0.1, not a number",
    ),
    "an attribute given twice": (
        of(node("LeakyRelu", ["x"], ["y"], alpha=0.1) + message(5, attribute("alpha", 0.2))),
        "attribute 'alpha' is given twice",
    ),
    "a missing operand": (of(node("Add", ["x"], ["y"])), "input 1 is missing"),
    "a window of nothing": (
        of(node("MaxPool", ["x"], ["y"], kernel_shape=[0]), inputs=[info("x", ["N", 1, 3])]),
        "kernel",
    ),
    "a sequence": (of(RELU, inputs=[message(1, "x") + message(2, message(4, b""))]), "input 'x' has the type 0"),
    "shapes that do not fit": (
        of(node("MatMul", ["x", "w"], ["y"]), tensors=[tensor("w", np.ones((5, 2), np.float32))]),
        "MatMul at",
    ),
}


@pytest.fixture
def little_memory() -> Iterator[None]:
    """Limit the memory of the test, so that allocating more than 256 MB fails."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (256 << 20), before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


def test_the_good_files_are_good(tmp_path: Path) -> None:
    x = np.array([[1, -2, 3]], np.float32)
    (tmp_path / "w.bin").write_bytes(bytes(8) + W.tobytes())
    path = tmp_path / "m.onnx"
    for content, expected in (
        (of(RELU), [[1, 0, 3]]),
        (of(GEMM, tensors=[tensor("w", W)]), [[2, 2, 2]]),
        (external(location="w.bin", offset="8", length="36"), [[2, 2, 2]]),
        (called(function("g", [node("Relu", ["a"], ["b"])], ["a"], ["b"])), [[1, 0, 3]]),
        (nested(3), [[1, 0, 3]]),
    ):
        path.write_bytes(content)
        np.testing.assert_array_equal(load(path)(x), expected)


@pytest.mark.parametrize(
    "case", [pytest.param(c, marks=pytest.mark.slow if c == "functions that explode" else ()) for c in CASES]
)
@pytest.mark.usefixtures("little_memory")
def test_hostile_files_are_refused_by_name(case: str, tmp_path: Path) -> None:
    content, expected = CASES[case]
    (tmp_path / "w.bin").write_bytes(W.tobytes())
    (tmp_path / "link.bin").symlink_to("/etc/passwd")
    (tmp_path / "link").symlink_to("/etc")
    os.mkfifo(tmp_path / "pipe")
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(ModelFileError, match=expected) as caught:
            load(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert str(caught.value).startswith(f"{path}: ")
    assert peak < (200 << 20 if "explode" in case else 16 << 20)


GOOD = model(
    graph(
        [
            node("Conv", ["x", "w", "b"], ["c"], pads=[1, 1, 1, 1]), node("Relu", ["c"], ["r"]),
            node("MaxPool", ["r"], ["p"], kernel_shape=[2, 2], strides=[2, 2]), node("Shape", ["p"], ["s"]),
            node("Gather", ["s", "zero"], ["n"], axis=0), node("Concat", ["n", "rest"], ["t"], axis=0),
            node("Reshape", ["p", "t"], ["f"]), node("Gemm", ["f", "v"], ["y"], transB=1, alpha=0.5),
        ],
        [info("x", ["N", 1, 4, 4])],
        ["y"],
        [
            tensor("w", np.ones((2, 1, 3, 3), np.float32)), tensor("b", np.zeros(2, np.float32)),
            tensor("zero", np.zeros(1, np.int64)), tensor("rest", np.array([-1])),
            tensor("v", np.ones((3, 8), np.float32)),
        ],
    )
)  # fmt: skip


def checked(content: bytes, path: Path) -> None:
    """Load arbitrary bytes: the result is a model that predicts or refuses its input, or a ``ModelFileError``."""
    path.write_bytes(content)
    try:
        found = load(path)
    except ModelFileError:
        return
    try:
        found(np.ones((2, 1, 4, 4), np.float32))
    except StriateError:
        return


def test_the_file_that_is_changed_is_good(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(GOOD)
    assert load(tmp_path / "m.onnx")(np.ones((2, 1, 4, 4), np.float32)).shape == (2, 3)


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    for length in range(0, len(GOOD), 5):
        (tmp_path / "m.onnx").write_bytes(GOOD[:length])
        with pytest.raises(ModelFileError):
            load(tmp_path / "m.onnx")


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_mutations_are_read_or_refused(data: st.DataObject, tmp_path: Path) -> None:
    changed = bytearray(GOOD)
    for _ in range(data.draw(st.integers(1, 4))):
        changed[data.draw(st.integers(0, len(GOOD) - 1))] = data.draw(st.integers(0, 255))
    checked(bytes(changed), tmp_path / "m.onnx")


OPERATORS = [
    "Conv",
    "Relu",
    "Reshape",
    "Gather",
    "Concat",
    "Slice",
    "Pad",
    "Gemm",
    "MatMul",
    "Add",
    "Split",
    "Squeeze",
    "Flatten",
    "Clip",
]


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_graphs_of_valid_pieces_are_read_or_refused(data: st.DataObject, tmp_path: Path) -> None:
    names = ["x", "w", "i", "j"]
    numbers = st.integers(-3, 5) | st.sampled_from([2**31, 2**62, -(2**63)])
    nodes: list[bytes] = []
    for place in range(data.draw(st.integers(1, 5))):
        inputs = data.draw(st.lists(st.sampled_from(names), min_size=1, max_size=4))
        options: dict[str, Any] = data.draw(
            st.dictionaries(
                st.sampled_from(["axis", "perm", "pads", "strides", "group", "transB", "mode"]),
                st.one_of(numbers, st.lists(numbers, max_size=4), st.sampled_from(["reflect", "?"]), st.just(0.5)),
                max_size=2,
            )
        )
        outputs = [f"v{place}"] if place % 3 else [f"v{place}", f"u{place}"]
        nodes.append(node(data.draw(st.sampled_from(OPERATORS)), inputs, outputs, **options))
        names += outputs
    arrays = [np.array(data.draw(st.lists(numbers, max_size=4)), np.int64) for _ in range(2)]
    tensors = [tensor("w", np.ones((2, 1, 3, 3), np.float32)), tensor("i", arrays[0]), tensor("j", arrays[1])]
    checked(model(graph(nodes, [info("x", ["N", 1, 4, 4])], [names[-1]], tensors)), tmp_path / "m.onnx")
