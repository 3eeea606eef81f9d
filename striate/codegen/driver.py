"""The native driver: runs the phases of a program on a team of threads, without calling Python.

    run(team, phases, first, last, n, budget) -> i32    called by thread 0 of the team: runs phases first to last - 1
    work(team, thread) -> i32                           called by every other thread: helps until it goes to sleep
    cycles() -> i64                                     the clock that measures ``budget`` and the profile

``team`` is the address of the team's shared memory, n the batch size; after ``budget`` cycles, ``run`` returns early. A
*phase* runs one kernel once for each *chunk*, a part of the work. A phase is stored as {kernel, operands, per, group},
and has ``per`` chunks if ``group`` is 0, else per · ⌈n / group⌉. A *kernel* is ``i32 kernel(i64 chunk, i64 n, ptr
operands, ptr scratch)`` and returns 0, or an error status above 0.

How chunks are distributed, and why no chunk is ever lost or run twice:

- Every thread has a *seat*, one 64-bit word ``low | high << 32``. It contains the chunks [low, high), which no thread
  has taken yet. A thread takes ``low`` from its own seat, so that it finds the data of the previous phase in its cache;
  when its seat is empty, it takes ``high - 1`` from another seat. A chunk is taken by one compare-and-exchange of the
  word.
- The thread that took a chunk *holds* it until it has subtracted 1 from ``pending``, which counts the chunks not yet
  finished. A phase cannot end while a chunk is held. A thread reads the kernel, the operands and n only after it has
  taken a chunk, so they cannot change while it uses them. The compare-and-exchange also succeeds if a thread read the
  seat's word in an earlier phase and the word now has the same bits again. The thread then holds a chunk of the present
  phase, which is correct, too.
- Exactly one thread brings ``pending`` to 0. That thread *advances*: it writes the next phase, then ``pending``, then
  the seats in order. Of c chunks, seat t of T gets [⌊t·c/T⌋, ⌊(t+1)·c/T⌋). The other threads can start when the first
  seat is written. They cannot end the phase before the last seat is written, because the last seat is never empty.
  Finally the thread increments ``ticket``, which the waiting threads poll.

So no thread waits for a thread that holds no chunk: late, sleeping and descheduled workers delay no other thread.
Waiting threads spin with ``pause`` for ``spin`` cycles, then yield the core with ``sched_yield``. When no run is active
and ``idle`` cycles have passed, ``work`` returns ASLEEP and Python blocks the thread.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from llvmlite import ir

from striate.codegen import jit, target
from striate.codegen.function_writer import I32, I64, KERNEL, POINTER, WORDS, FunctionWriter, Machine

NO_FAILURE = 2**64 - 1
LINE = 16
"""Words between two items that different threads write: two cache lines, because processors fetch lines in pairs."""

TEAM = {
    "ticket": 0 * LINE,
    "pending": 1 * LINE,
    "outcome": 2 * LINE,
    "failure": 2 * LINE + 1,
    # The run and its current phase: written by the thread that advances, read by the threads that hold a chunk.
    "kernel": 3 * LINE,
    "operands": 3 * LINE + 1,
    "n": 3 * LINE + 2,
    "index": 3 * LINE + 3,
    "phases": 3 * LINE + 4,
    "first": 3 * LINE + 5,
    "last": 3 * LINE + 6,
    "deadline": 3 * LINE + 7,
    # Set by Python.
    "threads": 4 * LINE,
    "running": 4 * LINE + 1,
    "stop": 4 * LINE + 2,
    "spin": 4 * LINE + 3,
    "idle": 4 * LINE + 4,
    "profile": 4 * LINE + 5,
    # One seat per thread. The address of the thread's scratch memory is on a line that no other thread writes.
    "seats": 5 * LINE,
}
"""The layout of a team's shared memory: the index of each named 64-bit word."""

SEAT, SCRATCH = LINE, LINE // 2


class Outcome(IntEnum):
    """Why the native function ``run``, which runs the phases (kernel launches) of a program, returned.

    DONE: all phases were run. MORE: the time that the caller allowed has passed. FAILED: a kernel returned an error.
    After DONE and MORE, the word ``index`` of the team's memory is the number of the next phase. After FAILED, it is
    the number of the phase that failed.
    """

    DONE = 1
    MORE = 2
    FAILED = 3


class Leave(IntEnum):
    """Why the native function ``work``, in which a worker thread waits for work, returned to Python.

    ASLEEP: there was no work for ``idle`` clock cycles. STOPPED: Python has set the word ``stop`` of the team's memory.
    """

    ASLEEP = 1
    STOPPED = 2


class _Writer(FunctionWriter):
    """Writes one native function of the driver, with access to the words of a team."""

    def get(self, base: Any, name: str) -> Any:
        return self.builder.load(self.word(base, TEAM[name]), name=name)

    def put(self, base: Any, name: str, value: Any) -> None:
        self.builder.store(value, self.word(base, TEAM[name]))

    def give_core_away(self) -> None:
        self.intrinsic("SwitchToThread" if self.machine.windows else "sched_yield", I32, [])


def _write_execute(module: ir.Module) -> ir.Function:
    """Write execute(team, thread, chunk), which calls the kernel of the current phase for one chunk.

    If several chunks fail, the failure of the lowest chunk is kept.
    """
    w = _Writer(module, "execute", ir.VoidType(), [WORDS, I64, I64])
    b = w.builder
    team, thread, chunk = w.arguments
    seat = b.add(b.mul(thread, I64(SEAT)), I64(TEAM["seats"]))
    scratch = b.inttoptr(b.load(w.word(team, b.add(seat, I64(SCRATCH)))), POINTER)
    kernel = b.inttoptr(w.get(team, "kernel"), KERNEL.as_pointer())
    operands = b.inttoptr(w.get(team, "operands"), POINTER)
    status = b.call(kernel, [chunk, w.get(team, "n"), operands, scratch])
    with b.if_then(w.is_("!=", status, 0), likely=False):
        # The failure of the lowest chunk is reported, so the report does not depend on the number of threads.
        failure = b.or_(b.shl(chunk, I64(32)), b.zext(status, I64))
        b.atomic_rmw("umin", w.word(team, TEAM["failure"]), failure, "monotonic")
    b.ret_void()
    return w.function


def _write_stamp(module: ir.Module) -> ir.Function:
    """Write stamp(team, slot), which stores the clock in a slot of the profile, if there is a profile."""
    w = _Writer(module, "stamp", ir.VoidType(), [WORDS, I64])
    b = w.builder
    team, slot = w.arguments
    profile = w.get(team, "profile")
    with b.if_then(w.is_("!=", profile, 0), likely=False):
        b.store(w.cycles(), w.word(b.inttoptr(profile, WORDS), slot))
    b.ret_void()
    return w.function


def _write_advance(module: ir.Module, execute: ir.Function, stamp: ir.Function) -> ir.Function:
    """Write advance(team, thread, index), which starts phase ``index``, or ends the run.

    It is called when all chunks of the previous phase are finished. A phase of one chunk, and every phase of a team of
    one thread, runs inside this function without waking the other threads.
    """
    w = _Writer(module, "advance", ir.VoidType(), [WORDS, I64, I64])
    b = w.builder
    team, thread, start = w.arguments
    index_slot, chunk_slot, seat_slot = (w.variable(start), w.variable(I64(0)), w.variable(I64(0)))
    threads = w.get(team, "threads")

    def finish(outcome: Outcome, index: Any) -> None:
        w.put(team, "index", index)
        w.release(I64(outcome), w.word(team, TEAM["outcome"]))
        b.atomic_rmw("add", w.word(team, TEAM["ticket"]), I64(1), "release")
        b.ret_void()

    with w.loop() as phase_loop:
        index = b.load(index_slot)
        with b.if_then(w.is_("!=", w.get(team, "failure"), NO_FAILURE), likely=False):
            finish(Outcome.FAILED, b.sub(index, I64(1)))
        with b.if_then(w.is_("==", index, w.get(team, "last"))):
            finish(Outcome.DONE, index)
        with b.if_then(w.is_(">", index, w.get(team, "first"))):
            # The comparison is signed, because a cycle counter may start anywhere and wrap around.
            late = b.icmp_signed(">", b.sub(w.cycles(), w.get(team, "deadline")), I64(0))
            with b.if_then(late, likely=False):
                finish(Outcome.MORE, index)

        phase = w.word(b.inttoptr(w.get(team, "phases"), WORDS), b.mul(index, I64(4)))
        per, group = b.load(w.word(phase, 2)), b.load(w.word(phase, 3))
        safe_group = b.select(w.is_("==", group, 0), I64(1), group)
        groups = b.udiv(b.add(w.get(team, "n"), b.sub(safe_group, I64(1))), safe_group)
        chunks = b.select(w.is_("==", group, 0), per, b.mul(per, groups))
        w.put(team, "kernel", b.load(w.word(phase, 0)))
        w.put(team, "operands", b.load(w.word(phase, 1)))
        w.put(team, "index", index)
        b.call(stamp, [team, b.shl(index, I64(1))])

        alone = b.or_(w.is_("<=", chunks, 1), w.is_("==", threads, 1))
        with b.if_then(alone):
            b.store(I64(0), chunk_slot)
            with w.loop() as chunk_loop:
                chunk = b.load(chunk_slot)
                chunk_loop.leave_if(w.is_(">=", chunk, chunks))
                b.call(execute, [team, thread, chunk])
                b.store(b.add(chunk, I64(1)), chunk_slot)
            b.call(stamp, [team, b.or_(b.shl(index, I64(1)), I64(1))])
            b.store(b.add(index, I64(1)), index_slot)
            phase_loop.again()

        w.release(chunks, w.word(team, TEAM["pending"]))
        b.store(I64(0), seat_slot)
        with w.loop() as seat_loop:
            seat = b.load(seat_slot)
            seat_loop.leave_if(w.is_("==", seat, threads))
            b.store(b.add(seat, I64(1)), seat_slot)
            low = b.udiv(b.mul(seat, chunks), threads)
            high = b.udiv(b.mul(b.add(seat, I64(1)), chunks), threads)
            word = b.add(b.mul(seat, I64(SEAT)), I64(TEAM["seats"]))
            w.release(b.or_(low, b.shl(high, I64(32))), w.word(team, word))
        b.atomic_rmw("add", w.word(team, TEAM["ticket"]), I64(1), "release")
        b.ret_void()
    b.unreachable()
    return w.function


def _write_take(module: ir.Module) -> ir.Function:
    """Write take(team, thread), which takes a chunk, from the thread's own seat if possible.

    The function returns the number of the chunk, or -1 if no chunk is left.
    """
    w = _Writer(module, "take", I64, [WORDS, I64])
    b = w.builder
    team, thread = w.arguments
    threads = w.get(team, "threads")
    seat_slot, tried_slot = w.variable(thread), w.variable(I64(0))
    with w.loop() as seat_loop:
        seat_loop.leave_if(w.is_("==", b.load(tried_slot), threads))
        seat = b.load(seat_slot)
        address = w.word(team, b.add(b.mul(seat, I64(SEAT)), I64(TEAM["seats"])))
        with w.loop() as try_loop:
            word = b.load_atomic(address, "monotonic", 8)
            low, high = b.and_(word, I64(0xFFFFFFFF)), b.lshr(word, I64(32))
            try_loop.leave_if(w.is_(">=", low, high))
            own = w.is_("==", seat, thread)
            taken = b.select(own, b.add(word, I64(1)), b.sub(word, I64(1 << 32)))
            chunk = b.select(own, low, b.sub(high, I64(1)))
            swapped = b.extract_value(b.cmpxchg(address, word, taken, "acq_rel", "monotonic"), 1)
            with b.if_then(swapped):
                b.ret(chunk)
        following = b.add(seat, I64(1))
        b.store(b.select(w.is_("==", following, threads), I64(0), following), seat_slot)
        b.store(b.add(b.load(tried_slot), I64(1)), tried_slot)
    b.ret(I64(-1))
    return w.function


def _write_help(module: ir.Module, execute: ir.Function, stamp: ir.Function, advance: ir.Function) -> ir.Function:
    """Write help(team, thread), which runs one chunk and, after the last chunk of a phase, advances.

    The function returns 1, or 0 if there was no chunk to take.
    """
    w = _Writer(module, "help", I32, [WORDS, I64])
    b = w.builder
    team, thread = w.arguments
    chunk = b.call(_write_take(module), [team, thread])
    with b.if_then(w.is_("==", chunk, I64(-1))):
        b.ret(I32(0))
    b.call(execute, [team, thread, chunk])
    index = w.get(team, "index")
    before = b.atomic_rmw("sub", w.word(team, TEAM["pending"]), I64(1), "acq_rel")
    with b.if_then(w.is_("==", before, 1)):
        b.call(stamp, [team, b.or_(b.shl(index, I64(1)), I64(1))])
        b.call(advance, [team, thread, b.add(index, I64(1))])
    b.ret(I32(1))
    return w.function


def _write_run(module: ir.Module, advance: ir.Function, help_: ir.Function) -> None:
    w = _Writer(module, "striate_run", I32, [WORDS, WORDS, I64, I64, I64, I64], public=True)
    b = w.builder
    team, phases, first, last, n, budget = w.arguments
    restore = w.flush_denormals()
    w.put(team, "phases", b.ptrtoint(phases, I64))
    w.put(team, "first", first)
    w.put(team, "last", last)
    w.put(team, "n", n)
    w.put(team, "deadline", b.add(w.cycles(), budget))
    w.put(team, "failure", I64(NO_FAILURE))
    w.put(team, "outcome", I64(0))
    b.call(advance, [team, I64(0), first])
    outcome_slot = w.variable(I64(0))
    with w.loop() as loop:
        seen = w.acquire(w.word(team, TEAM["ticket"]))
        outcome = w.acquire(w.word(team, TEAM["outcome"]))
        b.store(outcome, outcome_slot)
        loop.leave_if(w.is_("!=", outcome, 0))
        loop.again_if(w.is_("!=", b.call(help_, [team, I64(0)]), 0))
        start = w.cycles()
        with w.loop() as wait:
            wait.leave_if(w.is_("!=", w.acquire(w.word(team, TEAM["ticket"])), seen))
            waited = b.sub(w.cycles(), start)
            with b.if_else(w.is_("<", waited, w.get(team, "spin"))) as (spin, yield_):
                with spin:
                    w.pause()
                with yield_:
                    w.give_core_away()
    restore()
    b.ret(b.trunc(b.load(outcome_slot), I32))


def _write_work(module: ir.Module, help_: ir.Function) -> None:
    w = _Writer(module, "striate_work", I32, [WORDS, I64], public=True)
    b = w.builder
    team, thread = w.arguments
    restore = w.flush_denormals()

    def leave(why: Leave) -> None:
        restore()
        b.ret(I32(why))

    with w.loop() as loop:
        seen = w.acquire(w.word(team, TEAM["ticket"]))
        loop.again_if(w.is_("!=", b.call(help_, [team, thread]), 0))
        start = w.cycles()
        with w.loop() as wait:
            wait.leave_if(w.is_("!=", w.acquire(w.word(team, TEAM["ticket"])), seen))
            with b.if_then(w.is_("!=", w.acquire(w.word(team, TEAM["stop"])), 0), likely=False):
                leave(Leave.STOPPED)
            waited = b.sub(w.cycles(), start)
            with b.if_else(w.is_("<", waited, w.get(team, "spin"))) as (spin, yield_):
                with spin:
                    w.pause()
                with yield_:
                    resting = w.is_("==", w.acquire(w.word(team, TEAM["running"])), 0)
                    with b.if_then(b.and_(resting, w.is_(">", waited, w.get(team, "idle"))), likely=False):
                        leave(Leave.ASLEEP)
                    w.give_core_away()
    b.unreachable()


def write(triple: str) -> str:
    """Return the native driver as LLVM IR for the machine that the LLVM triple ``triple`` names.

    The driver runs the phases (kernel launches) of programs on a team of threads. Raises ``EngineError`` for a
    processor that is neither x86 nor 64-bit ARM.
    """
    Machine(triple).check()
    module = ir.Module("striate_driver")
    module.triple = triple
    execute, stamp = _write_execute(module), _write_stamp(module)
    advance = _write_advance(module, execute, stamp)
    help_ = _write_help(module, execute, stamp, advance)
    _write_run(module, advance, help_)
    _write_work(module, help_)
    clock = _Writer(module, "striate_cycles", I64, [], public=True)
    clock.builder.ret(clock.cycles())
    return str(module)


@dataclass(frozen=True, eq=False)
class NativeDriver:
    """The compiled driver, native code that runs programs on a team of threads.

    ``run``, ``work`` and ``cycles`` are the addresses of its functions, valid as long as ``library`` lives.
    """

    run: int
    work: int
    cycles: int
    library: object

    def words(self, threads: int) -> int:
        """Return the size of the shared memory of a team of ``threads`` threads, in 64-bit words."""
        return TEAM["seats"] + threads * SEAT

    def word(self, name: str) -> int:
        """Return the index of the 64-bit word ``name`` in the team's shared memory; ``TEAM`` lists the names."""
        return TEAM[name]

    def scratch_word(self, thread: int) -> int:
        """Return the index of the 64-bit word that contains the address of a thread's own scratch memory.

        The index is counted from the start of the team's shared memory.
        """
        return TEAM["seats"] + thread * SEAT + SCRATCH


_SYMBOLS = ("striate_run", "striate_work", "striate_cycles")


@functools.cache
def load() -> NativeDriver:
    """Return the native driver, which runs programs on a team of threads, compiled for this computer.

    The driver is compiled once and then read from the kernel cache.
    """
    here = target.host()
    return _driver(jit.load_kept("native driver", lambda: write(here.triple), here, _SYMBOLS))


def load_text(text: str) -> NativeDriver:
    """Compile and load a native driver from ``text``: the LLVM IR that ``write`` returns, or a variant of it."""
    return _driver(jit.Library([jit.compile_object(text, target.host())], _SYMBOLS))


def _driver(library: jit.Library) -> NativeDriver:
    run, work, cycles = map(library.address, _SYMBOLS)
    return NativeDriver(run, work, cycles, library)
