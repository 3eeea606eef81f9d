"""Every trap of the campaign is refused by one of striate's errors, or read, in little time and memory."""

from __future__ import annotations

import time
import tracemalloc
import warnings
from pathlib import Path

import pytest

from striate import settings
from striate.errors import StriateError

pytest.importorskip("onnx", reason="the export is an extra: pip install 'striate[onnx]'")

from tests.campaign.kinds import (
    Open,
    follow,
    load_model,
    open_numbers,
    open_pictures_as_they_are,
    read_everything,
    read_picture_file,
    read_toml,
)
from tests.campaign.traps import TRAPS, Trap

WAYS: dict[str, tuple[Open, ...]] = {
    "models": (load_model,),
    "runs": (read_everything, follow),
    "configurations": (read_toml,),
    "pictures": (read_picture_file,),
    "folders": (open_pictures_as_they_are,),
    "zips": (open_pictures_as_they_are,),
    "tars": (open_pictures_as_they_are,),
}
"""How the traps of a kind are opened; all others are files of numbers. The campaign opens them in more ways."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "trap"),
    [pytest.param(kind, trap, id=trap.__name__) for kind, traps in TRAPS.items() for trap in traps],
)
def test_a_trap_is_refused_without_time_or_memory(
    kind: str, trap: Trap, tmp_path: Path, kept_settings: settings.Settings
) -> None:
    settings.override(engine=settings.Engine.REFERENCE)
    case = trap()
    folder = tmp_path / "case"
    for name, content in case.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    for way in WAYS.get(kind, (open_numbers,)):
        start = time.process_time()
        tracemalloc.start()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                way(folder)
        except StriateError:
            pass
        finally:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        # A list of Python objects takes more than their text; the shapes that the traps declare take gigabytes.
        assert peak < 60 * sum(map(len, case.values())) + 30_000_000
        assert time.process_time() - start < 10
    assert [path.name for path in tmp_path.iterdir()] == ["case"]
