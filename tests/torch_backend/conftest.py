"""Tests of this folder import ``pairs`` from it. All are slow, and importing PyTorch takes seconds."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Do not even import these files in a run without slow tests."""
    return True if "not slow" in config.getoption("markexpr") else None
