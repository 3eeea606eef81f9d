"""Writers that are killed leave the old or the new file."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("onnx", reason="the export is an extra: pip install 'striate[onnx]'")

from striate import settings
from tests.campaign import kill_writers


@pytest.mark.slow
def test_killed_writers_leave_whole_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kept_settings: settings.Settings
) -> None:
    assert kill_writers.kill_forks(tmp_path, 20, 0) == 0, capsys.readouterr().out
