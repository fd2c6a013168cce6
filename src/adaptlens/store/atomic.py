"""Files that are either whole or absent, and one-line errors for disks that refuse.

Atomic here means: a temporary file in the same folder, fsync, `os.replace`, fsync of the folder.
Nothing inside a run is read, written or removed through a link (`links`).
"""

import errno
import os
import shutil
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from adaptlens.errors import UserError
from adaptlens.store.links import refuse_links
from adaptlens.store.machine import machine, process_start

TEMPORARY_SUFFIX = ".tmp"
STALE_SECONDS = 120.0
"""Work of another machine that was not touched for this long is nobody's."""

_NAME_BYTES = 60
"""Of a file's name, so many go into the name of its temporary file, which no disk finds long."""


def write_atomically(path: Path, content: bytes | str) -> None:
    """Write `content` so that `path` holds all of it, or what it held before.

    Text is encoded as UTF-8. The folder must exist.

    Raises:
        UserError: the disk is full, the folder is read-only or otherwise refuses.
    """
    data = content.encode() if isinstance(content, str) else content
    with writing(path):
        refuse_links(path)
        temporary = path.with_name(_temporary_name(path.name))
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
    refuse_links(path)
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

    For one writer at a time: a line the disk refused in the middle is taken back. A file that has
    another name elsewhere (a copy by hard links) is copied first, so that only this one grows.
    """
    with writing(path):
        refuse_links(path)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK
        descriptor = os.open(path, flags, 0o666)
        try:
            status = os.fstat(descriptor)
            if status.st_nlink > 1:
                write_atomically(path, read_bytes(path) + line.encode() + b"\n")
                return
            try:
                _write_all(descriptor, line.encode() + b"\n")
            except OSError:
                os.ftruncate(descriptor, status.st_size)
                raise
        finally:
            os.close(descriptor)


def read_bytes(path: Path) -> bytes:
    """Return what a regular file holds; it never waits, as a pipe in its place would have it do.

    Raises:
        OSError: it is missing, no regular file, or the disk refuses.
        UserError: it lies in a run, behind a link.
    """
    refuse_links(path)
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with open(descriptor, "rb") as file:
        kind = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(kind):
            number = errno.EISDIR if stat.S_ISDIR(kind) else errno.EINVAL
            raise OSError(number, "not a regular file", str(path))
        return file.read()


def make_folder(path: Path) -> None:
    """Make a folder, and those it is in; one that is there stays as it is.

    Raises:
        UserError: the disk refuses, or a file or a link stands there.
    """
    with writing(path):
        refuse_links(path)
        path.mkdir(parents=True, exist_ok=True)


def remove(path: Path) -> None:
    """Remove a file, or a folder with all that is in it; what its links point to stays.

    Raises:
        OSError: the disk refuses.
        UserError: it is, or lies behind, a link in a run.
    """
    refuse_links(path)
    if stat.S_ISDIR(os.lstat(path).st_mode):
        shutil.rmtree(path)
    else:
        os.unlink(path)


def is_stale_temporary(path: Path, now: float) -> bool:
    """Say whether a file is a temporary one that no process will rename any more.

    Args:
        path: of the file.
        now: the present time by the clock of the disk.
    """
    if not path.name.endswith(TEMPORARY_SUFFIX):
        return False
    try:
        home, pid, start, _ = path.name.removesuffix(TEMPORARY_SUFFIX).rsplit(".", 1)[1].split("-")
        if home == _home():
            return _plain(process_start(int(pid))) != start
        return now - os.lstat(path).st_mtime >= STALE_SECONDS
    except (ValueError, IndexError):
        return True
    except FileNotFoundError:
        return False


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
        raise UserError(refusal(path, error)) from error


def refusal(path: Path, error: OSError) -> str:
    """Return one line about a path that the operating system refuses: why, and the way out."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return (
            f"no space left to write '{path}' (bytes, or entries for files: inodes); free some on "
            "that disk or choose another folder, then run the same command again: what is "
            "finished is kept."
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
    if error.errno in (errno.EISDIR, errno.ENXIO):
        return (
            f"cannot write '{path}': a folder, or something else that is no file, stands where a "
            "file is needed; move it away."
        )
    if error.errno == errno.ENAMETOOLONG:
        name = str(path)
        shown = name if len(name) <= 200 else f"{name[:80]}...{name[-40:]}"
        return f"cannot write '{shown}': the name is too long for the disk; choose a shorter one."
    reason = os.strerror(error.errno) if error.errno else str(error)
    return (
        f"cannot write '{path}': {reason}; check the disk or choose another folder, then run the "
        "same command again."
    )


def _temporary_name(name: str) -> str:
    """Return a name that says who writes the file, so that others know when nobody does."""
    short = name.encode()[:_NAME_BYTES].decode(errors="ignore")
    pid = os.getpid()
    who = f"{_home()}-{pid}-{_plain(process_start(pid))}-{uuid.uuid4().hex[:12]}"
    return f".{short}.{who}{TEMPORARY_SUFFIX}"


def _plain(text: str) -> str:
    return "".join(c for c in text if c.isalnum())


def _home() -> str:
    return uuid.uuid5(uuid.NAMESPACE_OID, machine()).hex[:12]


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
