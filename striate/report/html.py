"""Writes HTML and SVG as nested calls.

Text is escaped unless it is ``Markup``, so that text from a file can never become a tag.

    element("p", "loss ", element("b", 0.25), class_="note")  →  <p class="note">loss <b>0.25</b></p>
"""

from __future__ import annotations

import re
from typing import final

_SPECIAL = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;"}
_NOT_TEXT = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # controls
    "\u202a-\u202e\u2066-\u2069"  # change the direction of the following text: a name could write over its neighbours
    "\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]"  # halves of characters, and non-characters
)
_VOID = {"img", "meta", "br", "link"}
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9:-]*")


@final
class Markup(str):
    """Text that is already HTML and is not escaped again."""

    __slots__ = ()


Child = object
"""Markup, text, a number, a list or tuple of children, or None, which is left out."""


def escaped(text: object) -> Markup:
    """Return text made safe for HTML: special characters as entities, control characters as �."""
    visible = _NOT_TEXT.sub("\ufffd", str(text))
    return Markup("".join(_SPECIAL.get(character, character) for character in visible))


def joined(*children: Child) -> Markup:
    """Return the children one after the other, as ``Markup``; text among them is escaped."""
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
    """Return an element: ``<name attribute="…">children</name>``.

    Attribute names are written as ``class_`` for class, ``aria_label`` for aria-label, ``stroke_width`` for
    stroke-width. None and False leave an attribute out, and True writes one without a value. Names of tags and
    attributes must never come from a file.
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
    """Return a float with at most two decimals, as coordinates need; other values unchanged."""
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else value
