"""What the path of an arm that a user brings stands for, without torch: its kind and its digest."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from adaptlens.errors import UserError
from adaptlens.models import gguf_file, identity, server

Kind = Literal["adapter", "checkpoint", "prompt", "recorded", "served"]

PROMPT_FILES = (".jinja", ".jinja2", ".j2", ".txt", ".md", ".json")
"""Endings of files that hold a prompt."""

SAMPLES_FILE = ".jsonl"
"""The ending of what `lm_eval --log_samples` writes."""

_CONFIG, _WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


@dataclass(frozen=True, slots=True)
class ArmFiles:
    """What was brought.

    Attributes:
        kind: an adapter in PEFT's format, a checkpoint of the whole model, a prompt, answers that
            were recorded elsewhere, or weights that the base model's server has under another name.
        source: what it is found by, a path made absolute.
        digest: sha256 in hex over what is read of it; empty for a prompt and for answers, which
            are read at once.
    """

    kind: Kind
    source: str
    digest: str = ""


def find(name: str, path: str) -> ArmFiles:
    """Return what a path stands for: an adapter's folder, a model, a prompt, or lm-eval's samples.

    Args:
        name: of the arm, for errors.
        path: what the user gave; a model may also be a hub id, a GGUF file or a model of `adaptlens
            models list`.

    Raises:
        UserError: it is none of these.
    """
    if server.is_named(path):
        return ArmFiles("served", path, server.named(path).digest)
    place = Path(path).expanduser()
    if place.is_file() and path.lower().endswith(PROMPT_FILES):
        return ArmFiles("prompt", str(place.resolve()))
    if place.is_file() and path.lower().endswith(SAMPLES_FILE):
        return ArmFiles("recorded", str(place.resolve()))
    if place.is_dir() and (place / _CONFIG).is_file() and not (place / "config.json").is_file():
        return ArmFiles("adapter", str(place.resolve()), adapter_digest(place))
    if not place.exists() and ("\\" in path or path.startswith((".", "/", "~"))):
        raise UserError(f"arm '{name}': there is no '{path}'; {_EXPECTED}.")
    if place.is_dir() and not (place / "config.json").is_file() and not list(place.glob("*.gguf")):
        raise UserError(f"arm '{name}': the folder '{path}' is neither; {_EXPECTED}.")
    if place.is_file() and not gguf_file.is_gguf(place):
        raise UserError(f"arm '{name}': '{path}' is a file of another kind; {_EXPECTED}.")
    try:
        digest = identity.digest(identity.locate(path))
    except UserError as error:
        if "/" not in path and not place.exists():
            raise UserError(
                f"arm '{name}': '{path}' is no file, no folder and no model that can be had here; "
                f"{_EXPECTED}."
            ) from error
        raise UserError(f"arm '{name}': {error}") from error
    return ArmFiles("checkpoint", identity.absolute(path), digest)


_EXPECTED = (
    f"expected an adapter's folder ({_CONFIG} and {_WEIGHTS}), a model's folder, a GGUF file, a "
    f"file with a prompt ({', '.join(PROMPT_FILES)}), or lm-eval's samples ({SAMPLES_FILE})"
)


def is_soft_prompt(folder: Path) -> bool:
    """Return whether an adapter is embeddings before the prompt (PEFT's prompt tuning)."""
    try:
        found = json.loads((folder / _CONFIG).read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return False  # Whoever reads it says what is wrong with it.
    return isinstance(found, dict) and found.get("peft_type") == "PROMPT_TUNING"


def adapter_digest(folder: Path) -> str:
    """Return the sha256, in hex, over an adapter's settings and weights.

    Raises:
        UserError: one of them is missing.
    """
    total = hashlib.sha256()
    for name in (_CONFIG, _WEIGHTS):
        try:
            with (folder / name).open("rb") as file:
                total.update(name.encode() + b"\0" + hashlib.file_digest(file, "sha256").digest())
        except FileNotFoundError as error:
            raise UserError(
                f"{folder} is not a saved adapter ({name} is missing); give a folder with "
                f"{_CONFIG} and {_WEIGHTS}, as peft's save_pretrained writes them."
            ) from error
    return total.hexdigest()
