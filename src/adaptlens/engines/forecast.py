"""What a study will take, before it is run: seconds, memory and disk, condition by condition."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch

from adaptlens.adapt.families import family_of
from adaptlens.cells import Cell, Study, group
from adaptlens.engines import kept_throughput, workload
from adaptlens.engines.served_trial import answering
from adaptlens.engines.throughput import Throughput, device_speed, from_shape, shape
from adaptlens.engines.trials import measured
from adaptlens.lm.load import load
from adaptlens.lm.ready import ready
from adaptlens.lm.weights import DTYPES, find_device
from adaptlens.models import identity, server

MOST_TRIED_BYTES = 4 * 10**9
"""Larger bases are not loaded for a trial; their throughput is guessed from their shape."""
QUANTIZED_BYTES = {"4bit": 0.5625, "8bit": 1.0}
"""Bytes of a quantized weight: 4 bits and a float32 scale for every 64 weights, or 8 bits."""


def forecast(
    study: Study,
    config: Any,
    progress: Callable[[str], None] = lambda _: None,
    *,
    again: bool = False,
) -> list[dict[str, float]]:
    """Return what the study takes, by a trial of every base that is small enough to load for it.

    One row per condition, as `cells.group` tells them apart, in order: `seconds`, `memory_bytes`
    (the most held at a time) and `disk_bytes`, of all its cells on one device.

    Bases of one shape are tried once, and what was found is kept for the next time. Right to within
    a factor of two where bases are tried (benchmarks/plan.py); tables and page come on top.

    Args:
        study: the plan.
        config: device, chat and quantize of the study.
        progress: told what is done next.
        again: try out bases whose throughput is known from an earlier trial, too.

    Raises:
        UserError: a base cannot be loaded.
    """
    by_model: dict[str, list[Cell]] = {}
    for cell in study.cells:
        by_model.setdefault(cell.model.name, []).append(cell)
    models = study.sources
    tried: dict[str, Throughput] = {}
    throughputs = {}
    for name, cells in by_model.items():
        key = models[name] if server.PREFIX in models[name] else shape(models[name])
        if key not in tried:
            tried[key] = _pace(models[name], cells, study, config, progress, again=again)
        throughputs[name] = tried[key]
    rows: dict[str, dict[str, float]] = {}
    searched: set[tuple[str, str]] = set()
    for cell in study.cells:
        throughput = throughputs[cell.model.name]
        source = models[cell.model.name]
        about = (source, cell.task.digest)
        work = workload.of_cell(cell, study.tasks[about[1]], source, searched=about in searched)
        if cell.adaptation.name == "best_prompt":
            searched.add(about)
        row = rows.setdefault(
            group(cell.spec()), {"seconds": 0.0, "memory_bytes": 0.0, "disk_bytes": 0.0}
        )
        row["seconds"] += throughput.seconds(work, family_of(cell.adaptation.name) == "tune")
        row["disk_bytes"] += work.disk_bytes
        row["memory_bytes"] = max(row["memory_bytes"], throughput.peak_bytes)
    return list(rows.values())


def _pace(
    model: str,
    cells: Sequence[Cell],
    study: Study,
    config: Any,
    progress: Callable[[str], None],
    *,
    again: bool,
) -> Throughput:
    if server.PREFIX in model:
        progress(f"asking {cells[0].model.name}")
        first = cells[0]
        made = first.adaptation.make("adaptation")
        return answering(ready(model, chat=config.chat), study.tasks[first.task.digest], made)
    size = sum(path.stat().st_size for path in identity.weight_files(identity.locate(model)))
    if size > MOST_TRIED_BYTES:
        device, dtype = find_device(config.device), DTYPES[cells[0].model.dtype]
        flops, bandwidth = device_speed(device, dtype)
        bytes_each = QUANTIZED_BYTES.get(config.quantize, dtype.itemsize)
        return from_shape(model, bytes_each=bytes_each, flops=flops, bandwidth=bandwidth)

    def loaded() -> Any:
        return load(
            model,
            dtype=cells[0].model.dtype,
            device=config.device,
            chat=config.chat,
            quantize=config.quantize,
        )

    works = {id(c): workload.of_cell(c, study.tasks[c.task.digest], model) for c in cells}
    settings = {
        "device": find_device(config.device),
        "dtype": cells[0].model.dtype,
        "quantize": config.quantize,
    }
    key = kept_throughput.key(model, cells, works, settings)
    known = None if again else kept_throughput.find(key)
    shown = cells[0].model.name
    if known is not None:
        progress(f"{shown}: speed as found before (--again tries it out once more)")
        return replace(known, source="measured before")
    progress(f"trying {shown}")
    with torch.random.fork_rng():
        throughput = measured(loaded, cells, study.tasks, works)
    kept_throughput.keep(key, throughput)
    return throughput
