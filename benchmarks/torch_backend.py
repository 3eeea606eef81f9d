"""Compare ``torch.compile(model, backend="striate")`` with PyTorch: training steps, and first steps.

    python benchmarks/torch_backend.py                       training steps, interleaved
    python benchmarks/torch_backend.py --first-step          first steps of fresh processes, cold and warm
    python benchmarks/torch_backend.py --networks lenet5 --repetitions 3 --json

The steps of all configurations are those of an ordinary training loop: ``zero_grad``, forward pass, cross entropy,
``backward``, ``optimizer.step``. Those through the backend are

    backend            with PyTorch's fused SGD, which PyTorch's own configurations have too
    backend update     with ``options={"optimizer": "fused"}``: striate makes the update as well
    backend passive    as ``backend``, and PyTorch's threads do not spin (OMP_WAIT_POLICY=passive)

``striate`` is its own ``TrainingStep``. As in ``compare.py``, each configuration trains in its own process, interleaved
with the others, and PyTorch is judged by its best configuration. ``compiled`` is inductor, which needs ``g++``. A
configuration that cannot start is marked in the table, and one that fails later keeps its times so far. Both frameworks
find their compiled kernels of earlier runs, so a second run starts sooner; the times of steps do not depend on it.

A first step begins after ``import torch`` and ends with the first update. It is measured in seconds, and in seconds of
CPU time of the process and all processes that it started, which other programs disturb less. "Cold" is with new, empty
folders for compiled kernels and temporary files, "warm" with what the process before it left there. Inductor runs with
and without ``g++`` in the search path.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from compare import Measurement, best_peer, measure, over, shown
from configuration import CHANNELS_LAST, COMPILED, COMPILED_CHANNELS_LAST, FP32, NCHW, STRIATE, Configuration
from networks import NETWORKS, add_networks
from probe import Probe
from report import geometric_mean, machine, note, print_json, print_table
from worker import LEARNING_RATE, MOMENTUM, Array, Prepared, Worker, serve
from worker import prepared as prepared_by_framework

BACKEND = Configuration("backend", "backend")
UPDATE = Configuration("backend update", "backend", fused=False)
PASSIVE = Configuration("backend passive", "backend", environment={"OMP_WAIT_POLICY": "passive"})
OURS = (BACKEND, UPDATE, PASSIVE)
PEERS = (NCHW, CHANNELS_LAST, COMPILED, COMPILED_CHANNELS_LAST)
KNOWN = {each.name: each for each in (*OURS, STRIATE, NCHW, *FP32)}


class BackendWorker(Worker):
    """A worker process that also knows the configurations of the backend."""

    script = __file__


def prepared(order: Mapping[str, Any]) -> Prepared:
    """Return the prepared training step that a message from the controlling process describes."""
    configuration = Configuration(**order["configuration"])
    if configuration.framework != "backend":
        return prepared_by_framework(order)
    import torch
    from torch.nn import functional
    from twins import torch_model

    import striate.torch

    torch.set_num_threads(order["threads"])
    model = torch_model(NETWORKS[order["network"]], seed=order["seed"])
    options = None if configuration.fused else {"optimizer": "fused"}
    net = torch.compile(model, backend=striate.torch.backend, options=options)
    optimizer = torch.optim.SGD(model.parameters(), LEARNING_RATE, MOMENTUM, fused=configuration.fused or None)

    def step(x: torch.Tensor, y: torch.Tensor) -> float:
        optimizer.zero_grad(set_to_none=True)
        loss = functional.cross_entropy(net(x), y)
        loss.backward()
        optimizer.step()
        return loss.item()

    def tensors(x: Array, y: Array) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.from_numpy(x), torch.from_numpy(y)

    return step, tensors


# Training steps


def best_of_torch(found: dict[str, Measurement]) -> Measurement | None:
    """Return PyTorch's fastest configuration in float32, without the backend."""
    return best_peer({name: m for name, m in found.items() if m.configuration.framework == "torch"}, bf16=False)


def ratios(found: dict[str, Measurement]) -> dict[str, float]:
    """Return how many times faster each configuration of the backend is than PyTorch's best, and than striate."""
    peer = best_of_torch(found)
    result: dict[str, float] = {}
    for one in OURS:
        own = found.get(one.name)
        result[one.name] = over(peer, own)
        result[f"{one.name}, minima"] = over(peer, own, "minimum")
        result[f"{one.name}, striate"] = over(own, found.get(STRIATE.name))
    return result


def print_steps(results: dict[str, dict[str, Measurement]], asked: list[str]) -> None:
    """Print the times of the configurations with the names ``asked``, and then the ratios."""
    rows: list[list[str]] = []
    for network, found in results.items():
        for name in asked:
            m, title = found.get(name), f"{NETWORKS[network].title}, {name}"
            if m is None:
                rows.append([title, "failed", "", "", ""])
                continue
            dropped = f"{len(m.turns) - len(m.kept)}/{len(m.turns)}"
            times = shown(m.median * 1e3, ".2f"), shown(m.minimum * 1e3, ".2f"), shown(m.peak_memory, ".0f")
            rows.append([title, *times, dropped])
    columns = "network, configuration", "median ms", "min ms", "peak MB", "dropped"
    print_table("Training step", columns, rows)
    figures = {name: ratios(found) for name, found in results.items() if found}
    for one in OURS:
        names = one.name, f"{one.name}, minima", f"{one.name}, striate"
        rows = []
        for network, ratio in figures.items():
            peer = best_of_torch(results[network])
            which = peer.configuration.name if peer else "–"
            rows.append([NETWORKS[network].title, which, *(shown(ratio[name], ".2f", "x") for name in names)])
        means = [geometric_mean([ratio[name] for ratio in figures.values()]) for name in names]
        rows.append(["geometric mean", "", *(shown(mean, ".2f", "x") for mean in means)])
        if not all(map(math.isnan, means)):
            columns = one.name, "PyTorch's best", "faster, by medians", "by minima", "time over striate's own step"
            print_table("How many times faster than PyTorch's best", columns, rows)


# First steps

PROGRAM = """
import json, os, pathlib, sys, time
import torch
sys.path.insert(0, sys.argv[1])
from networks import NETWORKS, batches
from twins import torch_model

def used():
    # The CPU seconds of the session's processes, and of those that have ended and been waited for.
    ticks = 0
    for place in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = place.read_text().rpartition(")")[2].split()
        except OSError:  # the process has ended
            continue
        if int(fields[3]) == os.getsid(0):
            ticks += sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")

def now():
    return time.perf_counter(), used()

network, backend, threads = NETWORKS[sys.argv[2]], sys.argv[3], int(sys.argv[4])
torch.set_num_threads(threads)
model = torch_model(network)
optimizer = torch.optim.SGD(model.parameters(), 0.01, 0.9)
x, y = map(torch.from_numpy, next(batches(network, network.batch, 0)))
start = now()
if backend == "striate":
    import striate.torch
    net = torch.compile(model, backend=striate.torch.backend)
else:
    net = model if backend == "eager" else torch.compile(model)
times = []
for step in range(3):
    optimizer.zero_grad()
    torch.nn.functional.cross_entropy(net(x), y).backward()
    optimizer.step()
    times.append(now())
first = [round(end - begin, 3) for begin, end in zip(start, times[0])]
later = [round(end - begin, 3) for begin, end in zip(times[1], times[2])]
print(json.dumps({"seconds": first[0], "cpu": first[1], "later": later[0], "later_cpu": later[1]}))
"""


def first_step(network: str, backend: str, folder: Path, threads: int, compiler: bool = True) -> dict[str, Any]:
    """Run the first step of a network in a fresh process, with caches in ``folder``; return its times in seconds.

    Without ``compiler``, the search path is empty. A process that fails has only "error", a line of its output.
    """
    for name in ("striate", "inductor", "temporary"):
        (folder / name).mkdir(mode=0o700, exist_ok=True)
    environment = {
        **os.environ,
        "STRIATE_CACHE": str(folder / "striate"),
        "TORCHINDUCTOR_CACHE_DIR": str(folder / "inductor"),
        "TMPDIR": str(folder / "temporary"),  # inductor keeps precompiled headers there, whatever the line above says
        "OMP_NUM_THREADS": str(threads),
        "STRIATE_THREADS": str(threads),
    }
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # users' processes keep bytecode: 0.7 s less
    if not compiler:
        environment["PATH"] = str(folder)
        environment.pop("CXX", None)
    command = [sys.executable, "-c", PROGRAM, str(Path(__file__).parent), network, backend, str(threads)]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            output, errors = process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            return {"error": f"not finished within {PATIENCE} s"}
        finally:
            with suppress(ProcessLookupError):  # compiler processes may be left
                os.killpg(process.pid, signal.SIGKILL)
    lines = [line for line in output.splitlines() if line.startswith("{")]
    if process.returncode or not lines:
        said = [line for line in errors.splitlines() if re.search(r"(Error|Exception|Compiler)\b.*: ", line)]
        return {"error": re.sub(r"^[\w.]+: (?=\w+: )", "", said[-1]) if said else f"exit code {process.returncode}"}
    result: dict[str, Any] = json.loads(lines[-1])
    return result


PATIENCE = 900
"""The most seconds for the process of a first step."""


CASES = (
    ("striate", "striate", True),
    ("inductor", "inductor", True),
    ("inductor without g++", "inductor", False),
    ("eager", "eager", True),
)
"""The measured first steps: title, backend, and whether a C++ compiler may be found."""


def first_steps(networks: list[str], threads: int, cases: list[str], found: dict[str, Any]) -> None:
    """Measure all first steps; add their times to ``found`` by network, case, and "cold" or "warm"."""
    for network in networks:
        for title, backend, compiler in CASES:
            if title not in cases:
                continue
            with tempfile.TemporaryDirectory(prefix="striate-first-step-") as place:
                for state in ("cold", "warm"):
                    times = first_step(network, backend, Path(place), threads, compiler)
                    found.setdefault(network, {}).setdefault(title, {})[state] = times
                    note(f"{NETWORKS[network].title}, {title}, {state}: {times}")
                    if "error" in times:
                        break


def print_first_steps(found: Mapping[str, Any]) -> None:
    """Print the times of first steps."""
    rows: list[list[str]] = []
    for network, cases in found.items():
        for title, states in cases.items():
            for state, times in states.items():
                names = "seconds", "cpu", "later"
                cells = [f"{times[name]:.2f}" for name in names] if "error" not in times else ["failed", "", ""]
                rows.append([f"{NETWORKS[network].title}, {title}, {state}", *cells])
    columns = "", "first step s", "CPU seconds", "third step s"
    print_table("First step of a fresh process, after import torch", columns, rows)


def main() -> None:
    """Measure what the arguments say, and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_networks(parser)
    default = [each.name for each in (*OURS, STRIATE, *PEERS)]
    parser.add_argument(
        "--configurations", nargs="+", default=default, choices=list(KNOWN), metavar="NAME",
        help=f"of {', '.join(KNOWN)}",
    )  # fmt: skip
    parser.add_argument("--repetitions", type=int, default=15, help="rounds (15)")
    parser.add_argument("--steps", type=int, default=5, help="timed steps a turn, after an untimed one (5)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, help="another batch size than the benchmark's")
    parser.add_argument("--keep-all", action="store_true", help="drop nothing: for trying the script on a busy machine")
    parser.add_argument("--first-step", action="store_true", help="measure first steps instead")
    titles = [title for title, _, _ in CASES]
    parser.add_argument("--cases", nargs="+", default=titles, choices=titles, help="first steps of these only")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler) is None:
        note(f"{compiler} was not found: inductor (compiled) cannot run")
    if options.first_step:
        times: dict[str, Any] = {}
        with suppress(KeyboardInterrupt):  # print what was measured before it
            first_steps(options.networks, options.threads, options.cases, times)
        if options.json:
            print_json({"machine": machine(), "threads": options.threads, "first_steps": times})
        else:
            print_first_steps(times)
        return
    probe = Probe(options.threads)
    configurations = [KNOWN[name] for name in options.configurations]
    results: dict[str, dict[str, Measurement]] = {}
    with suppress(KeyboardInterrupt):
        for name in options.networks:
            results[name] = measure(NETWORKS[name], configurations, probe, options, BackendWorker)
            for m in results[name].values():  # so that an end of this process loses no figures
                figures = f"median {shown(m.median * 1e3)} ms, minimum {shown(m.minimum * 1e3)} ms"
                note(f"{m.network.title}, {m.configuration.name}: {figures}, {len(m.kept)} of {len(m.turns)} turns")
    if options.json:
        content = {
            name: {"ratios": ratios(found), "configurations": [m.summary() for m in found.values()]}
            for name, found in results.items()
        }
        print_json({"machine": machine(), "threads": options.threads, "networks": content})
    else:
        print_steps(results, options.configurations)


if __name__ == "__main__":
    if sys.argv[1:2] and sys.argv[1].startswith("{"):
        serve(prepared)
    else:
        main()
