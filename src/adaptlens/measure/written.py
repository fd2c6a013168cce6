"""Choices read from what a model writes, where nobody gives the log-probability of an answer."""

from collections.abc import Mapping, Sequence

import numpy as np

from adaptlens.lm.asked import Asked
from adaptlens.measure import Progress
from adaptlens.prompts import render
from adaptlens.prompts.parsing import option_in
from adaptlens.types import Prompt, Task, Weights


def written(
    lm: Asked,
    task: Task,
    sent: Mapping[str, tuple[Sequence[Sequence[Prompt]], Sequence[int]]],
    weights: Weights | None,
    progress: Progress | None,
) -> tuple[dict[str, np.ndarray], dict[str, list[list[str]]]]:
    """Return the option that each text names, and the texts.

    Args:
        lm: writes them, greedily, up to the task's stop text or most tokens.
        task: says where an answer ends.
        sent: by the prefix of a split, prompts [rows][queries] and the owner of each row's weights.
        weights: changes to the model's.
        progress: called with (texts done, all).

    Returns:
        `PREFIXchosen` [rows, queries], -1 where no option is named; and texts by prefix.
    """
    flat = [prompt for rows, _ in sent.values() for row in rows for prompt in row]
    owners = [
        own for rows, of in sent.values() for row, own in zip(rows, of, strict=True) for _ in row
    ]
    texts = iter(
        lm.continuations(
            flat, owners, task.max_new_tokens, render.stops(task), weights, progress=progress
        )
    )
    arrays, outputs = {}, {}
    for prefix, (rows, _) in sent.items():
        outputs[prefix] = [[next(texts) for _ in row] for row in rows]
        pairs = [zip(row, own, strict=True) for row, own in zip(outputs[prefix], rows, strict=True)]
        chosen = [[option_in(text, prompt.answers) for text, prompt in row] for row in pairs]
        arrays[f"{prefix}chosen"] = np.array(chosen)
    return arrays, outputs
