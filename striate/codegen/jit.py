"""From LLVM IR text to running code: verify, compile to a relocatable object, cache, load.

    KernelSource ──ir()──▶ text ──compile_object──▶ object bytes ──▶ Library ──address──▶ function
         └────────── key ──▶ registry of this process ──▶ cache on disk ──▲

LLVM's optimization passes are not used, only its instruction selection, scheduling and register allocation. The kernels
are written in optimized form. They compile eight times faster than with the passes, and run as fast.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import itertools
import logging
import mmap
import os
import re
import sys
import time
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import llvmlite.binding as llvm

from striate import settings
from striate.codegen import cache, idle, workers
from striate.codegen import target as targets
from striate.codegen.target import Target, llvm_lock
from striate.errors import EngineError, GraphError
from striate.locks import Lock

_log = logging.getLogger("striate")
_HELP = "  help: STRIATE_ENGINE=reference runs everything in NumPy, slowly"


@functools.cache
def _initialize_native() -> None:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    # Without the parser, inline assembly such as `pause` aborts the process.
    llvm.initialize_native_asmparser()


@functools.cache
def _initialize_all() -> None:
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()


@functools.cache
def _machine(target: Target) -> llvm.TargetMachine:
    """Return LLVM's target machine for a processor.

    Position-independent code in the small code model addresses constants relative to the program counter. They are
    within reach, because JITLink places the sections of an object side by side and creates stubs for far calls.
    """
    triple = target.triple + ("-elf" if os.name == "nt" else "")
    with llvm_lock:
        _initialize_native()
        if target.triple.split("-")[0] != targets.native_triple().split("-")[0]:
            _initialize_all()
        return llvm.Target.from_triple(triple).create_target_machine(
            cpu=target.cpu, features=target.machine_features, opt=3, reloc="pic", codemodel="small"
        )


def _parse(ir_text: str, target: Target) -> llvm.ModuleRef:
    """Return the parsed and verified module.

    Raises ``GraphError``, which names the functions in the module, if LLVM finds the IR invalid.
    """
    machine = _machine(target)
    layout = str(machine.target_data)
    # llvmlite prints an empty data layout. The parser needs the correct one, because alignments follow from it.
    text = ir_text.replace('target datalayout = ""', f'target datalayout = "{layout}"', 1)
    try:
        module = llvm.parse_assembly(text)
        try:
            module.verify()
        except RuntimeError:
            module.close()
            raise
    except RuntimeError as error:
        names = re.findall(r'^define[^@\n]*@("[^"]+"|[^"(\s]+)', ir_text, re.MULTILINE)
        raise GraphError(f"LLVM refuses the code of kernel {', '.join(names) or '(none defined)'}: {error}") from error
    module.triple = machine.triple
    module.data_layout = layout
    for function in module.functions:
        if not function.is_declaration:
            # No exception passes through a kernel, so it needs no unwind tables.
            function.add_function_attribute("nounwind")
    return module


def _assert_memory(size: int) -> None:
    """Raise ``EngineError`` unless the system lets this process have memory for LLVM's work on ``size`` bytes.

    LLVM ends the process when memory runs out, so the question is asked before. Its work took at most 5 MiB for kernels
    of up to 60 kB of IR, and 10 MiB for one of 570 kB; twice that much is required.
    """
    try:
        mmap.mmap(-1, (10 << 20) + 32 * size).close()
    except OSError as error:
        raise EngineError(
            f"the system provides no memory for compiling kernels: {error}\n"
            "  help: raise the limit (ulimit -v), or free memory"
        ) from error


def compile_object(ir_text: str, target: Target) -> bytes:
    """Return LLVM IR compiled to a relocatable object file, which contains no addresses of this process.

    Raises ``GraphError`` for IR that LLVM rejects, and ``EngineError`` if there is no memory for the compilation.
    """
    _assert_memory(len(ir_text))
    with llvm_lock, _parse(ir_text, target) as module:
        return _machine(target).emit_object(module)


def for_target(ir_text: str, symbol: str, renamed: str, target: Target) -> str:
    """Return the kernel ``ir_text`` (LLVM IR) with its function ``symbol`` renamed and marked for a target.

    The new name is ``renamed``. The function gets attributes that name the processor ``target``. Raises ``GraphError``
    unless the text defines ``symbol`` exactly once.
    """
    attributes = f'nounwind "target-cpu"="{target.cpu}" "target-features"="{target.machine_features}"'
    if target.tuned_for:
        attributes += f' "tune-cpu"="{target.tuned_for}"'
    pattern = rf'(?m)^(define [^@\n]*@)"?{re.escape(symbol)}"?(\([^\n]*\))'
    text, count = re.subn(pattern, lambda found: f'{found[1]}"{renamed}"{found[2]} {attributes}', ir_text)
    if count != 1:
        raise GraphError(f"kernel {symbol} is defined {count} times in its own code")
    return text


def compile_linked(texts: Sequence[str], target: Target, exported: Sequence[str]) -> bytes:
    """Return several modules of LLVM IR (``texts``) compiled to one relocatable object file.

    Only the functions named in ``exported`` are visible outside the object file. Raises ``GraphError`` for IR that LLVM
    rejects, and ``EngineError`` if there is no memory for the compilation.
    """
    _assert_memory(sum(map(len, texts)))
    with llvm_lock, _parse(texts[0], target) as module:
        for text in texts[1:]:
            module.link_in(_parse(text, target))
        for function in module.functions:
            if not function.is_declaration and function.name not in exported:
                function.linkage = llvm.Linkage.internal
        return _machine(target).emit_object(module)


def disassembly(ir_text: str, target: Target) -> str:
    """Return the machine code that ``compile_object`` returns for the same arguments, as assembly text.

    Raises ``GraphError`` for IR that LLVM rejects.
    """
    with llvm_lock, _parse(ir_text, target) as module:
        return _machine(target).emit_assembly(module)


@functools.cache
def assert_executable() -> None:
    """Raise ``EngineError`` if the operating system forbids executable memory."""
    try:
        with llvm_lock:
            _initialize_native()
            llvm.check_jit_execution()
    except OSError as error:
        if error.errno == errno.ENOMEM:
            raise EngineError("the system provides no memory for compiled kernels") from error
        raise EngineError(f"this system forbids compiled kernels: {error}\n{_HELP}") from error


@dataclass(eq=False)
class _Engine:
    """An LLVM loader (LLJIT) with its use counts.

    A full loader is closed once no library that it loaded is in memory.
    """

    native: llvm.LLJIT
    links: int = 0
    in_use: int = 0  # by libraries in memory, and by those that are being loaded


@dataclass(eq=False)
class _Code:
    """The machine code of one library; it stays in memory until ``_unload_unused`` removes it."""

    engine: _Engine
    tracker: llvm.ResourceTracker


LIBRARIES_OF_A_LOADER = 64
"""The number of libraries per loader. A loader keeps about 9 kB for each one, even after unloading, until it closes."""

# All of this changes only while ``llvm_lock`` is held. The lock is reentrant: a garbage collection or a signal handler
# may load code in the middle of these functions.
_engines: list[_Engine] = []  # the current loader, if there is one
_codes: list[_Code] = []  # all code in memory
_numbers = itertools.count(1)


def _use_engine() -> _Engine:
    """Return the loader for the next library and count the library as a user of that loader.

    Starts a new loader when the current one is full.
    """
    assert_executable()
    if not _engines or _engines[0].links >= LIBRARIES_OF_A_LOADER:
        try:
            native = llvm.create_lljit_compiler(_machine(targets.host()), use_jit_link=True, suppress_errors=True)
        except RuntimeError as error:
            raise EngineError(f"LLVM cannot start its loader here: {error}\n{_HELP}") from error
        full, _engines[:] = list(_engines), [_Engine(native)]
        for old in full:
            _close_if_unused(old)
    engine = _engines[0]
    engine.links += 1
    engine.in_use += 1
    return engine


def _leave_engine(engine: _Engine) -> None:
    engine.in_use -= 1
    _close_if_unused(engine)


def _close_if_unused(engine: _Engine) -> None:
    if not engine.in_use and engine not in _engines:
        engine.native.close()


(_ONLY_IN_A_LIST,) = [sys.getrefcount(one) for one in [object()]]
"""The value of ``sys.getrefcount`` in a list comprehension for an object to which only the list refers."""


def _unload_unused() -> None:
    """Remove the code to which only ``_codes`` refers.

    Each request for code begins with this function, so unused code stays in memory at most until the next request.
    Finalizers cannot do this. A weak reference still returns an object while its ``__del__`` runs, so another thread
    could receive code that is being removed. The garbage collector also finalizes objects that a ``__del__`` in their
    cycle may still use or revive. And a finalizer would wait for LLVM in a thread that merely drops a model. The
    reference count is exact: every object that may run the code refers to it, and if only this list does, no new user
    can appear.
    """
    with llvm_lock:
        # The second list adds a reference, so a nested request does not see the same code as unused.
        unused = [code for code in _codes if sys.getrefcount(code) == _ONLY_IN_A_LIST]
        for code in unused:
            _codes.remove(code)
            code.tracker.close()
            _leave_engine(code.engine)


class Library:
    """Object files loaded into executable memory, where they stay at least as long as this object lives.

    Each library has its own namespace, so the symbols of two libraries never clash. Raises ``EngineError`` if the
    objects cannot be loaded or do not define all of ``symbols``.
    """

    def __init__(self, objects: Sequence[bytes], symbols: Sequence[str]) -> None:
        builder = llvm.JITLibraryBuilder().add_current_process()
        for data in objects:
            builder.add_object_img(data)
        for symbol in symbols:
            builder.export_symbol(symbol)
        _assert_memory(sum(map(len, objects)))
        with llvm_lock:
            _unload_unused()
            engine = _use_engine()
            try:
                tracker = builder.link(engine.native, f"striate{next(_numbers)}")
                self._code = _Code(engine, tracker)
                _codes.append(self._code)
            except BaseException as error:
                _leave_engine(engine)
                if not isinstance(error, RuntimeError):
                    raise
                names = ", ".join(symbols[:3]) + (f" and {len(symbols) - 3} more" if len(symbols) > 3 else "")
                raise EngineError(
                    f"compiled code cannot be loaded ({names}), such as for lack of memory: {error}\n{_HELP}"
                ) from error
        self._addresses: dict[str, int] = {symbol: tracker[symbol] for symbol in symbols}

    def address(self, symbol: str) -> int:
        """Return the address of the function ``symbol``, valid while the library lives.

        Raises ``KeyError`` for a symbol that was not requested when the library was created.
        """
        return self._addresses[symbol]


def load_kept(key: str, write: Callable[[], str], target: Target, symbols: Sequence[str]) -> Library:
    """Return the library compiled from the IR that ``write()`` returns, or read from the kernel cache.

    ``key`` is text with everything on which the IR depends, except striate's source. ``symbols`` are the functions that
    the library exports. Raises ``GraphError`` for invalid IR and ``EngineError`` if the code cannot be loaded.
    """
    store = cache.current()
    name = cache.entry_name(key, target.key)
    data = store.get(name) if store else None
    if data is not None:
        try:
            library = Library([data], symbols)
            idle.give_back()
            return library
        except EngineError:
            pass  # the checksum is right, but the loader rejects the object: a broken build wrote it
    text = write()
    (data,) = workers.compile_all([key], lambda _: compile_object(text, target), workers.count(1, 1), lambda *_: None)
    library = Library([data], symbols)
    idle.give_back()
    if store:
        store.put(name, data)
    return library


def function(address: int, result: Any, *arguments: Any) -> Callable[..., Any]:
    """Return the native function at ``address`` as a Python callable that releases the GIL.

    ``result`` and ``arguments`` are ctypes types, as in ``function(a, c_int32, c_void_p, c_int64)``; ``result`` None
    means that the function returns nothing. The caller must keep the library alive while the function is used.
    """
    return ctypes.CFUNCTYPE(result, *arguments)(address)


class KernelSource(Protocol):
    """Protocol: an object from which a kernel can be compiled.

    ``key`` is text with everything that the kernel's code depends on, except the target and striate's source.
    ``symbol`` is the name of the native function and contains a hash of the key. ``ir()`` returns the LLVM IR; it is
    called only if the kernel is not in the cache.
    """

    @property
    def key(self) -> str: ...

    @property
    def symbol(self) -> str: ...

    def ir(self) -> str: ...


@dataclass(frozen=True)
class Loaded:
    """Kernels in executable memory, which stay there at least as long as this object lives.

    ``addresses`` maps the key of each kernel to its address, which ``loaded[key]`` also returns. ``libraries`` are the
    loaded object files.
    """

    addresses: Mapping[str, int]
    libraries: frozenset[Library]

    def __getitem__(self, key: str) -> int:
        return self.addresses[key]


class Kernels:
    """The kernels of this process: each is loaded once, either compiled or read from the cache on disk.

    Kernels stay in memory at least as long as the ``Loaded`` object that ``get`` returned for them. ``compiled`` is the
    number of kernels that were compiled so far, and ``cached`` the number of kernels that were read from the cache. If
    ``progress`` is set, ``get`` calls ``progress(done, all)`` with numbers of kernels while it compiles.
    """

    def __init__(self) -> None:
        self._libraries: weakref.WeakValueDictionary[tuple[Target, str], Library] = weakref.WeakValueDictionary()
        self._lock = Lock()
        self.compiled = 0
        self.cached = 0
        self.progress: Callable[[int, int], None] | None = None

    def get(self, sources: Iterable[KernelSource], target: Target | None = None) -> Loaded:
        """Return the compiled and loaded kernels of all ``sources``.

        ``target`` is the processor; None means the processor that the settings name. Raises ``GraphError`` for code
        that LLVM rejects, and ``EngineError`` if the code cannot be loaded or this computer cannot run code for the
        target.
        """
        chosen = target or targets.current()
        targets.assert_runs_here(chosen)
        requested = {source.key: source for source in sources}
        with self._lock:
            _unload_unused()
            found: dict[str, Library] = {}  # its references keep the libraries in memory from now on
            for key in requested:
                library = self._libraries.get((chosen, key))
                if library is not None:
                    found[key] = library
            missing = [source for key, source in requested.items() if key not in found]
            if missing:
                fresh = self._load(missing, chosen)
                self._libraries.update({(chosen, key): library for key, library in fresh.items()})
                found |= fresh
        addresses = {key: found[key].address(source.symbol) for key, source in requested.items()}
        return Loaded(addresses, frozenset(found.values()))

    def _load(self, missing: Sequence[KernelSource], chosen: Target) -> dict[str, Library]:
        """Load the missing kernels; return the library of each by its key."""
        assert_executable()
        store = cache.current()
        names = {source.key: cache.entry_name(source.key, chosen.key) for source in missing}
        found = {key: data for key, name in names.items() if store and (data := store.get(name)) is not None}
        try:
            loaded = _link([source for source in missing if source.key in found], list(found.values()))
            self.cached += len(loaded)
        except EngineError:
            # The checksums are right, but the loader rejects an object, which a broken build wrote: compile again.
            loaded = {}
        fresh = [source for source in missing if source.key not in loaded]
        objects = self._compile(fresh, chosen, lambda key, data: store.put(names[key], data) if store else None)
        loaded |= _link(fresh, objects)
        self.compiled += len(fresh)
        idle.give_back()
        return loaded

    def _compile(
        self, fresh: Sequence[KernelSource], chosen: Target, keep: Callable[[str, bytes], None]
    ) -> list[bytes]:
        """Return the objects of the sources, compiled in worker processes where there may be such.

        ``keep(key, object)`` is called as soon as each object is ready.
        """
        if not fresh:
            return []
        start, done = time.perf_counter(), itertools.count(1)

        def finished(number: int, data: bytes) -> None:
            keep(fresh[number].key, data)
            if self.progress:
                self.progress(next(done), len(fresh))

        if self.progress:
            self.progress(0, len(fresh))
        processes = workers.count(len(fresh), settings.current().threads, self.compiled)
        _machine(chosen)  # created once here instead of in every worker
        objects = workers.compile_all(
            [source.symbol for source in fresh],
            lambda number: compile_object(fresh[number].ir(), chosen),
            processes,
            finished,
        )
        _log.info(
            "%d kernels compiled in %.1f s by %s", len(fresh), time.perf_counter() - start,
            f"{processes} worker{'s' * (processes > 1)}" if processes else "this process",
        )  # fmt: skip
        return objects


def _link(sources: Sequence[KernelSource], objects: Sequence[bytes]) -> dict[str, Library]:
    """Load one object per source as one library; return that library for the key of each source."""
    if not sources:
        return {}
    library = Library(objects, [source.symbol for source in sources])
    return {source.key: library for source in sources}


kernels = Kernels()
