"""The frame of the report's page: head, table of contents, sections.

The page's content security policy forbids loading anything. It allows pictures that are part of the page, and the style
sheet whose hash it names; there are no scripts, fonts, frames or forms, and no ``style`` attributes.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

from striate.report.html import Markup, element, joined
from striate.version import VERSION


@dataclass(frozen=True)
class Section:
    """One section of the report.

    id        anchor of the section
    title     heading
    explains  how to read the section, and what would be a bad sign
    body      the content of the section
    """

    id: str
    title: str
    explains: Markup | str
    body: Markup


def style_sheet() -> str:
    """Return the CSS of the report's page, from the package's file style.css."""
    return files("striate.report").joinpath("style.css").read_text(encoding="utf-8")


def policy(style: str) -> str:
    """Return the page's Content-Security-Policy, which allows only this style sheet and embedded pictures."""
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    allowed = f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'"
    return f"{allowed}; base-uri 'none'; form-action 'none'"


def page(title: str, subtitle: Markup | str, facts: Markup, sections: Sequence[Section]) -> str:
    """Return the report's whole HTML document: title, key figures (``facts``), table of contents and sections."""
    style = style_sheet()
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy(style)),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="referrer", content="no-referrer"),
        element("meta", name="color-scheme", content="light dark"),
        element("meta", name="generator", content=f"striate {VERSION}"),
        element("title", f"{title} – striate report"),
        element("link", rel="icon", href="data:,"),
        element("style", Markup(style)),
    )
    contents = element(
        "nav",
        element("h2", "Contents", id="contents"),
        element("ol", [element("li", element("a", one.title, href=f"#{one.id}")) for one in sections]),
        class_="contents",
        aria_labelledby="contents",
    )
    body = element(
        "body",
        element("a", "Skip to the report", href="#report", class_="skip-link"),
        _marks(),
        element(
            "div",
            element("header", element("h1", title), element("p", subtitle), facts, class_="top"),
            contents,
            element("main", [_section(one) for one in sections], id="report"),
            element("footer", f"Written by striate {VERSION}. This page loads nothing from anywhere."),
            class_="frame-of-page",
        ),
    )
    return f"<!doctype html>\n{element('html', head, body, lang='en')}\n"


def _section(one: Section) -> Markup:
    """Return one section with its heading."""
    heading = f"{one.id}-title"
    return element(
        "section",
        element("h2", one.title, id=heading),
        element("p", one.explains, class_="explains"),
        one.body,
        id=one.id,
        aria_labelledby=heading,
    )


def _marks() -> Markup:
    """Return the definition of the arrowhead that all drawings use."""
    tip = element("path", d="M0 0L8 4L0 8Z")
    mark = element(
        "marker", tip, id="arrow", viewBox="0 0 8 8", refX=7, refY=4, markerWidth=7, markerHeight=7, orient="auto",
        markerUnits="userSpaceOnUse",
    )  # fmt: skip
    return element("svg", element("defs", mark), width=0, height=0, aria_hidden="true", class_="marks")


def details(summary: Markup | str, *content: object, open: bool = False, id: str | None = None) -> Markup:
    """Return a part of the page that opens on a click on ``summary``, or when a link to ``id`` is followed.

    With ``open=True`` it is open from the start.
    """
    return element("details", element("summary", summary), element("div", *content, id=id), open=open)


def absent(text: object) -> Markup:
    """Return a paragraph for the page that says why something is not shown."""
    return element("p", text, class_="absent")


def table(head: Sequence[str], rows: Sequence[Sequence[object]], words: int = 1, caption: str = "") -> Markup:
    """Return a table whose first ``words`` columns are text, and whose other columns are numbers.

    ``head`` has the names of the columns; the first cell of each row is the name of the row.
    """

    def cell(name: str, index: int, content: object, **attributes: object) -> Markup:
        return element(name, content, class_="number" if index >= words else None, **attributes)

    top = element("tr", [cell("th", i, text, scope="col") for i, text in enumerate(head)])
    body = [
        element(
            "tr",
            [cell("td" if i else "th", i, one, scope=None if i else "row") for i, one in enumerate(row)],
        )
        for row in rows
    ]
    return wide(
        element(
            "table", element("caption", caption) if caption else None, element("thead", top), element("tbody", body)
        ),
        caption or "table",
    )


def wide(content: Markup, label: str) -> Markup:
    """Return content that may be wider than a phone's screen, in a box that scrolls sideways.

    ``label`` describes the box for screen readers.
    """
    return element("div", content, class_="wide", tabindex=0, role="region", aria_label=label)


def figure(content: Markup, caption: object, title: str = "") -> Markup:
    """Return a picture with its title above and its caption below, as HTML."""
    above = element("figcaption", title) if title else None
    below = element("p" if title else "figcaption", caption, class_="note" if title else None) if caption else None
    return element("figure", above, content, below)


def terms(pairs: Sequence[tuple[object, object]], class_: str) -> Markup:
    """Return a list of (name, value) pairs as HTML; ``class_`` is the list's class in the style sheet."""
    rows = [element("div", element("dt", name), element("dd", value)) for name, value in pairs]
    return element("dl", joined(*rows), class_=class_)
