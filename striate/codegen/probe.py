"""How fast this computer is right now: fused multiply-adds in registers, on one thread and on several.

Two virtual cores may be two hyper-threads of one core, or share a core with another machine, and this changes from
moment to moment. So a time means little without the peak at that time: profiles and benchmarks run this probe before
and after each repetition.
"""

from __future__ import annotations

import ctypes
import threading
import time
from dataclasses import dataclass

from striate.codegen import jit, target

CLEAN = 1.6
"""Two threads that reach less than this multiple of one thread do not have two cores."""

ACCUMULATORS = 12
"""Independent chains of multiply-adds. Two units with a latency of 4 cycles need 8; 12 chains and two constants fit
into 16 registers."""

UNROLLED = 4


def kernel_text(lanes: int) -> str:
    """LLVM IR of ``void probe(i64 turns, ptr sink)``: each turn runs UNROLLED · ACCUMULATORS multiply-adds.

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
        """The rate of all threads, as a multiple of the rate of one thread."""
        return self.together / self.single

    @property
    def clean(self) -> bool:
        """Whether each thread had its own core: two threads reach 1.6 times the rate of one, more in proportion.

        A single thread is measured twice, and the two rates must agree to about 20 %.
        """
        if self.threads == 1:
            return 0.8 <= self.ratio <= 1.25
        return self.ratio >= 1 + (CLEAN - 1) * (self.threads - 1)


class Probe:
    """The compiled probe. A call measures one thread and then all threads, for about ``seconds`` each.

    ctypes releases the GIL, so the threads run in parallel.
    """

    def __init__(self, threads: int = 2, seconds: float = 0.01) -> None:
        here = target.current()
        target.assert_runs_here(here)
        self.threads = threads
        self._lanes = here.lanes
        self._library = jit.Library([jit.compile_object(kernel_text(here.lanes), here)], ["probe"])
        self._native = jit.function(self._library.address("probe"), None, ctypes.c_int64, ctypes.c_void_p)
        self._sinks = [ctypes.create_string_buffer(ACCUMULATORS * here.lanes * 4) for _ in range(threads)]
        self._turns = 10_000
        self._work(1)  # warm-up: the clock rate rises and memory is touched
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
