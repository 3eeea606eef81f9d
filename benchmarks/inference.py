"""Compare prediction in striate, onnxruntime, OpenVINO and PyTorch, at batch 1 and 64.

    python benchmarks/inference.py                                     the four networks, batch 1 and 64
    python benchmarks/inference.py --networks zoo                      the ten fixed networks of ``zoo``
    python benchmarks/inference.py --networks lenet5 mlp --batches 1 --json

As in ``compare``, each framework runs in its own process from the same weights and is suspended while another one runs,
and turns next to a probe reading without free cores are dropped. One call is timed, from a NumPy array to a NumPy array
(in PyTorch, from tensor to tensor). onnxruntime and OpenVINO run the graph that ``torch.onnx.export`` makes of the
PyTorch network in evaluation mode, with batch normalization folded. All compute in float32; OpenVINO would otherwise
choose bfloat16 by itself on some processors. If one of them is not installed, a note says so, and it is left out.
"""

from __future__ import annotations

import argparse
import logging
import math
import sys
import warnings
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from compare import Measurement, Turn, shown, turn_length
from configuration import CHANNELS_LAST, NCHW, STRIATE, Configuration
from networks import Network
from probe import Probe
from report import geometric_mean, machine, note, print_json, print_table
from worker import Array, Prepared, Worker, WorkerError, serve
from zoo_networks import KNOWN, ZooNetwork, add_known_networks, chosen
from zoo_worker import in_striate, in_torch

ONNXRUNTIME = Configuration("onnxruntime", "onnxruntime")
OPENVINO = Configuration("OpenVINO", "openvino")
CONFIGURATIONS = (STRIATE, ONNXRUNTIME, OPENVINO, NCHW, CHANNELS_LAST)
RUNTIMES = (ONNXRUNTIME.name, OPENVINO.name)
TOLERANCE = 1e-3
"""The largest accepted relative difference between the sum of a network's |outputs| and striate's."""


class PredictionWorker(Worker):
    """A worker process that predicts instead of training."""

    script = __file__


# The worker's side


def striate_prediction(network: Network, seed: int) -> Prepared:
    """Return the prepared prediction of a network in striate."""
    from networks import striate_model

    model = in_striate(network) if isinstance(network, ZooNetwork) else striate_model(network, seed=seed)
    return lambda x, y: model(x), lambda x, y: (x, y)


def torch_network(network: Network, seed: int) -> Any:
    """Return the network in PyTorch, in evaluation mode."""
    from twins import torch_model

    return (in_torch(network) if isinstance(network, ZooNetwork) else torch_model(network, seed=seed)).eval()


def torch_prediction(network: Network, configuration: Configuration, threads: int, seed: int) -> Prepared:
    """Return the prepared prediction of a network in PyTorch."""
    import torch

    torch.set_num_threads(threads)
    last = torch.channels_last_3d if len(network.sample) == 4 else torch.channels_last
    layout = last if configuration.channels_last else torch.contiguous_format
    model = torch_network(network, seed).to(memory_format=layout)

    def predict(x: torch.Tensor, y: Any) -> torch.Tensor:
        with torch.inference_mode():
            return model(x)

    return predict, lambda x, y: (torch.from_numpy(x).contiguous(memory_format=layout), y)


def exported(network: Network, batch: int, seed: int) -> bytes:
    """Return the network as PyTorch exports it to ONNX, for one batch size."""
    import torch

    # Silence the exporter's messages about packages that these networks do not need.
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    warnings.simplefilter("ignore", FutureWarning)
    example = torch.zeros(batch, *network.sample)
    program: Any = torch.onnx.export(torch_network(network, seed), (example,), dynamo=True, verbose=False)
    return program.model_proto.SerializeToString()


def onnxruntime_prediction(content: bytes, threads: int) -> Prepared:
    """Return the prepared prediction of an ONNX model in onnxruntime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    (name,) = (each.name for each in session.get_inputs())

    def predict(x: Array, y: Any) -> Array:
        return session.run(None, {name: x})[0]

    return predict, lambda x, y: (x, y)


def openvino_prediction(content: bytes, threads: int) -> Prepared:
    """Return the prepared prediction of an ONNX model in OpenVINO, with the fewest copies that it offers."""
    import openvino

    core: Any = openvino.Core()
    properties = {
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
    }
    compiled = core.compile_model(core.read_model(model=content), "CPU", properties)
    request = compiled.create_infer_request()

    def predict(x: Array, y: Any) -> Array:
        return request.infer({0: x}, share_inputs=True, share_outputs=True)[0]

    return predict, lambda x, y: (x, y)


def prepared(order: Mapping[str, Any]) -> Prepared:
    """Return the prepared prediction that a message from the controlling process describes."""
    network, configuration = KNOWN[order["network"]], Configuration(**order["configuration"])
    threads, seed = order["threads"], order["seed"]
    match configuration.framework:
        case "striate":
            return striate_prediction(network, seed)
        case "onnxruntime":
            return onnxruntime_prediction(exported(network, order["batch"], seed), threads)
        case "openvino":
            return openvino_prediction(exported(network, order["batch"], seed), threads)
        case _:
            return torch_prediction(network, configuration, threads, seed)


# The controller's side


def measure(network: Network, batch: int, probe: Probe, options: argparse.Namespace) -> dict[str, Measurement]:
    """Measure all frameworks in interleaved turns; one that fails is reported, and keeps the turns before."""
    title = f"{network.title}, batch {batch}"
    found: dict[str, Measurement] = {}
    with ExitStack() as stack:
        workers: dict[str, Worker] = {}
        outcome = math.nan
        for configuration in CONFIGURATIONS:
            if configuration.channels_last and len(network.sample) < 3:
                continue  # no memory format of features and signals
            note(f"{title}: starting {configuration.name}")
            try:
                worker = stack.enter_context(PredictionWorker(network, configuration, options.threads, batch))
            except WorkerError as error:
                note(f"{title}: left out: {error}")
                continue
            if configuration is STRIATE:
                outcome = worker.ready.outcome
            elif abs(worker.ready.outcome - outcome) > TOLERANCE * outcome:
                note(f"{title}: {configuration.name} predicts {worker.ready.outcome}, striate {outcome}: not the same")
            workers[configuration.name] = worker
            found[configuration.name] = Measurement(
                network, configuration, batch, keep_all=options.keep_all, first_step=worker.ready.first_step
            )
        names = list(workers)
        calls: dict[str, int] = {}
        for repetition in range(options.repetitions):
            shift = repetition % max(1, len(names))  # so that no framework always follows the same one
            before = probe()
            for name in (*names[shift:], *names[:shift]):
                if name not in workers:
                    continue
                try:
                    calls[name] = calls.get(name) or turn_length(workers[name], 3)
                    seconds = workers[name].turn(calls[name])
                except WorkerError as error:
                    note(f"{title}: measured no further: {error}")
                    workers.pop(name).close()
                    continue
                after = probe()
                found[name].turns.append(Turn(seconds, before, after))
                before = after
        for name, worker in workers.items():
            found[name].peak_memory = worker.peak
    return found


def ratio(found: Mapping[str, Measurement], name: str, what: str = "median") -> float:
    """Return how many times faster striate is than another framework, or NaN if one was not measured."""
    if name not in found or STRIATE.name not in found:
        return math.nan
    return getattr(found[name], what) / getattr(found[STRIATE.name], what)


def best_runtime(found: Mapping[str, Measurement]) -> str | None:
    """Return the name of the faster one of onnxruntime and OpenVINO, or None if neither was measured."""
    known = [name for name in RUNTIMES if name in found and math.isfinite(found[name].median)]
    return min(known, key=lambda name: found[name].median, default=None)


def print_results(results: Mapping[tuple[str, int], Mapping[str, Measurement]], batches: Sequence[int]) -> None:
    """Print medians and minima in milliseconds, and how many times faster striate is."""
    rows = [
        [
            f"{m.network.title}, batch {m.batch}, {name}",
            shown(m.median * 1e3, ".3f"),
            shown(m.minimum * 1e3, ".3f"),
            shown(ratio(found, name), ".2f", "x"),
            shown(ratio(found, name, "minimum"), ".2f", "x"),
            f"{len(m.turns) - len(m.kept)}/{len(m.turns)}",
        ]
        for found in results.values()
        for name, m in found.items()
    ]
    columns = ("network, framework", "median ms", "min ms", "over striate", "by minima", "dropped")
    print_table("Prediction", columns, rows)
    for batch in batches:
        for configuration in CONFIGURATIONS[1:]:
            ratios = [ratio(found, configuration.name) for (_, size), found in results.items() if size == batch]
            known = [each for each in ratios if math.isfinite(each)]
            if known:
                note(f"batch {batch}: {geometric_mean(known):.2f}x faster than {configuration.name} (geometric mean)")
    best = [
        [KNOWN[name].title, str(batch), peer, shown(ratio(found, peer), ".2f", "x"),
         shown(ratio(found, peer, "minimum"), ".2f", "x")]
        for (name, batch), found in results.items()
        if (peer := best_runtime(found)) is not None
    ]  # fmt: skip
    if best:
        print_table("The better of onnxruntime and OpenVINO", ("network", "batch", "which", "ratio", "by minima"), best)
        known = [ratio(found, peer) for found in results.values() if (peer := best_runtime(found)) is not None]
        known = [each for each in known if math.isfinite(each)]
        if known:
            note(f"geometric mean {geometric_mean(known):.2f}, least {min(known):.2f}")


def main() -> None:
    """Measure all chosen networks and print the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_known_networks(parser)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 64], help="batch sizes (1 64)")
    parser.add_argument("--repetitions", type=int, default=15, help="rounds (15)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--keep-all", action="store_true", help="drop nothing: for trying the script on a busy machine")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    probe = Probe(options.threads)
    results = {
        (network.name, batch): measure(network, batch, probe, options)
        for network in chosen(options.networks)
        for batch in options.batches
    }
    if options.json:
        content = [
            {"network": name, "batch": batch, "frameworks": [m.summary() for m in found.values()]}
            for (name, batch), found in results.items()
        ]
        print_json({"machine": machine(), "threads": options.threads, "predictions": content})
    else:
        print_results(results, options.batches)


if __name__ == "__main__":
    if len(sys.argv) == 2 and sys.argv[1].startswith("{"):
        serve(prepared, networks=lambda: KNOWN)
    else:
        main()
