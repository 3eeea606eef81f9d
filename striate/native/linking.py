"""Turn an object file into a shared library with the system's linker."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from striate.codegen.target import Target, is_arm, native_triple
from striate.errors import EngineError


def linkers(target: Target) -> list[str]:
    """Return the names of linkers that make Linux libraries for a target, in the order in which they are tried."""
    arm = is_arm(target.triple)
    here = sys.platform == "linux" and arm == is_arm(native_triple())
    return ["ld.lld", *(["ld"] if here else []), f"{'aarch64' if arm else 'x86_64'}-linux-gnu-ld"]


def link_shared(data: bytes, name: str, functions: Sequence[str], target: Target) -> bytes:
    """Return the bytes of a shared library, NAME.so, that needs no other library.

    ``data`` are the bytes of an object file that was compiled for ``target``. Only its functions with the names
    ``functions`` are exported.

    Raises ``EngineError`` if there is no linker for the target, or the linker fails.
    """
    names = linkers(target)
    linker = next((found for one in names if (found := shutil.which(one))), None)
    if linker is None:
        raise EngineError(
            f"{name}.so needs a linker, and none of {', '.join(names)} is installed\n"
            f"  help: without shared=True (--shared), {name}.o is written, which st.native.load takes as well"
        )
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "in.o").write_bytes(data)
        exported = " ".join(f"{function};" for function in functions)
        (place / "names.map").write_text(f"{{ global: {exported} local: *; }};\n", encoding="utf-8")
        command = [
            linker, "-shared", "-soname", f"{name}.so", "-Bsymbolic", "-z", "noexecstack", "-z", "defs",
            "--build-id=none", "--hash-style=gnu", f"--version-script={place / 'names.map'}",
            "-o", str(place / "out.so"), str(place / "in.o"),
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        if done.returncode != 0:
            raise EngineError(f"{linker} failed to link {name}.so: {done.stderr.strip()[:500]}")
        return (place / "out.so").read_bytes()
