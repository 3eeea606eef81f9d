"""How fast this computer is right now: fused multiply-adds in registers, on one thread and on two.

Two virtual cores may at any moment be two hyper-threads of one core, or share it with a neighbour. So no time is worth
anything without the peak of the same moment; the other benchmarks run this probe around each repetition and drop those
where the pair ran at under 1.6 times one thread.

    python benchmarks/probe.py --repetitions 20
"""

from __future__ import annotations

import argparse
import ctypes
import statistics
import threading
import time
from dataclasses import asdict, dataclass

from report import print_json

from striate.codegen import jit, target

CLEAN = 1.6
"""A pair of threads below this multiple of one thread does not have two cores."""

ACCUMULATORS = 12
"""Independent chains: 2 units of 4 cycles latency need 8; 12 and two factors fit into 16 registers."""

UNROLLED = 4


def kernel_text(lanes: int) -> str:
    """LLVM IR of ``void probe(i64 turns, ptr sink)``: every turn is UNROLLED · ACCUMULATORS fused multiply-adds.

    acc ← acc · 0.5 + 1 tends to 2, so nothing overflows or becomes denormal however long it runs.
    """
    vector = f"<{lanes} x float>"
    half, one = (f"{vector} <{', '.join([f'float {number}'] * lanes)}>" for number in ("0.5", "1.0"))
    intrinsic = f"@llvm.fma.v{lanes}f32"
    body = [
        f"  %a{step + 1}_{i} = call {vector} {intrinsic}({vector} %a{step}_{i}, {half}, {one})"
        for step in range(UNROLLED)
        for i in range(ACCUMULATORS)
    ]
    heads = [
        f"  %a0_{i} = phi {vector} [ zeroinitializer, %entry ], [ %a{UNROLLED}_{i}, %loop ]"
        for i in range(ACCUMULATORS)
    ]
    stores = [
        line
        for i in range(ACCUMULATORS)
        for line in (
            f"  %p{i} = getelementptr {vector}, ptr %sink, i64 {i}",
            f"  store {vector} %a{UNROLLED}_{i}, ptr %p{i}, align 4",
        )
    ]
    return "\n".join(
        [
            'target datalayout = ""',
            f"declare {vector} {intrinsic}({vector}, {vector}, {vector})",
            "define void @probe(i64 %turns, ptr %sink) {",
            "entry:",
            "  br label %loop",
            "loop:",
            "  %turn = phi i64 [ 0, %entry ], [ %next, %loop ]",
            *heads,
            *body,
            "  %next = add i64 %turn, 1",
            "  %again = icmp ult i64 %next, %turns",
            "  br i1 %again, label %loop, label %done",
            "done:",
            *stores,
            "  ret void",
            "}",
        ]
    )


@dataclass(frozen=True)
class Reading:
    """GFLOP/s of one thread, and of all threads together, measured one after the other."""

    single: float
    together: float
    threads: int

    @property
    def ratio(self) -> float:
        """How many times one thread all threads are."""
        return self.together / self.single

    @property
    def clean(self) -> bool:
        """Whether the threads had a core each: a pair at 1.6 times one, more threads in proportion."""
        return self.ratio >= 1 + (CLEAN - 1) * (self.threads - 1)


class Probe:
    """The compiled probe; calling it takes two readings of about ``seconds`` each.

    ctypes releases the GIL, so Python's threads run truly side by side.
    """

    def __init__(self, threads: int = 2, seconds: float = 0.01) -> None:
        here = target.current()
        self.threads = threads
        self._lanes = here.lanes
        library = jit.load([jit.compile_object(kernel_text(here.lanes), here)])
        self._native = jit.function(library.address("probe"), None, ctypes.c_int64, ctypes.c_void_p)
        self._sinks = [ctypes.create_string_buffer(ACCUMULATORS * here.lanes * 4) for _ in range(threads)]
        self._turns = 10_000
        self._work(1)  # the first call pays for the clock's rise and for touching memory
        rate = self._turns / max(self._work(1), 1e-6)
        self._turns = max(1, int(rate * seconds))

    def __call__(self) -> Reading:
        flops = 2 * self._lanes * ACCUMULATORS * UNROLLED * self._turns
        return Reading(flops / self._work(1) / 1e9, flops * self.threads / self._work(self.threads) / 1e9, self.threads)

    def _work(self, threads: int) -> float:
        """Seconds from the first thread's start to the last one's end."""
        spans: list[tuple[float, float]] = []
        gate = threading.Barrier(threads)

        def run(sink: ctypes.Array[ctypes.c_char]) -> None:
            gate.wait()
            start = time.perf_counter()
            self._native(self._turns, ctypes.addressof(sink))
            spans.append((start, time.perf_counter()))

        others = [threading.Thread(target=run, args=(sink,)) for sink in self._sinks[1:threads]]
        for other in others:
            other.start()
        run(self._sinks[0])
        for other in others:
            other.join()
        return max(end for _, end in spans) - min(start for start, _ in spans)


def main() -> None:
    """Prints readings and their medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=10)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=0.02, help="length of one measurement")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    probe = Probe(options.threads, options.seconds)
    readings = [probe() for _ in range(options.repetitions)]
    if options.json:
        print_json({"cpu": target.current().cpu, "readings": [asdict(reading) for reading in readings]})
        return
    for reading in readings:
        note = "" if reading.clean else "   not clean"
        print(f"{reading.single:7.1f} {reading.together:7.1f} GFLOP/s   {reading.ratio:.2f}x{note}")
    single, together = (statistics.median(values) for values in zip(*((r.single, r.together) for r in readings)))
    clean = f"{sum(reading.clean for reading in readings)}/{len(readings)} clean"
    print(f"median  one thread {single:.1f}, {options.threads} threads {together:.1f} GFLOP/s; {clean}")


if __name__ == "__main__":
    main()
