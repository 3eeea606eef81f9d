"""Time ``examples/pytorch_cifar.py`` with and without the line that hands its network to striate.

    python benchmarks/torch_example.py                 two minutes on two cores
    python benchmarks/torch_example.py --batches 391   the whole of CIFAR-10

The two trainings alternate, each in a process of its own, as a user would start it. An epoch's time is that which the
example prints: it includes the data loader, the optimizer, and in the first epoch the compilation of the programs. An
empty folder of compiled kernels makes the first run cold; later runs find its kernels.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import tomllib
from importlib.metadata import entry_points
from pathlib import Path

from report import machine, note, print_json, print_table

CHECKOUT = Path(__file__).parent.parent
EXAMPLE = CHECKOUT / "examples" / "pytorch_cifar.py"
BATCH, CLASSES, MOST_BATCHES = 128, 10, 391
GROUP = "torch_dynamo_backends"
LINE = re.compile(r"epoch \d+: loss (\S+), test accuracy (\S+)%, (\S+) s")
KINDS = {"eager": ["--eager"], "striate": list[str]()}


def install(folder: Path) -> None:
    """Write the entry points of this checkout into ``folder``, as an installation would, so that PyTorch finds them."""
    points: dict[str, str] = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["entry-points"][GROUP]
    place = folder / "striate-0.dist-info"
    place.mkdir()
    (place / "METADATA").write_text("Metadata-Version: 2.1\nName: striate\nVersion: 0\n")
    (place / "entry_points.txt").write_text(
        "\n".join([f"[{GROUP}]", *(f"{a} = {b}" for a, b in points.items())]) + "\n"
    )


def epochs(kind: str, options: argparse.Namespace, folder: Path) -> list[dict[str, float]]:
    """Run the example once; return loss, test accuracy in percent and training seconds of each epoch.

    A run that fails is reported; its epochs up to then are returned.
    """
    most = [] if options.batches >= MOST_BATCHES else ["--most", str(options.batches * BATCH // CLASSES)]
    command = [sys.executable, str(EXAMPLE), "--epochs", str(options.epochs), "--batch-size", str(BATCH), *most]
    installed = [] if any(one.name == "striate" for one in entry_points(group=GROUP)) else [str(folder), str(CHECKOUT)]
    path = os.pathsep.join([*installed, *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": path, "STRIATE_CACHE": str(folder / "cache")}
    run = subprocess.run([*command, *KINDS[kind]], env=environment, capture_output=True, text=True)
    if run.returncode:
        note(f"{kind} failed: {(run.stderr.splitlines() or ['no message'])[-1]}")
    found = [tuple(map(float, each)) for each in LINE.findall(run.stdout)]
    return [{"loss": loss, "accuracy": accuracy, "seconds": seconds} for loss, accuracy, seconds in found]


def main() -> None:
    """Measure what the arguments say, and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, default=40, help="batches of 128 pictures in an epoch (40)")
    parser.add_argument("--epochs", type=int, default=2, help="epochs of each run (2)")
    parser.add_argument("--repetitions", type=int, default=2, help="runs of each kind, in turns (2)")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    runs: dict[str, list[list[dict[str, float]]]] = {kind: [] for kind in KINDS}
    with tempfile.TemporaryDirectory(prefix="striate-example-") as place:
        install(Path(place))
        (Path(place) / "cache").mkdir(mode=0o700)
        for repetition in range(options.repetitions):
            for kind in KINDS:
                runs[kind].append(epochs(kind, options, Path(place)))
                note(f"round {repetition + 1} of {options.repetitions}, {kind}: {runs[kind][-1]}")
    if options.json:
        print_json({"machine": machine(), "batches": options.batches, "runs": runs})
        return
    rows = [
        [
            f"{kind}, run {number + 1}, epoch {index + 1}",
            f"{epoch['seconds']:.2f}", f"{epoch['loss']:.4f}", f"{epoch['accuracy']:.1f}",
        ]
        for kind in KINDS for number, run in enumerate(runs[kind]) for index, epoch in enumerate(run)
    ]  # fmt: skip
    print_table(f"Epochs of {options.batches} batches", ("", "seconds", "loss", "test accuracy %"), rows)
    later = {kind: [epoch["seconds"] for run in runs[kind] for epoch in run[1:]] for kind in KINDS}
    if all(later.values()):
        eager, striate = (statistics.median(later[kind]) for kind in KINDS)
        rows = [["median epoch after the first", f"{eager:.2f}", f"{striate:.2f}", f"{eager / striate:.2f}x"]]
        print_table("Before and after", ("", "eager s", "striate s", "faster"), rows)


if __name__ == "__main__":
    main()
