"""The files a model consists of: where they are and what their digest is; without torch."""

import functools
import hashlib
from pathlib import Path

from adaptlens.errors import UserError

_DIGESTED = (
    "config.json",
    "generation_config.json",
    "tokenizer*.json",
    "tokenizer.model",
    "*.tiktoken",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "chat_template.*",
    "*.safetensors",
    "*.safetensors.index.json",
)


def folder(name: str) -> Path:
    """Return the local folder that holds the model a name stands for."""
    path = Path(name).expanduser()
    if path.is_dir():
        return path
    from adaptlens import zoo

    if name in zoo.names():
        return Path(zoo.folder(name))
    raise UserError(f"no model '{name}'")


def digest(folder: Path) -> str:
    """Return the sha256, in hex, over the model's weights, configuration and tokenizer files."""
    total = hashlib.sha256()
    for path in sorted({path for pattern in _DIGESTED for path in folder.glob(pattern)}):
        stat = path.stat()
        total.update(path.name.encode() + b"\0")
        total.update(_file_digest(path, stat.st_size, stat.st_mtime_ns))
    return total.hexdigest()


@functools.lru_cache(maxsize=1024)
def _file_digest(path: Path, size: int, modified_ns: int) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def identify(name: str, *, dtype: str = "float32", chat: bool = False) -> dict[str, str | bool]:
    """Return what a cell's specification says of its model."""
    return {"name": name, "digest": digest(folder(name)), "dtype": dtype, "chat": chat}
