"""Imports PyTorch's test modules without a trace in ours."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import hypothesis


@contextmanager
def undisturbed() -> Iterator[None]:
    """PyTorch's test modules warn, and choose a profile of Hypothesis when they are imported."""
    profile = hypothesis.settings.get_current_profile_name()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            hypothesis.settings.load_profile(profile)
