"""On paper: the study of limits on bases of 7B to 70B, on 60 tasks. The figures of docs/scale.md.

    python benchmarks/scale.py [--json]

Nothing is run. Tokens follow from the study's plan and the sizes below; seconds from operations and
bytes (`engines.throughput.paced`), at the device's stated speed times an assumed use.
"""

import argparse
import json
from dataclasses import dataclass

from adaptlens.engines.throughput import SHAPE_USE, WRITTEN_ROWS, paced

FLOPS, BANDWIDTH, MEMORY = 989e12, 3.35e12, 80e9
"""One H100 SXM: dense bf16 operations a second, bytes a second, bytes; NVIDIA's data sheet."""

TASKS, QUERIES, ROWS = 60, 200, 20_000
MIXTURES, SEEDS, ABLATION_SEEDS, GOLD_DRAWS, VARIATIONS = 8, 3, 1, 3, 6
ITEM, OPTIONS, ANSWER, RANK = 150, 12, 6, 64
"""Tokens of an item as it is asked, of its options, and of an answer; rank of the adapters."""


@dataclass(frozen=True)
class Base:
    """A base as published: billions of parameters, layers, width, bytes of a weight when run."""

    name: str
    billions: float
    layers: int
    width: int
    bytes_each: float = 2.0


BASES = (
    Base("7B", 6.7, 32, 4096),
    Base("13B", 13.0, 40, 5120),
    Base("70B, 4 bits", 69.0, 80, 8192, 0.56),
)
EACH = 3
"""Bases of each size."""


def hours(base: Base) -> dict[str, float]:
    """Return the GPU hours of one base's cells, by what is done."""
    numbers = base.billions * 1e9
    pace = paced(numbers, bytes_each=base.bytes_each, flops=FLOPS, bandwidth=BANDWIDTH)
    tuned = SEEDS + (MIXTURES - 1) * ABLATION_SEEDS
    queries = TASKS * QUERIES
    written = 4 * ITEM  # two examples, the item again, and the marks between them
    asked = ITEM + OPTIONS
    readings = 1 + GOLD_DRAWS * VARIATIONS + (SEEDS * VARIATIONS + tuned - SEEDS)
    per = {
        "tune, regular": tuned * ROWS * (ITEM + ANSWER) * pace.train[0],
        "tune, samplegen": tuned * ROWS * (ITEM + written) * pace.train[0],
        # Once to score the options and once to write; gold examples are shared by all items.
        "read": queries * pace.read[0] * 2 * asked * readings,
        "read what was written": queries * tuned * pace.read[0] * (ITEM + 3 * written + OPTIONS),
        "write answers": queries * (readings + tuned) * ANSWER * pace.write[0],
        "write examples": queries * tuned * written * pace.write[0],
        "load": pace.load,
    }
    return {name: seconds / 3600 for name, seconds in per.items()}


def main() -> None:
    """Print hours, memory and disk by size, and their sums."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    given = parser.parse_args()
    tuned = SEEDS + (MIXTURES - 1) * ABLATION_SEEDS
    rows = []
    for base in BASES:
        taken = hours(base)
        adapter = 4.0 * base.layers * 2 * 2 * base.width * RANK
        size = base.billions * 1e9 * base.bytes_each
        rows.append(
            {
                "size": base.name,
                "bases": EACH,
                "tuned_models": EACH * tuned * 2,
                "cells": EACH * (2 + 2 * MIXTURES),
                "hours_each": sum(taken.values()),
                **{name: value for name, value in taken.items()},
                "longest_cell_hours": SEEDS
                / tuned
                * (
                    taken["tune, samplegen"]
                    + taken["write examples"]
                    + taken["read what was written"]
                ),
                # Weights, a pass, and master, gradient and two moments of a bank of three.
                "memory_gb": (size + 2**31 + 4 * SEEDS * adapter) / 1e9,
                "adapters_gb": EACH * 2 * tuned * adapter / 1e9,
                "weights_gb": EACH * base.billions * 2,
            }
        )
    total = {
        "tasks": TASKS,
        "tuned_models": sum(row["tuned_models"] for row in rows),
        "cells": sum(row["cells"] for row in rows),
        "gpu_hours": sum(EACH * row["hours_each"] for row in rows),
        "adapters_gb": sum(row["adapters_gb"] for row in rows),
        "weights_gb": sum(row["weights_gb"] for row in rows),
        "use": SHAPE_USE,
        "rows_written_at_once": WRITTEN_ROWS,
    }
    if given.json:
        print(json.dumps({"rows": rows, "total": total}))
        return
    for row in rows:
        for name, value in row.items():
            print(
                f"{name:<24}{value:>14}" if isinstance(value, str) else f"{name:<24}{value:>14,.1f}"
            )
        print()
    for name, value in total.items():
        print(f"{name:<24} {value}")


if __name__ == "__main__":
    main()
