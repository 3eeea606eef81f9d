"""Write files so that an interruption leaves either the complete old contents or the complete new ones."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from striate.errors import ModelFileError


def write_atomically(path: Path, content: bytes) -> None:
    """Write bytes to a temporary file in the same folder, flush it to disk, and rename it to ``path``.

    Raises ``ModelFileError`` if the folder is missing or not writable, or ``path`` is a folder or a device; an existing
    file is then unchanged. A symbolic link is kept, and the file that it points to is replaced.
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
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(temporary, _usual_mode(path))
        os.replace(temporary, path)
        temporary = ""
        _sync_folder(path.parent)
    except (OSError, ValueError) as error:  # a path with a null byte is a ValueError
        reason = error.strerror if isinstance(error, OSError) else None
        raise ModelFileError(
            f"{path}: cannot be written: {reason or error}\n"
            "  help: give a path in an existing folder that you may write to, on a disk with room"
        ) from error
    finally:
        if temporary:
            Path(temporary).unlink(missing_ok=True)


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


def _sync_folder(folder: Path) -> None:
    """Flush the renamed entry of the folder to disk, on systems that can open folders (not Windows)."""
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
