"""Open damaged and malicious files of every kind that striate reads.

    python tests/campaign/files.py --seconds 3600                 every kind in turn, for an hour in all
    python tests/campaign/files.py models zips --seconds 60       these kinds
    python tests/campaign/files.py tables --engine atheris        with libFuzzer, where atheris is installed
    python tests/campaign/files.py --replay findings/tables-0     open the files of one finding again

Each kind is tried in a process of its own. The search is guided by coverage: a case that reaches a line of striate's
readers from a line from which it was not reached before is kept, and later cases are made from the kept ones. Changes
know the formats: see ``mutations``. The first cases are ``traps``, written by hand.

A case may succeed, or fail with one of striate's errors. These are findings, and are kept with their files:

    a crash of the process
    more than 10 s of processor time, or a minute without an end
    an exception of another kind than StriateError
    memory: address space is limited to what the process has before it opens the files, four times their size, and
    what their kind may declare; whoever asks for more gets a MemoryError, which is a finding however it is reported
    a file that was made or changed outside of the folder of the case
"""

from __future__ import annotations

import argparse
import atexit
import contextlib
import io
import json
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

CHECKOUT = Path(__file__).parents[2]
sys.path.insert(0, str(CHECKOUT))
if TYPE_CHECKING:
    from tests.campaign.kinds import Files, Kind

SECONDS = 10.0
"""The processor time that a case may take."""
SLACK = 96_000_000
"""Bytes of address space that any case may take: stacks of threads, and modules that are imported at first use."""
_READERS = ("persistence", "data", "train", "cli", "lab")


class HangError(BaseException):
    """A case that took too long; not an ``Exception``, so that no reader can swallow it."""


class Coverage:
    """The pairs of successive lines of striate's readers that were executed.

    Used as a context manager, it traces. ``new`` is the number of pairs that the last traced case was the first to see.
    """

    def __init__(self) -> None:
        self.seen: set[tuple[object, int, int]] = set()
        self.new = 0
        self._folders = tuple(str(CHECKOUT / "striate" / name) for name in _READERS)
        self._traced: dict[object, bool] = {}

    def _call(self, frame: FrameType, event: str, argument: object) -> Any:
        code = frame.f_code
        traced = self._traced.get(code)
        if traced is None:
            traced = self._traced[code] = code.co_filename.startswith(self._folders)
        if not traced:
            return None
        last = 0
        seen = self.seen

        def line(frame: FrameType, event: str, argument: object) -> Any:
            nonlocal last
            if event == "line":
                seen.add((code, last, frame.f_lineno))
                last = frame.f_lineno
            return line

        return line

    def __enter__(self) -> Coverage:
        self._before = len(self.seen)
        sys.settrace(self._call)
        return self

    def __exit__(self, *error: object) -> None:
        sys.settrace(None)
        self.new = len(self.seen) - self._before


def address_space() -> int:
    """Return the size of this process's address space in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def chain(error: BaseException) -> list[BaseException]:
    """Return an exception and all that led to it."""
    found: list[BaseException] = []
    one: BaseException | None = error
    while one is not None and one not in found:
        found.append(one)
        one = one.__cause__ or one.__context__
    return found


def place(error: BaseException) -> str:
    """Return the innermost line of striate, or of any module, at which an exception was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if f"{os.sep}striate{os.sep}" in frame.filename and "tests" not in frame.filename]
    last = (ours or frames)[-1] if frames else None
    return "" if last is None else f"{Path(last.filename).name}:{last.lineno}"


class Tester:
    """Opens cases of one kind, and says what is wrong."""

    def __init__(self, kind: Kind, folder: Path) -> None:
        self.kind, self.folder = kind, folder
        signal.signal(signal.SIGPROF, self._late)

    def _late(self, number: int, frame: FrameType | None) -> None:
        raise HangError

    def write(self, case: Files) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        for name, content in case.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            path.write_bytes(content)
        self.folder.chmod(0o700)

    def finding(self, case: Files, way: int) -> str | None:
        """Open a case in one of the ways of its kind; returns what is wrong, as a signature, or None."""
        from striate.errors import StriateError

        self.write(case)
        opened = self.kind.opened[way % len(self.kind.opened)]
        most = address_space() + 4 * sum(map(len, case.values())) + self.kind.room + SLACK
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        resource.setrlimit(resource.RLIMIT_AS, (most, hard))
        try:
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                opened(self.folder)
            return None
        except HangError as error:
            return f"hang: {place(error)}"
        except BaseException as error:  # noqa: BLE001 - every kind is examined
            signal.setitimer(signal.ITIMER_PROF, 0)
            resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
            for one in chain(error):
                if isinstance(one, MemoryError):
                    return f"memory: {place(one)}"
            return (
                None
                if isinstance(error, StriateError)
                else f"{type(error).__name__}: {place(error)}: {str(error)[:80]}"
            )
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
            resource.setrlimit(resource.RLIMIT_AS, (hard, hard))


class Findings:
    """Cases with something wrong: one of each signature, with its files."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.name = folder, name
        self.counts: dict[str, int] = {}

    def add(self, signature: str, case: Files, way: int, text: str = "") -> None:
        key = ": ".join(signature.split(": ")[:2])
        self.counts[key] = self.counts.get(key, 0) + 1
        if self.counts[key] > 1:
            return
        place = self.folder / f"{self.name.replace(' ', '-')}-{len(self.counts)}"
        shutil.rmtree(place, ignore_errors=True)
        for name, content in case.items():
            (place / "files" / name).parent.mkdir(parents=True, exist_ok=True)
            (place / "files" / name).write_bytes(content)
        (place / "about.json").write_text(json.dumps({"kind": self.name, "way": way, "what": signature}))
        print(f"  {self.name}: {signature}\n    {place}", flush=True)


def outside(folder: Path) -> set[str]:
    """Return the names beside the folder of the cases, where nothing may appear."""
    return {entry.name for entry in folder.parent.iterdir()}


def search(name: str, seconds: float, seed: int, found: Findings, cases: int) -> int:
    """Try changed files of one kind in this process; returns the number of cases."""
    from tests.campaign.kinds import KINDS
    from tests.campaign.traps import TRAPS

    kind, draw, coverage, tried = KINDS[name], random.Random(f"{seed} {name}"), Coverage(), 0
    with tempfile.TemporaryDirectory(prefix="striate-files-", dir=shared_memory()) as top:
        tester = Tester(kind, Path(top) / "case")
        about = found.folder / ".now"

        def attempt(case: Files, way: int, what: str) -> None:
            nonlocal tried
            tried += 1
            now = {"kind": name, "folder": str(tester.folder), "way": way, "what": what, "tried": tried}
            about.write_text(json.dumps(now))
            signature = tester.finding(case, way)
            if outside(tester.folder) - {"case"}:
                signature = "outside: a file beside the folder"
            if signature is not None:
                found.add(signature, case, way)

        examples = kind.examples()
        for case in examples:
            for way in range(len(kind.opened)):
                tester.write(case)
                try:
                    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                        kind.opened[way](tester.folder)
                except Exception as error:
                    from striate.errors import StriateError

                    if not isinstance(error, StriateError):
                        raise
        for trap in TRAPS.get(name, ()):
            case = trap()
            for way in range(len(kind.opened)):
                attempt(case, way, trap.__name__)
        corpus, end = list(examples), time.monotonic() + seconds
        while time.monotonic() < end and (not cases or tried < cases):
            parent = draw.choice(corpus[-8:] if draw.random() < 0.3 else corpus)
            case = kind.changed(parent, draw)
            with coverage:
                attempt(case, draw.randrange(len(kind.opened)), "")
            if coverage.new and sum(map(len, case.values())) < 500_000:
                corpus.append(case)
        about.unlink(missing_ok=True)
    print(
        f"{name}: {tried:,} cases, {len(corpus):,} kept, {len(coverage.seen):,} pairs of lines, "
        f"{sum(found.counts.values())} findings",
        flush=True,
    )
    return tried


def shared_memory() -> str | None:
    """Return a folder in memory, if there is one."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def search_with_atheris(name: str, seconds: float, seed: int, found: Findings) -> int:
    """Try changed files of one kind with libFuzzer, which sees the coverage of striate and of libraries in Python."""
    import atheris

    with atheris.instrument_imports(include=["striate", "zipfile", "tarfile", "csv", "tomllib", "numpy.lib.format"]):
        from tests.campaign.kinds import KINDS
    kind, tried = KINDS[name], 0
    examples = kind.examples()
    with tempfile.TemporaryDirectory(prefix="striate-files-", dir=shared_memory()) as top:
        tester = Tester(kind, Path(top) / "case")

        def unpacked(data: bytes) -> Files:
            case, rest = {}, data
            while len(rest) > 8:
                name_size, size = int.from_bytes(rest[:2], "little"), int.from_bytes(rest[2:8], "little")
                text = rest[8 : 8 + name_size].decode("utf-8", "replace")
                case[text] = rest[8 + name_size : 8 + name_size + size]
                rest = rest[8 + name_size + size :]
            return case

        def packed(case: Files) -> bytes:
            return b"".join(
                len(one.encode()).to_bytes(2, "little") + len(data).to_bytes(6, "little") + one.encode() + data
                for one, data in case.items()
            )

        def mutate(data: bytes, most: int, number: int) -> bytes:
            draw = random.Random(number)
            case = unpacked(data)
            if not case or set(case) not in [set(one) for one in examples]:
                case = draw.choice(examples)
            return packed(kind.changed(case, draw))

        def one(data: bytes) -> None:
            nonlocal tried
            case = unpacked(data)
            if not case or set(case) not in [set(one) for one in examples]:
                return
            tried += 1
            way = len(data) % len(kind.opened)
            signature = tester.finding(case, way)
            if signature is not None:
                found.add(signature, case, way)

        corpus = Path(top) / "corpus"
        corpus.mkdir()
        for number, case in enumerate(examples):
            (corpus / str(number)).write_bytes(packed(case))
        limits = {"max_total_time": max(1, round(seconds)), "max_len": 4_000_000, "timeout": 60, "rss_limit_mb": 0}
        options = [f"-{option}={value}" for option, value in {**limits, "seed": seed + 1, "verbosity": 0}.items()]
        words = [sys.argv[0], *options, str(corpus)]

        def said() -> None:
            print(f"{name}: {tried:,} cases with libFuzzer, {sum(found.counts.values())} findings", flush=True)

        atexit.register(said)  # libFuzzer does not return
        atheris.Setup(words, one, custom_mutator=mutate)
        atheris.Fuzz()
    return tried


def run(names: list[str], seconds: float, seed: int, out: Path, engine: str, cases: int) -> tuple[int, int]:
    """Search the kinds in a process of their own, and after a crash in another; libFuzzer takes one for each kind.

    Returns the numbers of cases and of findings.
    """
    out.mkdir(parents=True, exist_ok=True)
    tried = findings = 0
    environment = {
        **os.environ, "STRIATE_ENGINE": "reference", "STRIATE_THREADS": "1", "STRIATE_CACHE": "off", "COLUMNS": "200",
        "MALLOC_ARENA_MAX": "1", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "PYTHONFAULTHANDLER": "1",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }  # fmt: skip
    left = list(names)
    while left:
        now = left[:1] if engine == "atheris" else left
        options = {
            "--seconds": seconds / len(names),
            "--seed": seed,
            "--out": out,
            "--engine": engine,
            "--cases": cases,
        }
        words = [str(word) for option in options.items() for word in option]
        about = out / ".now"
        about.unlink(missing_ok=True)
        with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
            command = [sys.executable, __file__, *now, "--child", *words]
            child = subprocess.Popen(command, env=environment, stdout=output, stderr=errors, text=True)
            late = watch(child, about)
            for stream in (output, errors):
                stream.seek(0)
            said, complaints = output.read(), errors.read()
        print(said, end="", flush=True)
        for line in said.splitlines():
            if found := re.fullmatch(r"[\w ]+: ([\d,]+) cases.*, (\d+) findings", line):
                tried += int(found[1].replace(",", ""))
                findings += int(found[2])
        left = left[len(now) :]
        if child.returncode != 0:
            findings += 1
            last = {"kind": now[0], "way": 0, "tried": 0, "what": "start"}
            last |= json.loads(about.read_text()) if about.exists() else {}
            tried += last["tried"]
            saved = out / f"{last['kind'].replace(' ', '-')}-crash"
            shutil.rmtree(saved, ignore_errors=True)
            if "folder" in last and Path(last["folder"]).exists():
                shutil.copytree(last["folder"], saved / "files")
                (saved / "about.json").write_text(json.dumps({**last, "what": "crash"}))
                shutil.rmtree(Path(last["folder"]).parent, ignore_errors=True)
            why = "waits for a minute" if late else f"exit code {child.returncode}"
            print(f"  {last['kind']}: {why} at {last['what'] or 'case'} {last['tried']}\n    {saved}")
            print(complaints[-3000:], flush=True)
            if engine != "atheris":
                left = names[names.index(last["kind"]) + 1 :]
    return tried, findings


def watch(child: subprocess.Popen[str], about: Path) -> bool:
    """Wait for the child; kill it, and return True, if it sleeps over the same case for a minute.

    A case that computes for ever is ended by the child itself.
    """
    before, since = b"", time.monotonic()
    while True:
        try:
            child.wait(0.5)
            return False
        except subprocess.TimeoutExpired:
            pass
        with contextlib.suppress(OSError, IndexError):
            now = about.read_bytes()
            state = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[0]
            if now != before or state != "S":
                before, since = now, time.monotonic()
        if before and time.monotonic() - since > 60:
            child.kill()
            child.wait()
            return True


def replay(folder: Path) -> None:
    from tests.campaign.kinds import KINDS

    about = json.loads((folder / "about.json").read_text())
    kind = KINDS[about["kind"]]
    kind.opened[about["way"] % len(kind.opened)](folder / "files")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="*")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--cases", type=int, default=0, help="cases of each kind at most; 0: as many as there is time for"
    )
    parser.add_argument("--engine", choices=("own", "atheris"), default="own")
    parser.add_argument("--out", type=Path, default=Path("findings"))
    parser.add_argument("--replay", type=Path)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    if given.replay:
        replay(given.replay)
        return 0
    if given.child:
        for name in given.kinds:
            found = Findings(given.out, name)
            if given.engine == "atheris":
                search_with_atheris(name, given.seconds, given.seed, found)
            else:
                search(name, given.seconds, given.seed, found, given.cases)
        return 0
    from tests.campaign.kinds import KINDS

    names = given.kinds or list(KINDS)
    tried, findings = run(names, given.seconds, given.seed, given.out, given.engine, given.cases)
    print(f"{tried:,} cases of {len(names)} kinds of files, {findings} findings")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
