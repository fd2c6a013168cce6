"""Bytes and text of a user's file: compressed or not, of a size that was agreed to."""

import bz2
import gzip
import lzma
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from adaptlens.errors import UserError

MAX_FILE_BYTES = 500_000_000
MAX_YAML_BYTES = 1_000_000
_PIECE = 1 << 20


def _zstd(path: Path) -> IO[bytes]:
    import pyarrow

    return pyarrow.input_stream(str(path), compression="zstd")


COMPRESSED: dict[str, Callable[[Path], Any]] = {
    ".gz": gzip.GzipFile,
    ".bz2": bz2.BZ2File,
    ".xz": lzma.LZMAFile,
    ".zst": _zstd,
}
"""Endings of compressed files, and what opens them."""

_MAGIC = {
    b"PK\x03\x04": "a zip archive or an Excel workbook; unpack it, or save the sheet as CSV",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook; save the sheet as CSV",
    b"\x1f\x8b": "gzip-compressed; unpack it, or add .gz to its name",
    b"BZh": "bzip2-compressed; unpack it, or add .bz2 to its name",
    b"\xfd7zXZ": "xz-compressed; unpack it, or add .xz to its name",
    b"\x28\xb5\x2f\xfd": "zstd-compressed; unpack it, or add .zst to its name",
    b"PAR1": "a Parquet file; give it the ending .parquet",
    b"ARROW1": "an Arrow file; save the table as Parquet",
    b"%PDF": "a PDF document; export its table as CSV",
    b"\x80\x04\x95": "a pickle, which is never read; save the table as Parquet or CSV",
    b"\xff\xfe": "UTF-16 text; convert it with `iconv -f UTF-16 -t UTF-8`",
    b"\xfe\xff": "UTF-16 text; convert it with `iconv -f UTF-16 -t UTF-8`",
}


def unpacked_name(path: Path) -> Path:
    """Return the path without the ending of a compressed file: train.csv of train.csv.gz."""
    return path.with_suffix("") if path.suffix.lower() in COMPRESSED else path


def read_text(path: Path, max_file_bytes: int = MAX_FILE_BYTES) -> str:
    """Return the text of a UTF-8 file, unpacked, without a byte order mark.

    Raises:
        UserError: if the file is missing, empty, too large, binary or in another encoding.
    """
    data = read_bytes(path, max_file_bytes)
    for magic, what in _MAGIC.items():
        if data.startswith(magic):
            raise UserError(f"{path.name} is not UTF-8 text but {what}.")
    if b"\0" in data:
        raise UserError(
            f"{path.name} is a binary file (a zero byte at offset {data.index(0)}); expected UTF-8 "
            "text; export the data as CSV or JSONL."
        )
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{path.name} is not UTF-8: byte 0x{data[error.start]:02x} at offset {error.start}, "
            f"line {line}; expected UTF-8 text; convert it, for example with "
            "`iconv -f WINDOWS-1252 -t UTF-8`."
        ) from None
    if not text.strip():
        raise UserError(f"{path.name} is blank; expected one example a line; check the file.")
    return text


def read_bytes(path: Path, max_file_bytes: int = MAX_FILE_BYTES) -> bytes:
    """Return the bytes of a file, unpacked where its ending says that it is compressed.

    Raises:
        UserError: if the file is missing, empty or damaged, or larger than `max_file_bytes`, packed
            or unpacked; what is too large is never held.
    """
    check_size(path, max_file_bytes)
    opened = COMPRESSED.get(path.suffix.lower())
    if opened is None:
        return path.read_bytes()
    pieces, size = [], 0
    try:
        with opened(path) as stream:
            while piece := stream.read(_PIECE):
                pieces.append(piece)
                size += len(piece)
                if size > max_file_bytes:
                    break
    except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError, MemoryError) as error:
        raise UserError(
            f"{path.name} cannot be unpacked ({error}); expected a whole {path.suffix} file; "
            "compress it again, or give the file unpacked."
        ) from None
    if size > max_file_bytes:
        raise _too_large(path.name, f"more than {max_file_bytes:,} bytes unpacked", max_file_bytes)
    return b"".join(pieces)


def check_size(path: Path, max_file_bytes: int) -> None:
    """Check that a file can be read, is not empty, and is not larger than agreed.

    Raises:
        UserError: it is not so.
    """
    try:
        size = path.stat().st_size
        with path.open("rb"):
            pass
    except (OSError, ValueError) as error:
        said = getattr(error, "strerror", None) or str(error)
        raise UserError(
            f"{path} cannot be read ({said}); expected a file; check the path and its permissions."
        ) from None
    if size == 0:
        raise UserError(f"{path.name} is empty (0 bytes); expected examples; check the file.")
    if size > max_file_bytes:
        raise _too_large(path.name, f"{size:,} bytes", max_file_bytes)


def _too_large(name: str, found: str, max_file_bytes: int) -> UserError:
    return UserError(
        f"{name} has {found}; expected at most {max_file_bytes:,}; give a sample of the file (a "
        "few thousand rows are plenty for a comparison), or raise max_file_bytes beside the task's "
        "path in --config."
    )
