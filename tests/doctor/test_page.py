"""``docs/doctor.md`` describes each rule as the code does.

``python tests/doctor/test_page.py`` updates the page.
"""

from __future__ import annotations

from pathlib import Path

from striate.doctor.rule import described

PAGE = Path(__file__).parent.parent.parent / "docs" / "doctor.md"
BEGIN, END = "<!-- rules: begin -->", "<!-- rules: end -->"


def with_rules(text: str) -> str:
    """Return the page with the current rules."""
    head, rest = text.split(BEGIN)
    return f"{head}{BEGIN}\n{described()}\n{END}{rest.split(END)[1]}"


def test_the_page_has_the_rules_as_they_are() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert text == with_rules(text)


if __name__ == "__main__":
    PAGE.write_text(with_rules(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
