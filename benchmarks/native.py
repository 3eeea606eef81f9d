"""Compare native networks with the same programs run by Python, with onnxruntime and with plain C, at batch 1.

    python benchmarks/native.py
    python benchmarks/native.py --networks lenet5 --rounds 21

A C compiler (``cc``) is needed. The columns are medians in microseconds of one call, on one thread, of

    native       net_run in the test program that an export writes
    Python       the native part of model(x): the sum over its phases by the driver's clock
    onnxruntime  OrtApi.Run in a program in C (``native_onnxruntime.c``), if onnxruntime is installed
    plain C      loops without blocking (``native_plain.py``), compiled with -O3 -march=native -ffast-math

They are measured alternately. The outputs of all four must agree.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

import striate as st
from striate.compiler import CompiledExecutable
from striate.nn.module import Module

NETWORKS: dict[str, tuple[Callable[[], Module], tuple[int, ...]]] = {
    "lenet5": (lambda: st.models.lenet5(), (1, 28, 28)),
    "vgg_small": (lambda: st.models.vgg_small(), (3, 32, 32)),
    "resnet20": (lambda: st.models.resnet20(), (3, 32, 32)),
    "mobilenet_v2": (lambda: st.models.mobilenet_v2(multiplier=0.5), (3, 32, 32)),
    "resnet1d": (lambda: st.models.resnet1d(channels=3, width=32), (3, 96)),
}
CALLS = 301


def native(folder: Path) -> float:
    """Run the test program in ``folder`` and return its median time of a call in µs."""
    printed = subprocess.run([folder / "program", "--time", str(CALLS)], capture_output=True, check=True).stdout
    return float(printed.split()[0])


def of_python(executable: CompiledExecutable, x: np.ndarray, classes: int) -> float:
    """Return the median time that all phases of the program take together when Python runs it, in µs."""
    program = executable.reserve(1)
    y = np.empty((1, classes), np.float32)
    addresses = {"x": x.ctypes.data, "out:out": y.ctypes.data}
    times: list[float] = []
    for _ in range(CALLS):
        profile = program.start_profile()
        program.run(1, addresses, single_threaded=True)
        times.append(1e6 * float(profile.seconds.sum()))
    program.stop_profile()
    return statistics.median(times)


def of_program(command: list[str], given: bytes, expected: np.ndarray) -> float:
    """Run a program that prints its median time of a call in µs to standard error; check the outputs that it writes."""
    finished = subprocess.run(command, input=given, capture_output=True, check=True)
    found = np.frombuffer(finished.stdout, np.float32)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3 * float(np.abs(expected).max()))
    return float(finished.stderr.split()[-1])


def onnxruntime_of(folder: Path, x: np.ndarray, expected: np.ndarray) -> Callable[[], float] | None:
    """Return a function that measures net.onnx in onnxruntime's C API, in µs, or None if it is not installed."""
    found = importlib.util.find_spec("onnxruntime")
    if found is None or not found.submodule_search_locations:
        return None
    libraries = sorted((Path(found.submodule_search_locations[0]) / "capi").glob("libonnxruntime.so*"))
    if not libraries:
        return None
    import onnx

    graph = onnx.load(folder / "net.onnx").graph
    source = Path(__file__).parent / "native_onnxruntime.c"
    subprocess.run(["cc", "-O2", source, "-o", "onnxruntime", "-ldl"], cwd=folder, check=True)
    names = [graph.input[0].name, graph.output[0].name, str(CALLS), str(expected.size), *map(str, x.shape)]
    command = [str(folder / "onnxruntime"), str(libraries[-1]), str(folder / "net.onnx"), *names]
    return lambda: of_program(command, x.tobytes(), expected)


def plain_c_of(folder: Path, x: np.ndarray, expected: np.ndarray) -> Callable[[], float] | None:
    """Return a function that measures net.onnx as plain C, in µs, or None if it has nodes that are not known."""
    import onnx
    from native_plain import UnknownNodeError, write

    try:
        name, given = write(onnx.load(folder / "net.onnx"), x, folder)
    except UnknownNodeError:
        return None
    options = ["-O3", "-march=native", "-ffast-math"]
    subprocess.run(["cc", *options, name, "-o", "plain", "-lm"], cwd=folder, check=True)
    return lambda: of_program([str(folder / "plain"), str(CALLS)], given, expected)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    titles = "native", "Python", "onnxruntime", "plain C"
    print(
        f"{'µs, one thread':16}" + "".join(f"{title:>12}{'native ÷' if i else '':>9}" for i, title in enumerate(titles))
    )
    for name in arguments.networks:
        build, shape = NETWORKS[name]
        model, x = build(), np.random.default_rng(0).standard_normal((1, *shape)).astype(np.float32)
        expected = np.asarray(model(x))[0]
        executable = model.program(x).executable
        assert isinstance(executable, CompiledExecutable)
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            st.export_native(model, folder)
            command = ["cc", "-O2", "net_test.c", "net.o", "-o", "program", "-lpthread"]
            subprocess.run(command, cwd=folder, check=True)
            others = []
            if importlib.util.find_spec("onnx") is not None:
                st.export_onnx(model, folder / "net.onnx", samples=x, fold=True)
                others = [one(folder, x, expected) for one in (onnxruntime_of, plain_c_of)]
            rounds = [
                [
                    native(folder), of_python(executable, x, expected.size),
                    *(other() if other else float("nan") for other in others),
                ]
                for _ in range(arguments.rounds)
            ]  # fmt: skip
        medians = [statistics.median(column) for column in zip(*rounds, strict=True)]
        ratios = [f"{medians[0] / one:9.3f}" if i else " " * 9 for i, one in enumerate(medians)]
        print(f"{name:16}" + "".join(f"{one:12.1f}{ratio}" for one, ratio in zip(medians, ratios, strict=True)))


if __name__ == "__main__":
    main()
