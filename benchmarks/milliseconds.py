"""Draw where each millisecond of a training step goes, in striate and in PyTorch.

    python benchmarks/milliseconds.py                            draws docs/pictures/milliseconds.png
    python benchmarks/milliseconds.py -o speed.svg --json        another file, and the numbers on standard output
    python benchmarks/milliseconds.py --from numbers.json        draws the output of --json again

As in ``compare.py``, each framework trains in its own process from the same weights and is suspended while the other
one runs, and turns next to a probe reading without free cores are dropped. In each turn, some steps are timed without a
profiler, then some with one (``dissection``). The length of a bar is the median of the former; its parts have the
proportions of the latter. PyTorch is eager, channels_last, with fused SGD.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from compare import Turn
from configuration import CHANNELS_LAST, STRIATE, Configuration
from dissection import LOSS, OPTIMIZER, Dissection, Work, middle
from milliseconds_picture import Bar, Section, save_picture
from networks import NETWORKS, Network, add_networks, striate_model
from probe import Probe
from report import end_with, machine, note, print_json, print_table, read_json
from worker import Worker

from striate.codegen import target
from striate.nn import Conv2d, Linear, Module

PICTURE = Path(__file__).parent.parent / "docs" / "pictures" / "milliseconds.png"
CONFIGURATIONS = (STRIATE, CHANNELS_LAST)
BETWEEN = "linear, loss, update, …"


class DissectingWorker(Worker):
    """A worker process that can also profile its steps."""

    script = str(Path(__file__).with_name("dissection.py"))


@dataclass
class Contestant:
    """The turns (groups of consecutive steps) of one framework on one network."""

    name: str
    keep_all: bool
    turns: list[Turn] = field(default_factory=list[Turn])
    apart: list[Dissection] = field(default_factory=list[Dissection])

    @property
    def kept(self) -> list[int]:
        """The indices of the turns in which every thread had a core to itself; of all turns with ``keep_all``."""
        return [place for place, turn in enumerate(self.turns) if turn.clean or self.keep_all]

    @property
    def seconds(self) -> float:
        """The median seconds of a step without profiler."""
        return statistics.median(second for place in self.kept for second in self.turns[place].seconds)

    @property
    def profiled(self) -> Dissection:
        """The dissection of a typical step, with the profiler."""
        return middle([self.apart[place] for place in self.kept])

    def summary(self) -> dict[str, object]:
        """Return everything that is drawn, as JSON-compatible data."""
        return {
            "name": self.name,
            "turns": len(self.turns),
            "dropped": len(self.turns) - len(self.kept),
            "scaled_by": self.seconds / self.profiled.seconds,
            **self.profiled.scaled(self.seconds).to_json(),
        }


def measure(network: Network, probe: Probe, options: argparse.Namespace) -> list[Contestant]:
    """Run interleaved turns of both frameworks until enough undisturbed turns are measured, or the time is over."""
    found = [Contestant("striate", options.keep_all), Contestant("PyTorch", options.keep_all)]
    with ExitStack() as stack:
        workers: list[Worker] = []
        for configuration in CONFIGURATIONS:
            note(f"{network.title}: starting {configuration.name}")
            quiet = Configuration(**{**configuration.arguments(), "environment": {"KINETO_LOG_LEVEL": "99"}})
            workers.append(stack.enter_context(DissectingWorker(network, quiet, options.threads)))
        start = time.monotonic()
        rounds = 0
        while min(len(one.kept) for one in found) < options.repetitions and time.monotonic() - start < options.seconds:
            before = probe()
            turn = list(zip(found, workers, strict=True))
            for one, worker in turn if rounds % 2 else reversed(turn):
                answer = worker.ask(steps=options.steps, apart=options.apart)
                after = probe()
                one.turns.append(Turn(answer["seconds"], before, after))
                one.apart.append(Dissection.from_json(answer["apart"]))
                before = after
            rounds += 1
            clean = ", ".join(f"{len(one.kept)} of {one.name}" for one in found)
            note(f"{network.title}: round {rounds}; turns that count: {clean}")
    for one in found:
        if not one.kept:
            raise SystemExit(f"{network.title}: no clean turn of {one.name}: the threads never had a core each")
    return found


# From paths to groups of layers


def groups(network: Network) -> dict[str, str]:
    """Return the group of each child module of the network, as {name of the child: title of the group}.

    A group is a convolution or block with the layers that follow it; the last one is everything after the first linear
    layer.
    """
    model = striate_model(network)
    found: dict[str, str] = {}
    title, number = "", 0
    for path, child in model.named_modules():
        if not path or "." in path:
            continue
        inner = [layer for _, layer in child.named_modules()]
        convolutions = [layer for layer in inner if isinstance(layer, Conv2d)]
        if convolutions:
            number += 1
            title = f"{named(path, number)}  {channels(convolutions)}"
        elif any(isinstance(layer, Linear) for layer in inner):
            title = BETWEEN
        found[path] = title
    return found


def named(path: str, number: int) -> str:
    """Return a readable name: "stage1_2" is block 2 of stage 1, and a mere number is a convolution."""
    stage, _, block = path.removeprefix("stage").partition("_")
    if path.isdigit():
        return f"convolution {number}"
    return f"stage {stage}, block {block}" if block else path


def channels(convolutions: Sequence[Module]) -> str:
    """Return "input channels of the first → most output channels" of these convolutions."""
    first: Any = convolutions[0]
    return f"{first.in_channels}→{max(each.out_channels for each in convolutions)}"  # pyright: ignore


def grouped(dissection: Dissection, titles: dict[str, str]) -> dict[str, Counter[Work]]:
    """Return the seconds by group and kind of work; conversion of the input belongs to the first group."""
    found: dict[str, Counter[Work]] = {title: Counter() for title in titles.values()}
    first = next(iter(titles.values()))
    for (layer, work), seconds in dissection.parts.items():
        child = layer.partition(".")[0]
        outside = BETWEEN if child in ("", LOSS, OPTIMIZER) else first
        found[titles.get(child, outside)][work] += seconds
    return found


# Output


def section(network: Network, content: dict[str, Any]) -> Section:
    """Return the section of the picture for one network."""
    titles = groups(network)
    bars: list[Bar] = []
    for one in content["steps"]:
        dissection = Dissection.from_json(one)
        layers = grouped(dissection, titles)
        bars.append(Bar(one["name"], sum(layers.values(), Counter()), layers))
    return Section(network.title, bars)


def caption(content: dict[str, Any]) -> str:
    """Return the text below the picture, which says how it was measured."""
    parts = content["measured"]
    steps = [one for network in content["networks"].values() for one in network["steps"]]
    records = max(one["records"] for one in steps)
    scaled = max(abs(one["scaled_by"] - 1) for one in steps)
    dropped = sum(one["dropped"] for one in steps)
    batch = " and ".join(sorted({str(NETWORKS[name].batch) for name in content["networks"]}))
    return (
        "Orange is what has a pass of its own: in striate the statistics of normalization, and parts of activation and "
        "addition, are computed in the loops of convolutions and timed there. "
        f"float32, batch {batch}, SGD with momentum, {parts['threads']} threads of an {parts['cpu']}; "
        f"PyTorch {parts['torch']} eager, channels_last, fused SGD. Lengths: medians of steps as they are, in "
        f"interleaved turns, {dropped} of {sum(one['turns'] for one in steps)} dropped as unclean. Parts: profiled "
        f"steps of the same turns, less the profiler's own work (at most {1e3 * records:.0f} ms of PyTorch's rest), "
        f"scaled to that length (by at most {scaled:.0%})."
    )


def print_numbers(content: dict[str, Any]) -> None:
    """Print a table of milliseconds by kind of work."""
    for name, network in content["networks"].items():
        steps = [(one, Dissection.from_json(one)) for one in network["steps"]]
        rows: list[list[str]] = []
        for work in Work:
            spent = [sum(part for (_, each), part in step.parts.items() if each is work) for _, step in steps]
            rows.append([work.value, *(f"{1e3 * seconds:.2f}" for seconds in spent)])
        rows.append(["the step", *(f"{1e3 * step.seconds:.2f}" for _, step in steps)])
        rows.append(["turns dropped", *(f"{one['dropped']}/{one['turns']}" for one, _ in steps)])
        rows.append(["profiler, taken off", *(f"{1e3 * one['records']:.2f}" for one, _ in steps)])
        rows.append(["parts scaled by", *(f"{one['scaled_by']:.3f}" for one, _ in steps)])
        print_table(f"{NETWORKS[name].title}, ms", ("", *(one["name"] for one, _ in steps)), rows)


def measured(options: argparse.Namespace) -> dict[str, Any]:
    """Measure all networks and return the numbers of the picture as JSON-compatible data."""
    from importlib.metadata import version

    probe = Probe(options.threads)
    networks = {
        name: {"steps": [one.summary() for one in measure(NETWORKS[name], probe, options)]} for name in options.networks
    }
    computer = machine()
    name = str(computer["cpu"]).partition(", ")[0].removeprefix("model name ")
    about = {
        "threads": options.threads,
        "cpu": f"{name} ({target.current().cpu})",
        "torch": version("torch").partition("+")[0],
    }
    return {"machine": computer, "measured": about, "networks": networks}


def main() -> None:
    """Measure all chosen networks, draw the picture, and print the numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_networks(parser)
    parser.set_defaults(networks=["resnet20", "vgg_small"])
    parser.add_argument("--repetitions", type=int, default=10, help="turns that count, of each framework (10)")
    parser.add_argument("--seconds", type=float, default=75, help="no further round after so long on a network (75)")
    parser.add_argument("--steps", type=int, default=3, help="timed steps a turn, after an untimed one (3)")
    parser.add_argument("--apart", type=int, default=1, help="steps a turn that are taken apart (1)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--keep-all", action="store_true", help="drop nothing: for trying the script on a busy machine")
    parser.add_argument("-o", "--out", type=Path, default=PICTURE, help="the picture: PNG, SVG or PDF by its ending")
    parser.add_argument("--from", dest="source", type=Path, help="draw from this file of --json, measure nothing")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    content = read_json(options.source) if options.source else measured(options)
    sections = [section(NETWORKS[name], network) for name, network in content["networks"].items()]
    save_picture(sections, caption(content), options.out)
    note(f"wrote {options.out}")
    if options.json:
        print_json(content)
    else:
        print_numbers(content)


if __name__ == "__main__":
    end_with(main)
