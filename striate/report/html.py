"""HTML and SVG as nested calls. Text is escaped unless it is ``Markup``, so that nothing from a file becomes a tag.

element("p", "loss ", element("b", 0.25), class_="note")  →  <p class="note">loss <b>0.25</b></p>
"""

from __future__ import annotations

import re
from typing import final

_SPECIAL = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;"}
_NOT_TEXT = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # controls
    "\u202a-\u202e\u2066-\u2069"  # turn the direction of what follows: a name could write over its neighbours
    "\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]"  # halves of characters, and what is none
)
_VOID = {"img", "meta", "br", "link"}
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9:-]*")


@final
class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


Child = object
"""Markup, text, a number, a list or tuple of children, or None for nothing."""


def escaped(text: object) -> Markup:
    """Text made safe for HTML: special characters as entities, control characters as �."""
    visible = _NOT_TEXT.sub("\ufffd", str(text))
    return Markup("".join(_SPECIAL.get(character, character) for character in visible))


def joined(*children: Child) -> Markup:
    """Children one after the other."""
    parts: list[str] = []
    for child in children:
        if child is None:
            continue
        if isinstance(child, (list, tuple)):
            parts.append(joined(*child))  # pyright: ignore[reportUnknownArgumentType]
        else:
            parts.append(child if isinstance(child, Markup) else escaped(child))
    return Markup("".join(parts))


def element(name: str, /, *children: Child, **attributes: object) -> Markup:
    """``<name attribute="…">children</name>``

    ``class_`` is class, ``aria_label`` aria-label, ``stroke_width`` stroke-width; None and False leave an attribute
    out, True is one without a value. Tags and attributes with names from outside do not exist.
    """
    assert _NAME.fullmatch(name), name
    shown: list[str] = [name]
    for key, value in attributes.items():
        key = key.rstrip("_").replace("_", "-")
        assert _NAME.fullmatch(key), key
        if value is None or value is False:
            continue
        shown.append(key if value is True else f'{key}="{escaped(_number(value))}"')
    head = " ".join(shown)
    return Markup(f"<{head}>") if name in _VOID else Markup(f"<{head}>{joined(*children)}</{name}>")


def _number(value: object) -> object:
    """Floats of coordinates as short as can be seen."""
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else value
