"""A profile: measurements by layer and pass, and totals, as a table for people and as JSON for scripts."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from striate.profile.rows import Pass, PhaseTime, Row

WIDTH = 110


@dataclass(frozen=True)
class Profile:
    """Where the time of one training step or prediction goes, compared with the peak of this computer.

    what               "training step" or "prediction"
    cpu, threads       the processor, and the number of threads used
    samples            batch size
    repetitions        how often the call was timed
    clean              number of repetitions that no other program disturbed
    kept               number of repetitions over which the means are taken
    seconds            mean time of the whole call
    peak               largest rate, in FLOP/s, that a short probe of multiply-adds reached on one thread or on all
    rows, phases       measurements by layer and pass, and by phase (kernel)
    activation_bytes   bytes of activations and gradients that all phases read and write
    contraction_bytes  bytes of the outputs of convolutions and linear layers

    Work is counted as for direct convolution, so that Winograd convolutions can exceed the peak.
    """

    what: str
    cpu: str
    samples: int
    threads: int
    repetitions: int
    clean: int
    kept: int
    seconds: float
    peak: float
    rows: tuple[Row, ...]
    phases: tuple[PhaseTime, ...]
    activation_bytes: int
    contraction_bytes: int

    @property
    def flops(self) -> int:
        """Floating-point operations of the whole call, counted as for direct convolution."""
        return sum(row.flops for row in self.rows)

    @property
    def floor(self) -> float:
        """The seconds that all operations would take at the measured peak, counted as for direct convolution."""
        return self.flops / self.peak

    @property
    def outside(self) -> float:
        """The seconds that the call spends outside all phases (kernels).

        During this time, threads wait for each other, or Python code runs.
        """
        return self.seconds - sum(row.seconds for row in self.rows)

    @property
    def passes(self) -> float:
        """How often an activation is read or written on average: ``activation_bytes`` / ``contraction_bytes``."""
        return self.activation_bytes / self.contraction_bytes if self.contraction_bytes else 0.0

    def fraction(self, row: Row) -> float:
        """Return the fraction of the peak rate that a row reaches; with Winograd convolutions it may exceed 1."""
        return row.gflops * 1e9 / self.peak

    def by_pass(self) -> dict[Pass, list[Row]]:
        """Return the rows grouped by pass: forward, input gradient, weight gradient, backward, update."""
        found = {stage: [row for row in self.rows if row.stage is stage] for stage in Pass}
        return {stage: rows for stage, rows in found.items() if rows}

    def by_layer(self) -> dict[str, list[Row]]:
        """Return the rows grouped by the path of their layer."""
        found: dict[str, list[Row]] = {}
        for row in self.rows:
            found.setdefault(row.layer, []).append(row)
        return found

    def to_json(self) -> dict[str, Any]:
        """Return the whole profile as a JSON object: times in ms, sizes in bytes, rates in GFLOP/s and GB/s."""
        return {
            "what": self.what,
            "cpu": self.cpu,
            "batch": self.samples,
            "threads": self.threads,
            "repetitions": {"measured": self.repetitions, "clean": self.clean, "kept": self.kept},
            "peak_gflops": self.peak / 1e9,
            "total": {
                "ms": self.seconds * 1e3,
                "outside_ms": self.outside * 1e3,
                "gflop": self.flops / 1e9,
                "gflops": self.flops / self.seconds / 1e9,
                "floor_ms": self.floor * 1e3,
                "fraction_of_peak": self.floor / self.seconds,
                "moved_bytes": sum(row.moved for row in self.rows),
                "least_bytes": sum(row.least for row in self.rows),
                "passes": self.passes,
            },
            "passes": {stage.value: _sums(rows) for stage, rows in self.by_pass().items()},
            "layers": [
                {"layer": layer, "kind": rows[0].kind, **_sums(rows)} for layer, rows in self.by_layer().items()
            ],
            "rows": [self._row_json(row) for row in self.rows],
            "phases": [
                {
                    **{name: value for name, value in asdict(phase).items() if name not in ("seconds", "stage")},
                    "pass": phase.stage.value,
                    "ms": phase.seconds * 1e3,
                }
                for phase in self.phases
            ],
        }

    def _row_json(self, row: Row) -> dict[str, Any]:
        """Return one row as a JSON object."""
        return {
            "layer": row.layer,
            "kind": row.kind,
            "pass": row.stage.value,
            "algorithm": row.algorithm,
            "phases": row.phases,
            "ms": row.seconds * 1e3,
            "gflop": row.flops / 1e9,
            "gflops": row.gflops,
            "fraction_of_peak": self.fraction(row),
            "moved_bytes": row.moved,
            "least_bytes": row.least,
            "gbytes_per_second": row.bandwidth,
            "passes": row.passes,
        }

    def __str__(self) -> str:
        return self.text()

    def text(self, width: int = WIDTH) -> str:
        """Return the profile as a table for printing.

        Less important columns are left out if a line would have more than ``width`` characters.
        """
        parts = [_wrapped(self._head(), width), self._layer_table(width), self._pass_table(width)]
        return "\n\n".join([*parts, _wrapped(self._verdict(), width)]) + "\n"

    def _head(self) -> list[str]:
        """Return the lines above the table."""
        threads = f"{self.threads} thread{'s' if self.threads > 1 else ''}"
        lines = [
            f"{self.what.capitalize()}, batch {self.samples}, {threads}, {self.cpu}",
            f"peak {self.peak / 1e9:.0f} GFLOP/s by the probe, {self.repetitions} repetitions, mean of {self.kept}",
        ]
        if 2 * self.clean < self.repetitions:
            counted = f"{self.clean} of {self.repetitions} repetitions"
            lines.append(f"warning: busy machine: in {counted} every thread had a core to itself")
        return lines

    def _layer_table(self, width: int) -> str:
        """Return the table by layer and pass."""
        lines: list[list[str]] = []
        for layer, rows in self.by_layer().items():
            for index, row in enumerate(rows):
                name = f"{layer} {row.kind}".rstrip() if index == 0 else ""
                lines.append([name, row.stage.value, row.algorithm, *self._figures([row], row.passes)])
        return _table(("layer", "pass", "algorithm", *FIGURES), lines, 3, width)

    def _pass_table(self, width: int) -> str:
        """Return the table of totals by pass."""
        lines = [
            [stage.value, *self._figures(rows, sum(row.passes for row in rows))]
            for stage, rows in self.by_pass().items()
        ]
        lines.append(["outside of phases", self._ms(self.outside), _share(self.outside, self.seconds), *[""] * 6])
        total = self._figures(self.rows, sum(row.passes for row in self.rows), self.seconds)
        return _table(("in all", *FIGURES), [*lines, ["total", *total]], 1, width)

    def _figures(self, rows: Sequence[Row], passes: int, seconds: float | None = None) -> list[str]:
        """Return the cells of numbers for some rows."""
        time = sum(row.seconds for row in rows) if seconds is None else seconds
        flops = sum(row.flops for row in rows)
        moved, least = sum(row.moved for row in rows), sum(row.least for row in rows)
        return [
            self._ms(time),
            _share(time, self.seconds),
            f"{flops / time / 1e9:.1f}" if flops and time else "",
            f"{flops / time / self.peak:.0%}" if flops and time else "",
            f"{moved / 1e6:.1f}" if moved >= 1e5 else f"{moved / 1e6:.3f}",
            f"{moved / least:.1f}" if least else "",
            f"{moved / time / 1e9:.1f}" if time else "",
            str(passes) if passes else "",
        ]

    def _ms(self, seconds: float) -> str:
        """Return a time in milliseconds, with as many decimals as all times of this profile have."""
        decimals = 3 if self.seconds < 0.01 else 2 if self.seconds < 1 else 1
        return f"{seconds * 1e3:.{decimals}f}"

    def _verdict(self) -> list[str]:
        """Return the lines below the tables."""
        floor = f"at the peak {self.floor * 1e3:.2f} ms, which is {self.floor / self.seconds:.0%} of the time taken"
        lines = [f"work {self.flops / 1e9:.2f} GFLOP in direct form: {floor}"]
        if self.contraction_bytes:
            moved, given = self.activation_bytes / 1e6, self.contraction_bytes / 1e6
            times = f"{self.passes:.1f} times the {given:.1f} MB that the layers give on the way forward"
            lines.append(f"activations and gradients: {moved:.1f} MB moved, {times}")
        return lines


FIGURES = ("ms", "share", "GFLOP/s", "of peak", "MB", "×least", "GB/s", "passes")
DROPPED = ("GB/s", "×least", "MB", "share", "passes", "algorithm", "GFLOP/s")
"""The columns left out in a narrow terminal, in this order."""


def _sums(rows: Iterable[Row]) -> dict[str, float | int]:
    """Return the sums over some rows as a JSON object."""
    rows = list(rows)
    return {
        "ms": sum(row.seconds for row in rows) * 1e3,
        "gflop": sum(row.flops for row in rows) / 1e9,
        "moved_bytes": sum(row.moved for row in rows),
        "least_bytes": sum(row.least for row in rows),
        "passes": sum(row.passes for row in rows),
    }


def _wrapped(lines: Iterable[str], width: int) -> str:
    """Return lines of text wrapped to ``width``."""
    return "\n".join(textwrap.fill(line, width) for line in lines)


def _share(seconds: float, total: float) -> str:
    """Return a part of the time as percent."""
    return f"{seconds / total:.1%}" if total else ""


def _table(columns: Sequence[str], lines: Sequence[Sequence[str]], words: int, width: int) -> str:
    """Return aligned columns: the first ``words`` of them to the left, the others to the right."""
    cells: Mapping[str, list[str]] = {name: [line[i] for line in lines] for i, name in enumerate(columns)}
    widths = {name: max(len(name), *map(len, column)) for name, column in cells.items()}
    left = set(columns[:words])
    kept = list(columns)
    for name in DROPPED:
        if sum(widths[each] + 2 for each in kept) - 2 > width and name in kept:
            kept.remove(name)

    def line(values: Mapping[str, str]) -> str:
        aligned = (str.ljust if name in left else str.rjust for name in kept)
        return "  ".join(align(values[name], widths[name]) for align, name in zip(aligned, kept)).rstrip()

    body = [line({name: cells[name][i] for name in kept}) for i in range(len(lines))]
    return "\n".join([line({name: name for name in kept}), *body])
