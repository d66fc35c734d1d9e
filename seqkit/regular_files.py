"""Opening files that somebody else may have made: only regular files, of a bounded size, and never waiting.

A named pipe makes a plain `open` wait for ever, and a device may never end. The descriptor is checked, not the name:
what a name stands for can change between a check and the opening.
"""

from __future__ import annotations

import errno
import os
import stat
from io import BufferedReader
from pathlib import Path
from typing import Final

_KINDS: Final = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISLNK, "a symbolic link"),
)


def open_regular(
    path: Path, *, folder: int | None = None, follow: bool = True, most: int | None = None
) -> BufferedReader:
    """A regular file, open for reading bytes.

    Args:
        path: the file.
        folder: the descriptor of an open folder that a relative path starts from; None: the working folder.
        follow: False: a symbolic link is an error.
        most: the most bytes that the file may have; None: any number.

    Raises:
        OSError: from the system, or because the file is not regular or too large; `strerror` says which.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY | (0 if follow else os.O_NOFOLLOW)
    try:
        handle = os.open(path, flags, dir_fd=folder)
    except OSError as error:
        if error.errno == errno.ELOOP and not follow:
            raise OSError(errno.ELOOP, "is a symbolic link, not a regular file", str(path)) from None
        if error.errno == errno.ENXIO:
            raise OSError(errno.EINVAL, "is a socket or a device, not a regular file", str(path)) from None
        raise
    try:
        status = os.fstat(handle)
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(errno.EISDIR, "is a folder, not a file", str(path))
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, f"is {kind_of(status)}, not a regular file", str(path))
        if most is not None and status.st_size > most:
            raise OSError(errno.EFBIG, f"has {status.st_size:,} bytes; at most {most:,} are read", str(path))
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def read_regular(path: Path, most: int, *, folder: int | None = None, follow: bool = True) -> bytes:
    """The bytes of a regular file, at most `most`. Raises OSError as `open_regular` does."""
    with open_regular(path, folder=folder, follow=follow, most=most) as file:
        content = file.read(most + 1)
    if len(content) > most:  # it has grown, or is a file of the kernel, which has no size
        raise OSError(errno.EFBIG, f"has more than {most:,} bytes", str(path))
    return content


def kind_of(status: os.stat_result) -> str:
    """What a file is: `a pipe`, `a device`."""
    return next((kind for is_kind, kind in _KINDS if is_kind(status.st_mode)), "a regular file")


def is_protected(status: os.stat_result) -> bool:
    """Whether no other user, apart from the system's own, can change a file or a folder."""
    return status.st_uid in (os.geteuid(), 0) and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
