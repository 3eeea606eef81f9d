"""Any text is escaped, so that it stays text."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from striate.report.html import Markup, element, escaped, joined


class Reader(HTMLParser):
    """Parses HTML and records what a browser would find."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.text += data


@given(st.text(st.characters(exclude_categories=["Cs", "Cc", "Cf", "Cn"])))
def test_text_is_read_as_it_was(text: str) -> None:
    found = Reader(element("p", text, title=text))
    assert found.tags == ["p"]
    assert found.text == text
    assert found.attributes == [("title", text)]


@given(st.text())
def test_any_text_makes_no_tag_and_can_be_written(text: str) -> None:
    page = element("p", text, title=text)
    assert Reader(page).tags == ["p"]
    assert page.encode("utf-8").decode("utf-8") == page


def test_what_turns_or_hides_text_becomes_visible() -> None:
    assert escaped("a\u202eb\x00c\ud800") == "a\ufffdb\ufffdc\ufffd"


def test_children_and_attributes() -> None:
    assert joined("a<", None, [1, Markup("<br>")], (0.5,)) == "a&lt;1<br>0.5"
    made = element("td", "x", class_="number", aria_label='a "b"', hidden=True, id=None, open=False, x=1 / 3)
    assert made == '<td class="number" aria-label="a &quot;b&quot;" hidden x="0.33">x</td>'
    assert element("img", src="data:,") == '<img src="data:,">'


def test_names_of_tags_are_never_from_outside() -> None:
    with pytest.raises(AssertionError):
        element("p onload=x")
    with pytest.raises(AssertionError):
        element("p", **{"x onload": "1"})
