"""``export_native``: write a model as an object file with a C interface, after running it here."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from striate.codegen import elf
from striate.codegen import target as targets
from striate.codegen.artefact import ABI_VERSION, CONSTANTS_SECTION, Artefact, Entry
from striate.codegen.artefact_writer import compile_artefact
from striate.codegen.target import Target
from striate.data.dataset import class_names
from striate.data.standardizer import Standardizer, standardizer_of
from striate.errors import ModelFileError, OptionError, ShapeError, unknown_option
from striate.graph.value import Array, DType, TensorType
from striate.locks import cached_property
from striate.native.files import Golden, GoldenOutput, header, test_program, weights_file
from striate.native.linking import link_shared
from striate.native.loaded import LOADS_OBJECTS, loaded_object
from striate.native.network import (
    Constants,
    Ends,
    Prediction,
    Programs,
    as_samples,
    image_of,
    input_type_of,
    programs_for,
    thread_scratch,
)
from striate.nn.module import Module
from striate.options import flag, require_instance, whole_number
from striate.options import path as checked_path
from striate.persistence import write_atomically
from striate.persistence.atomic import make_folder
from striate.persistence.deployment import drawn_input
from striate.version import VERSION

GOLDEN_SAMPLES = 3
"""The largest number of samples whose outputs the test program compares."""


@dataclass(frozen=True)
class NativeExport:
    """The result of an export: the files that were written, and the sizes of the network in bytes.

    files         the paths: object, header, description, test program, and the weights if they are external
    targets       the instruction sets in the object
    code_bytes    machine code and tables, without weights
    weight_bytes  weights as the kernels read them
    scratch_bytes scratch memory of a run on one thread
    checked       the instruction sets that ran on this computer, with outputs equal to the model's, bit for bit
    """

    files: tuple[Path, ...]
    targets: tuple[str, ...]
    code_bytes: int
    weight_bytes: int
    scratch_bytes: int
    checked: tuple[str, ...]

    def __str__(self) -> str:
        names = ", ".join(path.name for path in self.files)
        checked = f"equal to the model: {', '.join(self.checked)}" if self.checked else "not run on this computer"
        return (
            f"exported {self.files[0].parent}: {names}\n"
            f"  targets  {', '.join(self.targets)}; {checked}\n"
            f"  sizes    code {_size(self.code_bytes)}, weights {_size(self.weight_bytes)}, "
            f"scratch {_size(self.scratch_bytes)}"
        )


def _size(count: int) -> str:
    return f"{count / 1000:,.1f} kB"


def export_native(
    model: Module,
    folder: str | Path,
    *,
    input_shape: Sequence[int] | None = None,
    samples: Array | None = None,
    batch: int = 1,
    target: str = "native",
    standardizer: bool = True,
    softmax: bool = False,
    labels: bool = False,
    uint8: bool | None = None,
    classes: Sequence[str] | None = None,
    shared: bool = False,
    weights: str = "internal",
    name: str = "net",
) -> NativeExport:
    """Write the prediction of a model as an object file for C, which needs no Python and no library.

        st.export_native(model, "net", batch=8, target="x86-64-v3,x86-64-v4", softmax=True)

    The folder receives ``net.o``, the header ``net.h``, the description ``net.json`` and the test program
    ``net_test.c``. The network computes the same bits as ``model(x)`` on a processor of the target.

        input_shape   the shape of one sample; by default the shape in the last call, or else the shape in ``samples``
        samples       an array (N, …), of which the test program contains up to three; random numbers by default
        batch         the largest number of samples in one call
        target        "native", "x86-64-v2", "x86-64-v3", "x86-64-v4", "aarch64-generic" or a processor such as
                      "znver4". Several x86 targets can be given, separated by commas; when the network runs, it uses
                      the best one for the processor
        standardizer  whether the model's standardizer is inside, so that inputs are raw data
        softmax       probabilities over axis 1 instead of the model's output
        labels        the index of the largest element along axis 1, as int64, instead of the model's output
        uint8         whether a function ``net_run_uint8`` takes bytes; None: yes if a standardizer is inside
        classes       the names of the classes, by default the model's
        shared        also link ``net.so``, which needs a linker
        weights       "internal": in the object's read-only data; "external": in ``net.weights``, for the caller to map
        name          the prefix of files, functions and macros

    Raises ``OptionError`` for invalid options, and for models that have several inputs or outputs, draw random numbers,
    or use their input as an index; ``ShapeError`` if the input's shape is unknown or ``samples`` have another shape;
    ``ModelFileError`` if the object computes other numbers than the model, or a file cannot be written; ``EngineError``
    if ``shared`` needs a linker and the system has none.
    """
    require_instance("model", model, Module, "nn.Sequential(…)")
    place = checked_path("folder", folder)
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,39}", str(name)):
        raise OptionError(f"name={name!r}; expected a name for C in small letters, such as net")
    if weights not in ("internal", "external"):
        raise unknown_option("weights", weights, ("internal", "external"))
    whole_number("batch", batch, 1, 2**20)
    ends = Ends(flag("standardizer", standardizer), flag("softmax", softmax), flag("labels", labels))
    inside = standardizer_of(model) if ends.standardizer else None
    if uint8 is not None:
        flag("uint8", uint8)
    levels = chosen_levels(target)
    shape = input_shape
    if shape is None and model.input_types is None and samples is not None:
        shape = np.asarray(samples).shape[1:]
    floating = input_type_of(model, shape, model.dtype or DType.float32)
    if floating is None:
        raise ShapeError(
            "the model has not been called, so the shape of its input is unknown\n"
            "  help: call the model on data once, or give input_shape=(channels, height, width)"
        )
    types = [floating]
    if inside is not None if uint8 is None else uint8:
        types.append(floating.with_dtype(DType.uint8))
    network = _Network(model, types, ends, levels, batch, samples, inside)
    names = class_names(model.classes if classes is None else classes)
    artefact = network.artefact(name, weights == "external", names)
    data = compile_artefact(artefact)
    checked = network.check(artefact, data)
    return _written(place, artefact, data, network, checked, flag("shared", shared))


def chosen_levels(text: object) -> list[tuple[str, Target]]:
    """Return the targets that a text such as "x86-64-v3,x86-64-v4" names, as pairs (name, target).

    The oldest instruction set comes first. Raises ``OptionError`` for unknown names, and for several targets unless
    they are different instruction sets of x86-64.
    """
    if not isinstance(text, str):
        raise OptionError(f"target={text!r}; expected a name such as 'x86-64-v3'")
    levels = [targets.portable(one.strip()) for one in text.split(",")]
    levels.sort(key=lambda level: level[1].cpu)
    kinds = [target.cpu for _, target in levels]
    if len(set(kinds)) < len(kinds) or ("generic" in kinds and len(kinds) > 1):
        raise OptionError(
            f"target={text!r}: one instruction set each, of one architecture\n"
            "  help: target='x86-64-v3,x86-64-v4' chooses when the network runs"
        )
    return levels


class _Network:
    """All programs of an export, with the inputs and outputs on which they are compared."""

    def __init__(
        self,
        model: Module,
        types: Sequence[TensorType],
        ends: Ends,
        levels: Sequence[tuple[str, Target]],
        batch: int,
        samples: Array | None,
        inside: Standardizer | None,
    ) -> None:
        self.levels, self.batch, self.ends = levels, batch, ends
        self.standardized = inside is not None
        self.predictions = [Prediction(model, type, ends) for type in types]
        self.programs = [
            [programs_for(prediction, target, batch) for _, target in levels] for prediction in self.predictions
        ]
        self.inputs = [self._input(type, samples, inside) for type in types]
        for prediction in self.predictions:
            for verify in prediction.checks:
                verify(1)
                verify(batch)

    @property
    def all_programs(self) -> list[Programs]:
        return [programs for level in self.programs for programs in level]

    def _input(self, type: TensorType, samples: Array | None, inside: Standardizer | None) -> Array:
        count = min(self.batch, GOLDEN_SAMPLES)
        if samples is None:
            drawn = drawn_input(type.with_dtype(DType.float64), inside, count)
            if type.dtype is DType.uint8:
                drawn = np.clip(drawn.round(), 0, 255)
            return as_samples(drawn, type)
        found = np.asarray(samples)
        if type.dtype is DType.uint8 and found.dtype != np.uint8:
            found = np.clip(np.nan_to_num(found).round(), 0, 255)
        chosen = as_samples(found, type)
        return np.ascontiguousarray(np.resize(chosen, (count, *chosen.shape[1:])))

    def shapes(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return the sizes of one sample and of its output."""
        first = self.predictions[0]
        return first.input_type.concrete(1)[1:], first.output_type.concrete(1)[1:]

    def artefact(self, name: str, external: bool, classes: tuple[str, ...]) -> Artefact:
        constants = Constants()
        entries = [
            Entry(
                "_uint8" if prediction.input_type.dtype is DType.uint8 else "",
                tuple((image_of(one.single, constants), image_of(one.several, constants)) for one in levels),
            )
            for prediction, levels in zip(self.predictions, self.programs, strict=True)
        ]
        arena = max(program.scratch_bytes for one in self.all_programs for program in (one.single, one.several))
        threads = thread_scratch([program for one in self.all_programs for program in (one.single, one.several)])
        contents = constants.joined()
        digest = hashlib.sha256(contents)
        digest.update(repr((entries, self.levels, self.batch, arena, threads)).encode())
        names = tuple(level for level, _ in self.levels)
        return Artefact(
            name, tuple(target for _, target in self.levels), names, tuple(entries), self.batch, arena, threads,
            contents, digest.digest()[:8], external, classes, *self.shapes(),
        )  # fmt: skip

    @cached_property
    def golden(self) -> list[Golden]:
        """Return the inputs of the test program, with the output of every level, alone and in a batch."""
        return [
            Golden(
                x,
                tuple(
                    GoldenOutput(prediction.run(one.single, x[:1]), prediction.run(one.several, x), runs)
                    for one, runs in zip(levels, map(targets.runs_here, self._targets()), strict=True)
                ),
            )
            for prediction, levels, x in zip(self.predictions, self.programs, self.inputs, strict=True)
        ]

    def _targets(self) -> list[Target]:
        return [target for _, target in self.levels]

    def check(self, artefact: Artefact, data: bytes) -> tuple[str, ...]:
        """Run the object with every instruction set that this computer has, and return their names.

        Raises ``ModelFileError`` if an output differs from the model's in any bit.
        """
        levels = [number for number, target in enumerate(self._targets()) if targets.runs_here(target)]
        if not levels or not LOADS_OBJECTS:
            return ()
        network = loaded_object(data, description(artefact, self), weights_file(artefact) if artefact.external else b"")
        for level in levels:
            network.use_level(level)
            for golden in self.golden:
                expected = golden.outputs[level]
                _require_equal(network(golden.input[:1]), expected.single)
                _require_equal(network(golden.input), expected.several)
        return tuple(artefact.level_names[level] for level in levels)


def _require_equal(found: Array, expected: Array) -> None:
    if found.tobytes() != expected.tobytes():
        worst = np.nanmax(np.abs(found.astype(np.float64) - expected))
        raise ModelFileError(f"not exported: the object differs from the model by {worst:.3g}")


def description(artefact: Artefact, network: _Network) -> dict[str, Any]:
    """Return the contents of ``net.json``, except for what depends on the object file.

    ``artefact`` describes the object file, and ``network`` has its programs and the types of their inputs and outputs.
    """
    first = network.predictions[0]
    return {
        "format": "striate native network",
        "abi_version": ABI_VERSION,
        "striate": VERSION,
        "license": "Apache-2.0",
        "name": artefact.name,
        "targets": list(artefact.level_names),
        "batch": artefact.batch,
        "inputs": [
            {"function": f"{artefact.name}_run_batch{entry.suffix}", "dtype": prediction.input_type.dtype.value}
            for entry, prediction in zip(artefact.entries, network.predictions, strict=True)
        ],
        "input_shape": list(artefact.input_shape),
        "output_shape": list(artefact.output_shape),
        "output_dtype": first.output_type.dtype.value,
        "classes": list(artefact.classes),
        "standardizer_inside": network.standardized,
        "softmax_inside": network.ends.softmax,
        "labels": network.ends.labels,
        "weights": "external" if artefact.external else "internal",
        "fingerprint": artefact.fingerprint.hex(),
        "scratch_bytes": artefact.scratch_size(),
        "scratch_bytes_per_thread": artefact.scratch_size(2) - artefact.scratch_size(1),
        "weight_bytes": len(artefact.constants),
    }


def _written(
    place: Path, artefact: Artefact, data: bytes, network: _Network, checked: tuple[str, ...], shared: bool
) -> NativeExport:
    """Write all files of an export, and remove those of an earlier one that this one does not have."""
    try:
        make_folder(place)
    except OSError as error:
        raise ModelFileError(f"{place}: cannot be created: {error.strerror or error}") from error
    name = artefact.name
    _, code = elf.sizes(data, CONSTANTS_SECTION)
    facts = description(artefact, network) | {"code_bytes": code}
    files: dict[str, bytes] = {
        f"{name}.o": data,
        f"{name}.h": header(artefact, facts).encode(),
        f"{name}_test.c": test_program(artefact, facts, network.golden).encode(),
    }
    if artefact.external:
        files[f"{name}.weights"] = weights_file(artefact)
    if shared:
        files[f"{name}.so"] = link_shared(data, name, artefact.functions, artefact.levels[0])
    facts["sha256"] = {file: hashlib.sha256(content).hexdigest() for file, content in files.items()}
    files[f"{name}.json"] = (json.dumps(facts, indent=2, ensure_ascii=False) + "\n").encode()
    for file in {f"{name}.weights", f"{name}.so"} - files.keys():
        (place / file).unlink(missing_ok=True)  # of another network, which a program would load by mistake
    for file, content in files.items():
        write_atomically(place / file, content)
    return NativeExport(
        tuple(place / file for file in files), artefact.level_names, code, len(artefact.constants),
        artefact.scratch_size(), checked,
    )  # fmt: skip
