"""Measures the computer's current peak rate of fused multiply-adds, on one thread and on several.

Two virtual cores may be two hyper-threads of one core, or share a core with another machine, and this changes from
moment to moment. So a measured time means little without the peak rate at that time. Profiles and benchmarks run this
probe before and after each repetition.
"""

from __future__ import annotations

import ctypes
import threading
import time
from dataclasses import dataclass

from striate.codegen import jit, target

CLEAN = 1.6
"""If two threads together reach less than this multiple of one thread's rate, they do not have a core each."""

ACCUMULATORS = 12
"""The number of independent chains of multiply-adds. Two units with a latency of 4 cycles need at least 8; 12 chains
and two constants fit into 16 registers."""

UNROLLED = 4


def kernel_text(lanes: int) -> str:
    """Return LLVM IR of ``void probe(i64 turns, ptr sink)``, which computes on vectors of ``lanes`` float32.

    Each of the ``turns`` iterations executes ``UNROLLED`` · ``ACCUMULATORS`` multiply-adds a ← a · 0.5 + 1, where a is
    a vector. All values tend to 2, so they never overflow or become denormal. The vectors are written to ``sink`` at
    the end.
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
    """Measured rates of multiply-adds in GFLOP/s: of one thread (``single``), and of all together (``together``).

    ``threads`` is the number of threads. The two rates are measured one after the other.
    """

    single: float
    together: float
    threads: int

    @property
    def ratio(self) -> float:
        """The rate of all threads together, as a multiple of the rate of one thread."""
        return self.together / self.single

    @property
    def clean(self) -> bool:
        """Whether each thread had a core of its own, so that times measured now are reliable.

        T threads must reach at least 1 + 0.6 (T − 1) times the rate of one thread. If there is only one thread, it is
        measured twice, and the ratio of the two rates must lie between 0.8 and 1.25.
        """
        if self.threads == 1:
            return 0.8 <= self.ratio <= 1.25
        return self.ratio >= 1 + (CLEAN - 1) * (self.threads - 1)


class Probe:
    """Measures the rate of multiply-adds: each call measures one thread, then all, and returns a ``Reading``.

    ``threads`` is the number of threads. Each of the two measurements takes about ``seconds``. Creating a probe
    compiles its kernel and raises ``EngineError`` if the target that the settings name cannot run on this computer.
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
        """Run the kernel on ``threads`` threads; return the seconds from the first start to the last end."""
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
