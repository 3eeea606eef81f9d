"""The text files of a native export: header and test program, from the templates beside this file."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from string import Template
from typing import Any

from striate.codegen.artefact import ALIGNMENT, WEIGHTS_HEADER, Artefact, Status
from striate.graph.value import Array

_C_TYPES = {
    "float32": "float", "float64": "double", "uint8": "uint8_t", "int32": "int32_t", "int64": "int64_t",
    "bool": "uint8_t",
}  # fmt: skip
_BITS = {1: "uint8_t", 4: "uint32_t", 8: "uint64_t"}


@dataclass(frozen=True)
class GoldenOutput:
    """The outputs that the test program expects of the network on one level (instruction set).

    ``single`` is the output for the first sample alone, and ``several`` the output for all samples together. ``exact``
    says whether all bits must be equal, because a processor with this instruction set computed the expected outputs.
    """

    single: Array
    several: Array
    exact: bool


@dataclass(frozen=True)
class Golden:
    """Samples (``input``), and the outputs that are expected of the network for each level (instruction set)."""

    input: Array
    outputs: tuple[GoldenOutput, ...]


def weights_file(artefact: Artefact) -> bytes:
    """Return the bytes of ``net.weights``: a header, which contains the network's fingerprint, and the weights.

    ``artefact`` has the contents of the network's object file.
    """
    header = b"STRIATEW" + artefact.fingerprint
    return header.ljust(WEIGHTS_HEADER, b"\0") + artefact.constants


def _template(name: str, values: Mapping[str, object]) -> str:
    text = files("striate.native").joinpath("templates", name).read_text(encoding="utf-8")
    return Template(text).substitute(values)


def _text(value: str) -> str:
    """Return a string literal of C; other characters than printable ASCII are written as octal bytes."""
    letters = (chr(byte) if 32 <= byte < 127 and byte not in b'"\\?' else f"\\{byte:03o}" for byte in value.encode())
    return f'"{"".join(letters)}"'


def _list(values: Iterable[object]) -> str:
    return ", ".join(map(str, values))


def header(artefact: Artefact, facts: Mapping[str, Any]) -> str:
    """Return the text of the C header of a network.

    ``artefact`` has the contents of the network's object file, and ``facts`` the contents of ``net.json``.
    """
    name, upper = artefact.name, artefact.name.upper()
    inputs, outputs = facts["input_shape"], facts["output_shape"]
    input_type, output_type = _C_TYPES[facts["inputs"][0]["dtype"]], _C_TYPES[facts["output_dtype"]]
    takes_uint8 = len(artefact.entries) > 1
    per_thread = facts["scratch_bytes_per_thread"]
    argument = "const void *weights, " if artefact.external else ""
    names = artefact.classes
    statuses = [
        f"    {upper}_{'OK' if status is Status.OK else f'ERROR_{status.name}'} = {status.value},"
        for status in Status
    ]  # fmt: skip
    statuses[-1] = statuses[-1].rstrip(",")
    return _template(
        "net.h",
        {
            "n": name, "N": upper, "title": f"Network {name}", "striate": facts["striate"],
            "input_comment": f"(N, {_list(inputs)}) {facts['inputs'][0]['dtype']}" + " or uint8" * takes_uint8
            + ", raw: the standardizer is inside" * facts["standardizer_inside"],
            "output_comment": f"(N{''.join(f', {size}' for size in outputs)}) {_meaning(facts)}",
            "target_comment": ", ".join(artefact.level_names),
            "abi_version": facts["abi_version"], "target": ",".join(artefact.level_names),
            "levels": len(artefact.levels), "batch": artefact.batch,
            "input_size": math.prod(inputs), "input_rank": len(inputs), "input_shape": _list(inputs),
            "output_size": math.prod(outputs), "output_rank": len(outputs), "output_shape": _list(outputs) or "1",
            "classes": len(names), "class_names": ", ".join(map(_text, names)) or "0",
            "takes_uint8": int(takes_uint8), "input_type": input_type, "output_type": output_type,
            "scratch_bytes": facts["scratch_bytes"], "scratch_fixed": facts["scratch_bytes"] - per_thread,
            "scratch_per_thread": per_thread, "weights_argument": argument, "status_list": "\n".join(statuses),
            "weights_macros": _weights_macros(artefact) if artefact.external else "",
            "uint8_functions": _uint8_functions(name, argument) if takes_uint8 else "",
        },
    )  # fmt: skip


def _meaning(facts: Mapping[str, Any]) -> str:
    """Return the dtype of the output, and what it is unless it is the model's own."""
    dtype = str(facts["output_dtype"])
    if facts["labels"]:
        return f"{dtype}, the index of the largest output along axis 1"
    return f"{dtype}, probabilities over axis 1" if facts["softmax_inside"] else dtype


def _weights_macros(artefact: Artefact) -> str:
    upper = artefact.name.upper()
    return (
        f"/* The file of weights, which the caller reads or maps to memory aligned to {ALIGNMENT} bytes. */\n"
        f'#define {upper}_WEIGHTS_FILE "{artefact.name}.weights"\n'
        f"#define {upper}_WEIGHTS_BYTES {WEIGHTS_HEADER + len(artefact.constants)}\n\n"
    )


def _uint8_functions(name: str, argument: str) -> str:
    return (
        "\n/* The same for inputs of bytes. */\n"
        f"int {name}_run_uint8({argument}const uint8_t *input, {name}_output *output, void *scratch,\n"
        f"    const {name}_parallel *parallel);\n"
        f"int {name}_run_batch_uint8({argument}int32_t count, const uint8_t *input, {name}_output *output, "
        f"void *scratch,\n    const {name}_parallel *parallel);\n"
    )


def _numbers(array: Array) -> str:
    """Return the bits of an array as lines of C."""
    size = array.dtype.itemsize
    bits = array.reshape(-1).view(f"u{size}").tolist()
    suffix = "ull" if size == 8 else ""
    words = [f"{word}" if size == 1 else f"0x{word:x}{suffix}" for word in bits]
    per_line = 24 if size == 1 else 10
    return ",\n".join(", ".join(words[i : i + per_line]) for i in range(0, len(words), per_line))


def _rows(arrays: Sequence[Array]) -> str:
    return ",\n".join(f"{{{_numbers(array)}}}" for array in arrays)


def test_program(artefact: Artefact, facts: Mapping[str, Any], golden: Sequence[Golden]) -> str:
    """Return the test program in C, which runs the network and compares its outputs with expected ones.

    ``golden`` has the inputs and expected outputs, one item for each input dtype. ``artefact`` has the contents of the
    network's object file, and ``facts`` the contents of ``net.json``.
    """
    name, upper, first = artefact.name, artefact.name.upper(), golden[0]
    external = artefact.external
    return _template(
        "net_test.c",
        {
            "n": name, "N": upper, "samples": len(first.input),
            "bits_type": _BITS[first.input.dtype.itemsize],
            "output_bits_type": _BITS[first.outputs[0].single.dtype.itemsize],
            "golden_input": _numbers(first.input),
            "golden_single": _rows([one.single for one in first.outputs]),
            "golden_batch": _rows([one.several for one in first.outputs]),
            "golden_exact": _list(int(one.exact) for one in first.outputs),
            "golden_uint8": _golden_uint8(upper, golden[1]) if len(golden) > 1 else "",
            "uint8_test": _uint8_test(name, upper, external) if len(golden) > 1 else "",
            "weights_value": "weights, " if external else "",
            "weights_usage": f" * The first argument -w FILE names the file of weights, by default {name}.weights.\n"
            if external
            else "",
            "weights_code": _weights_code(upper) if external else "",
            "weights_open": _WEIGHTS_OPEN.replace("NAME", upper) if external else "",
        },
    )  # fmt: skip


def _golden_uint8(upper: str, golden: Golden) -> str:
    bits = _BITS[golden.outputs[0].single.dtype.itemsize]
    return (
        f"static const uint8_t golden_bytes[SAMPLES * {upper}_INPUT_SIZE] = {{\n{_numbers(golden.input)}\n}};\n"
        f"static const {bits} golden_of_bytes[{upper}_LEVELS][SAMPLES * {upper}_OUTPUT_SIZE] = {{\n"
        f"{_rows([one.several for one in golden.outputs])}\n}};\n"
    )


def _uint8_test(name: str, upper: str, external: bool) -> str:
    weights = "weights, " if external else ""
    return (
        f"    status = {name}_run_batch_uint8({weights}SAMPLES, golden_bytes, output, scratch, NULL);\n"
        f'    failures += check("bytes", status, output, golden_of_bytes[level], SAMPLES * {upper}_OUTPUT_SIZE);\n'
        "    for (int at_end = 0; at_end < 2; at_end++) {\n"
        "        uint8_t *bytes = guarded(sizeof golden_bytes, at_end);\n"
        "        memcpy(bytes, golden_bytes, sizeof golden_bytes);\n"
        f"        status = {name}_run_batch_uint8({weights}SAMPLES, bytes, output, scratch, &parallel);\n"
        '        failures += check("bytes beside a protected page", status, output, golden_of_bytes[level],\n'
        f"            SAMPLES * {upper}_OUTPUT_SIZE);\n"
        "    }\n"
    )


def _weights_code(upper: str) -> str:
    return f"""static const void *weights;

static void open_weights(const char *path)
{{
    int file = open(path, O_RDONLY);
    void *map = file < 0 ? MAP_FAILED : mmap(NULL, {upper}_WEIGHTS_BYTES, PROT_READ, MAP_PRIVATE, file, 0);
    if (map == MAP_FAILED) {{
        perror(path);
        exit(2);
    }}
    weights = map;
}}
"""


_WEIGHTS_OPEN = """    int named = argc > 2 && strcmp(argv[1], "-w") == 0;
    open_weights(named ? argv[2] : NAME_WEIGHTS_FILE);
    if (named) {
        argc -= 2;
        argv += 2;
    }
"""
