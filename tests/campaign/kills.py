"""Kill trainings at random moments and let every write fail: a checkpoint remains, and resumed runs have the same bits.

    python tests/campaign/kills.py --kills 100 --faults 60

Kills: SIGKILL to ``striate train`` in a process of its own, at a random moment, every second time while a temporary
file of the run folder exists, that is, while something is being written. The run is resumed and killed again, until it
has been killed ``--chain`` times, and then runs to its end: its model file must have the SHA-256 of that of an
undisturbed run.

Faults: every call by which a training writes (temporary files, writes, fsync, links, renames, appended lines) is
counted in a fork of this process. Then a training is run for some of the calls, in one of these ways:

    once   this call raises "No space left on device"
    full   this call and all later ones raise it
    half   no file can grow beyond half a checkpoint from this call on (RLIMIT_FSIZE), so that writes are partial
    die    the process ends at this call, as by SIGKILL

Afterwards the last complete checkpoint must be readable, nothing may have ended with a traceback, and the resumed run
must end with the SHA-256 of the undisturbed one.
"""

from __future__ import annotations

import argparse
import collections
import errno
import hashlib
import io
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from striate.cli import app
from striate.train import read_progress
from striate.train.checkpoints import holds_checkpoint, newest_checkpoint
from striate.train.run import RUN_FILE

PLAIN = ["--epochs", "8", "--checkpoint-every", "9"]
FULL = [
    *("--epochs", "6", "--checkpoint-every", "7", "--ema", "0.98", "--accumulate", "2", "--patience", "3"),
    *("--optimizer", "adamw", "--warmup", "20", "--class-weights", "balanced", "--label-smoothing", "0.1"),
    *("--max-norm", "1", "--model", "lenet5", "--norm", "before_activation"),
]
SHORT = ["--epochs", "2", "--checkpoint-every", "30", "--model", "mlp", "--depth", "1", "--width", "8", "--ema", "0.9"]


class FailedError(Exception):
    """A promise was broken."""


def sha(run: Path) -> str:
    return hashlib.sha256((run / "model.safetensors").read_bytes()).hexdigest()


def require_checkpoint(run: Path) -> bool:
    """Return whether a checkpoint was expected, and read it; raises ``FailedError`` if it cannot be read."""
    if not (run / "checkpoints").is_dir() or not holds_checkpoint(run):
        return False
    notices: list[str] = []
    try:
        newest_checkpoint(run, notices.append)
    except Exception as error:
        raise FailedError(f"{run}: no loadable checkpoint: {error}") from error
    if notices:
        raise FailedError(f"{run}: the last checkpoint was not complete: {notices}")
    return True


# Kills


class Killing:
    """Chains of kills, counted."""

    def __init__(self, folder: Path, chance: random.Random, most: int) -> None:
        self.folder, self.chance, self.most = folder, chance, most
        self.counts: collections.Counter[str] = collections.Counter()
        self.hashes: list[bool] = []

    def started(self, arguments: list[str]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            ["nice", "-n", "5", sys.executable, "-m", "striate", "train", *arguments],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip

    def finished(self, arguments: list[str]) -> None:
        child = self.started(arguments)
        _, errors = child.communicate(timeout=300)
        if child.returncode != 0:
            raise FailedError(f"{arguments}: exit code {child.returncode}\n{errors.decode()}")

    def chain(self, number: int, options: list[str], expected: str, seconds: float, kills: int) -> int:
        """Kill a run up to ``kills`` times, finish it, and compare; returns the number of kills."""
        run, done = self.folder / f"run{number}", 0
        fresh = ["digits", *options, "--out", str(run)]
        while done < min(kills, self.most):
            resumable = (run / RUN_FILE).exists()
            child = self.started(["--resume", str(run)] if resumable else fresh)
            aimed = self.chance.random() < 0.5
            moment = self.chance.uniform(0, seconds / 2)
            if not self.killed(child, run, aimed, moment):
                self.counts["finished before the kill"] += 1
                break
            done += 1
            had = require_checkpoint(run)
            self.counts["kills"] += 1
            self.counts["kills during a write" if aimed else "kills at a random moment"] += 1
            self.counts["with a checkpoint" if had else "before the first checkpoint"] += 1
            if any(run.rglob(".*.safetensors.*")) or any(run.glob(".*.json.*")):
                self.counts["a half-written file was left"] += 1
        self.finished(["--resume", str(run)] if (run / RUN_FILE).exists() else fresh)
        self.hashes.append(sha(run) == expected)
        if not self.hashes[-1]:
            raise FailedError(f"{run}: another SHA-256 than that of the undisturbed run, after {done} kills")
        shutil.rmtree(run)
        return done

    def killed(self, child: subprocess.Popen[bytes], run: Path, aimed: bool, moment: float) -> bool:
        """Kill the process at a moment, or in the next write after it; returns False if it ended by itself.

        Moments are counted from the start of the training, or in every fifth case from that of the process.
        """
        log = run / "log.txt"
        before = log.stat().st_size if log.exists() else 0
        if self.chance.random() < 0.8:
            while child.poll() is None and not (log.exists() and log.stat().st_size > before):
                time.sleep(0.002)
        end = time.monotonic() + moment
        while time.monotonic() < end and child.poll() is None:
            time.sleep(0.002)
        while aimed and child.poll() is None:
            try:
                names = [*os.listdir(run), *os.listdir(run / "checkpoints")]
            except OSError:
                continue
            if any(name.startswith(".") and name != ".lock" for name in names):
                time.sleep(self.chance.choice((0, 0, 0.0005, 0.001, 0.002)))
                break
        if child.poll() is not None:
            return False
        os.killpg(child.pid, signal.SIGKILL)
        _, errors = child.communicate()
        if b"Traceback" in errors:
            raise FailedError(errors.decode())
        return True


def kill(folder: Path, count: int, most: int, seed: int) -> None:
    chance = random.Random(seed)
    killing = Killing(folder, chance, most)
    plans: list[tuple[list[str], str, float]] = []
    for name, options in (("plain", PLAIN), ("full", FULL)):
        straight = folder / f"straight-{name}"
        killing.finished(["digits", *options, "--out", str(straight)])  # fills the cache of kernels
        shutil.rmtree(straight)
        killing.finished(["digits", *options, "--out", str(straight)])
        events = read_progress(straight)
        seconds = events[-1]["time"] - events[0]["time"]
        plans.append((options, sha(straight), seconds))
        print(f"undisturbed, {name}: {seconds:.1f} s, SHA-256 {sha(straight)[:16]}…", flush=True)
    number = 0
    while killing.counts["kills"] < count:
        killing.chain(number, *plans[number % 2], count - killing.counts["kills"])
        number += 1
        print(
            f"  {killing.counts['kills']:4} kills, {len(killing.hashes)} runs finished with the same bits", flush=True
        )
    for name, found in killing.counts.items():
        print(f"{name}: {found}")
    print(f"resumed runs with the SHA-256 of the undisturbed run: {sum(killing.hashes)} of {len(killing.hashes)}")


# Faults


class Faults:
    """Counts the calls by which a training writes, and makes one of them fail."""

    def __init__(self, place: int = -1, way: str = "once", half: int = 0) -> None:
        self.place, self.way, self.half, self.count = place, way, half, 0

    def install(self) -> None:
        """Replace the functions in this process."""
        for module, name in (
            (os, "fsync"), (os, "link"), (os, "replace"), (os, "write"), (tempfile, "mkstemp"),
        ):  # fmt: skip
            setattr(module, name, self.counted(getattr(module, name)))
        opened = os.fdopen

        def fdopen(*arguments: Any, **named: Any) -> Any:
            stream = cast("io.BufferedWriter", opened(*arguments, **named))
            return Writer(stream, self) if "w" in arguments[1:2] or "wb" in arguments[1:2] else stream

        os.fdopen = fdopen

    def counted(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def called(*arguments: Any, **named: Any) -> Any:
            self.strike()
            return function(*arguments, **named)

        return called

    def strike(self) -> None:
        """Count a call, and fail if it is the one."""
        here = self.count
        self.count += 1
        if here == self.place and self.way == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if here == self.place and self.way == "half":
            resource.setrlimit(resource.RLIMIT_FSIZE, (self.half, self.half))
        if (here == self.place and self.way == "once") or (0 <= self.place <= here and self.way == "full"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class Writer:
    """A file whose writes are counted; it writes the first half of what fails."""

    def __init__(self, stream: io.BufferedWriter, faults: Faults) -> None:
        self._stream, self._faults = stream, faults

    def write(self, content: Any) -> int:
        view = memoryview(content)
        self._stream.write(view[: len(view) // 2])
        self._stream.flush()
        self._faults.strike()
        return self._stream.write(view[len(view) // 2 :])

    def flush(self) -> None:
        self._stream.flush()

    def fileno(self) -> int:
        return self._stream.fileno()

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *error: object) -> None:
        self._stream.close()


def forked(log: Path, faults: Faults | None, arguments: list[str]) -> tuple[int, str]:
    """Train in a fork of this process; returns its status as ``os.waitpid`` and what it wrote to standard error."""
    pid = os.fork()
    if pid == 0:
        code = 70
        try:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            errors = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            os.dup2(errors, 2)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            sys.stderr = os.fdopen(2, "w")
            sys.stdout = os.fdopen(1, "w")
            if faults is not None:
                faults.install()
            code = app(["train", *arguments], standalone_mode=False) or 0
            if faults is not None and faults.place < 0:
                print(f"calls {faults.count}", file=sys.stderr)
        except SystemExit as ended:
            code = int(ended.code or 0) if not isinstance(ended.code, str) else 1
        except BaseException as error:  # noqa: BLE001 - a fork must not return
            code = getattr(error, "exit_code", 71)
            if code == 71:
                import traceback

                traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(int(code))
    _, status = os.waitpid(pid, 0)
    return status, log.read_text(errors="replace")


def ending(status: int) -> str:
    return "killed" if os.WIFSIGNALED(status) else f"exit code {os.waitstatus_to_exitcode(status)}"


def fault(folder: Path, count: int, ways: list[str], seed: int) -> None:
    chance = random.Random(seed)
    log, straight = folder / "errors.txt", folder / "straight"
    calls = 0
    for _ in range(2):
        shutil.rmtree(straight, ignore_errors=True)
        status, errors = forked(log, Faults(), ["digits", *SHORT, "--out", str(straight)])
        if status:
            raise FailedError(errors)
        calls = int(errors.split("calls ")[1])
    expected = sha(straight)
    half = (straight / "checkpoints" / "last.safetensors").stat().st_size // 2
    print(f"writing calls of a training: {calls}; SHA-256 {expected[:16]}…", flush=True)
    places = sorted(chance.sample(range(calls), min(count, calls)))
    outcomes: collections.Counter[str] = collections.Counter()
    for way in ways:
        for place in places:
            run = folder / "run"
            shutil.rmtree(run, ignore_errors=True)
            begin = ["digits", *SHORT, "--out", str(run)]
            status, errors = forked(log, Faults(place, way, half), begin)
            outcomes[f"{way}: {ending(status)}"] += 1
            if "Traceback" in errors or (os.WIFSIGNALED(status) and way != "die"):
                raise FailedError(f"{way} at call {place}: {errors}")
            if errors.count("error:") > 1:
                raise FailedError(f"{way} at call {place}: several messages: {errors}")
            require_checkpoint(run)
            status, errors = forked(log, None, ["--resume", str(run)] if (run / RUN_FILE).exists() else begin)
            if status:
                raise FailedError(f"{way} at call {place}: not resumed: {errors}")
            if sha(run) != expected:
                raise FailedError(f"{way} at call {place}: another SHA-256")
            outcomes["the same SHA-256"] += 1
        print(f"  {way}: {len(places)} calls", flush=True)
    for name, found in outcomes.items():
        print(f"{name}: {found}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--chain", type=int, default=12, help="kills of one run at most")
    parser.add_argument("--faults", type=int, default=60, help="calls that fail, in each of the ways")
    parser.add_argument("--ways", default="once,full,half,die", help="the ways in which calls fail")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="striate-kills-") as folder:
        try:
            if given.faults:
                fault(Path(folder), given.faults, given.ways.split(","), given.seed)
            if given.kills:
                kill(Path(folder), given.kills, given.chain, given.seed)
        except FailedError as error:
            sys.exit(f"FAILED: {error}")


if __name__ == "__main__":
    main()
