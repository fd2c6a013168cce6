"""Throughputs measured before, kept in the user's cache by base, device and kind of work.

A kept throughput is a prediction's starting point and never a result: a file that cannot be read
is as good as none.
"""

import hashlib
import json
import math
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from adaptlens.cells import Cell
from adaptlens.engines.throughput import Throughput, shape
from adaptlens.errors import UserError
from adaptlens.models.obtainable import cache
from adaptlens.store.atomic import write_atomically
from adaptlens.types import CostEstimate

KEPT_DAYS = 30
"""Machines change; what is older is tried out again."""


def key(
    model: str,
    cells: Sequence[Cell],
    works: Mapping[int, CostEstimate],
    settings: Mapping[str, Any],
) -> str:
    """Return a digest of all that a throughput depends on.

    The base's shape; the device, its threads, number format and quantization; the versions; and
    the kinds of work: what is trained and how, whether texts are written, and sizes to within a
    factor of two.

    Args:
        model: the name that the base is found by.
        cells: of the study, all of this base.
        works: of the cells, by their id().
        settings: device, dtype and quantize.
    """
    device = torch.device(settings["device"])
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    about = {
        "shape": shape(model),
        "device": [name, torch.get_num_threads()],
        "settings": [str(settings["dtype"]), settings["quantize"]],
        "versions": [version("adaptlens"), torch.__version__],
        "work": sorted({json.dumps(_kind(cell, works[id(cell)])) for cell in cells}),
    }
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:32]


def find(name: str) -> Throughput | None:
    """Return the throughput that was kept under a key; None where there is none, or it is old."""
    with suppress(OSError, ValueError, TypeError, AttributeError):
        kept = json.loads(_place(name).read_text(encoding="utf-8"))
        if time.time() - kept.pop("time") < KEPT_DAYS * 86400:
            for pair in ("read", "write", "train", "full"):
                first, second = kept[pair]
                kept[pair] = (float(first), float(second))
            return Throughput(**kept)
    return None


def keep(name: str, throughput: Throughput) -> None:
    """Keep a throughput under a key, if the disk allows."""
    path = _place(name)
    with suppress(OSError, UserError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(asdict(throughput) | {"time": time.time()}))


def _place(name: str) -> Path:
    return cache() / "throughputs" / f"{name}.json"


def _kind(cell: Cell, work: CostEstimate) -> list[Any]:
    """Return what a cell does, its sizes as powers of two."""
    given = cell.adaptation.arguments
    trained = work.trained_tokens / work.steps if work.steps else 0.0
    return [
        [given.get("lora_rank"), given.get("target_modules")] if work.steps else None,
        work.full,
        work.written_tokens > 0,
        _power(trained),
        _power(len(cell.draws)),
    ]


def _power(number: float) -> int:
    return math.ceil(math.log2(number)) if number > 0 else -1
