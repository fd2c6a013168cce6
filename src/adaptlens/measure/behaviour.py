"""What an adapted model does: log-likelihood of every choice, or the text it generates."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from adaptlens import prompts
from adaptlens.lm import score
from adaptlens.lm.load import LM
from adaptlens.lm.walk import Work
from adaptlens.measure import Progress
from adaptlens.values import Adapted, Example, Measured, Prompt, Task

SHOWN_PROMPTS = 3


@dataclass(frozen=True)
class Behaviour:
    """Scores the test and the validation queries under every variant.

    Choice tasks give `loglik`, `prior_loglik`, `answer_tokens` and `answer_bytes` [repeats,
    queries, choices] and `gold` [queries]; generation tasks give `exact`, `chrf`
    and `target_loglik` [repeats, queries] and the generated `outputs`. The same names with the
    prefix `validation_` hold the validation split, on which choices such as the best shot count
    are made.
    """

    name: ClassVar[str] = "behaviour"

    def measure(
        self, lm: LM, task: Task, adapted: Adapted, *, progress: Progress | None = None
    ) -> Measured:
        """Return the arrays above, and the first prompts as actually sent."""
        queries = (*task.test, *task.validation)
        sent, work = _written(adapted, queries), Work()
        if task.kind == "choice":
            arrays = _choices(lm, task, adapted, queries, sent, progress, work)
            texts: dict[str, object] = {}
        else:
            arrays, outputs = _generation(lm, task, adapted, queries, sent, progress, work)
            texts = {"outputs": [row[: len(task.test)] for row in outputs]}
        test = slice(0, len(task.test))
        rest = slice(len(task.test), None)
        split = {
            prefix + name: np.ascontiguousarray(_queries(name, array, part))
            for prefix, part in (("", test), ("validation_", rest))
            for name, array in arrays.items()
        }
        texts["prompts"] = [
            {
                "query_id": prompt.query_id,
                "gold": query.target,
                "parts": [[part.role, part.text] for part in prompt.parts],
                "answers": list(prompt.answers),
            }
            for prompt, query in zip(sent[0][:SHOWN_PROMPTS], task.test, strict=False)
        ]
        dropped = sum(prompt.dropped_demos for row in sent for prompt in row)
        counts = {
            "dropped_demos": float(dropped),
            "unshared_sequences": float(work.unshared),
            "seams_moved": float(work.seams_moved),
        }
        return Measured(counts, split, texts)


def _queries(name: str, array: np.ndarray, part: slice) -> np.ndarray:
    """Return the part of the array's queries axis, which follows `repeats` where there is one."""
    if name in ("gold", "target_tokens"):
        return array[part]
    return array[:, part]


def _written(adapted: Adapted, queries: Sequence[Example]) -> list[list[Prompt]]:
    """Return the prompts [repeats][queries], written once where variants share them."""
    repeats = len(adapted.draws)
    if adapted.shares_prompts:
        each = repeats // (len(adapted.templates) or 1)
        firsts = range(0, repeats, each)
        return [row for i in firsts for row in [[adapted.write(i, q) for q in queries]] * each]
    return [[adapted.write(i, query) for query in queries] for i in range(repeats)]


def _scored(
    lm: LM, adapted: Adapted, sent: list[list[Prompt]], progress: Progress | None, work: Work
) -> list[list[np.ndarray]]:
    """Return the log-likelihoods of every prompt's answers, [repeats][queries] of [choices].

    Equal prompts of one variant are scored once.
    """
    places: dict[tuple[int, str, tuple[str, ...]], int] = {}
    unique: list[Prompt] = []
    variants: list[int] = []
    where = []
    for variant, row in enumerate(sent):
        own = variant % adapted.weights.num_variants if adapted.weights is not None else 0
        for prompt in row:
            key = (own, prompt.text, prompt.answers)
            if key not in places:
                places[key] = len(unique)
                unique.append(prompt)
                variants.append(own)
            where.append(places[key])
    requests = score.encode(lm, unique, variants, work=work)
    found = score.score(lm, requests, adapted.weights, progress=progress, work=work)
    width = len(sent[0])
    return [
        [found[i] for i in where[start : start + width]] for start in range(0, len(where), width)
    ]


def _choices(
    lm: LM,
    task: Task,
    adapted: Adapted,
    queries: Sequence[Example],
    sent: list[list[Prompt]],
    progress: Progress | None,
    work: Work,
) -> dict[str, np.ndarray]:
    free = _written(adapted, [prompts.content_free(query) for query in queries])
    both = _scored(lm, adapted, [a + b for a, b in zip(sent, free, strict=True)], progress, work)
    options = [query.choices or task.choices for query in queries]
    most = max(map(len, options))
    padded = np.full((len(sent), 2 * len(queries), most), np.nan)
    for repeat, row in enumerate(both):
        for position, logliks in enumerate(row):
            padded[repeat, position, : len(logliks)] = logliks
    tokens, size = (np.zeros((len(sent), len(queries), most), np.int64) for _ in range(2))
    texts = dict.fromkeys(answer for row in sent for prompt in row for answer in prompt.answers)
    counts = {text: len(lm.tokenizer(text, add_special_tokens=False).input_ids) for text in texts}
    for repeat, own in enumerate(sent):
        for position, prompt in enumerate(own):
            num = len(prompt.answers)
            tokens[repeat, position, :num] = [counts[answer] for answer in prompt.answers]
            size[repeat, position, :num] = [len(answer.encode()) for answer in prompt.answers]
    return {
        "loglik": padded[:, : len(queries)],
        "prior_loglik": padded[:, len(queries) :],
        "answer_tokens": tokens,
        "answer_bytes": size,
        "gold": np.array([o.index(q.target) for o, q in zip(options, queries, strict=True)]),
    }


def _generation(
    lm: LM,
    task: Task,
    adapted: Adapted,
    queries: Sequence[Example],
    sent: list[list[Prompt]],
    progress: Progress | None,
    work: Work,
) -> tuple[dict[str, np.ndarray], list[list[str]]]:
    from sacrebleu.metrics import CHRF

    repeats = len(sent)
    with_target = [[Prompt(p.parts, (p.target,), p.query_id) for p in row] for row in sent]
    loglik = _scored(lm, adapted, with_target, None, work)
    owners = adapted.weights.num_variants if adapted.weights is not None else 1
    variants = [i % owners for i in range(repeats) for _ in queries]
    flat = [prompt for row in sent for prompt in row]
    requests = score.encode(lm, flat, variants)
    generated = score.generate(
        lm,
        requests,
        task.max_new_tokens,
        stop=stops(task),
        weights=adapted.weights,
        progress=progress,
        work=work,
    )
    outputs = [
        [text.strip() for text in generated[start : start + len(queries)]]
        for start in range(0, len(generated), len(queries))
    ]
    chrf = CHRF()
    wanted = [query.target for query in queries]
    arrays = {
        "exact": np.array(
            [[float(o == w.strip()) for o, w in zip(row, wanted, strict=True)] for row in outputs]
        ),
        "chrf": np.array(
            [
                [chrf.sentence_score(o, [w]).score for o, w in zip(row, wanted, strict=True)]
                for row in outputs
            ]
        ),
        "target_loglik": np.array([[float(one[0]) for one in row] for row in loglik]),
        "target_tokens": np.array(
            [len(lm.tokenizer(p.target, add_special_tokens=False).input_ids) for p in sent[0]]
        ),
    }
    return arrays, outputs


def stops(task: Task) -> tuple[str, ...]:
    """Return the texts that end a generated answer: a line break, or what separates the items.

    A task that names its own (`Task.stop`) gets these.
    """
    if task.stop:
        return task.stop
    multiline = any("\n" in e.target for e in (*task.train, *task.validation, *task.test))
    return (task.template.between,) if multiline else ("\n",)
