"""The tests can be collected where PyTorch is not installed; those that need it skip."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
COLLECT = """
import sys
from importlib.machinery import PathFinder

class Finder(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name == "torch" else super().find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Finder
import pytest
sys.exit(pytest.main(["--collect-only", "-q", "-p", "no:cacheprovider", "tests"]))
"""


@pytest.mark.slow
def test_every_test_file_can_be_imported_without_torch() -> None:
    process = subprocess.run(
        [sys.executable, "-c", COLLECT], cwd=ROOT, text=True, capture_output=True, timeout=300, check=False
    )
    assert process.returncode == 0, process.stdout[-3000:]
