"""Tests of machine code run it, whatever engine the settings choose."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from striate import settings


@pytest.fixture(autouse=True)
def compiled_engine() -> Iterator[None]:
    """The compiled engine; settings are put back."""
    before = settings.override(engine=settings.Engine.COMPILED)
    yield
    settings.restore(before)
