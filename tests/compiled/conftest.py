"""One folder of compiled kernels for all tests here: subprocesses and later tests find what was compiled before."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from striate import settings


@pytest.fixture(scope="session")
def kernel_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the kernels of this session lie (STRIATE_TEST_KERNELS keeps them from one session to the next)."""
    kept = os.environ.get("STRIATE_TEST_KERNELS")
    return Path(kept) if kept else tmp_path_factory.mktemp("kernels")


@pytest.fixture(autouse=True)
def kernel_cache(kernel_folder: Path) -> Iterator[None]:
    """Kernels go to the session's folder; settings are put back."""
    before = settings.override(cache=kernel_folder, engine=settings.Engine.COMPILED)
    yield
    settings.restore(before)
