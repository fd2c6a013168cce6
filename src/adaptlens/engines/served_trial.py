"""How fast the server of a served model answers, by a few requests."""

import time
from collections.abc import Sequence

from adaptlens.engines.throughput import Throughput
from adaptlens.lm.asked import Asked
from adaptlens.prompts.sizes import sketch
from adaptlens.types import Part, Prompt, Task

TRIED_PROMPTS = 8
"""Requests of one token, and as many of `TRIED_TOKENS`: they count towards the limits."""
TRIED_TOKENS = 16


def answering(lm: Asked, task: Task, adaptation: object) -> Throughput:
    """Return the pace of a server: seconds a request and a written token, as it is asked here.

    What it reads is part of a request; its memory is its own.
    """
    sent = [
        Prompt((Part("query", sketch(adaptation, task, query)),), (), query.id)
        for query in task.test[:TRIED_PROMPTS]
    ]
    short, long = (_seconds(lm, sent, most) / len(sent) for most in (1, TRIED_TOKENS))
    written = max(long - short, 0.0) / (TRIED_TOKENS - 1)
    return Throughput(
        load=0.0, prompt=short, read=(0.0, 0.0), single=0.0, write=(written, written),
        train=(0.0, 0.0), full=(0.0, 0.0), peak_bytes=0.0,
    )  # fmt: skip


def _seconds(lm: Asked, sent: Sequence[Prompt], most: int) -> float:
    start = time.perf_counter()
    lm.continuations(sent, None, most)
    return time.perf_counter() - start
