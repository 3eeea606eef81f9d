"""A power cut at any moment leaves the old or the new file, on a simulated file system."""

from __future__ import annotations

import pytest

pytest.importorskip("onnx", reason="the export is an extra: pip install 'striate[onnx]'")

from striate import settings
from tests.campaign import power_cut

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", list(power_cut.SCENARIOS))
def test_a_power_cut_leaves_whole_files(name: str, kept_settings: settings.Settings) -> None:
    moments, states = power_cut.verified(name, 6, 0)
    assert moments >= 5
    assert states >= moments


def test_a_writer_that_does_not_sync_is_found(
    monkeypatch: pytest.MonkeyPatch, kept_settings: settings.Settings
) -> None:
    monkeypatch.setattr(power_cut.Recorder, "_sync", lambda self, file: None)
    with pytest.raises(power_cut.LostError):
        power_cut.verified("saved_model", 40, 0)
