from __future__ import annotations

import ctypes
import errno
import gc
import hashlib
import inspect
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from striate import settings
from striate.codegen import jit, target
from striate.errors import EngineError, GraphError

ROOT = Path(__file__).parents[2]
HEADER = 'target triple = "unknown-unknown-unknown"\ntarget datalayout = ""\n'


@pytest.fixture(autouse=True)
def _private_cache(tmp_path: Path) -> Iterator[None]:
    before = settings.override(cache=tmp_path / "kernels", target="host")
    yield
    settings.restore(before)


@dataclass(frozen=True)
class Adder:
    """A kernel that adds a constant, and counts how often its code is generated."""

    amount: int
    written: list[int] = field(default_factory=list[int])

    @property
    def key(self) -> str:
        return f"adder {self.amount}"

    @property
    def symbol(self) -> str:
        return "adder_" + hashlib.sha256(self.key.encode()).hexdigest()[:16]

    def ir(self) -> str:
        self.written.append(self.amount)
        # The table has one name in all kernels, and must not clash.
        return HEADER + (
            f"@table = internal constant [2 x i64] [i64 0, i64 {self.amount}]\n"
            f"define i64 @{self.symbol}(i64 %x, i64 %i) {{\n"
            "  %p = getelementptr [2 x i64], ptr @table, i64 0, i64 %i\n"
            "  %v = load i64, ptr %p\n"
            "  %y = add i64 %x, %v\n"
            "  ret i64 %y\n}\n"
        )


def _call(address: int, x: int) -> int:
    return jit.function(address, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)(x, 1)


def test_kernels_are_compiled_once_a_process_and_read_from_the_cache_in_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(jit.workers, "count", lambda *_: 0)  # so that the sources note here that they were written
    sources = [Adder(amount) for amount in range(1, 4)]
    first = jit.Kernels()
    addresses = first.get([*sources, sources[1]])
    assert [_call(addresses[source.key], 10) for source in sources] == [11, 12, 13]
    assert first.get(sources).addresses == addresses.addresses
    assert (first.compiled, first.cached) == (3, 0)
    assert all(source.written == [source.amount] for source in sources)

    second = jit.Kernels()
    again = [Adder(amount) for amount in range(1, 5)]
    addresses = second.get(again)
    assert [_call(addresses[source.key], 10) for source in again] == [11, 12, 13, 14]
    assert (second.compiled, second.cached) == (1, 3)
    assert not again[0].written


@pytest.mark.parametrize("threads", [1, 2])
def test_many_kernels_are_compiled_with_news_of_how_far_it_is(threads: int, caplog: pytest.LogCaptureFixture) -> None:
    before = settings.override(threads=threads)
    kernels, news = jit.Kernels(), list[tuple[int, int]]()
    kernels.progress = lambda done, total: news.append((done, total))
    with caplog.at_level(logging.INFO, logger="striate"):
        addresses = kernels.get([Adder(amount) for amount in range(20)])
    settings.restore(before)
    assert [_call(addresses[f"adder {amount}"], 10) for amount in range(20)] == list(range(10, 30))
    assert news == [(done, 20) for done in range(21)]
    (message,) = [record.getMessage() for record in caplog.records]
    assert message.startswith("20 kernels compiled in ")
    again = jit.Kernels()
    again.get([Adder(amount) for amount in range(20)])
    assert (again.compiled, again.cached) == (0, 20)


def test_a_refused_kernel_among_many_is_named() -> None:
    @dataclass(frozen=True)
    class Broken(Adder):
        def ir(self) -> str:
            return super().ir().replace("ret i64 %y", "ret i64 %nothing")

    before = settings.override(threads=2)
    try:
        with pytest.raises(GraphError, match=Broken(7).symbol):
            jit.Kernels().get([*(Adder(amount) for amount in range(10, 20)), Broken(7)])
    finally:
        settings.restore(before)


def test_a_library_is_kept_by_its_key(tmp_path: Path) -> None:
    source, written = Adder(5), list[int]()

    def write() -> str:
        written.append(1)
        return source.ir()

    for _ in range(2):
        library = jit.load_kept("five", write, target.host(), [source.symbol])
        assert _call(library.address(source.symbol), 1) == 6
    assert len(written) == 1
    store = jit.cache.current()
    assert store is not None
    store.put(jit.cache.entry_name("five", target.host().key), b"not an object file")
    library = jit.load_kept("five", write, target.host(), [source.symbol])
    assert _call(library.address(source.symbol), 1) == 6
    assert len(written) == 2


def test_without_a_cache_everything_is_compiled() -> None:
    settings.override(cache=None)
    for _ in range(2):
        kernels = jit.Kernels()
        kernels.get([Adder(1)])
        assert kernels.compiled == 1


def test_a_damaged_cache_is_compiled_anew_and_mended(tmp_path: Path) -> None:
    jit.Kernels().get([Adder(1), Adder(2)])
    for path in (tmp_path / "kernels").iterdir():
        path.write_bytes(path.read_bytes()[:-7])
    kernels = jit.Kernels()
    addresses = kernels.get([Adder(1), Adder(2)])
    assert _call(addresses["adder 2"], 1) == 3
    assert (kernels.compiled, kernels.cached) == (2, 0)
    mended = jit.Kernels()
    mended.get([Adder(1), Adder(2)])
    assert (mended.compiled, mended.cached) == (0, 2)


def test_a_whole_entry_that_is_no_object_is_compiled_anew(tmp_path: Path) -> None:
    store = jit.cache.current()
    assert store is not None
    store.put(jit.cache.entry_name("adder 1", target.host().key), b"not an object file")
    kernels = jit.Kernels()
    addresses = kernels.get([Adder(1), Adder(2)])
    assert _call(addresses["adder 1"], 1) == 2
    assert kernels.compiled == 2
    assert jit.Kernels().get([Adder(1)]).addresses.keys() == {"adder 1"}


def test_objects_are_the_same_bytes_every_time_and_hold_no_addresses() -> None:
    text, compile_object = Adder(1).ir(), inspect.unwrap(jit.compile_object)  # without the objects that tests keep
    assert compile_object(text, target.host()) == compile_object(text, target.host())


def _maps() -> int:
    return len(Path("/proc/self/maps").read_text().splitlines())


linux = pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="memory maps of Linux")


@linux
def test_code_that_nobody_refers_to_leaves_memory_at_the_next_request() -> None:
    kernels = jit.Kernels()
    first = kernels.get([Adder(1), Adder(2)])
    before = _maps()
    second = kernels.get([Adder(2), Adder(3)])
    assert _maps() > before
    assert second["adder 2"] == first["adder 2"]
    address = first["adder 1"]
    del first
    kernels.get([])
    assert _call(address, 10) == 11  # its library is still in use, for kernel 2
    del second
    kernels.get([])
    assert _maps() < before
    third = kernels.get([Adder(2)])
    assert (_call(third["adder 2"], 10), kernels.compiled, kernels.cached) == (12, 3, 1)


@linux
def test_loading_again_and_again_takes_no_more_memory() -> None:
    kernels = jit.Kernels()
    held = jit.Kernels().get([Adder(0)])
    maps: list[int] = []
    for turn in range(3 * jit.LIBRARIES_OF_A_LOADER):
        loaded = kernels.get([Adder(turn % 2)])
        assert _call(loaded[f"adder {turn % 2}"], 10) == 10 + turn % 2
        del loaded
        maps.append(_maps())
    assert max(maps[10:]) <= maps[9] + 4
    assert _call(held["adder 0"], 10) == 10


def test_threads_load_and_drop_the_same_kernels() -> None:
    kernels, wrong = jit.Kernels(), list[int]()

    def work(first: int) -> None:
        for turn in range(40):
            amounts = [(first + turn + i) % 5 for i in range(3)]
            loaded = kernels.get([Adder(amount) for amount in amounts])
            wrong.extend(amount for amount in amounts if _call(loaded[f"adder {amount}"], 10) != 10 + amount)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_request_never_gets_code_that_another_thread_is_dropping() -> None:
    kernels = jit.Kernels()
    loaded = [kernels.get([Adder(1)])]
    with target.llvm_lock:
        dropping = threading.Thread(target=loaded.clear)
        dropping.start()
        dropping.join(5)
        assert not dropping.is_alive(), "dropping a program waits for LLVM"
        again = kernels.get([Adder(1)])
    kernels.get([])
    assert _call(again["adder 1"], 10) == 11


def test_what_a_finalizer_uses_is_still_loaded() -> None:
    """The garbage collector clears the weak references to a cycle before it calls the first ``__del__`` in it."""
    kernels, results = jit.Kernels(), list[int]()
    revived: list[object] = []

    class Late:
        def __init__(self) -> None:
            self.loaded = kernels.get([Adder(1)])
            self.cycle = self

        def __del__(self) -> None:
            kernels.get([Adder(2)])
            results.append(_call(self.loaded["adder 1"], 10))
            revived.append(self.loaded)

    Late()
    gc.collect()
    kernels.get([Adder(3)])
    (loaded,) = revived
    assert isinstance(loaded, jit.Loaded)
    assert [*results, _call(loaded["adder 1"], 20)] == [11, 21]


def test_a_request_in_the_middle_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """A garbage collection or signal may run at any point, and its handlers may request code."""
    monkeypatch.setattr(jit, "LIBRARIES_OF_A_LOADER", 1)
    kernels, inside = jit.Kernels(), list[bool]()
    binding: Any = jit.llvm
    link, close = binding.JITLibraryBuilder.link, binding.ResourceTracker.close

    def interrupted() -> None:
        if not inside:
            inside.append(True)
            loaded = kernels.get([Adder(8), Adder(9)])
            assert _call(loaded["adder 9"], 10) == 19
            inside.clear()

    def link_interrupted(self: Any, engine: Any, name: str) -> Any:
        interrupted()
        return link(self, engine, name)

    def close_interrupted(self: Any) -> None:
        interrupted()
        close(self)

    monkeypatch.setattr(binding.JITLibraryBuilder, "link", link_interrupted)
    monkeypatch.setattr(binding.ResourceTracker, "close", close_interrupted)
    held = kernels.get([Adder(0)])
    for turn in range(12):
        amounts = (turn % 3, turn % 3 + 1)
        loaded = kernels.get([Adder(amount) for amount in amounts])
        assert [_call(loaded[f"adder {amount}"], 10) for amount in amounts] == [10 + amount for amount in amounts]
    assert _call(held["adder 0"], 10) == 10


FINAL = """
import threading, time
import numpy as np
import striate as st
x = np.ones((4, 5), np.float32)
functions = [st.compile(lambda x: st.ops.exp(x)) for _ in range(3)]
results = [function(x) for function in functions]
class Last:
    function = functions.pop()
    def __del__(self):
        assert np.array_equal(self.function(x), results[0])
last = Last()
started = threading.Event()
def predict(function):
    while True:
        function(x)
        started.set()
threading.Thread(target=predict, args=(functions.pop(),), daemon=True).start()
started.wait()
print("ends")
"""


def test_code_stays_loaded_while_the_interpreter_ends() -> None:
    """A daemon thread may still run in it."""
    process = subprocess.run([sys.executable, "-c", FINAL], cwd=ROOT, text=True, capture_output=True, timeout=100)
    assert (process.stdout, process.returncode) == ("ends\n", 0), process.stderr


UNLOCKED = r"""
import gc, traceback
import numpy as np
from llvmlite.binding import ffi
import striate as st
from striate import nn, optim
from striate.codegen import jit, target
from striate.errors import StriateError
found = set()
def check():
    if not target.llvm_lock._lock._is_owned():
        found.add("".join(traceback.format_stack(limit=6)))
ffi.register_lock_callback(check, lambda: None)
x, y = np.ones((4, 5), np.float32), np.zeros(4, np.int64)
model = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3))
step = st.TrainingStep(model, nn.CrossEntropyLoss(), optim.SGD(lr=0.1))
step(x, y), model(x), model(x[:1])
for text in (
    "define i64 @half(i64 %x) {", "define i64 @f(i1 %c) {\nentry:\n  br i1 %c, label %a, label %b\na:\n"
    "  %v = add i64 1, 2\n  br label %b\nb:\n  ret i64 %v\n}\n",
):
    try:
        jit.compile_object(text, target.host())
    except StriateError as error:
        kept = error
try:
    jit.Library([b"no object"], ["x"])
except StriateError as error:
    kept = error
target.named("znver4")
jit.disassembly("define i64 @f(i64 %x) {\n  ret i64 %x\n}\n", target.named("x86-64-v3"))
del step, model, kept
gc.collect()
jit.kernels.get([])
print("\n".join(found) or "none")
"""


def test_llvmlite_is_never_called_without_the_lock_that_forks_take() -> None:
    """If a process forks while another thread holds llvmlite's own lock, the child waits for it for ever."""
    environment = {**os.environ, "STRIATE_CACHE": "off"}
    process = subprocess.run(
        [sys.executable, "-c", UNLOCKED], cwd=ROOT, text=True, capture_output=True, env=environment, timeout=100
    )
    assert (process.stdout, process.returncode) == ("none\n", 0), process.stderr


@pytest.mark.slow
@pytest.mark.parametrize("cache", ["on", "off"])
def test_threads_load_call_and_drop_code_with_collections_and_forks(cache: str, tmp_path: Path) -> None:
    environment = {**os.environ, "STRIATE_CACHE": str(tmp_path) if cache == "on" else "off"}
    command = [sys.executable, "tests/stress_kernels.py", "--seconds", "20"]
    process = subprocess.run(command, cwd=ROOT, text=True, capture_output=True, env=environment, timeout=300)
    assert process.returncode == 0, process.stdout + process.stderr


def test_symbols_of_two_libraries_do_not_clash() -> None:
    def text(value: int) -> str:
        return f"define i64 @same() {{\n  ret i64 {value}\n}}\n"

    libraries = [jit.Library([jit.compile_object(text(value), target.host())], ["same"]) for value in (1, 2)]
    calls = [jit.function(library.address("same"), ctypes.c_int64) for library in libraries]
    assert [call() for call in calls] == [1, 2]


@pytest.mark.skipif(not target.host().triple.startswith("x86_64"), reason="`pause` is of x86-64")
def test_libc_and_inline_assembly_resolve() -> None:
    text = (
        "declare i32 @sched_yield()\n"
        "define i32 @rest() {\n"
        '  call void asm sideeffect "pause", ""()\n'
        "  %r = call i32 @sched_yield()\n"
        "  ret i32 %r\n}\n"
    )
    library = jit.Library([jit.compile_object(text, target.host())], ["rest"])
    assert jit.function(library.address("rest"), ctypes.c_int32)() == 0


def test_the_native_call_releases_the_interpreter_lock() -> None:
    text = (
        "define i64 @wait(ptr %flag) {\nentry:\n  br label %loop\nloop:\n"
        "  %v = load volatile i64, ptr %flag\n  %stop = icmp ne i64 %v, 0\n"
        "  br i1 %stop, label %done, label %loop\ndone:\n  ret i64 %v\n}\n"
    )
    flag = ctypes.c_int64(0)
    library = jit.Library([jit.compile_object(text, target.host())], ["wait"])
    wait = jit.function(library.address("wait"), ctypes.c_int64, ctypes.c_void_p)
    got: list[int] = []
    thread = threading.Thread(target=lambda: got.append(wait(ctypes.addressof(flag))))
    thread.start()
    time.sleep(0.01)
    flag.value = 7
    thread.join(10)
    assert got == [7]


def test_code_that_llvm_refuses_names_the_kernel() -> None:
    unparsable = "define i64 @half_written(i64 %x) {\n  %y = bad i64 %x\n}\n"
    with pytest.raises(GraphError, match="half_written"):
        jit.compile_object(unparsable, target.host())
    # The value is used before the block that defines it: text that parses, and that the verifier refuses.
    invalid = (
        'define i64 @"not dominated"(i1 %c) {\nentry:\n  br i1 %c, label %a, label %b\na:\n  %v = add i64 1, 2\n'
        "  br label %b\nb:\n  ret i64 %v\n}\n"
    )
    with pytest.raises(GraphError, match="not dominated"):
        jit.compile_object(invalid, target.host())


def test_what_cannot_be_loaded_is_an_engine_error() -> None:
    with pytest.raises(EngineError, match="STRIATE_ENGINE=reference"):
        jit.Library([b"\x7fELF and no more"], ["x"])
    with pytest.raises(EngineError, match="nothing_such"):
        jit.Library([jit.compile_object(Adder(1).ir(), target.host())], ["nothing_such"])
    missing = "declare void @striate_has_no_such_function()\ndefine void @lost() {\n"
    missing += "  call void @striate_has_no_such_function()\n  ret void\n}\n"
    with pytest.raises(EngineError, match="lost"):
        jit.Library([jit.compile_object(missing, target.host())], ["lost"])


@pytest.mark.parametrize(
    ("number", "text"), [(errno.EACCES, "STRIATE_ENGINE=reference"), (errno.ENOMEM, "provides no memory")]
)
def test_forbidden_executable_memory_is_an_engine_error(
    monkeypatch: pytest.MonkeyPatch, number: int, text: str
) -> None:
    def forbidden() -> None:
        raise OSError(number, "cannot allocate executable memory")

    monkeypatch.setattr(jit.llvm, "check_jit_execution", forbidden)
    jit.assert_executable.cache_clear()
    try:
        with pytest.raises(EngineError, match=text):
            jit.Kernels().get([Adder(1)])
    finally:
        jit.assert_executable.cache_clear()


def test_lack_of_memory_is_an_error_before_llvm_would_end_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    code = jit.compile_object(Adder(1).ir(), target.host())
    sizes: list[int] = []

    def refused(_: int, size: int) -> None:
        sizes.append(size)
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    monkeypatch.setattr(jit.mmap, "mmap", refused)
    for action in (
        lambda: inspect.unwrap(jit.compile_object)(Adder(1).ir(), target.host()),
        lambda: jit.compile_linked([Adder(1).ir()], target.host(), [Adder(1).symbol]),
        lambda: jit.Library([code], [Adder(1).symbol]),
    ):
        with pytest.raises(EngineError, match=r"no memory for compiling kernels.*\n  help: raise the limit"):
            action()
    assert len(sizes) == 3
    assert min(sizes) > 10 << 20


FMA = (
    HEADER + "declare <16 x float> @llvm.fma.v16f32(<16 x float>, <16 x float>, <16 x float>)\n"
    "define void @multiply(ptr %p) {\n  %x = load <16 x float>, ptr %p, align 4\n"
    "  %y = call <16 x float> @llvm.fma.v16f32(<16 x float> %x, <16 x float> %x, <16 x float> %x)\n"
    "  store <16 x float> %y, ptr %p, align 4\n  ret void\n}\n"
)


@pytest.mark.parametrize(
    ("cpu", "instruction", "register", "count"),
    [
        ("x86-64-v4", "vfmadd", "zmm", 1),
        ("skylake-avx512", "vfmadd", "zmm", 1),
        ("x86-64-v3", "vfmadd", "ymm", 2),
        ("generic", "fmla", ".4s", 4),
        ("apple-m1", "fmla", ".4s", 4),
    ],
)
def test_one_text_for_every_target(cpu: str, instruction: str, register: str, count: int) -> None:
    lines = jit.disassembly(FMA, target.named(cpu)).splitlines()
    found = [line for line in lines if instruction in line]
    assert len(found) == count
    assert all(register in line for line in found)
    assert jit.compile_object(FMA, target.named(cpu))
    assert not any("cfi" in line for line in lines)
