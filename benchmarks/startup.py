"""Measure the import time, and the first ResNet-20 step with a cold and a warm kernel cache.

    python benchmarks/startup.py
    python benchmarks/startup.py --networks lenet5 --repetitions 2

Each measurement runs in a fresh process. After the first process, which is not counted, the bytecode of Python's
packages is in the page cache. If Python does not write bytecode (PYTHONDONTWRITEBYTECODE), it is kept in a temporary
folder during the measurement.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from networks import NETWORKS, add_networks
from report import machine, note, print_json, print_table

IMPORT_PROGRAM = """
import time
start = time.perf_counter()
import striate
print(time.perf_counter() - start)
"""

STEP_PROGRAM = """
import json, sys, time
start = time.perf_counter()
import striate as st
imported = time.perf_counter()
import numpy as np
model = st.models.build(sys.argv[1], seed=0)
shape, classes = json.loads(sys.argv[2]), 10
x = np.random.default_rng(0).standard_normal(shape, np.float32)
y = np.arange(shape[0]) % classes
step = st.TrainingStep(model, st.nn.CrossEntropyLoss(), st.optim.SGD(lr=0.01, momentum=0.9))
built = time.perf_counter()
step(x, y)
first = time.perf_counter()
step(x, y)
second = time.perf_counter()
print(json.dumps({"import": imported - start, "build": built - imported, "first step": first - built,
                  "second step": second - first, "all until the first step": first - start}))
"""


BYTECODE = tempfile.TemporaryDirectory(prefix="striate-bytecode-")


def ran(program: str, *arguments: str, **environment: str) -> str:
    """Run a program in a fresh Python process and return what it prints."""
    written = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": BYTECODE.name} if sys.dont_write_bytecode else {}
    finished = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env={**os.environ, **written, **environment},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return finished.stdout


def step_times(network: str, cache: Path) -> dict[str, float]:
    """Return the seconds of each phase up to the second step of a network, with this kernel cache."""
    shape = (NETWORKS[network].batch, *NETWORKS[network].sample)
    times: dict[str, float] = json.loads(ran(STEP_PROGRAM, network, json.dumps(shape), STRIATE_CACHE=str(cache)))
    return times


def least(rows: list[dict[str, float]]) -> dict[str, float]:
    """Return the minimum of each entry over all rows, which other programs disturb least."""
    return {name: min(row[name] for row in rows) for name in rows[0]}


def medians(rows: list[dict[str, float]]) -> dict[str, float]:
    """Return the median of each entry over all rows."""
    return {name: statistics.median(row[name] for row in rows) for name in rows[0]}


def started(network: str, repetitions: int) -> Mapping[str, dict[str, float]]:
    """Return medians and minima of cold and warm starts; each cold start has a new folder."""
    cold: list[dict[str, float]] = []
    warm: list[dict[str, float]] = []
    for repetition in range(repetitions):
        with tempfile.TemporaryDirectory(prefix="striate-startup-") as folder:
            cache = Path(folder) / "kernels"
            cold.append(step_times(network, cache))
            warm.append(step_times(network, cache))
        note(f"{NETWORKS[network].title}: {repetition + 1} of {repetitions}")
    return {
        "cold": medians(cold), "cold, least": least(cold),
        "warm": medians(warm), "warm, least": least(warm),
    }  # fmt: skip


def main() -> None:
    """Measure imports and first steps, and print the times."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_networks(parser)
    parser.set_defaults(networks=["resnet20"])
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    imports = [float(ran(IMPORT_PROGRAM)) for _ in range(2 * options.repetitions + 1)][1:]
    found = {network: started(network, options.repetitions) for network in options.networks}
    if options.json:
        print_json({"machine": machine(), "import": imports, "networks": found})
        return
    print(f"import striate: median {statistics.median(imports):.3f} s, least {min(imports):.3f} s")
    names = list(next(iter(found.values()))["cold"])
    rows = [
        (f"{NETWORKS[network].title}, cache {state}", *(f"{times[name]:.3f}" for name in names))
        for network, states in found.items()
        for state, times in states.items()
    ]
    print_table("Seconds of a fresh process", ("", *names), rows)


if __name__ == "__main__":
    main()
