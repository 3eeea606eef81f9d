"""The log of a run, ``RUN/log.txt``: the printed lines of its trainings, with the time."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

from striate.train.environment import versions
from striate.train.progress import Lines, Plan

LOG_FILE = "log.txt"


class LogFile(Lines):
    """A ``Progress`` that appends its lines to ``log.txt`` in a folder; errors in writing are ignored."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.path = folder / LOG_FILE

    def start(self, plan: Plan) -> None:
        found = versions()
        shown = [f"striate {found['striate']}", found["processor"], f"{found['threads']} threads", found["target"]]
        self.say(f"process {os.getpid()}: {', '.join(one for one in shown if one)}")
        super().start(plan)

    def say(self, text: str) -> None:
        """Append a text to the log, each line with the time."""
        now = time.strftime("%Y-%m-%d %H:%M:%S")
        with contextlib.suppress(OSError), self.path.open("a", encoding="utf-8", errors="replace") as stream:
            stream.writelines(f"{now}  {line}\n" for line in text.splitlines())
