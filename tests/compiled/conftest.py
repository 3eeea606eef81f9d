"""These tests run machine code, whatever engine the settings choose."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from striate import settings


@pytest.fixture(autouse=True)
def compiled_engine() -> Iterator[None]:
    """Choose the compiled engine, and restore the settings afterwards."""
    before = settings.override(engine=settings.Engine.COMPILED)
    yield
    settings.restore(before)
