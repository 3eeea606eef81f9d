"""PyTorch, with which optimizers and schedules are compared."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture
def torch() -> Iterator[Any]:
    """PyTorch with float64 as its default dtype, so that NAdam's running product is float64 too."""
    library = pytest.importorskip("torch", reason="PyTorch is the peer that this compares with")
    before = library.get_default_dtype()
    library.set_default_dtype(library.float64)
    yield library
    library.set_default_dtype(before)
