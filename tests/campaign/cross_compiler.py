"""Compile the kernels of an emulated process on this machine: LLVM is slow under emulation.

As a plugin of pytest in the emulated process (``-p tests.campaign.cross_compiler``), this module replaces
``jit.compile_object`` by a function that sends LLVM IR and target to the socket STRIATE_CROSS_COMPILER and returns the
object file that comes back. ``serve`` answers such requests in a process that is not emulated.

    request     length of the text │ length of the target │ text │ target, as JSON
    answer      length of the object │ object                                           length 0: LLVM refused the text
"""

from __future__ import annotations

import json
import os
import socket
import struct
import threading
from dataclasses import asdict
from pathlib import Path

from striate.codegen import jit
from striate.codegen.target import Target
from striate.errors import GraphError

SOCKET = "STRIATE_CROSS_COMPILER"
_REQUEST, _ANSWER = struct.Struct("<QQ"), struct.Struct("<Q")
compile_here = jit.compile_object


def _received(source: socket.socket, size: int) -> bytes:
    parts: list[bytes] = []
    while size:
        part = source.recv(min(size, 1 << 20))
        if not part:
            raise EOFError
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def serve(path: Path) -> None:
    """Answer requests at the socket ``path``, in threads that end with the process."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    path.unlink(missing_ok=True)
    listener.bind(str(path))
    listener.listen()

    def answer(source: socket.socket) -> None:
        with source:
            try:
                text, target = (_received(source, size) for size in _REQUEST.unpack(_received(source, _REQUEST.size)))
                data = compile_here(text.decode(), Target(**json.loads(target)))
            except (EOFError, GraphError):
                data = b""
            source.sendall(_ANSWER.pack(len(data)) + data)

    def accept() -> None:
        while True:
            threading.Thread(target=answer, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()


def compile_there(ir_text: str, target: Target) -> bytes:
    """Stand in for ``jit.compile_object``; IR that LLVM refuses is compiled here once more, for its error message."""
    text, described = ir_text.encode(), json.dumps(asdict(target)).encode()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as source:
        source.connect(os.environ[SOCKET])
        source.sendall(_REQUEST.pack(len(text), len(described)) + text + described)
        data = _received(source, *_ANSWER.unpack(_received(source, _ANSWER.size)))
    return data or compile_here(ir_text, target)


if SOCKET in os.environ:
    jit.compile_object = compile_there
