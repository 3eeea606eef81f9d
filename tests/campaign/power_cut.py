"""Cut the power at every moment of striate's writes, on a simulated file system that loses what was not synced.

    python tests/campaign/power_cut.py                 all writers, 40 states of the disk for each moment
    python tests/campaign/power_cut.py --states 400

The functions of ``os`` by which files are made, renamed, linked, removed and synced are recorded while striate writes:
saved and exported models, a whole training with its checkpoints, reports, kernels, and a download. After each of these
calls the power may fail. Then the disk has

    of a file        what it had at its last ``fsync``; of what was written since: nothing, half, all, or zeros
    of a folder      the names of its last ``fsync``, and any subset of the later changes, in their order

which is what POSIX permits, and more than usual file systems lose. In every such state that is tried,
a file at its final
name must be a complete old or a complete new one; and what a function had finished before the cut must be there.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import json
import os
import random
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

CHECKOUT = Path(__file__).parents[2]
sys.path.insert(0, str(CHECKOUT))
FOLDER = -1
"""Stands for a folder where a file would have the number of its contents."""
Names = dict[str, int]


class LostError(Exception):
    """A file is damaged, or missing, after a power cut."""


@dataclass
class Change:
    """A change of names that has not been synced: each name gets the file of a number, or is removed (None)."""

    names: dict[str, int | None]

    @property
    def folders(self) -> set[str]:
        """The folders of the names that get a file; the removal of a name is synced with the folder as well."""
        made = {os.path.dirname(name) for name, number in self.names.items() if number is not None}
        return made or {os.path.dirname(name) for name in self.names}


@dataclass
class Moment:
    """What may be on the disk after a call: synced names, later changes, and for each file what it may contain."""

    call: str
    root: Path
    names: Names
    pending: list[Change]
    contents: dict[int, tuple[bytes, ...]]
    done: int


@dataclass
class Recorder:
    """Records the calls that write below a folder, as a context manager. ``done`` counts the promises kept so far."""

    root: Path
    done: int = 0
    moments: list[Moment] = field(default_factory=list[Moment])
    synced: Names = field(default_factory=dict[str, int])
    pending: list[Change] = field(default_factory=list[Change])
    durable: dict[int, bytes] = field(default_factory=dict[int, bytes])
    seen: dict[int, bytes] = field(default_factory=dict[int, bytes])

    def __post_init__(self) -> None:
        self.root = self.root.resolve()
        self.volatile: Names = {}
        self._numbers: dict[int, int] = {}
        self._real: dict[str, Callable[..., Any]] = {}
        for path in self._there():
            number = self.volatile[path] = FOLDER if os.path.isdir(path) else self._number(path)
            if number != FOLDER:
                self.durable[number] = self.seen[number] = Path(path).read_bytes()
        self.synced = dict(self.volatile)

    def _there(self) -> list[str]:
        """Return the paths of all folders and files below the root, folders before what is in them."""
        return [
            os.path.join(place, name) for place, folders, files in os.walk(self.root) for name in (*folders, *files)
        ]

    def _number(self, path: str) -> int:
        """Return the number of a file's contents, which stays the same when the file is renamed or linked.

        Inodes are used again after a file is gone; the contents are then others.
        """
        inode = os.stat(path).st_ino
        if self._numbers.get(inode) not in self.volatile.values():
            self._numbers[inode] = max([0, *self._numbers.values()]) + 1
        return self._numbers[inode]

    def _inside(self, path: object) -> str | None:
        text = os.path.abspath(os.fsdecode(path)) if isinstance(path, str | bytes | os.PathLike) else ""
        text = os.path.join(os.path.realpath(os.path.dirname(text)), os.path.basename(text))
        return text if text.startswith(f"{self.root}{os.sep}") else None

    # The calls

    def found_new(self) -> None:
        """Record names that came or went since the last call by functions that are not recorded, such as ``open``."""
        there = self._there()
        for path in there:
            if path not in self.volatile:
                self._changed({path: FOLDER if os.path.isdir(path) else self._number(path)}, "create")
        for path in sorted(set(self.volatile) - set(there), reverse=True):
            self._changed({path: None}, "remove")

    def _changed(self, names: dict[str, int | None], call: str) -> None:
        self.pending.append(Change(names))
        for name, number in names.items():
            if number is None:
                self.volatile.pop(name, None)
            else:
                self.volatile[name] = number
        self.note(f"{call} {', '.join(os.path.relpath(name, self.root) for name in names)}")

    def note(self, call: str) -> None:
        """Keep what may be on the disk if the power fails now."""
        for path, number in self.volatile.items():
            if number != FOLDER:
                with contextlib.suppress(OSError):
                    self.seen[number] = Path(path).read_bytes()
        contents: dict[int, tuple[bytes, ...]] = {}
        for number, now in self.seen.items():
            before = self.durable.get(number)
            if now == before:
                contents[number] = (now,)
            else:
                contents[number] = tuple(dict.fromkeys((before or b"", now[: len(now) // 2], now, bytes(len(now)))))
        self.moments.append(Moment(call, self.root, dict(self.synced), list(self.pending), contents, self.done))

    def _sync(self, file: int) -> None:
        path = os.readlink(f"/proc/self/fd/{file}")
        if path != str(self.root) and not path.startswith(f"{self.root}{os.sep}"):
            return
        if os.path.isdir(path):
            left: list[Change] = []
            for change in self.pending:
                if path in change.folders:
                    for name, number in change.names.items():
                        if number is None:
                            self.synced.pop(name, None)
                        else:
                            self.synced[name] = number
                else:
                    left.append(change)
            self.pending = left
        else:
            number = self.volatile.get(path) or self._number(path)
            self.durable[number] = self.seen[number] = Path(path).read_bytes()
        self.note(f"fsync {os.path.relpath(path, self.root)}")

    def __enter__(self) -> Recorder:
        def wrapped(name: str, after: Callable[..., None]) -> None:
            real = self._real[name] = getattr(os, name)

            def call(*arguments: Any, **named: Any) -> Any:
                self.found_new()
                before = dict(self.volatile)
                result = real(*arguments, **named)
                after(before, *arguments)
                return result

            setattr(os, name, call)

        def renamed(before: Names, source: Any, target: Any, *_: Any) -> None:
            old, new = self._inside(source), self._inside(target)
            if old is not None and new is not None and before.get(old) != before.get(new, None):
                self._changed({new: before[old], old: None}, "rename")
            elif old is not None and new is not None:  # two names of one file: rename does nothing
                self.note("rename to itself")

        def linked(before: Names, source: Any, target: Any, *_: Any) -> None:
            old, new = self._inside(source), self._inside(target)
            if old is not None and new is not None:
                self._changed({new: before[old]}, "link")

        def removed(before: Names, path: Any, *_: Any) -> None:
            name = self._inside(path)
            if name is not None and name in before:
                self._changed({name: None}, "remove")

        def made(before: Names, path: Any, *_: Any) -> None:
            name = self._inside(path)
            if name is not None and name not in before:
                self._changed({name: FOLDER}, "mkdir")

        wrapped("replace", renamed)
        wrapped("rename", renamed)
        wrapped("link", linked)
        wrapped("unlink", removed)
        wrapped("remove", removed)
        wrapped("rmdir", removed)
        wrapped("mkdir", made)
        wrapped("fsync", lambda before, file: self._sync(file if isinstance(file, int) else file.fileno()))
        return self

    def __exit__(self, *error: object) -> None:
        for name, real in self._real.items():
            setattr(os, name, real)

    def kept(self) -> None:
        """Say that a function has returned that promises its result to be on the disk."""
        self.done += 1
        self.found_new()
        self.note("returned")


def states(moment: Moment, most: int, draw: random.Random) -> Iterator[tuple[dict[str, bytes], str]]:
    """Yield what the disk may have after a power cut, as the contents of files by path: all states, or ``most``."""
    count = len(moment.pending)
    subsets: list[tuple[int, ...]] = [(), tuple(range(count))]
    if count <= 5:
        subsets = [chosen for size in range(count + 1) for chosen in itertools.combinations(range(count), size)]
    else:
        subsets += [tuple(number for number in range(count) if draw.random() < 0.5) for _ in range(most)]
    found: set[tuple[tuple[str, int], ...]] = set()
    tried = 0
    draw.shuffle(subsets)
    for chosen in subsets:
        names = dict(moment.names)
        for place in chosen:
            for name, number in moment.pending[place].names.items():
                if number is None:
                    names.pop(name, None)
                else:
                    names[name] = number
        names = {name: number for name, number in names.items() if _reached(name, names, moment.root)}
        key = tuple(sorted(names.items()))
        if key in found:
            continue
        found.add(key)
        files = {name: number for name, number in names.items() if number != FOLDER}
        choices = {number: moment.contents.get(number, (b"",)) for number in files.values()}
        versions = list(itertools.islice(itertools.product(*choices.values()), 256))
        draw.shuffle(versions)
        for version in versions[: max(2, most // 4)]:
            content = dict(zip(choices, version, strict=True))
            yield (
                {name: content[number] for name, number in files.items()},
                f"{moment.call}, changes {chosen} of {count}",
            )
            tried += 1
            if tried >= most:
                return


def _reached(name: str, names: Names, root: Path) -> bool:
    """Return whether all folders between the root and a name are on the disk."""
    above = Path(name).parent
    return all(
        names.get(str(one)) == FOLDER for one in (above, *above.parents) if one.is_relative_to(root) and one != root
    )


def require(truth: object, what: str) -> None:
    if not truth:
        raise LostError(what)


def saved_model(top: Path) -> tuple[Recorder, Callable[[Path, int], None]]:
    """Save a model twice under one name."""
    import striate as st
    from striate.persistence import load_saved
    from tests.campaign.kinds import network

    path = top / "m.safetensors"
    with Recorder(top) as recorder:
        for number in (1, 2):
            st.save(network(), path, input_shape=(1, 6, 6), classes=[f"v{number}", "x"])
            recorder.kept()

    def check(folder: Path, done: int) -> None:
        file = folder / "m.safetensors"
        version = int(load_saved(file).classes[0][1:]) if file.exists() else 0
        require(done <= version <= 2, f"version {version} after {done} were saved")

    return recorder, check


def training(top: Path) -> tuple[Recorder, Callable[[Path, int], None]]:
    """Train with a checkpoint every 3 steps: the last one that was written is there, and no file is damaged."""
    from typer.testing import CliRunner

    from striate.cli import app
    from striate.persistence import load_saved
    from striate.train import checkpoints, read_progress
    from striate.train.checkpoint import read_checkpoint
    from striate.train.checkpoints import newest_checkpoint
    from striate.train.run import read_run
    from tests.campaign.kinds import table

    (top / "t.csv").write_bytes(table())
    steps: list[int] = []
    words = [
        "--model",
        "mlp",
        "--depth",
        "1",
        "--width",
        "2",
        "--epochs",
        "2",
        "--batch-size",
        "6",
        "--checkpoint-every",
        "3",
    ]
    real = checkpoints.Checkpoints.write
    with Recorder(top) as recorder:

        def write(self: checkpoints.Checkpoints, checkpoint: Any, best: bool = False) -> bool:
            written = real(self, checkpoint, best)
            steps.append(checkpoint.step)
            recorder.kept()
            return written

        checkpoints.Checkpoints.write = write  # type: ignore[method-assign]
        try:
            result = CliRunner().invoke(app, ["train", str(top / "t.csv"), *words, "--out", str(top / "runs" / "one")])
        finally:
            checkpoints.Checkpoints.write = real  # type: ignore[method-assign]
        assert result.exit_code == 0, result.output
        recorder.kept()

    def check(folder: Path, done: int) -> None:
        run = folder / "runs" / "one"
        finished = done > len(steps)
        for name in ("last", "previous", "best"):
            if (run / "checkpoints" / f"{name}.safetensors").exists():
                read_checkpoint(run / "checkpoints" / f"{name}.safetensors")
        if (run / "model.safetensors").exists():
            load_saved(run / "model.safetensors")
        if (run / "run.json").exists():
            read_run(run)
        read_progress(run)
        if done:
            require((run / "run.json").exists(), "no run.json beside a checkpoint")
            found = newest_checkpoint(run, lambda text: None)
            require(found.step >= steps[min(done, len(steps)) - 1], f"checkpoint of step {found.step}")
        require(not finished or ((run / "model.safetensors").exists() and read_run(run).finished), "no model")

    return recorder, check


def exports(top: Path) -> tuple[Recorder, Callable[[Path, int], None]]:
    """Export to ONNX, to PyTorch and as text over older files."""
    import striate as st
    from striate.export.onnx_file import onnx_bytes
    from striate.persistence import write_atomically
    from striate.report import Report
    from tests.campaign.kinds import network

    contents: dict[str, list[bytes]] = {}
    with Recorder(top) as recorder:
        for number in (1, 2):
            model = network()
            model.infer((1, 6, 6))
            model.load_state_dict({**model.state_dict(), "0.bias": np.full(2, number, np.float32)})
            st.save_torch_state(model, top / "m.pth")
            contents.setdefault("m.pth", []).append((top / "m.pth").read_bytes())
            write_atomically(top / "m.onnx", onnx_bytes(model, (1, 6, 6)))
            contents.setdefault("m.onnx", []).append((top / "m.onnx").read_bytes())
            Report("m", f"<p>{number}</p>").save(top / "m.html")
            contents.setdefault("m.html", []).append((top / "m.html").read_bytes())
            recorder.kept()

    def check(folder: Path, done: int) -> None:
        for name, versions in contents.items():
            found = (folder / name).read_bytes() if (folder / name).exists() else b""
            allowed = [*([b""] if not done else []), *versions[max(0, done - 1) :]]
            require(found in allowed, f"{name}: {len(found)} bytes that are neither the old nor the new file")

    return recorder, check


def kernels(top: Path) -> tuple[Recorder, Callable[[Path, int], None]]:
    """Write kernels into the cache, which promises only that a damaged one is not used."""
    from striate.codegen.cache import Cache

    objects = {f"{number:064d}": bytes([number]) * 3000 for number in range(3)}
    with Recorder(top) as recorder:
        cache = Cache(top)
        for name, data in objects.items():
            cache.put(name, data)
            recorder.found_new()
            recorder.note("put")

    def check(folder: Path, done: int) -> None:
        for name, data in objects.items():
            require(Cache(folder).get(name) in (None, data), "a damaged kernel was accepted")

    return recorder, check


def download(top: Path) -> tuple[Recorder, Callable[[Path, int], None]]:
    """Download a file, which appears under its name only when it is complete."""
    import hashlib

    from striate.data.transfer import transfer

    content = random.Random(0).randbytes(60_000)
    (top / "origin").write_bytes(content)
    with Recorder(top) as recorder:
        real = Path(top / "origin").as_uri()
        transfer_of_file(transfer, real, hashlib.sha256(content).hexdigest(), top / "data" / "file.zip")
        recorder.found_new()
        recorder.note("returned")

    def check(folder: Path, done: int) -> None:
        file = folder / "data" / "file.zip"
        require(not file.exists() or file.read_bytes() == content, "a file with other content than was published")

    return recorder, check


def transfer_of_file(transfer: Callable[..., None], url: str, sha256: str, target: Path) -> None:
    """Call ``transfer`` with an answer that comes from a file, in the form of one that comes over HTTP."""
    import urllib.request
    from unittest import mock

    class Answer(io.BytesIO):
        status = 200
        headers: dict[str, str] = {}  # noqa: RUF012 - of a response without headers

    def opened(request: Any, timeout: float) -> Answer:
        return Answer(Path(url.removeprefix("file://")).read_bytes())

    with mock.patch.object(urllib.request, "urlopen", opened):
        transfer(url, sha256, target)


SCENARIOS = {function.__name__: function for function in (saved_model, training, exports, kernels, download)}


def verified(name: str, most: int, seed: int) -> tuple[int, int]:
    """Run one scenario and check the states after each of its calls; returns the numbers of calls and states."""
    from striate import settings
    from striate.errors import StriateError

    settings.override(engine=settings.Engine.REFERENCE)
    draw, checked = random.Random(seed), 0
    with tempfile.TemporaryDirectory(
        prefix="striate-power-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None
    ) as top:
        live, cut = Path(top).resolve() / "live", Path(top).resolve() / "cut"
        live.mkdir()
        recorder, check = SCENARIOS[name](live)
        for moment in recorder.moments:
            for files, what in states(moment, most, draw):
                shutil.rmtree(cut, ignore_errors=True)
                cut.mkdir(mode=0o700)
                for path, content in files.items():
                    place = cut / os.path.relpath(path, live)
                    place.parent.mkdir(parents=True, exist_ok=True)
                    place.write_bytes(content)
                checked += 1
                try:
                    check(cut, moment.done)
                except (LostError, StriateError) as error:
                    sizes = {os.path.relpath(one, live): len(data) for one, data in files.items()}
                    raise LostError(f"{name}: {what}: {error}\n  files: {json.dumps(sizes)}") from error
    return len(recorder.moments), checked


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenarios", nargs="*", choices=[[], *SCENARIOS])
    parser.add_argument("--states", type=int, default=40, help="states of the disk after each call at most")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    os.environ.setdefault("STRIATE_ENGINE", "reference")
    calls = tried = lost = 0
    for name in given.scenarios or SCENARIOS:
        try:
            moments, count = verified(name, given.states, given.seed)
        except LostError as error:
            print(f"LOST: {error}")
            lost += 1
            continue
        calls, tried = calls + moments, tried + count
        print(f"{name}: {moments} moments, {count:,} states of the disk", flush=True)
    print(f"{calls} moments, {tried:,} states of the disk, {lost} with losses")
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
