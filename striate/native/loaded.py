"""Run native networks from Python, with ``ctypes``: for tests, and to compare them with the model."""

from __future__ import annotations

import ctypes
import hashlib
import json
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast, final

import numpy as np

from striate.codegen import elf, jit, target
from striate.codegen.artefact import ABI_VERSION, STATE, STATUS_TEXTS, Status
from striate.errors import DTypeError, EngineError, ModelFileError, ShapeError
from striate.graph.value import Array
from striate.locks import Lock
from striate.options import path as checked_path
from striate.options import whole_number
from striate.runtime.arena import Arena

_ITERATION = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int32)
_LOOP = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p)


class _Parallel(ctypes.Structure):
    """The caller's parallel loop, as the header declares it."""

    _fields_ = (("context", ctypes.c_void_p), ("threads", ctypes.c_int32), ("run", _LOOP))


LOADS_OBJECTS = sys.platform == "linux"
"""Whether this system loads ELF objects."""

Find = Callable[[str], int]
"""Returns the address of a function by its name."""


@final
class NativeNetwork:
    """A native network in this process, which predicts on arrays.

        network = st.native.load("net")
        y = network(x, threads=2)          # x (N, …) float or uint8

    Use ``load`` or ``loaded_object`` to make such objects. For the constructor, ``find(name)`` returns the address of a
    native function, and ``owner`` is an object that keeps the code in memory. Attributes:

        input_shape, output_shape  the shapes of the input and of the output for one sample
        batch                      the largest number of samples in one call of the native function
        classes                    the names of the classes, or ()
        description                the contents of ``net.json``
        targets                    the names of the instruction sets in the object
        level                      the index in ``targets`` of the instruction set that is used; by default, it is the
                                   best one that this computer has

    Raises ``EngineError`` if this computer has none of the instruction sets, and ``ModelFileError`` for a network of an
    unknown version of the C interface.
    """

    def __init__(self, description: Mapping[str, Any], find: Find, owner: object, weights: bytes = b"") -> None:
        self.description = dict(description)
        self._owner = owner
        name = str(description["name"])
        version = jit.function(find(f"{name}_abi_version"), ctypes.c_int32)()
        if version != ABI_VERSION:
            raise ModelFileError(f"{name} has ABI version {version}, and this striate knows {ABI_VERSION}")
        self.input_shape = tuple(int(size) for size in description["input_shape"])
        self.output_shape = tuple(int(size) for size in description["output_shape"])
        self.batch = int(description["batch"])
        self.classes = tuple(str(one) for one in description["classes"])
        self.targets = tuple(str(one) for one in description["targets"])
        self.level = int(jit.function(find(f"{name}_level"), ctypes.c_int32)())
        if self.level < 0:
            raise EngineError(f"{name} is compiled for {', '.join(self.targets)}: {STATUS_TEXTS[Status.PROCESSOR]}")
        self._best = self.level
        self._fingerprint = int.from_bytes(bytes.fromhex(str(description["fingerprint"])), "little")
        self._scratch_size = jit.function(find(f"{name}_scratch_size"), ctypes.c_size_t, ctypes.c_int32)
        self._weights = Arena(len(weights)) if weights else None
        if self._weights is not None:
            self._weights.view(0, (len(weights),), np.uint8)[:] = np.frombuffer(weights, np.uint8)
        pointers = [ctypes.c_void_p] * 4
        leading = [] if self._weights is None else [ctypes.c_void_p]
        self._runs = {
            np.dtype(one["dtype"]): jit.function(
                find(str(one["function"])), ctypes.c_int32, *leading, ctypes.c_int32, *pointers
            )
            for one in description["inputs"]
        }
        self._output_dtype = np.dtype(str(description["output_dtype"]))
        self._scratch = Arena()
        self._lock = Lock()

    def __repr__(self) -> str:
        return f"NativeNetwork({self.description['name']}, {self.input_shape} → {self.output_shape}, {self.targets})"

    def __call__(self, x: Array, *, threads: int = 1) -> Array:
        """Return the outputs for samples x (N, …); more than ``batch`` samples are computed in several calls.

        Arrays of bytes are passed on as bytes if the network takes them; all others are converted to its float type.
        ``threads`` does not change the bits. Raises ``ShapeError`` for samples of another shape, ``DTypeError`` for
        anything but numbers, and ``EngineError`` if the native function returns an error.
        """
        whole_number("threads", threads, 1, 1024)
        given = np.asarray(x)
        if given.dtype.kind not in "fiub":
            raise DTypeError(f"a native network takes numbers, not {given.dtype}")
        if given.shape[1:] != self.input_shape or given.ndim == 0:
            raise ShapeError(f"samples of shape {given.shape}, and the network takes (N, {str(self.input_shape)[1:]}")
        floating = next(dtype for dtype in self._runs if dtype.kind == "f")
        dtype = given.dtype if given.dtype in self._runs else floating
        samples = np.ascontiguousarray(given, dtype)
        outputs = np.empty((len(samples), *self.output_shape), self._output_dtype)
        with self._lock, ThreadPoolExecutor(threads) as pool:
            for start in range(0, len(samples), self.batch):
                part = slice(start, start + self.batch)
                self._run(samples[part], outputs[part], threads, pool)
        return outputs

    def use_level(self, level: int) -> None:
        """Use the instruction set ``targets[level]`` from now on.

        Raises ``OptionError`` for an instruction set that this computer lacks.
        """
        self.level = whole_number("level", level, 0, self._best)

    def _run(self, x: Array, y: Array, threads: int, pool: ThreadPoolExecutor) -> None:
        self._scratch.reserve(int(self._scratch_size(threads)), keep=False)
        token = self._scratch.view(8 * STATE["token"], (1,), np.uint64)
        token[0] = (self._fingerprint + self.level) % 2**64

        def loop(context: int, count: int, function: int, argument: int) -> None:
            iteration = _ITERATION(function)

            def call(index: int) -> None:
                iteration(argument, index)

            list(pool.map(call, range(count)))

        parallel = _Parallel(None, threads, _LOOP(loop))
        leading = [] if self._weights is None else [self._weights.base]
        status = self._runs[x.dtype](
            *leading, len(x), x.ctypes.data, y.ctypes.data, self._scratch.base,
            ctypes.addressof(parallel) if threads > 1 else None,
        )  # fmt: skip
        if status != Status.OK:
            raise EngineError(f"{self.description['name']}: {STATUS_TEXTS[Status(status)]}")


def loaded_object(data: bytes, description: Mapping[str, Any], weights: bytes = b"") -> NativeNetwork:
    """Load the bytes of an object file into this process; no linker is needed.

    ``description`` has the contents of ``net.json``, and ``weights`` the contents of ``net.weights``, or b"" if the
    weights are in the object. Raises ``EngineError`` for an object of another architecture, and on systems other than
    Linux.
    """
    name = str(description["name"])
    if elf.is_arm_object(data) != target.is_arm(target.native_triple()):
        raise EngineError(f"{name} is compiled for {', '.join(description['targets'])}, not for this computer")
    if not LOADS_OBJECTS:
        raise EngineError(f"{name}.o is an ELF object, which this system does not load")
    functions = [f"{name}_{one}" for one in ("abi_version", "level", "scratch_size")]
    functions += [str(one["function"]) for one in description["inputs"]]
    library = jit.Library([data], functions)
    return NativeNetwork(description, library.address, library, weights)


def load(folder: str | Path, name: str = "net") -> NativeNetwork:
    """Load a network that ``export_native`` wrote: the shared library if there is one, or else the object file.

    ``folder`` contains NAME.json. Native code is executed: load only files from people you trust. Raises
    ``ModelFileError`` for files that are missing or do not belong together, and ``EngineError`` if this computer cannot
    run the network.
    """
    place = checked_path("folder", folder)
    try:
        description: Any = json.loads((place / f"{name}.json").read_text(encoding="utf-8"))
        if not isinstance(description, dict) or "abi_version" not in description:
            raise ModelFileError(f"{place / name}.json does not describe a native network")
        facts = cast("dict[str, Any]", description)
        weights = _read(place, f"{name}.weights", facts) if facts["weights"] == "external" else b""
        shared = place / f"{name}.so"
        if shared.name in facts["sha256"] and shared.exists():
            _read(place, shared.name, facts)
            library = ctypes.CDLL(str(shared.resolve()))
            return NativeNetwork(facts, lambda one: _address(library, one), library, weights)
        return loaded_object(_read(place, f"{name}.o", facts), facts, weights)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        if isinstance(error, ModelFileError):
            raise
        raise ModelFileError(
            f"{place}: cannot be loaded: {error}\n  help: striate export RUN --native -o {place} writes such a folder"
        ) from error


def _read(place: Path, file: str, facts: Mapping[str, Any]) -> bytes:
    """Return the contents of a file; raises ``ModelFileError`` if they are not those that the description names."""
    content = (place / file).read_bytes()
    if hashlib.sha256(content).hexdigest() != facts["sha256"][file]:
        raise ModelFileError(f"{place / file} does not belong to the other files\n  help: export the network again")
    return content


def _address(library: ctypes.CDLL, name: str) -> int:
    """Return the address of a function of a shared library."""
    return cast(int, ctypes.cast(library[name], ctypes.c_void_p).value)
