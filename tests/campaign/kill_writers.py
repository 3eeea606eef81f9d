"""Kill processes while they save, export, write kernels or list runs: what is left is whole, old or new.

    python tests/campaign/kill_writers.py --kills 200

A forked process writes two versions of a file in turns, as fast as it can, and is killed (SIGKILL) after a random time
of up to 20 ms, so that many kills fall into a write. ``kills.py`` does the same with trainings, ``power_cut.py`` with
the power.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np

CHECKOUT = Path(__file__).parents[2]
sys.path.insert(0, str(CHECKOUT))

import striate as st  # noqa: E402
from striate import settings  # noqa: E402
from striate.codegen.cache import Cache  # noqa: E402
from striate.errors import StriateError  # noqa: E402
from striate.export.onnx_file import onnx_bytes  # noqa: E402
from striate.lab.requests import TrainingRequest  # noqa: E402
from striate.lab.runs import Runs  # noqa: E402
from striate.persistence import load_saved, write_atomically  # noqa: E402
from striate.persistence.atomic import give_name  # noqa: E402
from striate.report import Report  # noqa: E402
from tests.campaign.kinds import network  # noqa: E402

LONGEST = 0.02
"""Seconds after its first write within which a writer is killed."""


class LostError(Exception):
    """A file is damaged or missing after a kill."""


def require(truth: object, what: str) -> None:
    if not truth:
        raise LostError(what)


class Writer:
    """Writes versions 1, 2, 1, … of something into a folder; ``check`` raises if what is there is not whole."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(mode=0o700, exist_ok=True)

    def write(self, version: int) -> None:
        raise NotImplementedError

    def check(self) -> None:
        raise NotImplementedError


class Saving(Writer):
    """``st.save``, which writes the model's classes, too."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.model = network()

    def write(self, version: int) -> None:
        path = self.folder / "m.safetensors"
        st.save(self.model, path, input_shape=(1, 6, 6), classes=[f"v{version}", "x"])

    def check(self) -> None:
        require(load_saved(self.folder / "m.safetensors").classes[0] in ("v1", "v2"), "another model")


class Exporting(Writer):
    """What the exports write: ONNX, PyTorch's weights, a report."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.models = {version: network() for version in (1, 2)}
        for version, model in self.models.items():
            model.infer((1, 6, 6))
            model.load_state_dict({**model.state_dict(), "0.bias": np.full(2, version, np.float32)})
        self.onnx = {version: onnx_bytes(model, (1, 6, 6)) for version, model in self.models.items()}
        self.known: dict[str, set[str]] = {}
        for version in (1, 2):
            self.write(version)
            for path in folder.iterdir():
                self.known.setdefault(path.name, set()).add(digest(path))

    def write(self, version: int) -> None:
        write_atomically(self.folder / "m.onnx", self.onnx[version])
        st.save_torch_state(self.models[version], self.folder / "m.pth")
        Report("m", f"<p>{version}</p>" * 1000).save(self.folder / "m.html")

    def check(self) -> None:
        for name, known in self.known.items():
            require(digest(self.folder / name) in known, f"{name} is neither the old nor the new file")


class Keeping(Writer):
    """A replaced file that is kept under another name, as checkpoints are."""

    def write(self, version: int) -> None:
        path = self.folder / "last"
        write_atomically(path, bytes([version]) * 40_000, keep=self.folder / "previous")
        give_name(path, self.folder / "best")

    def check(self) -> None:
        for name in ("last", "previous", "best"):
            if (self.folder / name).exists():
                content = (self.folder / name).read_bytes()
                require(content in (b"\1" * 40_000, b"\2" * 40_000), f"{name} has {len(content)} bytes")
        require((self.folder / "last").exists() or (self.folder / "previous").exists(), "neither last nor previous")


OBJECTS = {f"{number:064d}": bytes([number]) * 50_000 for number in range(8)}


class Caching(Writer):
    """The kernel cache, with entries of several names, and so small that it is pruned."""

    def write(self, version: int) -> None:
        cache = Cache(self.folder, limit=250_000)
        for name, data in OBJECTS.items():
            cache.put(name, data)
        cache.prune()

    def check(self) -> None:
        for name, data in OBJECTS.items():
            require(Cache(self.folder).get(name) in (None, data), "a damaged kernel was accepted")


class Listing(Writer):
    """The lab's own writes: the folders of requested trainings."""

    def write(self, version: int) -> None:
        runs = Runs(self.folder / "lab")
        runs.scan()
        if len(list((self.folder / "lab").iterdir())) < 900 if (self.folder / "lab").exists() else True:
            runs.requested(TrainingRequest("digits", {"model": "mlp"}))

    def check(self) -> None:
        runs = Runs(self.folder / "lab")
        runs.scan()
        require(not list(runs), "a folder without a run is listed")


WRITERS: tuple[type[Writer], ...] = (Saving, Exporting, Keeping, Caching, Listing)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def killed(writer: Writer, draw: random.Random) -> bool:
    """Let a fork of this process write, and kill it; returns whether a temporary file was left."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            for number in itertools.count(draw.randrange(2)):
                writer.write(1 + number % 2)
                os.write(writing, b".") if number < 2 else None
        finally:
            os._exit(1)
    os.close(writing)
    begun = os.read(reading, 1)
    time.sleep(draw.uniform(0, LONGEST))
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    os.close(reading)
    require(begun, f"{type(writer).__name__} failed by itself: {status}")
    return any(path.name.startswith(".") or path.suffix == ".part" for path in writer.folder.rglob("*"))


def kill_forks(folder: Path, count: int, seed: int) -> int:
    """Kill each of the writers in turn; returns the number of losses."""
    settings.override(engine=settings.Engine.REFERENCE)
    draw, counts, lost = random.Random(seed), Counter[str](), 0
    writers = [kind(folder / kind.__name__) for kind in WRITERS]
    for writer in writers:
        writer.write(1)
    for number in range(count):
        writer = writers[number % len(writers)]
        counts["in the middle of a write"] += killed(writer, draw)
        counts[type(writer).__name__] += 1
        try:
            writer.check()
        except (LostError, StriateError) as error:
            lost += 1
            print(f"LOST: kill {number} of {type(writer).__name__}: {error}", flush=True)
        for path in writer.folder.iterdir():  # what the killed process left
            if path.name.startswith(".") or path.suffix == ".part":
                shutil.rmtree(path) if path.is_dir() else path.unlink()
    print(f"{count} kills of writers {dict(counts)}, {lost} losses", flush=True)
    return lost


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="striate-kills-") as folder:
        return 1 if kill_forks(Path(folder), given.kills, given.seed) else 0


if __name__ == "__main__":
    sys.exit(main())
