"""How many threads each rank computes with: the cores of a machine are divided among its ranks."""

from __future__ import annotations

import math
import os

from striate import settings
from striate.distributed.communicator import Communicator
from striate.quota import cpu_quota


def threads_of_rank(own: set[int], every: list[set[int]], quota: float) -> int:
    """Return the number of threads of a rank, at least 1.

    ``own`` are the cores that the rank may use; ``every`` has such a set for each rank on its machine, this rank
    included. A core that several ranks may use is divided among them. ``quota`` is the number of cores that the control
    groups allow; it is divided among all ranks on the machine.
    """
    cores = sum(1 / sum(core in one for one in every) for core in own)
    return max(1, math.floor(min(cores, quota / len(every)) + 1e-9))


def share_threads(communicator: Communicator) -> None:
    """Make this rank (process) compute with its share of the cores of its machine.

    A number of threads that STRIATE_THREADS or the caller has set is not changed. All ranks must call this function.
    """
    if communicator.size == 1:
        return
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    own = ",".join(map(str, sorted(allowed)))
    texts = communicator.gather_texts(own)
    if settings.threads_are_default():
        every = [set(map(int, texts[rank].split(","))) for rank in communicator.on_this_host()]
        settings.override(threads=threads_of_rank(set(allowed), every, cpu_quota()))
