from __future__ import annotations

import ast
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from striate import settings
from striate.codegen import cache
from tests import syntax

POSIX = os.name == "posix"


@pytest.fixture(autouse=True)
def _restore() -> Iterator[None]:
    before = settings.current()
    yield
    settings.restore(before)


def _use(folder: Path | None) -> cache.Cache | None:
    settings.override(cache=folder)
    return cache.current()


def _entry(folder: Path) -> Path:
    (path,) = folder.glob("*.kernel")
    return path


def test_what_was_put_is_got_also_by_another_process(tmp_path: Path) -> None:
    store = _use(tmp_path / "deep" / "kernels")
    assert store is not None
    assert store.get("a") is None
    store.put("a", b"object")
    store.put("a", b"object")
    assert store.get("a") == b"object"
    assert cache.Cache(tmp_path / "deep" / "kernels").get("a") == b"object"
    assert [path.name for path in (tmp_path / "deep" / "kernels").iterdir()] == ["a.kernel"]
    if POSIX:
        assert (tmp_path / "deep" / "kernels").stat().st_mode & 0o777 == 0o700


def test_off_is_none() -> None:
    assert _use(None) is None


@pytest.mark.parametrize("damage", ["empty", "truncated", "header", "flipped", "longer", "zeros"])
def test_a_damaged_entry_is_discarded(tmp_path: Path, damage: str) -> None:
    store = cache.Cache(tmp_path)
    store.put("a", bytes(range(256)))
    path = _entry(tmp_path)
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[100] ^= 1
    path.write_bytes(
        {
            "empty": b"",
            "truncated": whole[:-1],
            "header": whole[:20],
            "flipped": bytes(flipped),
            "longer": whole + b"x",
            "zeros": bytes(len(whole)),
        }[damage]
    )
    assert store.get("a") is None
    assert not path.exists()
    store.put("a", b"new")
    assert store.get("a") == b"new"


def _refused(folder: Path, caplog: pytest.LogCaptureFixture) -> str:
    """Return the only warning that was logged, about a cache folder that is not used."""
    with caplog.at_level(logging.WARNING, logger="striate"):
        assert _use(folder) is None
        assert _use(folder) is None
    (record,) = caplog.records
    return record.getMessage()


@pytest.mark.skipif(not POSIX, reason="modes are POSIX's")
@pytest.mark.parametrize("mode", [0o755, 0o770, 0o707, 0o500])
def test_an_open_or_read_only_folder_is_not_used(tmp_path: Path, mode: int, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "kernels"
    folder.mkdir()
    folder.chmod(mode)
    assert f"{mode:04o}" in _refused(folder, caplog)
    assert not list(folder.iterdir())


@pytest.mark.skipif(not POSIX, reason="owners are POSIX's")
def test_a_folder_of_somebody_else_is_not_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path.chmod(0o700)
    other = os.geteuid() + 1
    monkeypatch.setattr(os, "geteuid", lambda: other)
    assert "belongs to user" in _refused(tmp_path, caplog)


def test_a_folder_that_cannot_be_made_is_not_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    assert "is not used" in _refused(tmp_path / "file" / "kernels", caplog)


def test_a_full_disk_stops_the_writing_with_one_notice(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*paths: object) -> None:
        raise OSError(28, "No space left on device")

    store = cache.Cache(tmp_path)
    monkeypatch.setattr(os, "replace", full)
    with caplog.at_level(logging.WARNING, logger="striate"):
        store.put("a", b"object")
        store.put("b", b"object")
    assert len(caplog.records) == 1
    assert store.get("a") is None
    assert not list(tmp_path.iterdir())


def test_an_entry_that_another_process_reads_does_not_stop_the_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows refuses to replace a file that is open; the entry is there already."""
    store = cache.Cache(tmp_path)
    store.put("a", b"object")

    def refuse(*arguments: object) -> None:
        raise PermissionError("used by another process")

    with monkeypatch.context() as during:
        during.setattr(os, "replace", refuse)
        store.put("a", b"object")
    store.put("b", b"another")
    assert (store.get("a"), store.get("b")) == (b"object", b"another")
    assert not list(tmp_path.glob("*.part"))


def test_pruning_drops_what_was_unused_for_longest(tmp_path: Path) -> None:
    store = cache.Cache(tmp_path, limit=10_000)
    for number in range(8):
        store.put(str(number), bytes(1500))
        os.utime(tmp_path / f"{number}.kernel", (number + 1, number + 1))
    assert store.get("0") is not None  # used just now, and so kept
    abandoned = tmp_path / "x.part"
    abandoned.write_bytes(b"")
    os.utime(abandoned, (1, 1))
    store.prune()
    kept = {path.stem for path in tmp_path.glob("*.kernel")}
    assert kept == {"0", "5", "6", "7"}
    assert not abandoned.exists()


def test_a_name_depends_on_the_key_the_target_and_the_source(monkeypatch: pytest.MonkeyPatch) -> None:
    names = {cache.entry_name("k", "t"), cache.entry_name("l", "t"), cache.entry_name("k", "u")}
    monkeypatch.setattr(cache, "source_hash", lambda: "other source")
    names.add(cache.entry_name("k", "t"))
    monkeypatch.setattr(cache.llvmlite, "__version__", "other version")
    names.add(cache.entry_name("k", "t"))
    assert len(names) == 5
    assert cache.entry_name("k", "t") in names


@pytest.mark.slow
def test_the_source_covers_every_module_that_writes_code() -> None:
    writers = [
        file.relative_to(syntax.PACKAGE)
        for file in syntax.files()
        for node in syntax.nodes(file)
        if isinstance(node, ast.ImportFrom)
        and node.module == "striate.codegen.kernel"
        and any(name.name == "Kernel" for name in node.names)
    ]
    assert len(writers) > 30
    assert not [file for file in writers if not file.as_posix().startswith(cache.GENERATORS)]
