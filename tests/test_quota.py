"""The CPU quota is found in each control group from the process's own to the root, in both cgroup versions."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from striate.quota import cpu_quota


def _process(folder: Path, groups: str, mounts: str) -> Path:
    process = folder / "proc"
    process.mkdir()
    (process / "cgroup").write_text(groups)
    (process / "mountinfo").write_text(mounts)
    return process


def _second(folder: Path, name: str = "/user/job", root: str = "/", **quotas: str) -> Path:
    """Create a cgroup v2 hierarchy in a folder with a space in its name.

    ``quotas`` are by the last part of the group's name.
    """
    mount = folder / "cgroup two"
    below = [part for part in name.removeprefix(root).split("/") if part and part != ".."]
    mount.joinpath(*below).mkdir(parents=True)
    for path in [mount, *(mount.joinpath(*below[: i + 1]) for i in range(len(below)))]:
        key = "top" if path == mount else path.name
        if key in quotas:
            (path / "cpu.max").write_text(quotas[key] + "\n")
    escaped = str(mount).replace(" ", "\\040")
    line = f"30 23 0:26 {root} {escaped} rw,nosuid shared:4 - cgroup2 cgroup2 rw\n"
    return _process(folder, f"0::{name}\n", f"22 1 8:1 / / rw - ext4 /dev/sda rw\n{line}")


@pytest.mark.parametrize(
    ("quotas", "expected"),
    [
        ({}, math.inf),
        ({"job": "max 100000"}, math.inf),
        ({"job": "50000 100000"}, 0.5),
        ({"user": "150000 100000", "job": "max 100000"}, 1.5),
        ({"top": "100000 100000", "user": "300000 100000", "job": "200000 100000"}, 1.0),
        ({"job": "nonsense", "user": "200000 100000"}, 2.0),
        ({"job": "100000 0"}, math.inf),
    ],
)
def test_the_tightest_quota_of_all_parents_holds(tmp_path: Path, quotas: dict[str, str], expected: float) -> None:
    assert cpu_quota(_second(tmp_path, **quotas)) == expected


def test_a_mounted_part_of_the_hierarchy_is_its_root(tmp_path: Path) -> None:
    assert cpu_quota(_second(tmp_path, "/docker/1234/job", "/docker/1234", job="200000 100000")) == 2.0


def test_a_group_outside_of_the_namespace_is_read_where_it_can_be(tmp_path: Path) -> None:
    assert cpu_quota(_second(tmp_path, "/../job", "/", job="200000 100000")) == 2.0


@pytest.mark.parametrize(
    ("own", "parent", "expected"), [("100000", "-1", 1.0), ("-1", "250000", 2.5), ("-1", "-1", math.inf)]
)
def test_version_1(tmp_path: Path, own: str, parent: str, expected: float) -> None:
    mount = tmp_path / "cpu,cpuacct"
    (mount / "job").mkdir(parents=True)
    for folder, quota in ((mount, parent), (mount / "job", own)):
        (folder / "cpu.cfs_quota_us").write_text(f"{quota}\n")
        (folder / "cpu.cfs_period_us").write_text("100000\n")
    groups = "9:memory:/elsewhere\n4:cpu,cpuacct:/job\n0::/\n"
    mounts = f"31 23 0:27 / {mount} rw - cgroup cgroup rw,cpu,cpuacct\n"
    assert cpu_quota(_process(tmp_path, groups, mounts)) == expected


def test_without_control_groups_there_is_no_quota(tmp_path: Path) -> None:
    assert cpu_quota(tmp_path / "nosuch") == math.inf
    assert cpu_quota(_process(tmp_path, "garbage\n::\n0::/a\n", "short - line\n- cgroup2\n")) == math.inf


def test_the_names_of_other_mounts_may_have_any_encoding(tmp_path: Path) -> None:
    process = _second(tmp_path, job="50000 100000")
    mounts = process / "mountinfo"
    mounts.write_bytes(b"29 22 8:2 / /mnt/M\xfcller rw - ext4 /dev/sdb rw\n" + mounts.read_bytes())
    assert cpu_quota(process) == 0.5
