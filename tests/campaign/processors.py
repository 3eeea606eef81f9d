"""Run the tests of compiled code on other processors than this one, most of them emulated by qemu.

    python tests/campaign/processors.py arm --root /tmp/arm64      64-bit ARM: Debian's Python, wheels for ARM
    python tests/campaign/processors.py nehalem                    x86-64 without AVX: AVX instructions end the process
    python tests/campaign/processors.py x86-64-v2                  this processor, with code for one without AVX
    python tests/campaign/processors.py arm --root /tmp/arm64 --short           a few tests and a short training
    python tests/campaign/processors.py arm --root /tmp/arm64 -- tests/codegen  pytest's own arguments, no training

All of it needs about an hour per processor on two idle cores, and the short form some minutes. ``arm`` and ``nehalem``
need the package ``qemu-user``; ``arm`` also needs Debian or Ubuntu. Nothing is installed: Debian's packages of Python
for arm64, and wheels from the package index, are unpacked in the folder ROOT.

Emulated processes see the files of this machine, so the tests run in this checkout. The kernels of the tests are
compiled by LLVM on this machine, for the emulated processor (see ``cross_compiler.py``); the first test compares some
with those that LLVM compiles under emulation. The training compiles its kernels under emulation.

Emulated threads have the memory ordering of this machine. On x86 it is stronger than that of an ARM processor, so the
run does not test the ordering of memory accesses in the thread team.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(CHECKOUT))

from tests.campaign import cross_compiler  # noqa: E402

RELEASE, PYTHON = "bookworm", "3.11"
KEYS = "/usr/share/keyrings/debian-archive-keyring.gpg"
PACKAGES = ["python3", "libstdc++6"]
WHEELS = [
    *("numpy>=1.26", "llvmlite>=0.46", "pillow>=11", "safetensors>=0.5", "typer>=0.15"),
    *("pytest>=8.3", "pytest-xdist>=3.6", "hypothesis>=6.120", "scipy>=1.14"),
]
PLATFORMS = ["manylinux_2_28_aarch64", "manylinux_2_27_aarch64", "manylinux_2_17_aarch64", "manylinux2014_aarch64"]

PYTEST = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "tests.campaign.cross_compiler"]
SHORT = [
    ["tests/campaign/test_cross_compiler.py", "tests/codegen/test_target.py", "tests/codegen/test_vector_math.py"],
    ["tests/compiled/test_memory_safety.py", "tests/compiled/test_prepared.py"],
]
FULL = [
    *([path] for path in ("tests/campaign/test_cross_compiler.py", "tests/codegen", "tests/runtime", "tests/compiled")),
    *([path] for path in ("tests/ops", "tests/optim", "tests/step", "tests/passes")),
]


def run(command: Sequence[str], **changes: str) -> None:
    """Run a command at the lowest priority; raise ``CalledProcessError`` if it fails."""
    subprocess.run(["nice", "-n", "19", *command], check=True, env=os.environ | changes, cwd=CHECKOUT)


# A Python for ARM


def unpack_debian(root: Path) -> None:
    """Unpack Debian's Python for arm64 into ``root/debian``, without the package manager's own state."""
    apt = root / "apt"
    for folder in ("state/lists/partial", "cache/archives/partial"):
        (apt / folder).mkdir(parents=True, exist_ok=True)
    (apt / "status").touch()
    source = f"deb [signed-by={KEYS}] http://deb.debian.org/debian {RELEASE} main\n"
    (apt / "sources.list").write_text(source, "utf-8")
    options = {
        "APT::Architecture": "arm64",
        "APT::Architectures": "arm64",
        "APT::Install-Recommends": "false",
        "APT::Sandbox::User": "root",
        "Dir::State": str(apt / "state"),
        "Dir::State::status": str(apt / "status"),
        "Dir::Cache": str(apt / "cache"),
        "Dir::Etc::sourcelist": str(apt / "sources.list"),
        "Dir::Etc::sourceparts": "-",
    }
    (apt / "apt.conf").write_text("".join(f'{name} "{value}";\n' for name, value in options.items()), "utf-8")
    run(["apt-get", "-qq", "update"], APT_CONFIG=str(apt / "apt.conf"))
    run(["apt-get", "-qq", "-y", "--download-only", "install", *PACKAGES], APT_CONFIG=str(apt / "apt.conf"))
    for package in sorted((apt / "cache/archives").glob("*.deb")):
        run(["dpkg-deb", "-x", str(package), str(root / "debian")])


def unpack_wheels(root: Path) -> None:
    """Unpack the wheels for arm64 into ``root/site``."""
    platforms = [part for name in PLATFORMS for part in ("--platform", name)]
    abis = ["--implementation", "cp", "--abi", f"cp{PYTHON.replace('.', '')}", "--abi", "abi3", "--abi", "none"]
    downloading = [sys.executable, "-m", "pip", "download", "-q", "--dest", str(root / "wheels")]
    run([*downloading, "--only-binary=:all:", "--python-version", PYTHON, *platforms, *abis, *WHEELS])
    for wheel in sorted((root / "wheels").glob("*.whl")):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(root / "site")


def interpreter(folder: Path, emulator: Sequence[str], site: Path) -> Path:
    """Write the script that starts the emulated Python, and have that Python start its children with the same script.

    The system cannot start a program for another processor by itself, and ``sys.executable`` would be such a program.
    ``site`` is a folder on the path of the emulated Python.
    """
    script = folder / "python"
    script.write_text(f'#!/bin/sh\nPYTHONPATH="$PYTHONPATH:{site}" exec {shlex.join(emulator)} "$@"\n', "utf-8")
    script.chmod(0o755)
    starting = f"import sys\nsys.executable = sys._base_executable = {str(script)!r}\n"
    (site / "sitecustomize.py").write_text(starting, "utf-8")
    return script


def arm(root: Path) -> Path:
    """Return the interpreter for 64-bit ARM in the folder ``root``, which is filled if it is new."""
    python = root / "debian/usr/bin" / f"python{PYTHON}"
    if not python.exists():
        unpack_debian(root)
    if not (root / "site/pytest").exists():
        unpack_wheels(root)
    return interpreter(root, ["qemu-aarch64", "-L", str(root / "debian"), str(python)], root / "site")


def nehalem(root: Path) -> Path:
    """Return this Python on an emulated Nehalem (2008): x86-64-v2, without AVX, FMA and BMI."""
    (root / "site").mkdir(parents=True, exist_ok=True)
    return interpreter(root, ["qemu-x86_64", "-cpu", "Nehalem", sys.executable], root / "site")


# What is run


def last_line(python: Path, root: Path, arguments: Sequence[str], target: str) -> str:
    """Run Python with these arguments; return the last line that it prints. Raises ``SystemExit`` if it fails."""
    environment = os.environ | {"PYTHONPATH": str(CHECKOUT), "STRIATE_TEST_KERNELS": str(root / "kernels")}
    if target == "host":
        environment[cross_compiler.SOCKET] = str(root / "compiler")
    else:
        environment["STRIATE_TARGET"] = target
    command = ["nice", "-n", "19", str(python), *arguments]
    done = subprocess.run(command, env=environment, cwd=CHECKOUT, stdout=subprocess.PIPE, encoding="utf-8", check=False)
    lines = done.stdout.rstrip().splitlines() or [""]
    if done.returncode not in (0, 5):  # 5: pytest has selected no test
        print(done.stdout)
        raise SystemExit(f"{shlex.join(arguments)} failed")
    return lines[-1]


def train(python: Path, target: str, options: Sequence[str]) -> str:
    """Train on the digits and evaluate; return the last line that the evaluation prints."""
    changes = {"PYTHONPATH": str(CHECKOUT), "STRIATE_TARGET": target, "STRIATE_CACHE": "off"}
    with tempfile.TemporaryDirectory() as folder:
        out = f"{folder}/digits"
        run([str(python), "-m", "striate", "train", "digits", "--out", out, *options], **changes)
        command = ["nice", "-n", "19", str(python), "-m", "striate", "evaluate", out]
        shown = subprocess.run(
            command, env=os.environ | changes, cwd=CHECKOUT, stdout=subprocess.PIPE, encoding="utf-8", check=True
        )
    return shown.stdout.rstrip().splitlines()[-1]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("processor", choices=["arm", "nehalem", "x86-64", "x86-64-v2", "x86-64-v3"])
    parser.add_argument("--root", type=Path, help="folder for the emulated system (arm: 700 MB) and the kernels")
    parser.add_argument("--short", action="store_true", help="a few tests, and a training of one epoch")
    parser.add_argument("arguments", nargs="*", help="arguments of pytest; then nothing is trained")
    given = parser.parse_args()
    root = (given.root or Path(tempfile.gettempdir()) / f"striate-{given.processor}").resolve()
    root.mkdir(parents=True, exist_ok=True)
    emulated = {"arm": arm, "nehalem": nehalem}.get(given.processor)
    python = emulated(root) if emulated else Path(sys.executable)
    target = "host" if emulated else given.processor
    if emulated:
        cross_compiler.serve(root / "compiler")
    parts = [given.arguments] if given.arguments else SHORT if given.short else FULL
    if not given.arguments:
        print(last_line(python, root, ["tests/campaign/operations.py"], target), flush=True)
    for part in parts:
        start = time.monotonic()
        options = [] if given.arguments else ["-m", "not slow"]
        last = last_line(python, root, [*PYTEST, *options, *part], target)
        print(f"{shlex.join(part)}: {last} ({time.monotonic() - start:.0f} s in all)", flush=True)
    if not given.arguments:
        start = time.monotonic()
        training = ["--epochs", "1", "--model", "mlp"] if given.short else []
        print(f"digits: {train(python, target, training)} ({time.monotonic() - start:.0f} s)", flush=True)


if __name__ == "__main__":
    main()
