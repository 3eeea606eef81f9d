"""The settings of the process: how many threads compute, in worker processes and for one Python thread."""

from __future__ import annotations

import multiprocessing
import threading

import pytest

from striate import settings
from striate.errors import OptionError


def test_a_worker_process_takes_its_share_of_the_cores() -> None:
    cores = settings.available_threads()
    assert settings.default_threads({"OMP_NUM_THREADS": "1"}, None) == cores
    assert settings.default_threads({"OMP_NUM_THREADS": "1"}, "LokyProcess-1") == 1
    assert settings.default_threads({"OMP_NUM_THREADS": "1,2"}, "LokyProcess-1") == 1
    assert settings.default_threads({"OMP_NUM_THREADS": "999"}, "LokyProcess-1") == cores
    assert settings.default_threads({"OMP_NUM_THREADS": "many"}, "Process-1") == cores
    assert settings.default_threads({"OMP_NUM_THREADS": "0"}, "ForkPoolWorker-3") == 1
    assert settings.default_threads({}, "Process-1") == cores


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork on this system")
def test_a_forked_pool_reads_the_number_again_unless_it_was_set(
    kept_settings: settings.Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("STRIATE_THREADS", raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    context = multiprocessing.get_context("fork")
    settings.restore(settings.read({"STRIATE_TARGET": "x86-64-v3", "STRIATE_THREADS": str(kept_settings.threads)}))
    with context.Pool(1) as pool:
        found = pool.apply(settings.current)
    assert (found.threads, found.target) == (1, "x86-64-v3")
    settings.override(threads=kept_settings.threads + 3)
    with context.Pool(1) as pool:
        assert pool.apply(settings.current).threads == kept_settings.threads + 3


def test_one_python_thread_computes_with_another_number_of_threads() -> None:
    before = settings.current()
    elsewhere: list[settings.Settings] = []
    with settings.using_threads(7):
        other = threading.Thread(target=lambda: elsewhere.append(settings.current()))
        other.start()
        other.join()
        assert settings.current().threads == 7
        with settings.using_threads(None):
            assert settings.current().threads == 7
        settings.restore(settings.override(target="x86-64-v3"))
        assert settings.current().target == before.target
    assert elsewhere == [before]
    assert settings.current() == before


def test_an_unknown_setting_is_named(kept_settings: settings.Settings) -> None:
    with pytest.raises(OptionError, match=r"unknown setting 'thread'; did you mean 'threads'\?"):
        settings.override(thread=1)
    for wrong in (
        {"threads": 0}, {"threads": 1.5}, {"threads": True}, {"engine": "reference"}, {"cache": "off"}, {"target": ""},
        {"winograd": "off"}, {"offline": 1},
    ):  # fmt: skip
        (name,) = wrong
        with pytest.raises(OptionError, match=f"{name}=.*; expected"):
            settings.override(**wrong)
        assert settings.current() == kept_settings
