"""Files that are either the old one or the new one, whatever happens while they are written."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from striate.errors import ModelFileError


def write_atomically(path: Path, content: bytes) -> None:
    """Writes a file under another name in the same folder, brings it to the disk, and gives it its name.

    Raises ``ModelFileError`` where the folder is missing or cannot be written; the old file is then as it was.
    """
    temporary = ""
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(temporary, _usual_mode(path))
        os.replace(temporary, path)
        temporary = ""
        _sync_folder(path.parent)
    except OSError as error:
        raise ModelFileError(
            f"{path}: cannot be written: {error.strerror or error}\n"
            "  help: give a path in an existing folder that you may write to, on a disk with room"
        ) from error
    finally:
        if temporary:
            Path(temporary).unlink(missing_ok=True)


def _usual_mode(path: Path) -> int:
    """The mode of the file that is replaced; that of any new file otherwise (mkstemp's own is 0600)."""
    try:
        return path.stat().st_mode & 0o777
    except OSError:
        mask = os.umask(0)
        os.umask(mask)
        return 0o666 & ~mask


def _sync_folder(folder: Path) -> None:
    """Brings the new name to the disk, where folders can be opened (not on Windows)."""
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
