"""Download one file over HTTP, continue an interrupted download, and check the SHA-256."""

from __future__ import annotations

import hashlib
import http.client
import os
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from striate.errors import DataError

Progress = Callable[[int, int], None]
PARTIAL = ".part"
_PIECE = 1 << 18
_TIMEOUT = 30.0  # seconds without an answer or a byte
_RANGE_REFUSED = 416


def transfer(url: str, sha256: str, target: Path, progress: Progress = lambda done, total: None) -> None:
    """Download ``url`` to ``target``, which appears only when it is complete and has this SHA-256.

    Until then the bytes are in a file of the same name with ``.part`` at the end. If that file exists, the download
    continues it, provided that the server can do so. ``progress`` is called with (bytes done, bytes in all, or 0 if
    unknown). Raises ``DataError`` if the server does not answer, the connection ends early, the hash is wrong, or the
    disk is full.
    """
    partial = target.with_name(target.name + PARTIAL)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _receive(url, partial, progress)
        found = _digest(partial)
        if found != sha256:
            partial.unlink()
            raise DataError(
                f"{url}: is not the file that was published: SHA-256 {found}, expected {sha256}\n"
                "  help: the server may answer with a page of its own; try another network, or give source="
            )
        with partial.open("rb+") as file:
            os.fsync(file.fileno())  # before the file gets the name under which nobody checks its hash again
        os.replace(partial, target)
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
        reason = str(error.reason) if isinstance(error, urllib.error.URLError) else str(error) or type(error).__name__
        kept = f"; {partial.stat().st_size:,} bytes are kept" if partial.exists() else ""
        raise DataError(
            f"{url}: cannot be downloaded: {reason}{kept}\n"
            f"  help: run it again, which continues; or put the file into {target.parent} yourself"
        ) from error
    except OSError as error:
        raise DataError(f"{target}: cannot be written: {error.strerror or error}") from error


def _receive(url: str, partial: Path, progress: Progress) -> None:
    """Append the missing bytes of a file; start again if the server sends the whole file."""
    have = partial.stat().st_size if partial.exists() else 0
    headers = {"User-Agent": "striate", **({"Range": f"bytes={have}-"} if have else {})}
    request = urllib.request.Request(url, headers=headers)
    try:
        answer = urllib.request.urlopen(request, timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == _RANGE_REFUSED and have:
            return  # all bytes are there, or too many: the digest tells
        raise
    with answer:
        continued = answer.status == http.client.PARTIAL_CONTENT
        done = have if continued else 0
        length = answer.headers.get("Content-Length")
        total = done + int(length) if length is not None and length.isdecimal() else 0
        with partial.open("ab" if continued else "wb") as file:
            while piece := answer.read(_PIECE):
                file.write(piece)
                done += len(piece)
                progress(done, total)
        if done < total:
            raise http.client.IncompleteRead(b"", total - done)


def _digest(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()
