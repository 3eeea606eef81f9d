"""Writes one HTML page about a network: what it is, how it learned, what it sees, how fast it runs.

    report = inspect("runs/digits")
    report.save("report.html")

The page loads nothing, runs no script, and escapes every text that came from a file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from striate.persistence import write_atomically
from striate.report import (
    attention,
    confusion,
    curves,
    features,
    filters,
    findings,
    gradients,
    layers,
    network,
    provenance,
    speed,
    summary,
)
from striate.report.html import escaped
from striate.report.material import Material, Say, gathered
from striate.report.page import page

__all__ = ["Report", "inspect", "report_of"]


@dataclass(frozen=True)
class Report:
    """A finished report, which notebooks show in a frame.

    ``name`` is the name of the run or model, and ``html`` is the whole page.
    """

    name: str
    html: str

    def save(self, path: str | Path) -> None:
        """Write the page to a file; an earlier file is replaced only when the new one is complete.

        Raises ``ModelFileError`` if the file cannot be written.
        """
        write_atomically(Path(path), self.html.encode())

    def _repr_html_(self) -> str:
        return (
            f'<iframe title="striate report" srcdoc="{escaped(self.html)}" width="100%" height="700" sandbox></iframe>'
        )


def inspect(
    run: str | Path,
    *,
    images: Sequence[str | Path] = (),
    data: str | None = None,
    speed: bool = True,
    say: Say = lambda text: None,
) -> Report:
    """Make the report on a run folder or a model file.

    images  PNG or JPEG files to explain in place of held-out samples
    data    the data set to use, by name or path; None: the data set of the run
    speed   whether to time training steps (or predictions) now
    say     is called with messages about the progress

    Raises ``ModelFileError``, ``DataError`` or ``OptionError`` for files that cannot be read.
    """
    return report_of(gathered(Path(run), [Path(image) for image in images], data, say), speed)


def report_of(material: Material, timed: bool) -> Report:
    """Make the page with all its sections from the material; ``timed`` says whether to measure the speed."""
    profile = speed.measured(material) if timed else None
    sections = [
        findings.section(material),
        network.section(material),
        curves.section(material),
        gradients.section(material),
        filters.section(material),
        features.section(material),
        attention.section(material),
        confusion.section(material),
        speed.section(material, profile, timed),
        layers.section(material, profile),
        provenance.section(material),
    ]
    title, subtitle, facts = summary.head(material)
    return Report(material.name, page(title, subtitle, facts, sections))
