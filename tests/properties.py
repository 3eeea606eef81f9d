"""How many examples a property test takes."""

from __future__ import annotations

from hypothesis import settings

QUICK = 50
"""The number of examples in the quick profile (``tests/conftest.py``)."""


def examples(quick: int, exhaustive: int) -> int:
    """Return the number of examples of a property whose examples compile programs.

    It is ``quick`` in `make test`, and ``exhaustive`` in `make test-slow`.
    """
    return quick if settings.default.max_examples <= QUICK else exhaustive
