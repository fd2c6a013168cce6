"""How fast a base works on a device: as it was tried out (`trials`), or a guess from its shape."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from adaptlens.models import gguf_file, identity
from adaptlens.models.shape import num_parameters
from adaptlens.types import CostEstimate

CELL_SECONDS = 0.05
"""Of a cell's own: its claim, its files brought to the disk."""

SHAPE_USE = {"read": 0.4, "train": 0.4, "bandwidth": 0.6}
"""Shares of a device's matrix speed and memory bandwidth that a large model gets, assumed."""
WRITTEN_ROWS = 64
DISK_BYTES_PER_SECOND = 1e9
PASS_BYTES = 2 * 2**30


@dataclass(frozen=True)
class Throughput:
    """Seconds that one base takes, and bytes.

    `read` and `write` are pairs: by the base itself, and under adapters. `train` and `full` are
    (seconds a trained token, seconds a step of one variant).

    Attributes:
        load: to load the model.
        prompt: to cut one prompt into tokens.
        read: a token in a batch.
        single: a token of a prompt read by itself.
        write: a generated token, of many texts at once.
        train: with adapters.
        full: with all weights.
        peak_bytes: the most memory held.
        source: "measured", or what it was guessed from.
    """

    load: float
    prompt: float
    read: tuple[float, float]
    single: float
    write: tuple[float, float]
    train: tuple[float, float]
    full: tuple[float, float]
    peak_bytes: float
    source: str = "measured"

    def seconds(self, work: CostEstimate, tuned: bool) -> float:
        """Return how long the work of a cell takes, its base being loaded."""
        by_token, by_step = self.full if work.full else self.train
        return (
            CELL_SECONDS
            + work.prompts * self.prompt
            + work.read_tokens * self.read[tuned]
            + work.single_tokens * self.single
            + work.written_tokens * self.write[tuned]
            + work.trained_tokens * by_token
            + work.steps * by_step
        )


def from_shape(model: str, *, bytes_each: float, flops: float, bandwidth: float) -> Throughput:
    """Return the throughput of a base that is not tried out, from its number of parameters.

    Two operations a parameter and token to read, four to train adapters, six to train everything
    (Kaplan et al. 2020, arXiv 2001.08361, section 2.1), at an assumed use of the device
    (`SHAPE_USE`); a generated token reads all weights, once for `WRITTEN_ROWS` texts.

    Args:
        model: the name that the base is found by.
        bytes_each: of a weight.
        flops: operations a second that the device does in matrix products.
        bandwidth: bytes a second that it reads.
    """
    numbers = num_parameters(identity.locate(model))
    return paced(numbers, bytes_each=bytes_each, flops=flops, bandwidth=bandwidth)


def paced(numbers: float, *, bytes_each: float, flops: float, bandwidth: float) -> Throughput:
    """Return the throughput of a base of so many parameters; see `from_shape`."""
    size = numbers * bytes_each
    read = 2 * numbers / (flops * SHAPE_USE["read"])
    scan = size / (bandwidth * SHAPE_USE["bandwidth"])
    write = max(read, scan / WRITTEN_ROWS)
    trained = 2 * numbers / (flops * SHAPE_USE["train"])
    return Throughput(
        load=size / DISK_BYTES_PER_SECOND,
        prompt=3e-4,
        read=(read, read),
        single=read,
        write=(write, write),
        train=(2 * trained, 0.0),
        full=(3 * trained, 3 * scan),
        peak_bytes=size + PASS_BYTES,
        source="its number of parameters",
    )


def device_speed(device: torch.device, dtype: torch.dtype) -> tuple[float, float]:
    """Return operations a second of a large matrix product, and bytes a second read and written."""
    size = 4096 if device.type == "cuda" else 1024
    a = torch.randn(size, size, device=device).to(dtype)
    flops = 2.0 * size**3 / shortest(lambda: a @ a, device)
    long = torch.empty(2**26, dtype=torch.uint8, device=device)
    return flops, 2.0 * long.numel() / shortest(long.clone, device)


def shape(model: str) -> str:
    """Return a text that is the same for bases of the same shape."""
    found = identity.locate(model)
    if found.is_file():
        header = gguf_file.read(found)
        tensors = [(tensor.name, tensor.shape) for tensor in header.tensors]
        return json.dumps([header.configuration, tensors], sort_keys=True)
    config = json.loads((found / "config.json").read_text(encoding="utf-8"))
    return json.dumps({k: v for k, v in config.items() if not k.startswith("_")}, sort_keys=True)


def shortest(run: Callable[[], Any], device: torch.device, times: int = 3) -> float:
    """Return the shortest of a few runs, after one to warm up."""
    taken = []
    for _ in range(times + 1):
        start = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        taken.append(time.perf_counter() - start)
    return min(taken[1:])
