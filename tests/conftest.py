"""What all tests share: the folder of real MNIST, and settings that are put back."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from striate import settings

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell's background job ignores Ctrl-C, and so would every process that the tests start and interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The machine is shared and the first call compiles: time is no measure of a property. The same examples every run.
hypothesis.settings.register_profile("striate", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("striate")


@pytest.fixture
def mnist_folder() -> Path:
    """The folder of the four files of MNIST; skips where STRIATE_DATA names none."""
    data = settings.current().data
    if data is None or not (data / "mnist").is_dir():
        pytest.skip("real MNIST is found through STRIATE_DATA, which names no folder with mnist/ here")
    return data / "mnist"


@pytest.fixture
def kept_settings() -> Iterator[settings.Settings]:
    """Whatever a test overrides is put back after it."""
    before = settings.current()
    yield before
    settings.restore(before)
