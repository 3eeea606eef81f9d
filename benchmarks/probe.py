"""Measure how fast this computer is right now: fused multiply-adds in registers, on one thread and on two.

Two virtual cores may be two hyper-threads of one core, or be shared with another virtual machine, and that may change
at any moment. So a measured time means little without the peak speed at the same moment. The other benchmarks run this
probe around each repetition, and drop those where both threads together reached less than 1.6 times one thread.

    python benchmarks/probe.py --repetitions 20
"""

from __future__ import annotations

import argparse
import statistics
from dataclasses import asdict

from report import print_json

from striate.codegen import target
from striate.codegen.probe import CLEAN, Probe, Reading

__all__ = ["CLEAN", "Probe", "Reading"]


def main() -> None:
    """Print several readings of the probe and their medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=10)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=0.02, help="length of one measurement")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    probe = Probe(options.threads, options.seconds)
    readings = [probe() for _ in range(options.repetitions)]
    if options.json:
        print_json({"cpu": target.current().cpu, "readings": [asdict(reading) for reading in readings]})
        return
    for reading in readings:
        note = "" if reading.clean else "   not clean"
        print(f"{reading.single:7.1f} {reading.together:7.1f} GFLOP/s   {reading.ratio:.2f}x{note}")
    single, together = (statistics.median(values) for values in zip(*((r.single, r.together) for r in readings)))
    clean = f"{sum(reading.clean for reading in readings)}/{len(readings)} clean"
    print(f"median  one thread {single:.1f}, {options.threads} threads {together:.1f} GFLOP/s; {clean}")


if __name__ == "__main__":
    main()
