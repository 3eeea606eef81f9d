"""The CPU quota of the Linux control groups (version 1 and 2, nested or not) that this process is in.

A quota can be set on any group from the process's own up to the root, and the smallest one applies.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

_PROCESS = Path("/proc/self")


class _Mount(NamedTuple):
    """A mounted hierarchy of control groups: the group that is mounted, and the folder of the mount."""

    group: PurePosixPath
    folder: Path


def cpu_quota(process: Path = _PROCESS) -> float:
    """Return the number of CPUs that this process may use at a time, such as 1.5; infinity if unlimited.

    ``process`` is the folder of the process in ``/proc``.
    """
    return min((quota for folder in _folders(process) if (quota := _quota(folder)) is not None), default=math.inf)


def _folders(process: Path) -> Iterator[Path]:
    """Yield the folders of the process's groups, from its own up to the mounted root, for each version."""
    try:
        # Other mounts may have names in any encoding.
        groups = os.fsdecode((process / "cgroup").read_bytes()).splitlines()
        mounts = os.fsdecode((process / "mountinfo").read_bytes()).splitlines()
    except OSError:
        return
    for line in groups:
        _, controllers, name = [*line.split(":", 2), "", ""][:3]
        if controllers and "cpu" not in controllers.split(","):
            continue
        mount = _mount(mounts, version=1 if controllers else 2)
        if mount is None:
            continue
        inside = PurePosixPath(name)
        # In a cgroup namespace, the group's name begins at a root that differs from that of the mount.
        below = inside.relative_to(mount.group) if inside.is_relative_to(mount.group) else inside.relative_to("/")
        parts = [part for part in below.parts if part != ".."]
        for count in range(len(parts), -1, -1):
            yield mount.folder.joinpath(*parts[:count])


def _mount(lines: list[str], version: int) -> _Mount | None:
    """Return where the hierarchy of the CPU controller is mounted, or None.

    ``lines`` are those of ``/proc/self/mountinfo``. A line is: number, parent, device, root, mount point, options,
    optional fields, "-", type, source, options.
    """
    for line in lines:
        before, _, after = line.partition(" - ")
        fields, kind = before.split(), after.split()
        if len(fields) < 5 or len(kind) < 3:
            continue
        right = kind[0] == "cgroup2" if version == 2 else kind[0] == "cgroup" and "cpu" in kind[2].split(",")
        if right:
            return _Mount(PurePosixPath(_unescaped(fields[3])), Path(_unescaped(fields[4])))
    return None


def _unescaped(text: str) -> str:
    r"""Replace octal escapes, such as ``\040`` for a space, by their characters."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)


def _quota(folder: Path) -> float | None:
    """Return the quota of one group in CPUs (its time per period), or None if it sets no quota."""
    try:
        if (folder / "cpu.max").exists():
            words = (folder / "cpu.max").read_text(encoding="utf-8").split()
        else:
            words = [
                (folder / f"cpu.cfs_{name}_us").read_text(encoding="utf-8").strip() for name in ("quota", "period")
            ]
        time, period = words[0], int(words[1])
        return int(time) / period if time not in ("max", "-1") and period > 0 else None
    except (OSError, ValueError, IndexError):
        return None
