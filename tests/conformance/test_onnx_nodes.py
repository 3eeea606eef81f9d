"""ONNX's own tests of its operators: all that are in scope pass through ``st.load``'s importer.

They run on the NumPy references, and on compiled kernels. Since the package builds all of its tests at once, which
takes long, a single test runs them all.
"""

from __future__ import annotations

from typing import Any

import pytest

from striate import settings
from tests.conformance.onnx_exclusions import OPERATORS, TESTS, WORDS


def _listed(exclusions: dict[str, tuple[str, ...]]) -> set[str]:
    return {name for names in exclusions.values() for name in names}


def _judged() -> None:
    pytest.importorskip("onnx", reason="onnx is not installed")
    onnx_nodes: Any = pytest.importorskip("tests.conformance.onnx_nodes")
    operators, tests, words = _listed(OPERATORS), _listed(TESTS), _listed(WORDS)
    failed: list[str] = []
    passed: set[str] = set()
    absent: set[str] = set()
    for case in onnx_nodes.cases():
        problem = onnx_nodes.outcome(case)
        if problem is None:
            passed.add(case.name)
        elif problem.startswith("operators: "):
            missing = set(problem.removeprefix("operators: ").split(", "))
            absent |= missing
            failed += [] if missing & operators else [f"{case.name}: {problem}"]
        elif case.name not in tests and not any(word in case.name for word in words):
            failed.append(f"{case.name}: {problem}")
    assert not failed, "\n".join(failed)
    assert len(passed) > 1000
    assert not tests & passed, "exclusions that nothing needs"
    assert operators <= absent, f"exclusions that nothing needs: {operators - absent}"


@pytest.mark.slow
def test_node_tests_in_scope_pass(kept_settings: settings.Settings) -> None:
    settings.override(engine=settings.Engine.REFERENCE)
    _judged()


@pytest.mark.slow
def test_node_tests_in_scope_pass_compiled() -> None:
    _judged()
