"""Kill a rank of a training at random moments: the job must end, and the resumed training end like the undisturbed.

    python tests/campaign/kill_ranks.py --count 20

Each time, ``striate launch -n 2 train digits`` runs in exact mode, and one of its ranks is killed with SIGKILL after a
random time. By turns,

    ends      the job must end within 10 s; it is then resumed on 1, 2 or 4 ranks
    restarts  with ``--restarts 3``, the job must go on; it began on 1, 2 or 4 ranks, was killed once without restarts,
              and is killed again

and the model file must have the same bytes as that of a training on one rank without interruption. Needs mpi4py and an
MPI library.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
OPTIONS = ("--epochs", "4", "--model", "lenet5", "--reduce", "exact", "--checkpoint-every", "10")
LONGEST = 10.0
"""Seconds within which the launcher must end the other ranks."""
PATIENCE = 900.0
"""Seconds after which a training that goes on counts as hanging."""
STRIATE = [sys.executable, "-m", "striate"]
ENVIRONMENT = {**os.environ, "STRIATE_THREADS": "1", "PYTHONPATH": str(CHECKOUT)}
sys.path.insert(0, str(CHECKOUT))


def digest(folder: Path) -> str:
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def run(*words: object) -> int:
    command = [*STRIATE, *map(str, words)]
    return subprocess.run(command, env=ENVIRONMENT, capture_output=True, check=False, timeout=PATIENCE).returncode


class Killing:
    """Kills trainings; ``usual`` is the number of seconds of one that is not disturbed."""

    def __init__(self, chosen: random.Random, usual: float) -> None:
        self.chosen, self.usual = chosen, usual
        self.counts: Counter[str] = Counter()
        self.slowest = 0.0

    def kill(self, ranks: int, out: Path, restarts: int) -> int | None:
        """Start or resume a training, kill one of its ranks; return its exit code, or None if it hangs."""
        from tests.distributed.test_failures import trained_ranks

        options = ["--restarts", str(restarts)] if restarts else []
        training = ["--resume", str(out)] if (out / "run.json").exists() else ["digits", *OPTIONS, "--out", str(out)]
        process = subprocess.Popen(
            [*STRIATE, "launch", "-n", str(ranks), *options, "train", *training],
            env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        moment = self.chosen.uniform(0.2, 1.0) * (1 if training[0] == "--resume" else 2) * self.usual
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(moment)
        victims = trained_ranks(process.pid)
        if victims:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.chosen.choice(victims), signal.SIGKILL)
        killed = time.monotonic()
        self.counts["kills" if victims else "trainings that had ended"] += 1
        try:
            code = process.wait(PATIENCE if restarts or not victims else LONGEST)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return None
        if victims and not restarts:
            self.slowest = max(self.slowest, time.monotonic() - killed)
        return code

    def ends(self, out: Path) -> str:
        """Kill a job without restarts, and resume it; return what went wrong, or ""."""
        if self.kill(2, out, 0) is None:
            return f"the job did not end within {LONGEST:.0f} s"
        ranks = self.chosen.choice((1, 2, 4))
        self.counts[f"resumed on {ranks}"] += 1
        again = ("--resume", out) if (out / "run.json").exists() else ("digits", *OPTIONS, "--out", out)
        code = run("launch", "-n", ranks, "train", *again)
        return f"the resumed training ended with exit code {code}" if code else ""

    def restarts(self, out: Path) -> str:
        """Kill a job on some ranks, and then one with restarts on others; return what went wrong, or ""."""
        first, second = self.chosen.sample((1, 2, 4), 2)
        if self.kill(first, out, 0) is None:
            return f"the job on {first} ranks did not end within {LONGEST:.0f} s"
        code = self.kill(second, out, 3)
        self.counts[f"restarted on {second} after {first}"] += 1
        return f"the job with restarts ended with exit code {code}" if code != 0 else ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=4, help="trainings that are killed")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        straight = Path(folder) / "straight"
        start = time.monotonic()
        assert run("train", "digits", *OPTIONS, "--out", straight) == 0
        killing = Killing(random.Random(given.seed), time.monotonic() - start)
        for number in range(given.count):
            out = Path(folder) / str(number)
            way = killing.restarts if number % 2 else killing.ends
            problem = way(out)
            if not problem and digest(out) != digest(straight):
                problem = "other bytes than those of the undisturbed training"
            wrong += bool(problem)
            print(f"{number}, {way.__name__}: {problem or 'the same bytes'}", flush=True)
    print(f"{dict(killing.counts)}; the slowest end took {killing.slowest:.1f} s; {wrong} of {given.count} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
