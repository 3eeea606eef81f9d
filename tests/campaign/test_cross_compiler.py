"""LLVM compiles a kernel to the same bytes on this machine and under emulation."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from striate.codegen import driver, target
from tests.campaign import cross_compiler


@pytest.mark.skipif(cross_compiler.SOCKET not in os.environ, reason="for tests/campaign/processors.py")
def test_both_compilers_write_the_same_object() -> None:
    here = target.host()
    text = driver.write(here.triple)
    assert cross_compiler.compile_there(text, here) == cross_compiler.compile_here(text, here)


@pytest.mark.skipif(os.name == "nt", reason="sockets of POSIX")
def test_a_request_returns_the_object(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(cross_compiler.SOCKET, str(tmp_path / "socket"))
    cross_compiler.serve(tmp_path / "socket")
    arm = target.named("generic")
    text = driver.write(arm.triple)
    assert cross_compiler.compile_there(text, arm) == cross_compiler.compile_here(text, arm)
