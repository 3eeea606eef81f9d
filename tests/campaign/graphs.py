"""Compare random networks, forward and backward: fused, operation by operation, and in NumPy.

    python tests/campaign/graphs.py --seconds 3600 --seed 1      search; exit status 1 if there is a finding
    python tests/campaign/graphs.py --seed 1 --only 4711         run one case again, without shrinking it

Each case draws a network (``drawing.py``) and compiles it with the gradients of Σ weight · output. It runs

- with each operand of each kernel on its own pages, next to a forbidden page at either side, and on memory full of NaN;
- on one, two, three and four threads, and in a program of a larger capacity: the bits must be the same each time;
- with N = 0, N = 1 and a short batch, on the program that was compiled for all N;
- with each operation compiled by itself, which is the unfused program, in some cases.

All results are compared with the NumPy references. How large an error may be is measured: the references run again with
every intermediate value changed by a few units in the last place. Where that changes much, such as at the sign of a
ReLU's input, much is allowed.

A network that fails is shrunk by removing calls, outputs and gradients as long as it fails, and printed as a program.
Cases run in a child process, so that a crash is a finding too.
"""

from __future__ import annotations

import argparse
import collections
import faulthandler
import functools
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402

from striate import settings  # noqa: E402
from striate.codegen import target  # noqa: E402
from striate.compiler import CompiledExecutable, options_for, prepare_compiled, rounded_graph  # noqa: E402
from striate.dtypes import Precision  # noqa: E402
from striate.engine import with_batch  # noqa: E402
from striate.errors import ShapeError, StriateError  # noqa: E402
from striate.graph.contents import sample_checks  # noqa: E402
from striate.graph.graph import Constant, Graph, Input  # noqa: E402
from striate.graph.op import Kind, Op  # noqa: E402
from striate.graph.value import Array, TensorType, Value  # noqa: E402
from tests.campaign.drawing import draw  # noqa: E402
from tests.campaign.network import Call, Given, N, Network, smaller, text, weight  # noqa: E402
from tests.compiled.cases import Problem  # noqa: E402
from tests.compiled.placement import on_guarded_pages  # noqa: E402
from tests.fuzz.judge import WrongResultError, same_bits, widened_graph  # noqa: E402
from tests.protected import Side  # noqa: E402

CASES_PER_CHILD = 150
ALONE_SHARE = 0.3
"""Share of cases that also run operation by operation, which compiles many small programs."""
MOST_TRIES = 300
"""Networks that shrinking tries."""
ULPS = {np.dtype("f8"): 2.0**-52, np.dtype("f4"): 2.0**-23}
BFLOAT16_ULP = 2.0**-8


# The judge


def references(problem: Problem, n: int, arrays: Mapping[str, Array], shaken: int = 0) -> dict[str, Array]:
    """Return the outputs of the NumPy references in float64; ``shaken`` > 0 changes every value in its last places."""
    graph = problem.graph
    if problem.precision is not Precision.full:
        graph = rounded_graph(graph, options_for(problem.precision))
    else:
        graph = widened_graph(graph)
    graph = with_batch(graph, n)
    random = np.random.default_rng(shaken)
    ulp = ULPS[np.dtype(_dtype(problem))]
    known: dict[Value, Array] = {}
    with np.errstate(all="ignore"):
        for node in graph.nodes:
            if isinstance(node.op, Input):
                found = arrays[node.op.name]
                results: tuple[Array, ...] = (found.astype(node.outputs[0].dtype.numpy),)
            elif isinstance(node.op, Constant):
                results = (np.asarray(node.op.number, node.op.dtype.numpy),)
            else:
                result = node.op.reference(*(known[value] for value in node.inputs))
                results = result if isinstance(result, tuple) else (result,)
                if shaken and node.op.kind is not Kind.VIEW:
                    more = BFLOAT16_ULP / ulp if type(node.op).__name__ == "Narrow" else 1.0
                    results = tuple(_shaken(array, ulp * more, node.op, random) for array in results)
            for value, array in zip(node.outputs, results, strict=True):
                known[value] = np.asarray(array, value.dtype.numpy)
    return {name: known[value] for name, value in graph.outputs.items()}


def _shaken(array: Array, ulp: float, op: Op, random: np.random.Generator) -> Array:
    array = np.asarray(array)
    if array.dtype.kind != "f" or not array.size:
        return array
    noise = random.uniform(-1, 1, array.shape)
    moved = array * (1 + 4 * ulp * noise)
    if op.kind in (Kind.CONTRACTION, Kind.REDUCTION):
        # The terms of a sum may be much larger than the sum.
        real = np.abs(array[np.isfinite(array)])
        moved = moved + ulp * (real.max() if real.size else 0) * random.uniform(-1, 1, array.shape)
    return moved


def _dtype(problem: Problem) -> str:
    return next((v.dtype.value for v in problem.graph.inputs.values() if v.dtype.is_float), "float32")


class Judge:
    """The reference results of a problem for one N, and how much of each is noise."""

    def __init__(self, problem: Problem, n: int, arrays: Mapping[str, Array]) -> None:
        self.expected = references(problem, n, arrays)
        self.shaken = [references(problem, n, arrays, seed) for seed in (1, 2, 3)]
        self.ulp = ULPS[np.dtype(_dtype(problem))]
        if problem.precision is not Precision.full:
            self.ulp = BFLOAT16_ULP / 32

    def check(self, found: Mapping[str, Array], where: str) -> None:
        """Raise ``WrongResultError`` where a result is off by more than rounding explains."""
        if found.keys() != self.expected.keys():
            raise WrongResultError(f"{where}: outputs {sorted(found)} instead of {sorted(self.expected)}")
        for name, want in self.expected.items():
            got, others = found[name], [one[name] for one in self.shaken]
            if got.shape != want.shape or got.dtype.kind != want.dtype.kind:
                raise WrongResultError(f"{where}: {name} is {got.dtype} {got.shape}, not {want.dtype} {want.shape}")
            if got.dtype.kind != "f":
                sure = np.logical_and.reduce([want == other for other in others])
                if not np.array_equal(got[sure], want[sure]):
                    raise WrongResultError(f"{where}: {name} is\n{got}\ninstead of\n{want}")
                continue
            largest = float(np.finfo(got.dtype).max) / 1e4
            with np.errstate(invalid="ignore"):
                sure = np.logical_and.reduce([np.isfinite(want) == np.isfinite(other) for other in others])
                sure &= ~(np.abs(want) > largest)
                if not np.array_equal(np.isfinite(got)[sure], np.isfinite(want)[sure]):
                    raise WrongResultError(f"{where}: {name} is finite elsewhere:\n{got}\ninstead of\n{want}")
                real = np.isfinite(want) & sure & np.logical_and.reduce([np.isfinite(other) for other in others])
            if not real.any():
                continue
            size = float(np.abs(want[real]).max())
            noise = max(float(np.abs(other[real] - want[real]).max()) for other in others)
            allowed = 8 * noise + 64 * self.ulp * size + float(np.finfo(got.dtype).tiny)
            error = float(np.abs(got[real].astype("f8") - want[real]).max())
            if not error <= allowed:
                raise WrongResultError(
                    f"{where}: {name} is off by {error:.3g} where {allowed:.3g} is allowed:\n{got}\nnot\n{want}"
                )


# One case


def first_samples(problem: Problem, n: int) -> dict[str, Array]:
    """Return the arrays of the first n samples."""
    return {
        name: array[:n] if problem.graph.inputs[name].type.batched else array for name, array in problem.arrays.items()
    }


def check(network: Network, operations_alone: bool) -> None:
    """Compare everything that a network computes; raises ``WrongResultError``."""
    problem = network.problem()
    settings.override(threads=1)
    judge = Judge(problem, problem.n, problem.arrays)
    placed = on_guarded_pages(problem, Side.RIGHT)
    first = placed.run()
    judge.check(first, "on protected pages")
    for threads in (2, 3, 4):  # also where the program is so small that one thread would run it
        settings.override(threads=threads)
        same_bits(placed.run(), first, f"on {threads} threads")
    same_bits(on_guarded_pages(problem, Side.LEFT).run(), first, "protected at the left")
    spare = problem.compiled(problem.n + 5)
    same_bits(spare.run(problem.arrays, problem.n), first, "with capacity to spare")
    if network.batched:
        for n in sorted({0, 1, max(1, problem.n - 1)} - {problem.n}):
            arrays = first_samples(problem, n)
            try:
                judge_of_n = Judge(problem, n, arrays)
            except ShapeError as error:  # then the public functions refuse this N before they run a program
                if _refused(problem, n):
                    continue
                raise WrongResultError(f"N = {n} is refused by the references alone: {error}") from error
            found = spare.run(arrays, n)
            judge_of_n.check(found, f"with N = {n} of {problem.n}")
            if n:
                short = replace(problem, arrays=arrays, n=n)
                same_bits(on_guarded_pages(short, Side.RIGHT).run(), found, f"N = {n} on protected pages")
    alone = None if _refused(problem, 1) else problem.alone()
    if alone is not None:
        found = on_guarded_pages(alone, Side.RIGHT).run()
        Judge(alone, 1, alone.arrays).check(found, "compiled for one sample")
    if operations_alone:
        judge.check(unfused(problem), "operation by operation")


def _refused(problem: Problem, n: int) -> bool:
    """Return whether striate's public functions refuse to run the program with this N."""
    try:
        for verify in sample_checks(problem.graph):
            verify(n)
    except ShapeError:
        return True
    return False


def unfused(problem: Problem) -> dict[str, Array]:
    """Return the outputs of a program in which each operation is compiled by itself."""
    options = options_for(problem.precision)
    graph = rounded_graph(problem.graph, options)
    known: dict[Value, Array] = {}
    for node in graph.nodes:
        if isinstance(node.op, Input):
            known[node.outputs[0]] = problem.arrays[node.op.name]
        elif isinstance(node.op, Constant):
            known[node.outputs[0]] = np.asarray(node.op.number, node.op.dtype.numpy)
        else:
            constants = tuple(value.node.op if isinstance(value.node.op, Constant) else None for value in node.inputs)
            program = _alone(node.op, tuple(value.type for value in node.inputs), constants)
            arrays = {f"x{i}": np.ascontiguousarray(known[value]).reshape(known[value].shape)
                      for i, value in enumerate(node.inputs) if constants[i] is None}  # fmt: skip
            found = program.run(arrays, problem.n)
            known.update({value: found[f"y{i}"] for i, value in enumerate(node.outputs)})
    return {name: known[value] for name, value in graph.outputs.items()}


@functools.lru_cache(256)
def _alone(op: Op, types: tuple[TensorType, ...], constants: tuple[Constant | None, ...]) -> CompiledExecutable:
    inputs = {f"x{i}": Input(f"x{i}", type)() for i, type in enumerate(types) if constants[i] is None}
    given = [inputs[f"x{i}"] if one is None else one() for i, one in enumerate(constants)]
    found = op(*given)
    outputs = found if isinstance(found, tuple) else (found,)
    return prepare_compiled(Graph(inputs, {f"y{i}": y for i, y in enumerate(outputs)}), {}, {}, options_for())


def case(seed: int, number: int) -> tuple[Network, bool]:
    """Return the network of a case, and whether it also runs operation by operation."""
    random = np.random.default_rng([seed, number, 1])
    network = draw(random)
    if network.precision is not Precision.full and not target.current().has_bfloat16:
        network = replace(network, precision=Precision.full)
    return network, random.random() < ALONE_SHARE


def outcome(network: Network, operations_alone: bool) -> str:
    """Run a network; return "" or the finding."""
    try:
        problem = network.problem()
        if _refused(problem, problem.n):
            return f"refused: N = {problem.n}"
    except StriateError as error:
        return f"refused {type(error).__name__}: {error}"
    except Exception:  # noqa: BLE001 - whatever a case raises is a finding
        return traceback.format_exc()
    try:
        check(network, operations_alone)
    except WrongResultError as finding:
        return f"wrong: {finding}"
    except Exception:  # noqa: BLE001 - whatever a case raises is a finding
        return traceback.format_exc()
    return ""


# The child process


def work(lines: Iterator[str]) -> None:
    """Answer requests of the parent: each line is a case or the text of a network."""
    faulthandler.enable()
    for line in lines:
        network, alone = _parsed(line)
        found = outcome(network, alone)
        print(repr(found), flush=True)


def _parsed(line: str) -> tuple[Network, bool]:
    names = {one.__name__: one for one in (Call, Given, Network)}
    return eval(line, {**names, "N": N, "Precision": _Precision})  # noqa: S307 - written by this program itself


class _Precision:
    """Reads the ``repr`` of a precision."""

    full, bfloat16 = Precision.full, Precision.bfloat16


def _line(network: Network, alone: bool) -> str:
    shown = repr((network, alone))
    for one in Precision:
        shown = shown.replace(repr(one), f"Precision.{one.name}")
    return shown


class Worker:
    """A child process that runs networks; a crash is an answer, and the next request starts a new process."""

    def __init__(self) -> None:
        self.child: subprocess.Popen[str] | None = None
        self.asked = 0

    def ask(self, network: Network, alone: bool) -> str:
        """Return "" or the finding."""
        if self.asked >= CASES_PER_CHILD:
            self.close()
        if self.child is None:
            environment = {**os.environ, "PYTHONPATH": str(ROOT), "STRIATE_ENGINE": "compiled"}
            environment.setdefault("STRIATE_CACHE", "off")
            self.child = subprocess.Popen(
                [sys.executable, __file__, "--work"], env=environment, text=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            )  # fmt: skip
            self.asked = 0
        self.asked += 1
        assert self.child.stdin is not None
        assert self.child.stdout is not None
        with suppress(BrokenPipeError):
            print(_line(network, alone), file=self.child.stdin, flush=True)
        noise: list[str] = []
        for line in self.child.stdout:
            if line[:1] in "'\"":
                return str(eval(line))  # noqa: S307 - written by this program itself
            noise.append(line)
        status = self.child.wait()
        self.child = None
        return f"crash: the process ended with status {status}\n{''.join(noise[-30:])}"

    def close(self) -> None:
        """End the child process."""
        if self.child is not None:
            self.child.kill()
            self.child.wait()
            assert self.child.stdout is not None
            assert self.child.stdin is not None
            self.child.stdout.close()
            with suppress(BrokenPipeError):
                self.child.stdin.close()
            self.child = None


def shrunk(worker: Worker, network: Network, alone: bool) -> Network:
    """Return the smallest network found that fails in the same way."""
    kind = (worker.ask(network, alone).split() or ["a finding that does not occur again"])[0]
    tries = 0
    while tries < MOST_TRIES:
        for proposal in smaller(network):
            if not proposal.calls or weight(proposal) >= weight(network):
                continue
            tries += 1
            if worker.ask(proposal, alone)[: len(kind)] == kind:
                network = proposal
                break
            if tries >= MOST_TRIES:
                break
        else:
            break
    return network


def search(seed: int, seconds: float, first: int, cases: int, keep_going: bool) -> int:
    """Run cases until the time is over; stop after the first finding unless told to keep going."""
    end = time.monotonic() + seconds
    functions: collections.Counter[str] = collections.Counter()
    worker, number, calls, findings, refused = Worker(), first, 0, 0, 0
    with suppress(KeyboardInterrupt):
        while time.monotonic() < end and number < first + cases:
            network, alone = case(seed, number)
            found = worker.ask(network, alone)
            number += 1
            if found.startswith("refused"):
                refused += 1
                print(f"case {number - 1}: {found.splitlines()[0]}", flush=True)
                continue
            if not found:
                calls += len(network.calls)
                functions.update(call.function for call in network.calls)
                continue
            findings += 1
            print(f"finding: seed {seed}, case {number - 1}\n{found}\n", flush=True)
            least = shrunk(worker, network, alone)
            print(f"{text(least)}\n{worker.ask(least, alone)}\n{_line(least, alone)}")
            print(f"  again: python tests/campaign/graphs.py --seed {seed} --only {number - 1}", flush=True)
            if not keep_going:
                break
    worker.close()
    print(f"seed {seed}: {number - first} networks of {calls} calls, {findings} findings, {refused} refused")
    print("  " + ", ".join(f"{name} {count}" for name, count in sorted(functions.items())))
    return int(findings > 0)


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--cases", type=int, default=sys.maxsize, help="stop after so many")
    parser.add_argument("--keep-going", action="store_true", help="go on after a finding")
    parser.add_argument("--only", type=int, help="print and run one case, in this process")
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        work(iter(sys.stdin))
        return 0
    if options.only is not None:
        network, alone = case(options.seed, options.only)
        print(text(network))
        found = outcome(network, alone)
        print(found or "no finding")
        return int(bool(found))
    return search(options.seed, options.seconds, options.first, options.cases, options.keep_going)


if __name__ == "__main__":
    sys.exit(main())
