"""The processor that kernels are compiled for.

Everything about a processor that the code of a kernel may depend on is a constant in this file: vector width, registers
and cache sizes. No property is measured on the user's machine, so two computers with the same target compute the same
bits.
"""

from __future__ import annotations

import functools
import platform
from dataclasses import dataclass, replace

import llvmlite.binding as llvm

from striate import settings
from striate.errors import EngineError, unknown_option
from striate.locks import Lock, Order

llvm_lock = Lock(Order.LLVM)
"""Held around every call of llvmlite, which has a lock of its own: a child process that is forked while another thread
holds llvmlite's lock would wait for it for ever. For the same reason, objects that llvmlite would free in destructors
are closed explicitly."""


@dataclass(frozen=True)
class Target:
    """A processor as the code generator sees it.

    cpu, triple       LLVM's names of the processor, and of the architecture and operating system
    features          LLVM's list of features ("+avx2,-amx-tile"), possibly empty
    lanes             float32 elements in one hardware vector
    vector_registers  the number of hardware vector registers
    l1, l2            the sizes of the data caches of one core in bytes
    tuned_for         LLVM's name of the processor for which instructions are scheduled; "" means ``cpu``
    """

    cpu: str
    features: str
    lanes: int
    vector_registers: int
    l1: int
    l2: int
    triple: str
    tuned_for: str = ""

    @property
    def key(self) -> str:
        """Everything of the target that the bytes of an object file depend on, as one line of text."""
        tuning = f" tuned for {self.tuned_for}" if self.tuned_for else ""
        return f"{self.triple} {self.cpu} {self.features}{tuning}"

    @property
    def has_bfloat16(self) -> bool:
        """Whether the processor has the instructions AVX512_BF16.

        These instructions multiply pairs of bfloat16 and add the products to float32 sums.
        """
        if self.features:
            return self.lanes == 16 and "+avx512bf16" in self.features.split(",")
        return self.cpu in _X86_BFLOAT16

    @property
    def machine_features(self) -> str:
        """The processor features that are passed to LLVM: ``features``, and features for wide vectors.

        By default, LLVM avoids vectors of 512 bits on some AVX-512 processors. If ``lanes`` is 16, the result includes
        features that make LLVM use these vectors.
        """
        wide = "-prefer-128-bit,-prefer-256-bit" if self.lanes == 16 else ""
        return ",".join(part for part in (self.features, wide) if part)


_KIB = 1024
_MIB = 1024 * _KIB

# cpu: (lanes, vector registers, L1 data bytes, L2 bytes); sizes from the vendors' optimization manuals.
_X86: dict[str, tuple[int, int, int, int]] = {
    "x86-64": (4, 16, 32 * _KIB, 256 * _KIB),
    "x86-64-v2": (4, 16, 32 * _KIB, 256 * _KIB),
    "x86-64-v3": (8, 16, 32 * _KIB, 256 * _KIB),
    "x86-64-v4": (16, 32, 32 * _KIB, 1 * _MIB),
    "haswell": (8, 16, 32 * _KIB, 256 * _KIB),
    "broadwell": (8, 16, 32 * _KIB, 256 * _KIB),
    "skylake": (8, 16, 32 * _KIB, 256 * _KIB),
    "alderlake": (8, 16, 48 * _KIB, 1280 * _KIB),
    "skylake-avx512": (16, 32, 32 * _KIB, 1 * _MIB),
    "cascadelake": (16, 32, 32 * _KIB, 1 * _MIB),
    "cooperlake": (16, 32, 32 * _KIB, 1 * _MIB),
    "icelake-client": (16, 32, 48 * _KIB, 512 * _KIB),
    "icelake-server": (16, 32, 48 * _KIB, 1280 * _KIB),
    "tigerlake": (16, 32, 48 * _KIB, 1280 * _KIB),
    "sapphirerapids": (16, 32, 48 * _KIB, 2 * _MIB),
    "emeraldrapids": (16, 32, 48 * _KIB, 2 * _MIB),
    "graniterapids": (16, 32, 48 * _KIB, 2 * _MIB),
    "znver1": (8, 16, 32 * _KIB, 512 * _KIB),
    "znver2": (8, 16, 32 * _KIB, 512 * _KIB),
    "znver3": (8, 16, 32 * _KIB, 512 * _KIB),
    "znver4": (16, 32, 32 * _KIB, 1 * _MIB),
    "znver5": (16, 32, 48 * _KIB, 1 * _MIB),
}
_ARM: dict[str, tuple[int, int, int, int]] = {
    "generic": (4, 32, 32 * _KIB, 512 * _KIB),
    "cortex-a72": (4, 32, 32 * _KIB, 512 * _KIB),
    "neoverse-n1": (4, 32, 64 * _KIB, 1 * _MIB),
    "neoverse-n2": (4, 32, 64 * _KIB, 1 * _MIB),
    "neoverse-v1": (4, 32, 64 * _KIB, 1 * _MIB),
    "neoverse-v2": (4, 32, 64 * _KIB, 2 * _MIB),
    "apple-m1": (4, 32, 128 * _KIB, 4 * _MIB),
    "apple-m2": (4, 32, 128 * _KIB, 4 * _MIB),
    "apple-m3": (4, 32, 128 * _KIB, 4 * _MIB),
    "apple-m4": (4, 32, 128 * _KIB, 4 * _MIB),
}
# For each number of lanes: the features, beyond the x86-64 baseline, that kernels may use.
_X86_NEEDS: dict[int, tuple[str, ...]] = {
    4: (),
    8: ("avx2", "fma", "bmi2"),
    16: ("avx2", "fma", "bmi2", "avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"),
}
_X86_BFLOAT16 = ("cooperlake", "sapphirerapids", "emeraldrapids", "graniterapids", "znver4", "znver5")
_X86_GENERIC = {4: "x86-64-v2", 8: "x86-64-v3", 16: "x86-64-v4"}


def is_arm(triple: str) -> bool:
    return triple.startswith(("aarch64", "arm64"))


def native_triple() -> str:
    """Return LLVM's name of the architecture and operating system that this process runs on."""
    with llvm_lock:
        return llvm.get_process_triple()


def _processor() -> tuple[str, llvm.FeatureMap]:
    """Return LLVM's name of this computer's processor, and the features that it reports."""
    with llvm_lock:
        return llvm.get_host_cpu_name(), llvm.get_host_cpu_features()


@functools.cache
def host() -> Target:
    """Return this computer's processor as a target.

    A processor that this module does not know gets the registers and cache sizes of the generic target for its
    instruction set, such as x86-64-v3.
    """
    triple = native_triple()
    cpu, features = _processor()
    if is_arm(triple):
        lanes, registers, l1, l2 = _ARM.get(cpu, _ARM["generic"])
    else:
        # The reported features decide, not the processor's name, because virtual machines hide features.
        lanes = max(lanes for lanes, needs in _X86_NEEDS.items() if all(features.get(need, False) for need in needs))
        row = _X86.get(cpu)
        _, registers, l1, l2 = row if row and row[0] == lanes else _X86[_X86_GENERIC[lanes]]
    return Target(cpu, features.flatten(), lanes, registers, l1, l2, triple)


@functools.cache
def named(cpu: str) -> Target:
    """Return the processor with the LLVM name ``cpu``; raise ``OptionError`` if this module does not know it.

    Code for an architecture other than this computer's can be compiled and disassembled, but not run.
    """
    if cpu not in _X86 and cpu not in _ARM:
        raise unknown_option("target", cpu, ["host", *_X86, *_ARM])
    native = native_triple()
    if cpu in _X86:
        triple = "x86_64-unknown-linux-gnu" if is_arm(native) else native
        return Target(cpu, "", *_X86[cpu], triple)
    if is_arm(native):
        triple = native
    else:
        triple = "arm64-apple-macosx14.0.0" if cpu.startswith("apple") else "aarch64-unknown-linux-gnu"
    return Target(cpu, "", *_ARM[cpu], triple)


def portable(name: str) -> tuple[str, Target]:
    """Return a target for object files that are to run on other computers, as (name of its instruction set, target).

    The algorithms are chosen for the processor ``name``: "native" is this computer's, and "aarch64-generic" is any
    64-bit ARM processor. On x86, only the instructions of x86-64-v2, x86-64-v3 or x86-64-v4 are used. The operating
    system is Linux. Raises ``OptionError`` for an unknown name, and ``EngineError`` for an x86 target on an ARM
    computer.
    """
    known = ["native", "aarch64-generic", *(cpu for cpu in _X86 if cpu != "x86-64"), *(cpu for cpu in _ARM)]
    if name not in known:
        raise unknown_option("target", name, known)
    chosen = host() if name == "native" else named(name.removeprefix("aarch64-"))
    if is_arm(chosen.triple):
        level, cpu, triple = "aarch64", "generic", "aarch64-unknown-linux-gnu"
    else:
        level = cpu = _X86_GENERIC[chosen.lanes]
        triple = "x86_64-unknown-linux-gnu"
        if is_arm(native_triple()):
            raise EngineError("code for x86 is exported on x86 computers only: LLVM has no assembler for it here")
    tuned_for = "" if chosen.cpu == cpu else chosen.cpu
    target = replace(chosen, cpu=cpu, features="", triple=triple, tuned_for=tuned_for)
    return f"{level} ({tuned_for})" if tuned_for else level, target


def baseline(target: Target) -> Target:
    """Return ``target`` with only those instructions that every 64-bit processor of its architecture has."""
    arm = is_arm(target.triple)
    return replace(target, cpu="generic" if arm else "x86-64", features="", lanes=4, tuned_for="")


def has_fma(target: Target) -> bool:
    """Return whether the processor ``target`` computes a · b + c in one instruction with one rounding."""
    return is_arm(target.triple) or target.lanes > 4


def runs_here(target: Target) -> bool:
    """Return whether this computer can run code for ``target``."""
    try:
        assert_runs_here(target)
    except EngineError:
        return False
    return True


def current() -> Target:
    """Return the target processor that the settings name, which need not be this computer's.

    Code can be generated and shown for any target. Call ``assert_runs_here`` before running it.
    """
    name = settings.current().target
    return host() if name == "host" else named(name)


def assert_runs_here(target: Target) -> None:
    """Raise ``EngineError`` if code for ``target`` would use instructions that this computer does not have."""
    here = host()
    missing: list[str] = []
    if is_arm(target.triple) == is_arm(here.triple) and not is_arm(here.triple):
        _, features = _processor()
        needs = _X86_NEEDS[target.lanes] + (("avx512bf16",) if target.has_bfloat16 else ())
        missing = [need for need in needs if not features.get(need, False)]
    if is_arm(target.triple) != is_arm(here.triple) or missing:
        reason = f"it lacks {', '.join(missing)}" if missing else f"it is {platform.machine()}"
        raise EngineError(
            f"STRIATE_TARGET={target.cpu} cannot run on this computer ({here.cpu}): {reason}\n"
            "  help: STRIATE_TARGET=host, or STRIATE_ENGINE=reference to run everything in NumPy"
        )


def require_bfloat16(target: Target) -> None:
    """Raise ``EngineError`` if the target has no instructions for products of bfloat16."""
    if not target.has_bfloat16:
        name = target.cpu if target is host() else f"STRIATE_TARGET={target.cpu}"
        raise EngineError(
            f"bfloat16 needs the processor's instructions avx512_bf16, which {name} does not have\n"
            '  help: precision="float32"; AMD has them since Zen 4, Intel in Xeons since Cooper Lake'
        )
