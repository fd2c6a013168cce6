"""Which queries are patched against which: as many tokens, another answer.

Where two answers begin with the same tokens, as numbers do or a space of its own, these tokens are
appended to both prompts: the model is read where the answers part.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from adaptlens.errors import UserError
from adaptlens.lm.load import LM
from adaptlens.lm.prefix import boundaries
from adaptlens.lm.prefix.trie import common
from adaptlens.lm.units import Pair
from adaptlens.prompts import render
from adaptlens.types import (
    ActsWhereAnswered,
    Adapted,
    Example,
    HasVirtualTokens,
    Prompt,
    Task,
)

Corruption = Literal["other", "twin"]
Place = Literal["last", "cue", "query", "all"]
CORRUPTIONS: tuple[Corruption, ...] = ("other", "twin")
PLACES: tuple[Place, ...] = ("last", "cue", "query", "all")


@dataclass(frozen=True, slots=True)
class Matched:
    """Two queries: `clean` is asked, `corrupt` takes its place."""

    clean: Example
    corrupt: Example


def matched(
    lm: LM, task: Task, corruption: Corruption, group: str, most: int, seed: int
) -> list[Matched]:
    """Return pairs of test items with as many tokens and answers that part at some token.

    Items are taken in the task's order, each against the first that fits in a random order of the
    others. It depends on model and task alone, so that all conditions patch the same queries.

    Args:
        lm: the model, for its tokenizer.
        task: where the items come from.
        corruption: "other" replaces a query by another of its group; "twin" by the one of another
            group that differs in the fewest tokens.
        group: the group of items that are asked; all where empty.
        most: how many pairs at most.
        seed: of the random order.

    Raises:
        UserError: there is no such pair.
    """
    asked = [
        Prompt(render.render(task, (), q).parts, (render.answer(task, q.target, chat=lm.chat),))
        for q in task.test
    ]
    requests = boundaries.encode(lm, asked)
    ids = [np.array(request.prompt_ids) for request in requests]
    answers = [request.answers_ids[0] for request in requests]
    order = np.random.default_rng([seed, 0x7A125]).permutation(len(ids)).tolist()
    found = []
    for i, query in enumerate(task.test):
        if group and query.group != group:
            continue
        fitting = [
            j
            for j in order
            if len(ids[j]) == len(ids[i])
            and common(answers[i], answers[j]) < min(len(answers[i]), len(answers[j]))
            and (task.test[j].group != query.group) == (corruption == "twin")
        ]
        if fitting:
            if corruption == "twin":
                fitting.sort(key=lambda j: int((ids[j] != ids[i]).sum()))
            found.append(Matched(query, task.test[fitting[0]]))
        if len(found) == most:
            break
    if not found:
        raise UserError(
            f"task '{task.name}' has no two test items {f'of group {group} ' if group else ''}with "
            f"as many tokens and answers that part at some token (corruption '{corruption}'); "
            "give more test items, or items of like length."
        )
    return found


def check_units_can_be_read(adapted: Adapted) -> None:
    """Check that units can be read and replaced in runs of an adapted model.

    Raises:
        UserError: it acts at some tokens alone, or reads tokens of its own: patching does neither.
    """
    if isinstance(adapted.weights, ActsWhereAnswered | HasVirtualTokens):
        raise UserError(
            f"{adapted.adaptation}: heads, circuits and edges are not read of vectors and soft "
            "prompts; leave them out of the measurements, or leave out that way of tuning."
        )


def written(
    lm: LM, adapted: Adapted, task: Task, pairs: Sequence[Matched], place: Place
) -> list[Pair]:
    """Return the pairs as every variant's prompts, variant by variant.

    Places: the last token; "cue", the tokens between query and answer; "query", those of the
    query from the first that differs; "all", from the first that differs to the last.

    Raises:
        UserError: the two prompts of a pair differ in length in this condition, or its units
            cannot be read.
    """
    check_units_can_be_read(adapted)
    repeats = len(adapted.draws)
    both = [query for pair in pairs for query in (pair.clean, pair.corrupt)]
    sent = [
        Prompt(prompt.parts, (render.answer(task, query.target, chat=lm.chat),), query.id)
        for variant in range(repeats)
        for query in both
        for prompt in (adapted.write(variant, query),)
    ]
    requests = boundaries.encode(lm, sent)
    found = []
    for n in range(0, len(requests), 2):
        clean, corrupt = requests[n : n + 2]
        if len(clean.prompt_ids) != len(corrupt.prompt_ids):
            raise UserError(
                f"the prompts of items {sent[n].query_id} and {sent[n + 1].query_id} have "
                f"{len(clean.prompt_ids)} and {len(corrupt.prompt_ids)} tokens under "
                f"{adapted.adaptation}, though the items have as many; use demonstrations that do "
                "not depend on the query."
            )
        answer, foil = clean.answers_ids[0], corrupt.answers_ids[0]
        shared = common(answer, foil)
        whole, other = (ids + answer[:shared] for ids in (clean.prompt_ids, corrupt.prompt_ids))
        found.append(
            Pair(
                whole,
                other,
                answer[shared],
                foil[shared],
                (_site(lm, sent[n], whole, other, place),),
                n // (2 * len(pairs)),
            )
        )
    return found


def _site(
    lm: LM, prompt: Prompt, clean: Sequence[int], corrupt: Sequence[int], place: Place
) -> tuple[int, ...]:
    last = len(clean) - 1
    if place == "last":
        return (last,)
    differing = next(i for i, (a, b) in enumerate(zip(clean, corrupt, strict=True)) if a != b)
    if place == "all":
        return tuple(range(differing, last + 1))
    cue = _cue_tokens(lm, prompt, len(clean))
    if place == "cue":
        return tuple(range(last + 1 - cue, last + 1))
    return tuple(range(differing, last + 1 - cue)) or (differing,)


def _cue_tokens(lm: LM, prompt: Prompt, size: int) -> int:
    """Return how many tokens stand after the query, one at least."""
    spans = prompt.spans()
    end = max(stop for role, _, stop in spans if role == "query")
    before = lm.encode(prompt.text[:end])
    return max(1, size - len(before))
