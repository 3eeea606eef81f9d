"""Take memory, disk, descriptors, processors and permissions away from striate: a named error, never a crash or a hang.

    python tests/campaign/resources.py                    every trial once, the short form
    python tests/campaign/resources.py --rounds 20        with 20 times as many sizes
    python tests/campaign/resources.py --only memory      some trials, separated by commas

Trials run in forks of this process, in which nothing is compiled yet. An *action* trains, predicts, saves or exports a
small network; afterwards it must have succeeded, or failed with an error of striate, a ``MemoryError`` or an
``OSError`` that names the resource. A *command* is one of the command line: exit status 0, 1 or 2, and no traceback.

    memory       RLIMIT_AS a little above what the process has, at many sizes; in a fork, actions go on afterwards
    files        no file may grow beyond a size (RLIMIT_FSIZE), and file systems (tmpfs) of few pages
    descriptors  RLIMIT_NOFILE at and above the descriptors that are open
    places       no HOME, HOME, folder of kernels, current and temporary folder read-only or missing; closed and full
                 streams, streams in ASCII; no /proc
    groups       random trees of control groups of versions 1, 2 and both against an obvious calculation
    processors   1 to 64 visible processors: the same bits, and threads that wait use no processor time
    executable   executable memory forbidden (PR_SET_MDWE, and seccomp against PROT_EXEC): a named error, and the
                 reference engine works
"""

from __future__ import annotations

import argparse
import collections
import ctypes
import errno
import faulthandler
import io
import math
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402

import striate as st  # noqa: E402
import striate.compiler  # noqa: E402
from striate import nn, ops, optim, settings  # noqa: E402
from striate.cli import app  # noqa: E402
from striate.cli.streams import prepare_streams, written  # noqa: E402
from striate.codegen import workers  # noqa: E402
from striate.errors import EngineError, StriateError  # noqa: E402
from striate.export import export_onnx  # noqa: E402
from striate.passes import lower  # noqa: E402
from striate.quota import cpu_quota  # noqa: E402

LONGEST = 900
"""Seconds after which a fork hangs."""
DONE, OURS, NAMED, BAD = 0, 3, 4, 9
_SYSTEM = ctypes.CDLL(None, use_errno=True)


class FailedError(Exception):
    """A promise was broken."""


def forked(action: Callable[[], object], where: str) -> tuple[int, str]:
    """Run an action in a fork; returns DONE, OURS (an error of striate) or NAMED, and what it wrote.

    Raises ``FailedError`` if it crashes, hangs, or raises anything else.
    """
    log = tempfile.TemporaryFile()  # noqa: SIM115
    child = os.fork()
    if child == 0:
        status = BAD
        try:
            faulthandler.enable(log.fileno())
            os.dup2(log.fileno(), 2)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            sys.stderr = open(log.fileno(), "w", closefd=False)  # noqa: SIM115
            status = _status(action)
        except BaseException:  # noqa: BLE001 - a fork must not return
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)
    end = time.monotonic() + LONGEST
    while os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        if time.monotonic() > end:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            raise FailedError(f"{where}: no end after {LONGEST} s")
        time.sleep(0.005)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    log.seek(0)
    said = log.read().decode(errors="replace")
    if code == 127 and "thread-local data: ABORT" in said:
        return NAMED, f"MemoryError of the C library: {said}"  # in a new thread, before any of our code runs
    if code not in (DONE, OURS, NAMED):
        raise FailedError(f"{where}: status {code}\n{said[-3000:]}")
    return code, said


def _status(action: Callable[[], object]) -> int:
    try:
        action()
    except StriateError as error:
        print(type(error).__name__, error, file=sys.stderr, flush=True)
        return OURS
    except (MemoryError, OSError) as error:
        print(type(error).__name__, error, file=sys.stderr, flush=True)
        return NAMED
    return DONE


# Actions


def network() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.LeakyReLU(0.1), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(None, 10),
    ).seed(1)  # fmt: skip


def batch(n: int = 8) -> tuple[Any, Any]:
    random = np.random.default_rng(1)
    return random.standard_normal((n, 1, 16, 16)).astype(np.float32), random.integers(0, 10, n)


def train(n: int = 8) -> bytes:
    step = st.TrainingStep(network(), nn.CrossEntropyLoss(), optim.SGD(lr=0.05, momentum=0.9))
    for _ in range(2):
        step(*batch(n))
    return b"".join(np.array(array).tobytes() for array in step.model.state_dict().values())


def predict() -> bytes:
    model = network()
    model.infer((1, 16, 16))
    return np.asarray(model(batch()[0])).tobytes()


def compile_one() -> None:
    """Compile a kernel."""
    np.asarray(ops.tanh(np.ones((2, 3), np.float32)))


def compile_some(folder: Path) -> None:
    """Compile a few small kernels in worker processes, and keep them in a new folder."""
    settings.override(cache=Path(tempfile.mkdtemp(dir=folder)) / "kernels", threads=2)
    workers.FEWEST = 2
    x = np.ones((2, 3, 4), np.float32)
    several = st.compile(lambda a: (ops.softmax(a, 1), ops.tanh(a), ops.sum(a, axis=2), ops.permute(a, (0, 2, 1))))
    for result in several(x):
        np.asarray(result)


def save(folder: Path) -> None:
    model = network()
    model.infer((1, 16, 16))
    path = folder / "model.safetensors"
    st.save(model, path, input_shape=(1, 16, 16))
    st.load(path)


def export(folder: Path) -> None:
    model = network()
    model.infer((1, 16, 16))
    export_onnx(model, folder / "model.onnx", input_shape=(1, 16, 16))


def data(folder: Path) -> str:
    """Write a small set of pictures and return its path."""
    random = np.random.default_rng(0)
    path = folder.parent / "pictures.npz"
    if not path.exists():
        np.savez(path, x=random.standard_normal((60, 1, 12, 12)).astype(np.float32), y=random.integers(0, 3, 60))
    return str(path)


def command(*arguments: str) -> Callable[[], None]:
    """Return an action that runs the command line as its script does."""

    def run() -> None:
        prepare_streams()
        status: object = 0
        try:
            written(lambda: app(list(arguments), prog_name="striate"))
        except SystemExit as ended:
            status = ended.code
        if status not in (0, 1, 2, None):
            raise AssertionError(f"striate {' '.join(arguments)} ended with {status}")
        if status:
            raise StriateError(f"exit status {status}")

    return run


def no_traceback(said: str, where: str) -> None:
    """Raise ``FailedError`` if a command printed a traceback."""
    if "Traceback" in said:
        raise FailedError(f"{where}:\n{said[-3000:]}")


# Trials


def memory(rounds: int, folder: Path) -> collections.Counter[str]:
    """Each action below a limit of address space; then, without the limit, it must succeed in the same process."""
    counts: collections.Counter[str] = collections.Counter()
    sizes = np.unique(np.round(np.geomspace(0.25, 600, 3 * rounds), 2))
    for name, action in (("train", train), ("predict", predict), ("a large batch", lambda: train(2048))):
        expected: list[object] = []
        for size in sizes:

            def limited(size: float = float(size), action: Callable[[], object] = action) -> None:
                used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
                hard = resource.getrlimit(resource.RLIMIT_AS)[1]
                resource.setrlimit(resource.RLIMIT_AS, (used + int(size * 2**20), hard))
                try:
                    action()
                finally:
                    resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
                    action()  # with memory again, in the same process

            settings.override(threads=int(1 + len(expected) % 3))
            lower.SINGLE_THREADED_WORK = 0  # small programs, too, run on all threads
            code, said = forked(limited, f"{name} with {size} MiB more")
            expected.append(code)
            counts[f"{name}: {('finished', '', '', 'an error of striate', 'another named error')[code]}"] += 1
            if code == NAMED and "MemoryError" not in said and "Cannot allocate" not in said:
                raise FailedError(f"{name} with {size} MiB more: {said}")
    return counts


def files(rounds: int, folder: Path) -> collections.Counter[str]:
    """Actions and commands while files cannot grow."""
    counts: collections.Counter[str] = collections.Counter()
    pictures = ("train", data(folder), "--epochs", "1")
    actions: dict[str, Callable[[Path], object]] = {
        "save": save, "export": export, "cache": compile_some,
        "command": lambda place: command(*pictures, "--out", str(place / "run"))(),
    }  # fmt: skip
    for name, action in actions.items():
        sizes = np.unique(np.round(np.geomspace(1, 300_000, (1 if name == "command" else 3) * rounds + 1)).astype(int))
        for size in (0, *sizes):
            place = Path(tempfile.mkdtemp(dir=folder))

            def limited(size: int = int(size), action: Any = action, place: Path = place) -> None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
                action(place)

            where = f"{name}, no file above {size} bytes"
            code, said = forked(limited, where)
            no_traceback(said, where)
            _require_whole(place, where)
            counts[f"{name} with RLIMIT_FSIZE: {'finished' if code == DONE else 'refused'}"] += 1
            shutil.rmtree(place)
        for pages in sorted({1, *np.round(np.geomspace(2, 200, 2 * rounds)).astype(int).tolist()}):
            place = Path(tempfile.mkdtemp(dir=folder))
            if _mount(place, f"size={pages * 4}k"):
                where = f"{name} on a file system of {pages} pages"
                try:
                    code, said = forked(lambda action=action, place=place: action(place), where)
                    no_traceback(said, where)
                    _require_whole(place, where)
                finally:
                    subprocess.run(["umount", "-l", str(place)], check=False)
                counts[f"{name} on a full tmpfs: {'finished' if code == DONE else 'refused'}"] += 1
    return counts


def _mount(place: Path, options: str) -> bool:
    """Mount a file system in memory; returns False if this is not allowed."""
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", str(place)], capture_output=True, check=False)
    return done.returncode == 0


def _require_whole(folder: Path, where: str) -> None:
    """Raise ``FailedError`` if a model or a kernel with its final name is not readable, or a temporary file is left."""
    for path in folder.rglob("*.safetensors"):
        if path.name.startswith("."):
            raise FailedError(f"{where}: {path} is left")
        st.load(path) if path.parent == folder else None
    entries = [path for path in folder.rglob("kernels/**/*") if path.is_file()]
    if any(path.name.startswith(".") or not path.stat().st_size for path in entries):
        raise FailedError(f"{where}: {[path.name for path in entries]}")


def descriptors(rounds: int, folder: Path) -> collections.Counter[str]:
    """Actions and a command with few file descriptors left."""
    counts: collections.Counter[str] = collections.Counter()
    actions: dict[str, Callable[[], object]] = {
        "train": train, "compile": lambda: compile_some(folder),
        "save": lambda: save(folder),
        "command": command("train", data(folder), "--epochs", "1", "--out", str(folder / "few"), "--overwrite"),
    }  # fmt: skip
    settings.override(threads=2)  # compiles in worker processes, which need pipes
    for name, action in actions.items():
        for more in range(0, 3 + 3 * rounds, 3 if name == "command" else 1):

            def limited(more: int = more, action: Callable[[], object] = action) -> None:
                used = max(int(one) for one in os.listdir("/proc/self/fd"))
                resource.setrlimit(resource.RLIMIT_NOFILE, (used + more, used + more))
                action()

            where = f"{name} with {more} more descriptors"
            code, said = forked(limited, where)
            no_traceback(said, where)
            counts[f"{name}: {'finished' if code == DONE else 'refused'}"] += 1
            shutil.rmtree(folder / "few", ignore_errors=True)
    return counts


def places(rounds: int, folder: Path) -> collections.Counter[str]:
    """Commands and actions where folders, streams and /proc are missing or closed."""
    counts: collections.Counter[str] = collections.Counter()
    show = command("show", "lenet5", "--stage", "fused")

    def short(out: Path) -> Callable[[], None]:
        return command("train", data(folder), "--epochs", "1", "--out", str(out))

    def reread(**changes: str | None) -> None:
        for name, value in changes.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})
        settings.restore(settings.read({k: v for k, v in os.environ.items() if k != "STRIATE_CACHE"}))

    def no_home() -> None:
        reread(HOME=None, XDG_CACHE_HOME=None)
        compile_one()
        show()

    def missing_home() -> None:
        reread(HOME="/nonexistent/home", XDG_CACHE_HOME=None)
        compile_one()
        show()

    def read_only() -> None:
        _unshared()
        subprocess.run(["mount", "-o", "remount,bind,ro", "/"], check=False, capture_output=True)
        place = folder / "read-only"
        if not _mount(place, "ro"):
            return
        os.chdir(place)
        tempfile.tempdir = None
        reread(HOME=str(place), XDG_CACHE_HOME=None, TMPDIR=str(place))
        compile_one()
        show()
        short(place / "run")()
        raise AssertionError("a run was written to a read-only folder")

    def no_process_folder() -> None:
        _unshared()
        if not _mount(Path("/proc"), "ro"):
            return
        settings.restore(settings.read(os.environ))
        compile_one()
        show()

    def closed(*descriptors: int) -> Callable[[], None]:
        def run() -> None:
            for one in descriptors:
                os.close(one)
            if 1 in descriptors:
                sys.stdout = None  # type: ignore[assignment] # as Python starts with a closed stream
            if 0 in descriptors:
                sys.stdin = None  # type: ignore[assignment]
            show()

        return run

    def full() -> None:
        sys.stdout = open("/dev/full", "w")  # noqa: SIM115
        show()

    def ascii_only() -> None:
        sys.stdout = io.TextIOWrapper(io.FileIO(os.open(os.devnull, os.O_WRONLY), "w"), "ascii")
        sys.stderr = io.TextIOWrapper(io.FileIO(os.dup(2), "w"), "ascii", line_buffering=True)
        show()
        short(folder / "ascii")()

    def folder_gone() -> None:
        gone = Path(tempfile.mkdtemp(dir=folder))
        os.chdir(gone)
        gone.rmdir()
        compile_one()
        show()

    def narrow() -> None:
        os.environ.update(COLUMNS="1", LINES="1", TERM="dumb")
        show()

    def no_temporary_folder() -> None:
        tempfile.tempdir = None
        reread(TMPDIR="/nonexistent")
        save(folder)

    (folder / "read-only").mkdir()
    trials: dict[str, Callable[[], object]] = {
        "no HOME": no_home, "a missing HOME": missing_home, "everything read-only": read_only,
        "no /proc": no_process_folder, "standard input closed": closed(0), "standard output closed": closed(1),
        "a full standard output": full, "ASCII streams": ascii_only, "the current folder removed": folder_gone,
        "a terminal of one column": narrow, "no temporary folder": no_temporary_folder,
    }  # fmt: skip
    expected_error = {"a full standard output", "everything read-only"}
    for name, action in trials.items():
        code, said = forked(action, name)
        no_traceback(said, name)
        if (code == DONE) == (name in expected_error):
            raise FailedError(f"{name}: {'nothing was refused' if code == DONE else said}")
        counts["finished" if code == DONE else "refused by name"] += 1
    return counts


def _unshared() -> None:
    """Give this process mounts of its own."""
    if _SYSTEM.unshare(0x00020000) == 0:
        subprocess.run(["mount", "--make-rprivate", "/"], check=False, capture_output=True)


def groups(rounds: int, folder: Path) -> collections.Counter[str]:
    """Random trees of control groups; the tightest quota from the own group to the root holds."""
    counts: collections.Counter[str] = collections.Counter()
    random = np.random.default_rng(5)
    for number in range(50 * rounds):
        home = folder / f"groups {number}"
        process = home / "proc"
        process.mkdir(parents=True)
        kind = ("version 1", "version 2", "both")[int(random.integers(3))]
        depth = int(random.integers(0, 5))
        path = "/" + "/".join(f"level {i}" if random.random() < 0.3 else f"level{i}" for i in range(depth))
        lines, mounts, tightest = [], ["22 1 8:1 / / rw - ext4 /dev/sda rw"], math.inf
        for version in (1, 2):
            if kind not in (f"version {version}", "both"):
                continue
            mount = home / ("cpu,cpuacct" if version == 1 else "unified")
            place = mount
            for part in (".", *filter(None, path.split("/"))):
                place = place / part
                place.mkdir(parents=True, exist_ok=True)
                quota = int(random.choice([-1, -1, 50_000, 25_000, 150_000, 400_000, 1_000]))
                period = int(random.choice([100_000, 50_000, 10_000]))
                if random.random() < 0.8 and (version == 1 or kind != "both"):  # only one of them has the controller
                    if version == 1:
                        (place / "cpu.cfs_quota_us").write_text(f"{quota}\n")
                        (place / "cpu.cfs_period_us").write_text(f"{period}\n")
                    else:
                        (place / "cpu.max").write_text(f"{'max' if quota < 0 else quota} {period}\n")
                    tightest = min(tightest, quota / period if quota >= 0 else math.inf)
            shown = str(mount).replace(" ", "\\040")
            kinds = "cgroup cgroup rw,cpu,cpuacct" if version == 1 else "cgroup2 cgroup2 rw"
            mounts.append(f"3{version} 23 0:2{version} / {shown} rw,nosuid shared:4 - {kinds}")
            lines.append(f"{4 if version == 1 else 0}:{'cpu,cpuacct' if version == 1 else ''}:{path}")
        random.shuffle(lines)
        (process / "cgroup").write_text("\n".join(lines) + "\n")
        (process / "mountinfo").write_text("\n".join(mounts) + "\n")
        found = cpu_quota(process)
        if found != tightest:
            raise FailedError(f"{kind}, {depth} levels: {found} CPUs, not {tightest}, in {home}")
        counts[kind] += 1
        shutil.rmtree(home)
    return counts


def processors(rounds: int, folder: Path) -> collections.Counter[str]:
    """Any number of visible processors; threads that have nothing to do must sleep."""
    lower.SINGLE_THREADED_WORK = 0  # small programs, too, run on all threads
    counts: collections.Counter[str] = collections.Counter()
    expected: list[bytes] = []
    for visible in (1, 2, 3, 4, 8, 16, 33, 64)[:: 1 if rounds > 1 else 3]:
        reader, writer = os.pipe()

        def seen(visible: int = visible, writer: int = writer) -> None:
            os.sched_getaffinity = lambda _: set(range(visible))  # type: ignore[assignment]
            settings.restore(settings.read({**os.environ, "STRIATE_THREADS": ""}))
            threads = settings.current().threads
            if threads != min(visible, math.ceil(cpu_quota())) if math.isfinite(cpu_quota()) else threads != visible:
                raise AssertionError(f"{threads} threads on {visible} processors")
            bits = train()
            begun = time.process_time()
            time.sleep(0.4)
            idle = time.process_time() - begun
            if idle > 0.02:
                raise AssertionError(f"{threads} threads that wait used {idle:.3f} s of processor time in 0.4 s")
            os.write(writer, __import__("hashlib").sha256(bits).digest())

        code, said = forked(seen, f"{visible} processors")
        if code:
            raise FailedError(said)
        expected.append(os.read(reader, 32))
        os.close(reader)
        os.close(writer)
        counts[f"{visible} processors"] += 1
    if len(set(expected)) != 1:
        raise FailedError("other bits with another number of processors")
    counts["a busy neighbour"] += _beside_a_neighbour()
    return counts


def _beside_a_neighbour() -> int:
    """Train with more threads than processors beside busy processes; the processor time must stay near that of one."""
    hogs = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(os.cpu_count() or 1)]

    def compare() -> None:
        times: dict[int, float] = {}
        for threads in (1, 2, 8):
            settings.override(threads=threads)
            step = st.TrainingStep(network(), nn.CrossEntropyLoss(), optim.SGD(lr=0.05))
            step(*batch(256))
            begun = time.process_time()
            for _ in range(10):
                step(*batch(256))
            times[threads] = time.process_time() - begun
        print(", ".join(f"{t} threads {1000 * s:.0f} ms" for t, s in times.items()), file=sys.stderr, flush=True)
        if times[8] > 5 * times[1] + 0.3:
            raise AssertionError(f"waiting costs: {times}")

    try:
        _, said = forked(compare, "a busy neighbour")
        print(f"  10 steps beside busy processes, processor time: {said.strip()}")
    finally:
        for hog in hogs:
            hog.kill()
            hog.wait()
    return 1


def executable(rounds: int, folder: Path) -> collections.Counter[str]:
    """Executable memory is forbidden."""
    counts: collections.Counter[str] = collections.Counter()

    def write_or_execute() -> None:
        if _SYSTEM.prctl(65, 1, 0, 0, 0):  # PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN; Linux 6.3
            raise EngineError("not known to this kernel")

    def filtered() -> None:
        _forbid_executable_memory()

    for name, forbid in (("PR_SET_MDWE", write_or_execute), ("seccomp", filtered)):
        for action_name, action in (("train", train), ("predict", predict)):

            def run(forbid: Callable[[], None] = forbid, action: Callable[[], object] = action) -> None:
                forbid()
                action()

            code, said = forked(run, f"{name}, {action_name}")
            no_traceback(said, name)
            if code == DONE:
                raise FailedError(f"{name}: {action_name} ran compiled kernels")
            if code == OURS and "STRIATE_ENGINE=reference" not in said and "not known" not in said:
                raise FailedError(f"{name}, {action_name}: {said}")
            counts[f"{name}: {'refused by name' if code == OURS else 'finished'}"] += 1

        def by_references(forbid: Callable[[], None] = forbid) -> None:
            forbid()
            settings.override(engine=settings.Engine.REFERENCE)
            train(2)

        code, said = forked(by_references, f"{name}, references")
        if code and "not known" not in said:
            raise FailedError(f"{name}, references: {said}")
        counts[f"{name}: references finished"] += code == DONE
    return counts


def _forbid_executable_memory() -> None:
    """Refuse mmap and mprotect with PROT_EXEC by a seccomp filter (x86-64 and AArch64)."""

    class Instruction(ctypes.Structure):
        _fields_ = (
            ("code", ctypes.c_uint16), ("jt", ctypes.c_uint8), ("jf", ctypes.c_uint8), ("k", ctypes.c_uint32)
        )  # fmt: skip

    class Program(ctypes.Structure):
        _fields_ = (("len", ctypes.c_ushort), ("filter", ctypes.POINTER(Instruction)))

    mmap_, mprotect = (9, 10) if os.uname().machine == "x86_64" else (222, 226)
    lines = (Instruction * 7)(
        Instruction(0x20, 0, 0, 0),  # the number of the call
        Instruction(0x15, 1, 0, mmap_),
        Instruction(0x15, 0, 2, mprotect),
        Instruction(0x20, 0, 0, 16 + 2 * 8),  # the low half of the third argument
        Instruction(0x45, 1, 0, 4),  # PROT_EXEC
        Instruction(0x06, 0, 0, 0x7FFF0000),  # allow
        Instruction(0x06, 0, 0, 0x00050000 | errno.EACCES),
    )
    program = Program(len(lines), lines)
    _SYSTEM.prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS
    if _SYSTEM.prctl(22, 2, ctypes.byref(program), 0, 0):  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER
        raise EngineError("not known to this kernel")


TRIALS = {one.__name__: one for one in (groups, executable, processors, descriptors, files, places, memory)}


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--only", help="names of trials, separated by commas")
    parser.add_argument("--keep-going", action="store_true", help="go on after a finding")
    options = parser.parse_args()
    status = 0
    with tempfile.TemporaryDirectory(prefix="striate-resources-") as name:
        folder = Path(name)
        if not os.environ.get("STRIATE_CACHE"):
            settings.override(cache=folder / "kernels")
        if code := forked(lambda: [train(), train(2048), predict()], "without limits")[0]:
            raise FailedError(f"without limits: {code}")  # it also fills the cache
        for name in options.only.split(",") if options.only else TRIALS:
            place = folder / name
            place.mkdir()
            try:
                counts = TRIALS[name](options.rounds, place)
                print(f"{name}: {', '.join(f'{what} {count}' for what, count in counts.items())}", flush=True)
            except FailedError as error:
                print(f"finding: {name}: {error}", flush=True)
                status = 1
                if not options.keep_going:
                    break
    return status


if __name__ == "__main__":
    sys.exit(main())
