"""The report's section on the doctor's findings about the training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from striate.report.chart import number, percent
from striate.report.html import Markup, element, joined
from striate.report.material import Material, numbers_of
from striate.report.page import Section, absent, terms

_TONES = {"error": "bad", "warning": "warn", "note": "info", "info": "info"}
MOST, _MOST_UNITS = 50, 24
Found = Mapping[str, Any]


def section(material: Material) -> Section:
    """Build the report's section on the doctor's findings, with evidence and remedies, most serious first."""
    lead = (
        "During training, rules examine the gradients, the units and the data. A finding names the layer, the numbers "
        "behind it, and what to change. No findings is a good sign; an error at the top of the list deserves to be "
        "fixed before anything else."
    )
    found = findings_of(material)
    if found is None:
        why = "A model file does not describe its training." if material.run is None else "No doctor watched this run."
        return Section("findings", "Findings", lead, absent(why))
    if not found:
        good = element(
            "div", element("p", element("span", "all well", class_="badge"), "The doctor found nothing wrong."),
            class_="finding good",
        )  # fmt: skip
        return Section("findings", "Findings", lead, good)
    causes, explained = _sorted(found)
    shown = [_finding(one, explained.get(index, [])) for index, one in enumerate(causes[:MOST])]
    rest = len(causes) - MOST
    more = element("p", f"And {rest} more.", class_="note") if rest > 0 else None
    return Section("findings", "Findings", lead, element("div", shown, more))


def findings_of(material: Material) -> list[Found] | None:
    """Return the findings of the doctor about a run; None if the doctor did not watch the training.

    They are read from run.json or, if that file has no findings yet, from progress.jsonl.
    """
    run = material.run
    kept: list[Found] = list(run.findings) if run else []
    recorded: list[Found] = [{**one, "kind": one.get("rule", "")} for one in material.records_of("finding")]
    watched = run is not None and run.arguments.get("doctor") is True
    found = kept or recorded
    return found if found or watched else None


def _sorted(found: Sequence[Found]) -> tuple[list[Found], dict[int, list[Found]]]:
    """Return the findings that no other one explains, and what each of them explains, by its index.

    A finding whose ``because`` names no finding of the list, or leads back to itself, stands alone, so that none is
    left out.
    """
    by_kind = {str(one.get("kind")): one for one in reversed(found)}
    roots: list[Found | None] = []
    for one in found:
        at, seen = one, {id(one)}
        while (reason := by_kind.get(str(at.get("because")))) is not None and id(reason) not in seen:
            at = reason
            seen.add(id(at))
        roots.append(None if at is one or by_kind.get(str(at.get("because"))) is not None else at)
    causes = [one for one, root in zip(found, roots) if root is None]
    places = {id(one): place for place, one in enumerate(causes)}
    explained: dict[int, list[Found]] = {}
    for one, root in zip(found, roots):
        if root is not None:
            explained.setdefault(places[id(root)], []).append(one)
    return causes, explained


def _finding(one: Found, explained: Sequence[Found]) -> Markup:
    """Return one finding with those that it explains."""
    severity = str(one.get("severity", "warning"))
    tone = _TONES.get(severity, "warn")
    sure = numbers_of(one, "sureness")
    where = str(one.get("where", ""))
    return element(
        "article",
        element("h3", element("span", severity, class_="badge"), str(one.get("message", one.get("kind", "")))),
        element("p", _place(where, one.get("units")), f", {percent(sure[0])} sure" if sure else "", class_="note"),
        _paragraph("", one.get("why")),
        _remedy(one.get("remedy")),
        _evidence(one.get("evidence")),
        _explained(explained),
        class_=f"finding {tone}",
    )


def _explained(others: Sequence[Found]) -> Markup | None:
    """Return the list of findings that follow from another one, and need no remedy of their own."""
    if not others:
        return None
    follows = [element("li", str(other.get("message", other.get("kind", "")))) for other in others]
    return joined(element("p", "It explains:", class_="note"), element("ul", follows))


def _place(where: str, units: object) -> str:
    """Return where a finding applies, as text."""
    if not isinstance(units, Sequence) or isinstance(units, str) or not units:
        return f"at {where}" if where else "somewhere"
    several = list(cast("Sequence[object]", units))
    shown = ", ".join(map(str, several[:_MOST_UNITS])) + (" …" if len(several) > _MOST_UNITS else "")
    return f"at {where}, unit{'s' * (len(several) > 1)} {shown}"


def _paragraph(label: str, text: object) -> Markup | None:
    """Return a paragraph with a label; None for anything but text."""
    if not isinstance(text, str) or not text:
        return None
    return element("p", element("b", label) if label else None, text)


def _remedy(remedy: object) -> Markup | None:
    """Return the remedy of a finding."""
    if isinstance(remedy, str):
        return _paragraph("What to change: ", remedy)
    if not isinstance(remedy, Mapping):
        return None
    parts = cast("Mapping[str, object]", remedy)
    code, command = (str(parts.get(name) or "") for name in ("code", "command"))
    return joined(
        _paragraph("What to change: ", parts.get("text")),
        element("pre", code) if code else None,
        element("p", "On the command line: ", element("code", command)) if command else None,
    )


def _evidence(evidence: object) -> Markup | None:
    """Return the numbers that a finding is based on."""
    if not isinstance(evidence, Mapping):
        return None
    pairs = cast("Mapping[str, object]", evidence)
    shown = [
        (str(name), number(float(f"{value:.4g}")))
        for name, value in pairs.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    ]
    return terms(shown, "evidence") if shown else None
