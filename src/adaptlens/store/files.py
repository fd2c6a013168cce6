"""Files that are either whole or absent, and one-line errors for disks that refuse.

Atomic here means: a temporary file in the same folder, fsync, `os.replace`, fsync of the folder.
"""

import errno
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from adaptlens.errors import UserError

TEMPORARY_SUFFIX = ".tmp"


def write_atomically(path: Path, content: bytes | str) -> None:
    """Write `content` so that `path` holds all of it, or what it held before.

    Text is encoded as UTF-8. The folder must exist.

    Raises:
        UserError: the disk is full, the folder is read-only or otherwise refuses.
    """
    data = content.encode() if isinstance(content, str) else content
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}{TEMPORARY_SUFFIX}")
    with writing(path):
        try:
            write_new(temporary, data)
            os.replace(temporary, path)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary)
            raise
        sync_folder(path.parent)


def write_new(path: Path, data: bytes) -> None:
    """Create `path` with `data` and bring it to the disk; FileExistsError where it exists.

    A file that could not be written whole is removed again.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        try:
            _write_all(descriptor, data)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except BaseException:
        with suppress(OSError):
            os.unlink(path)
        raise


def append_line(path: Path, line: str) -> None:
    """Append `line` and a line end to `path`; creates the file.

    For one writer at a time: a line the disk refused in the middle is taken back.
    """
    with writing(path):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            length = os.fstat(descriptor).st_size
            try:
                _write_all(descriptor, line.encode() + b"\n")
            except OSError:
                os.ftruncate(descriptor, length)
                raise
        finally:
            os.close(descriptor)


def sync_file(path: Path) -> None:
    """Bring the content of an existing file to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(path: Path) -> None:
    """Bring the names in a folder to the disk, where its file system can do that."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems refuse fsync of a folder; their renames are synchronous.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn the operating system's refusals inside the block into a UserError about `path`."""
    try:
        yield
    except OSError as error:
        raise UserError(_refusal(path, error)) from error


def _refusal(path: Path, error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return (
            f"no space left to write '{path}'; free space on that disk or choose another folder, "
            "then run the same command again: what is finished is kept."
        )
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return (
            f"cannot write '{path}': the folder is read-only or not yours; choose a folder you "
            "may write to, or change its permissions."
        )
    if error.errno in (errno.ENOTDIR, errno.EEXIST):
        return (
            f"cannot write '{path}': a file stands where a folder is needed; choose another "
            "folder or move that file away."
        )
    reason = os.strerror(error.errno) if error.errno else str(error)
    return (
        f"cannot write '{path}': {reason}; check the disk or choose another folder, then run the "
        "same command again."
    )


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
