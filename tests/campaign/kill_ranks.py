"""Kill a rank of a training at random moments: the job must end, and the resumed training end like the undisturbed.

    python tests/campaign/kill_ranks.py --count 20

Each time, ``striate launch -n 2 train digits`` runs in exact mode, one of its ranks is killed with SIGKILL after a
random time, and the job must end within 10 s on its own. The training is then resumed on 1, 2 or 4 ranks, and its model
file must have the same bytes as that of a training on one rank without interruption. Needs mpi4py and an MPI library.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
OPTIONS = ("--epochs", "4", "--model", "lenet5", "--reduce", "exact", "--checkpoint-every", "10")
LONGEST = 10.0
"""Seconds within which the launcher must end the other ranks."""
STRIATE = [sys.executable, "-m", "striate"]
sys.path.insert(0, str(CHECKOUT))


def digest(folder: Path) -> str:
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def main() -> int:
    from tests.distributed.test_failures import trained_ranks

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    chosen = random.Random(given.seed)
    environment = {**os.environ, "STRIATE_THREADS": "1", "PYTHONPATH": str(CHECKOUT)}

    def run(*words: object) -> int:
        command = [*STRIATE, *map(str, words)]
        return subprocess.run(command, env=environment, capture_output=True, check=False).returncode

    slowest, finished, wrong = 0.0, 0, 0
    with tempfile.TemporaryDirectory() as folder:
        straight = Path(folder) / "straight"
        start = time.monotonic()
        assert run("train", "digits", *OPTIONS, "--out", straight) == 0
        usual = time.monotonic() - start
        for number in range(given.count):
            out = Path(folder) / str(number)
            command = [*STRIATE, "launch", "-n", "2", "train", "digits", *OPTIONS, "--out", str(out)]
            process = subprocess.Popen(
                command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
            )
            moment = chosen.uniform(0.2, 1.0) * 2 * usual
            time.sleep(moment)
            victims = trained_ranks(process.pid)
            if victims:
                os.kill(chosen.choice(victims), signal.SIGKILL)
            killed = time.monotonic()
            try:
                code = process.wait(LONGEST if victims else 600)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                print(f"{number}: killed after {moment:.1f} s: the job did not end within {LONGEST:.0f} s", flush=True)
                wrong += 1
                continue
            took = time.monotonic() - killed
            slowest = max(slowest, took if victims else 0.0)
            if not (out / "run.json").exists():  # killed before the training began
                shutil.rmtree(out, ignore_errors=True)
                again = run("launch", "-n", 2, "train", "digits", *OPTIONS, "--out", out)
            else:
                again = run("launch", "-n", chosen.choice((1, 2, 4)), "train", "--resume", out)
            same = again == 0 and digest(out) == digest(straight)
            wrong += not same
            finished += code == 0
            what = f"exit code {code} {took:.1f} s later" if victims else "it had ended already"
            print(f"{number}: killed after {moment:.1f} s: {what}; {'same' if same else 'OTHER'} bytes", flush=True)
    print(f"{given.count} kills, {finished} after the end; the slowest end took {slowest:.1f} s; {wrong} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
