"""A finding of the doctor, with its evidence and its remedy, and the list that holds all findings."""

from __future__ import annotations

import html
import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, cast, overload

from striate.doctor.remedy import Remedy
from striate.errors import ModelFileError, unknown_option

WIDTH = 80
_LABEL = 11


class Severity(Enum):
    """How serious a finding is: ERROR or WARNING."""

    ERROR = "error"  # this training cannot succeed, or its figures mean nothing
    WARNING = "warning"  # the training is worse than necessary

    @classmethod
    def parse(cls, name: str) -> Severity:
        """Return the severity with this name, "error" or "warning"; raise ``OptionError`` for any other."""
        if name not in [severity.value for severity in cls]:
            raise unknown_option("severity", name, [severity.value for severity in cls])
        return cls(name)


def _code(code: str, indent: int, width: int) -> list[str]:
    """Return lines of Python, indented; a comment too long for ``width`` continues on the next line."""
    lines: list[str] = []
    for line in code.splitlines():
        statement, mark, comment = line.partition("   # ")
        start = " " * indent + statement + mark
        if mark and len(start) + len(comment) > width:
            below = f"{' ' * (len(start) - 2)}# "
            lines += textwrap.wrap(
                comment, width, initial_indent=start, subsequent_indent=below, break_long_words=False
            )
        else:
            lines.append(start + comment)
    return lines


@dataclass(frozen=True)
class Finding:
    """One fault that the doctor found in a training.

    kind      name of the rule that found the fault, such as "vanishing_gradients"
    severity  ERROR if the training cannot succeed, WARNING if it is worse than necessary
    where     path of the layer, or "data", "labels", "targets", "validation", "optimizer", "loss", "batches", "model"
    units     indices of the affected units, features or samples; () if the finding is not about particular ones
    sureness  how sure the doctor is, from 0 to 1
    evidence  the measured numbers that the finding is based on, by name
    message   the fault in one sentence; ``why`` explains it, and ``remedy`` says what to change
    cause     the cause, such as "activation" or "initialization", if the rule tells several causes apart; else ""
    because   kind of the finding that explains this one; "" for a finding that is not explained by another
    step      number of steps after which the fault was first found; 0: before the first step
    layers    paths of all affected layers
    """

    kind: str
    severity: Severity
    where: str
    units: tuple[int, ...]
    sureness: float
    evidence: Mapping[str, float]
    message: str
    why: str
    remedy: Remedy
    cause: str = ""
    because: str = ""
    step: int = 0
    layers: tuple[str, ...] = field(default=())

    @property
    def key(self) -> tuple[str, str]:
        """The kind and the cause; a later finding with the same key replaces the earlier one."""
        return self.kind, self.cause

    @property
    def brief(self) -> str:
        """The message and the remedy in a few lines of text, shown during training."""
        lines = textwrap.wrap(f"{self.severity.value}: {self.message}", WIDTH, subsequent_indent="  ")
        lines += textwrap.wrap(self.remedy.text, WIDTH, initial_indent="  remedy: ", subsequent_indent="  ")
        return "\n".join([*lines, *self._how(4, WIDTH)])

    def _how(self, indent: int, width: int) -> list[str]:
        """Return the remedy as lines: options of the command line if there are any, else code."""
        if self.remedy.command:
            return [" " * indent + f"on the command line: {self.remedy.command}"]
        return _code(self.remedy.code, indent, width)

    def text(self, width: int = WIDTH) -> str:
        """Return the whole finding as text: message, evidence, reason and remedy.

        Lines are wrapped to ``width`` columns.
        """
        parts = [("evidence", self.numbers), ("why", self.why), ("remedy", self.remedy.text)]
        lines = [f"{self.severity.value}: {self.message} ({100 * self.sureness:.0f} % sure)"]
        lines = textwrap.wrap(lines[0], width, subsequent_indent="  ", break_on_hyphens=False)
        for label, text in parts:
            if text:
                lines += textwrap.wrap(
                    text,
                    width,
                    initial_indent=f"  {label:<{_LABEL - 2}}",
                    subsequent_indent=" " * _LABEL,
                    break_on_hyphens=False,
                )
        lines += self._how(_LABEL, width)
        return "\n".join(lines)

    @property
    def numbers(self) -> str:
        """The evidence as one line of text, such as ``first to last 3.1e-07, units 64``."""
        return ", ".join(f"{name} {number:.3g}" for name, number in self.evidence.items())

    def to_json(self) -> dict[str, Any]:
        """Return the finding as a JSON object; evidence that is not finite becomes null."""
        return {
            "kind": self.kind,
            "severity": self.severity.value,
            "where": self.where,
            "units": list(self.units),
            "sureness": self.sureness,
            "evidence": {name: number if math.isfinite(number) else None for name, number in self.evidence.items()},
            "message": self.message,
            "why": self.why,
            "remedy": self.remedy.to_json(),
            "cause": self.cause,
            "because": self.because,
            "step": self.step,
            "layers": list(self.layers),
        }

    @classmethod
    def from_json(cls, document: object) -> Finding:
        """Return the finding that ``to_json`` wrote; raise ``ModelFileError`` for any other object.

        The remedy of the finding has text and code, but can no longer be applied.
        """
        if not isinstance(document, Mapping):
            raise ModelFileError(f"finding: expected an object, found {type(document).__name__}")
        entries = cast("Mapping[str, Any]", document)
        wanted: dict[str, type | tuple[type, ...]] = {
            "kind": str, "severity": str, "where": str, "units": list, "sureness": (int, float), "evidence": dict,
            "message": str, "why": str, "remedy": dict,
        }  # fmt: skip
        wrong = [name for name, kind in wanted.items() if not isinstance(entries.get(name), kind)]
        if wrong:
            raise ModelFileError(f"finding: {', '.join(wrong)} missing or of a wrong type")
        evidence = cast("Mapping[str, float | None]", entries["evidence"])
        return cls(
            str(entries["kind"]),
            Severity.parse(entries["severity"]),
            str(entries["where"]),
            tuple(int(unit) for unit in entries["units"]),
            float(entries["sureness"]),
            {str(name): math.nan if number is None else float(number) for name, number in evidence.items()},
            str(entries["message"]),
            str(entries["why"]),
            Remedy.from_json(cast("Mapping[str, Any]", entries["remedy"])),
            str(entries.get("cause", "")),
            str(entries.get("because", "")),
            int(entries.get("step", 0)),
            tuple(str(layer) for layer in entries.get("layers", ())),
        )

    def _repr_html_(self) -> str:
        colour = "#b3261e" if self.severity is Severity.ERROR else "#9a6700"
        code = f"<pre>{html.escape(self.remedy.code)}</pre>" if self.remedy.code else ""
        return (
            f'<div style="border-left:4px solid {colour};padding:.3em .8em;margin:.5em 0">'
            f"<b>{html.escape(self.message)}</b> <small>{100 * self.sureness:.0f} % sure</small><br>"
            f"<small>{html.escape(self.numbers)}</small><br>{html.escape(self.why)}<br>"
            f"<b>remedy</b> {html.escape(self.remedy.text)}{code}</div>"
        )


class Findings(Sequence[Finding]):
    """A sequence of findings, ranked by what to change first.

    It prints itself as text, and as HTML in notebooks.
    """

    def __init__(self, found: Sequence[Finding] = ()) -> None:
        self._found = tuple(found)

    @overload
    def __getitem__(self, index: int) -> Finding: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Finding]: ...
    def __getitem__(self, index: int | slice) -> Finding | Sequence[Finding]:
        return self._found[index]

    def __len__(self) -> int:
        return len(self._found)

    def to_json(self) -> list[dict[str, Any]]:
        """Return the findings as a list of JSON objects, as they are stored in ``run.json``."""
        return [finding.to_json() for finding in self._found]

    def text(self, width: int = WIDTH) -> str:
        """Return the findings as text: each cause in full, followed by one sentence for every finding that it explains.

        Lines are wrapped to ``width`` columns.
        """
        causes = [finding for finding in self._found if not finding.because]
        lines: list[str] = []
        for cause in causes:
            lines.append(cause.text(width))
            for other in self._found:
                if other.because == cause.kind:
                    text = f"explains: {other.message}"
                    lines += textwrap.wrap(
                        text, width, initial_indent="  ", subsequent_indent=" " * _LABEL, break_on_hyphens=False
                    )
            lines.append("")
        return "\n".join(lines).rstrip()

    def __repr__(self) -> str:
        return self.text() or "the doctor found nothing wrong"

    def _repr_html_(self) -> str:
        if not self._found:
            return "<p>the doctor found nothing wrong</p>"
        return "".join(finding._repr_html_() for finding in self._found)  # pyright: ignore[reportPrivateUsage]
