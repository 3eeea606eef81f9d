"""One page that shows what a network is, how it learned, what it sees, and how fast it runs.

    report = inspect("runs/digits")
    report.save("report.html")

The page is complete in itself: it loads nothing, runs no script, and escapes every text that came from a file.
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
    """The finished page."""

    name: str
    html: str

    def save(self, path: str | Path) -> None:
        """Writes the page. An earlier file stays in place until the new one is complete. Raises ``ModelFileError``."""
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
    """The report of a run folder or a model file.

    ``images`` are PNG or JPEG files to look at in place of held-out samples, ``data`` a data set in place of the run's,
    ``speed`` whether training steps are timed now; ``say`` is told what is being done. Raises ``ModelFileError``,
    ``DataError`` or ``OptionError`` for what cannot be read.
    """
    return report_of(gathered(Path(run), [Path(image) for image in images], data, say), speed)


def report_of(material: Material, timed: bool) -> Report:
    """The page with all its sections."""
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
