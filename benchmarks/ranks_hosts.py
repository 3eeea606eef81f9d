"""Hosts made of network namespaces, whose links have a bandwidth and a latency.

Linux's ``netem``, which delays packets, is not in every kernel. Therefore each namespace has a TUN device, whose other
end this process holds: it reads the packets, and writes each to its receiver when the link would have delivered it. A
packet of B bytes occupies the card of the sender, then that of the receiver, for B / bandwidth seconds, and arrives the
latency later. Needs root, ``ip``, and /dev/net/tun.
"""

from __future__ import annotations

import fcntl
import heapq
import os
import select
import struct
import subprocess
import tempfile
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from ranks_links import Link

_MTU = 9000
"""Bytes of a packet. Jumbo frames, since this process moves every packet."""
_SET_INTERFACE = 0x400454CA
_TUN, _PLAIN = 0x0001, 0x1000
"""The kind of the device, and that packets have no header before that of IP (see linux/if_tun.h)."""

AGENT = """#!/bin/sh
# Called by mpirun in place of ssh: the last number of the address is that of the namespace.
number=${1##*.}; shift
exec ip netns exec striate$number unshare -u sh -c "hostname striate$number; $*"
"""


class Relay(threading.Thread):
    """Carries packets between the ends of TUN devices; the device at place i has the address 10.99.0.(i + 1)."""

    def __init__(self, ends: list[int], link: Link) -> None:
        super().__init__(daemon=True)
        self._ends, self._link = ends, link
        self._sending, self._receiving = [0.0] * len(ends), [0.0] * len(ends)
        self._due: list[tuple[float, int, int, bytes]] = []
        self._count = 0
        self.ended = False

    def run(self) -> None:
        while not self.ended:
            timeout = self._due[0][0] - time.perf_counter() if self._due else 0.1
            ready, _, _ = select.select(self._ends, (), (), max(0.0, timeout))
            for end in ready:
                self._read(self._ends.index(end))
            while self._due and self._due[0][0] <= time.perf_counter():
                _, _, target, packet = heapq.heappop(self._due)
                os.write(self._ends[target], packet)

    def _read(self, source: int) -> None:
        for _ in range(32):
            try:
                packet = os.read(self._ends[source], 65536)
            except BlockingIOError:
                return
            target = packet[19] - 1  # the last byte of the receiver's address
            if packet[0] >> 4 != 4 or not 0 <= target < len(self._ends):
                continue
            took = len(packet) / self._link.bandwidth
            sent = self._sending[source] = max(time.perf_counter(), self._sending[source]) + took
            arrived = self._receiving[target] = max(sent, self._receiving[target] + took)
            self._count += 1
            heapq.heappush(self._due, (arrived + self._link.latency, self._count, target, packet))


def _ip(*words: object, check: bool = True) -> None:
    subprocess.run(["ip", *map(str, words)], check=check, capture_output=not check)


def _tun(name: str) -> int:
    """Create a TUN device; return the file descriptor of its other end."""
    end = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(end, _SET_INTERFACE, struct.pack("16sH", name.encode(), _TUN | _PLAIN))
    return end


@contextmanager
def hosts(count: int, link: Link) -> Generator[tuple[list[str], list[str]]]:
    """Create network namespaces as hosts that only these links connect.

    Yields the command before ``mpirun``, which enters the first host, and the options of Open MPI's ``mpirun``.
    """

    def remove() -> None:
        for number in range(1, count + 1):
            _ip("netns", "del", f"striate{number}", check=False)

    remove()
    ends: list[int] = []
    relay: Relay | None = None
    with tempfile.TemporaryDirectory() as folder:
        agent = Path(folder) / "agent"
        agent.write_text(AGENT)
        agent.chmod(0o700)
        try:
            for number in range(1, count + 1):
                name = f"striate{number}"
                ends.append(_tun(name))
                _ip("netns", "add", name)
                _ip("link", "set", name, "netns", name)
                _ip("-n", name, "addr", "add", f"10.99.0.{number}/24", "dev", name)
                _ip("-n", name, "link", "set", name, "mtu", _MTU, "txqueuelen", 10000, "up")
                _ip("-n", name, "link", "set", "lo", "up")
            relay = Relay(ends, link)
            relay.start()
            inside = ["ip", "netns", "exec", "striate1", "unshare", "-u", "sh", "-c", 'hostname striate1; exec "$@"']
            addresses = ",".join(f"10.99.0.{number}:1" for number in range(1, count + 1))
            yield [*inside, "_"], [
                "--prtemca", "plm_ssh_agent", str(agent), "--prtemca", "prte_if_include", "10.99.0.0/24",
                "--mca", "btl", "tcp,self", "--mca", "btl_tcp_if_include", "10.99.0.0/24",
                "--host", addresses, "-x", "PYTHONPATH",
            ]  # fmt: skip
        finally:
            if relay is not None:
                relay.ended = True
                relay.join()
            remove()
            for end in ends:
                os.close(end)
