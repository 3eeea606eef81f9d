"""Compare native networks with the same programs run by Python, and with onnxruntime, at batch 1 on one thread.

    python benchmarks/native.py
    python benchmarks/native.py --networks lenet5 --rounds 21

A C compiler (``cc``) is needed. The columns are medians in microseconds of one call of ``net_run`` in the test program
that an export writes, of the native part of ``model(x)`` (the sum over its phases by the driver's clock), and of one
call of onnxruntime from Python, if it is installed. The three are measured alternately.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import subprocess
import tempfile
import time
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


def onnxruntime_of(model: Module, folder: Path, x: np.ndarray) -> Callable[[], float] | None:
    """Return a function that measures onnxruntime in µs, or None if it is not installed."""
    if importlib.util.find_spec("onnxruntime") is None:
        return None
    import onnxruntime

    st.export_onnx(model, folder / "net.onnx", samples=x, fold=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(folder / "net.onnx", options, providers=["CPUExecutionProvider"])
    inputs = {session.get_inputs()[0].name: x}

    def measure() -> float:
        times: list[float] = []
        for _ in range(CALLS):
            start = time.perf_counter()
            session.run(None, inputs)
            times.append(1e6 * (time.perf_counter() - start))
        return statistics.median(times)

    return measure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    print(f"{'network':14}{'native':>10}{'Python':>10}{'ratio':>8}{'onnxruntime':>14}{'ratio':>8}   µs, one thread")
    for name in arguments.networks:
        build, shape = NETWORKS[name]
        model, x = build(), np.random.default_rng(0).standard_normal((1, *shape)).astype(np.float32)
        classes = model(x).shape[1]
        executable = model.program(x).executable
        assert isinstance(executable, CompiledExecutable)
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            st.export_native(model, folder)
            command = ["cc", "-O2", "net_test.c", "net.o", "-o", "program", "-lpthread"]
            subprocess.run(command, cwd=folder, check=True)
            other = onnxruntime_of(model, folder, x)
            rounds = [
                (native(folder), of_python(executable, x, classes), other() if other else float("nan"))
                for _ in range(arguments.rounds)
            ]
        ours, theirs, onnx = (statistics.median(column) for column in zip(*rounds, strict=True))
        print(f"{name:14}{ours:10.1f}{theirs:10.1f}{ours / theirs:8.3f}{onnx:14.1f}{ours / onnx:8.3f}")


if __name__ == "__main__":
    main()
