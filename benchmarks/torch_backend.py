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
with the others, and PyTorch is judged by its best configuration; a configuration of PyTorch that cannot start, such as
``compiled`` without a C++ compiler, is left out.

A first step begins after ``import torch`` and ends with the first update. It is measured in seconds, and in seconds of
CPU time of the process and its children, which other programs disturb less. "Cold" is with an empty folder of compiled
kernels, "warm" with the folder that the process before it left. Inductor, PyTorch's own backend, runs with and without
``g++`` in the search path.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
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


def print_steps(results: dict[str, dict[str, Measurement]]) -> None:
    """Print the times of all configurations, and then the ratios."""
    rows = [
        [
            f"{m.network.title}, {m.configuration.name}", shown(m.median * 1e3, ".2f"), shown(m.minimum * 1e3, ".2f"),
            shown(m.first_step, ".2f"), shown(m.peak_memory, ".0f"), f"{len(m.turns) - len(m.kept)}/{len(m.turns)}",
        ]
        for found in results.values() for m in found.values()
    ]  # fmt: skip
    columns = "network, configuration", "median ms", "min ms", "first step s", "peak MB", "dropped"
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
import json, os, resource, sys, time
import torch
sys.path.insert(0, sys.argv[1])
from networks import NETWORKS, batches
from twins import torch_model

def now():
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return time.perf_counter(), sum(one.ru_utime + one.ru_stime for one in used)

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

    Without ``compiler``, the search path is empty. A process that fails has only "error", the last line of its output.
    """
    environment = {
        **os.environ,
        "STRIATE_CACHE": str(folder / "striate"),
        "TORCHINDUCTOR_CACHE_DIR": str(folder / "inductor"),
        "OMP_NUM_THREADS": str(threads),
        "STRIATE_THREADS": str(threads),
    }
    if not compiler:
        environment["PATH"] = str(folder)
    finished = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(Path(__file__).parent), network, backend, str(threads)],
        env=environment,
        capture_output=True,
        text=True,
    )
    if finished.returncode:
        lines = [line for line in finished.stderr.splitlines() if "Error" in line or "Exception" in line]
        return {"error": lines[-1] if lines else f"exit code {finished.returncode}"}
    result: dict[str, Any] = json.loads(finished.stdout.splitlines()[-1])
    return result


CASES = (
    ("striate", "striate", True),
    ("inductor", "inductor", True),
    ("inductor without g++", "inductor", False),
    ("eager", "eager", True),
)
"""The measured first steps: title, backend, and whether a C++ compiler may be found."""


def first_steps(networks: list[str], threads: int, cases: list[str]) -> dict[str, Any]:
    """Measure all first steps; return their times by network, case, and "cold" or "warm"."""
    found: dict[str, Any] = {}
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
    return found


def print_first_steps(found: Mapping[str, Any]) -> None:
    """Print the times of first steps."""
    rows: list[list[str]] = []
    for network, cases in found.items():
        for title, states in cases.items():
            for state, times in states.items():
                cells = [f"{times[name]:.2f}" for name in ("seconds", "cpu")] if "error" not in times else []
                rows.append([f"{NETWORKS[network].title}, {title}, {state}", *(cells or [times["error"][:60], ""])])
    print_table("First step of a fresh process, after import torch", ("", "seconds", "CPU seconds"), rows)


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
    if options.first_step:
        times = first_steps(options.networks, options.threads, options.cases)
        if options.json:
            print_json({"machine": machine(), "threads": options.threads, "first_steps": times})
        else:
            print_first_steps(times)
        return
    probe = Probe(options.threads)
    configurations = [KNOWN[name] for name in options.configurations]
    results = {
        name: measure(NETWORKS[name], configurations, probe, options, BackendWorker) for name in options.networks
    }
    if options.json:
        content = {
            name: {"ratios": ratios(found), "configurations": [m.summary() for m in found.values()]}
            for name, found in results.items()
        }
        print_json({"machine": machine(), "threads": options.threads, "networks": content})
    else:
        print_steps(results)


if __name__ == "__main__":
    if sys.argv[1:2] and sys.argv[1].startswith("{"):
        serve(prepared)
    else:
        main()
