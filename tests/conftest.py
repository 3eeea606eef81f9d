"""Shared fixtures: one folder of kernels per run, number of threads, MNIST, and restored settings."""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import hypothesis
import llvmlite
import pytest

from striate import settings
from striate.codegen import cache, jit
from striate.codegen.target import Target

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell's background job ignores Ctrl-C, and so would every process that the tests start and interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The machine is shared and the first call compiles: time is no measure of a property. The same examples every run.
hypothesis.settings.register_profile("quick", deadline=None, derandomize=True, database=None, max_examples=50)
hypothesis.settings.register_profile("exhaustive", hypothesis.settings.get_profile("quick"), max_examples=100)
hypothesis.settings.load_profile("quick")  # --hypothesis-profile=exhaustive is read after this

KERNELS = "STRIATE_TEST_KERNELS"
_made = pytest.StashKey[Path]()


def _keep() -> None:
    """Stand in for ``idle.give_back``, and keep the memory."""


def _keep_by_text(folder: Path) -> None:
    """Let ``jit.compile_object`` return what this run or an earlier one compiled from the same text.

    An object depends on the text of its IR, the processor, LLVM, and the source of the module ``jit``. The kernel cache
    asks for the source of everything that writes IR instead, so without this function, a change of one operation would
    have all kernels compiled again. ``inspect.unwrap`` returns the function that always compiles.
    """
    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)  # the kernel cache uses no folder of another mode
    folder.mkdir(mode=0o700, exist_ok=True)
    store, compile_object = cache.Cache(folder), jit.compile_object
    compiler = f"{llvmlite.__version__} {Path(jit.__file__).read_text('utf-8')}"

    @functools.wraps(compile_object)
    def kept(ir_text: str, target: Target) -> bytes:
        name = hashlib.sha256("\0".join((ir_text, target.key, compiler)).encode()).hexdigest()
        data = store.get(name)
        if data is None:
            data = compile_object(ir_text, target)
            store.put(name, data)
        return data

    jit.compile_object = kept


def pytest_configure(config: pytest.Config) -> None:
    """Choose the folder of kernels and the number of threads, before anything reads the settings.

    All workers and child processes of a test run share its kernels. The folder belongs to this run alone, so that
    compiling is tested too; ``STRIATE_TEST_KERNELS`` names a permanent one. Each worker computes with its share of the
    cores; a test about threads sets their number itself.
    """
    os.environ["COLUMNS"] = "80"  # text is fitted to the terminal, and tests compare it
    # A test run compiles thousands of small kernels. Paging LLVM in again for each would take an eighth of the time.
    jit.idle = SimpleNamespace(give_back=_keep)
    if KERNELS not in os.environ:
        config.stash[_made] = Path(tempfile.mkdtemp(prefix="striate-kernels-"))
        os.environ[KERNELS] = str(config.stash[_made])
    _keep_by_text(Path(os.environ[KERNELS]) / "by text")
    if "PYTEST_XDIST_WORKER" in os.environ:
        return  # it inherits what its parent chose
    os.environ["STRIATE_CACHE"] = os.environ[KERNELS]
    workers = len(config.getoption("tx", None) or [])
    if workers:
        share = max(1, settings.available_threads() // workers)
        for name in ("STRIATE_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
            os.environ.setdefault(name, str(share))


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove the kernels of this run."""
    if _made in config.stash:
        shutil.rmtree(config.stash[_made], ignore_errors=True)
        del os.environ[KERNELS]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests that use a browser as slow."""
    for item in items:
        if "browser" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.slow)


def pytest_xdist_auto_num_workers() -> int:
    """Use as many workers for ``-n auto`` as the process may use cores, which a container may limit."""
    return settings.available_threads()


@pytest.fixture(scope="session")
def kernel_folder() -> Path:
    """The folder of this run's kernels."""
    return Path(os.environ[KERNELS])


@pytest.fixture
def mnist_folder() -> Path:
    """The folder of MNIST's four files; skips the test if STRIATE_DATA has none."""
    data = settings.current().data
    if data is None or not (data / "mnist").is_dir():
        pytest.skip("real MNIST is found through STRIATE_DATA, which names no folder with mnist/ here")
    return data / "mnist"


@pytest.fixture
def kept_settings() -> Iterator[settings.Settings]:
    """The settings, which are restored after the test."""
    before = settings.current()
    yield before
    settings.restore(before)
