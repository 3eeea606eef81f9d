"""Write files so that an interruption leaves either the complete old contents or the complete new ones."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections.abc import Collection, Iterable
from pathlib import Path

from striate.errors import ModelFileError

Buffer = bytes | memoryview


def write_atomically(path: Path, content: bytes | Iterable[Buffer], keep: Path | None = None) -> None:
    """Write bytes to the file ``path``, so that an interruption leaves either the old or the new contents.

    ``content`` is the whole file, or its parts in order. It is written to a temporary file in the same folder, flushed
    to disk, and renamed to ``path``. With ``keep``, the replaced file is kept under the name ``keep`` in the same
    folder; at every moment, a complete file exists under at least one of the two names.

    Raises ``ModelFileError`` if the folder is missing or not writable, or ``path`` is a folder or a device; an existing
    file is then unchanged. If ``path`` is a symbolic link, the file that it points to is replaced.
    """
    temporary = ""
    try:
        path = Path(os.path.realpath(path))  # replace the file that a link points to, not the link
        if path.is_dir():
            raise ModelFileError(
                f"{path}: a folder\n  help: give the path of a file, such as {path / 'model.safetensors'}"
            )
        if path.exists() and not path.is_file():
            raise ModelFileError(f"{path}: a device or pipe\n  help: give the path of a file")
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with os.fdopen(handle, "wb") as stream:
            for part in (content,) if isinstance(content, bytes) else content:
                stream.write(part)
            stream.flush()
            os.chmod(temporary, _usual_mode(path))
            os.fsync(stream.fileno())
        if keep is not None and path.exists():
            give_name(path, keep)
        os.replace(temporary, path)
        temporary = ""
        sync_folder(path.parent)
    except (OSError, ValueError) as error:  # a path with a null byte is a ValueError
        reason = error.strerror if isinstance(error, OSError) else None
        raise ModelFileError(
            f"{path}: cannot be written: {reason or error}\n"
            "  help: give a path in an existing folder that you may write to, on a disk with room"
        ) from error
    finally:
        if temporary:
            with contextlib.suppress(OSError):
                Path(temporary).unlink(missing_ok=True)


def give_name(path: Path, name: Path) -> None:
    """Give the file ``path`` the second name ``name`` in the same folder; an existing file ``name`` is replaced.

    On a file system without hard links the file is renamed instead. Raises ``OSError`` if that fails too.
    """
    with tempfile.TemporaryDirectory(prefix=f".{name.name}.", dir=path.parent) as folder:
        link = Path(folder) / name.name
        try:
            os.link(path, link)
        except OSError:
            os.replace(path, name)
        else:
            os.replace(link, name)


def remove_leftovers(folder: Path, names: Collection[str]) -> None:
    """Remove temporary files that killed calls of ``write_atomically`` and ``give_name`` left in a folder.

    ``names`` are the names of the files that were to be written; no other process may be writing these files now.
    Temporary files that cannot be removed are skipped.
    """
    pattern = re.compile(rf"\.({'|'.join(re.escape(name) for name in names)})\.[a-z0-9_]{{8}}")
    try:
        found = [entry for entry in folder.iterdir() if pattern.fullmatch(entry.name)]
    except OSError:
        return
    for entry in found:
        with contextlib.suppress(OSError):
            if entry.is_dir():
                for inner in entry.iterdir():
                    inner.unlink()
                entry.rmdir()
            else:
                entry.unlink()


def _usual_mode(path: Path) -> int:
    """Return the permissions of the file being replaced, or those of a new file under the umask.

    ``mkstemp`` alone would leave the file readable by its owner only (0600).
    """
    try:
        return path.stat().st_mode & 0o777
    except OSError:
        mask = os.umask(0)
        os.umask(mask)
        return 0o666 & ~mask


def make_folder(folder: Path) -> None:
    """Create a folder, with missing ones above it, and flush the new entries to disk; keep an existing folder.

    Raises ``OSError`` if a folder cannot be created.
    """
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for one in reversed(missing):
        sync_folder(one.parent)


def sync_folder(folder: Path) -> None:
    """Flush the entries of a folder (the names, not the contents of the files) to disk.

    On Windows, where folders cannot be opened, this function does nothing.
    """
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError:
        pass
    finally:
        os.close(handle)
