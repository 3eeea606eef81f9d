"""Import PyTorch's test modules without side effects on this test run."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import hypothesis


@contextmanager
def undisturbed() -> Iterator[None]:
    """Suppress the warnings of PyTorch's test modules, and undo their choice of a Hypothesis profile."""
    profile = hypothesis.settings.get_current_profile_name()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            hypothesis.settings.load_profile(profile)
