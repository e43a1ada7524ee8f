"""Files are written whole: a temporary file beside the target, then a rename. And whether a folder can be written to."""

import errno
import os
import shutil
import tempfile
from pathlib import Path

from clients.errors import InputError

DENIED = (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOSPC, errno.EDQUOT, errno.ENOTDIR, errno.EEXIST)
"""What the system says of a folder that cannot be written to, is full, or is a file."""


def write_whole(path: Path, content: bytes) -> None:
    """Replace ``path`` by ``content``; a reader, or a crash, sees the old file or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=".", suffix=".part", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def check_writable(folder: Path, variable: str, room: int = 0) -> None:
    """Make a folder, and see that a file can be written there and that so many bytes are left.

    Args:
        variable: of the environment, which names another folder.

    Raises:
        InputError: it cannot, or they are not.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"x")
            file.flush()
        left = shutil.disk_usage(folder).free
    except OSError as error:
        raise unwritable(folder, variable, error.strerror or str(error)) from error
    if left < room:
        raise unwritable(folder, variable, f"{left / 1e6:.1f} MB are left there, and {room / 1e6:.0f} MB are needed")


def blame(error: BaseException, folder: Path, variable: str) -> None:
    """Raise InputError if an error, or the one behind it, is that a folder cannot be written to or is full."""
    behind: BaseException | None = error
    while behind is not None:
        full = "Not enough disk space" in str(behind)  # the words of datasets, without a number
        if isinstance(behind, OSError) and (full or behind.errno in DENIED):
            place = Path(str(behind.filename or folder))
            if place.is_relative_to(folder) or folder.is_relative_to(place):
                raise unwritable(folder, variable, "no space is left" if full else str(behind.strerror)) from error
        behind = behind.__cause__ or behind.__context__


def unwritable(folder: Path, variable: str, reason: str) -> InputError:
    """The error of a folder that cannot be written to."""
    return InputError(f"{folder}: cannot be written to ({reason}); set {variable} to a folder that can")
