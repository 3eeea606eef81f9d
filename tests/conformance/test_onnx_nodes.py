"""ONNX's own tests of its operators, through ``st.load``'s importer: all that are in scope pass.

They run on the NumPy references; ``make test-all`` runs them once more on compiled kernels.
"""

from __future__ import annotations

from typing import Any

import pytest

from striate import settings
from tests.conformance.onnx_exclusions import OPERATORS, TESTS, WORDS

PARTS = 8
"""The tests in as many parts, since the package builds all of them at once, which takes long."""


def _excluded(operators: bool = True) -> set[str]:
    return {name for names in (OPERATORS if operators else TESTS).values() for name in names}


def _outcomes(part: int) -> dict[str, str | None]:
    pytest.importorskip("onnx", reason="onnx is not installed")
    from tests.conformance.onnx_nodes import cases, outcome

    return {case.name: outcome(case) for case in cases()[part::PARTS]}


def _judged(part: int) -> None:
    operators, tests = _excluded(), _excluded(operators=False)
    words = [word for some in WORDS.values() for word in some]
    failed: list[str] = []
    passed = 0
    for name, problem in _outcomes(part).items():
        if problem is None:
            passed += 1
        elif problem.startswith("operators: "):
            absent = set(problem.removeprefix("operators: ").split(", "))
            failed += [] if absent & operators else [f"{name}: {problem}"]
        elif name not in tests and not any(word in name for word in words):
            failed.append(f"{name}: {problem}")
    assert not failed, "\n".join(failed)
    assert passed > 100


@pytest.mark.parametrize("part", range(PARTS))
def test_node_tests_in_scope_pass(part: int, kept_settings: settings.Settings) -> None:
    settings.override(engine=settings.Engine.REFERENCE)
    _judged(part)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
def test_node_tests_in_scope_pass_compiled(part: int) -> None:
    _judged(part)


def test_every_exclusion_is_needed(kept_settings: settings.Settings) -> None:
    settings.override(engine=settings.Engine.REFERENCE)
    onnx_nodes: Any = pytest.importorskip("tests.conformance.onnx_nodes", reason="onnx is not installed")
    names = {case.name: case for case in onnx_nodes.cases()}
    for name in _excluded(operators=False):
        assert onnx_nodes.outcome(names[name]) is not None, f"{name} passes"
    called = {
        node.op_type for case in names.values() if (model := onnx_nodes.model_of(case)) for node in model.graph.node
    }
    assert _excluded() <= called, f"no test has {_excluded() - called}"
    assert not _excluded() & onnx_nodes.known_operators()
