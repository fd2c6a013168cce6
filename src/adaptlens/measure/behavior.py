"""What an adapted model does: log-likelihood of every choice, or the text it generates."""

import functools
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from jaxtyping import Float64, Int64

from adaptlens.lm.asked import Asked
from adaptlens.lm.prefix.walk import ForwardStats
from adaptlens.measure import Progress
from adaptlens.measure.axes import AXES, Stated
from adaptlens.measure.exact_match import exact_match
from adaptlens.measure.recorded_answers import as_behavior
from adaptlens.measure.written import written
from adaptlens.prompts import render
from adaptlens.prompts.sizes import STOP_TOKENS, PromptSizes
from adaptlens.types import Adapted, CostEstimate, Example, Measured, Prompt, Task

SHOWN_PROMPTS = 3


@dataclass(frozen=True)
class Behavior:
    """Scores the test and the validation queries under every variant.

    Choice tasks give `loglik`, `prior_loglik`, `answer_tokens` and `answer_bytes` [repeats,
    queries, choices] and `gold` [queries]; where a query has fewer choices than others, the first
    two are NaN and the others 0, and nowhere else: a score that is no number ends the measurement
    (`lm.score`). Of a model whose server gives no log-probabilities, they give `chosen` [repeats,
    queries], read from what it writes (`measure.written`), `gold` and `num_choices` [queries];
    and generation tasks give no `target_loglik`. Generation tasks give `exact`, `chrf`
    and `target_loglik` [repeats, queries] and the generated `outputs`. The same names with the
    prefix `validation_` hold the validation split, on which choices such as the best shot count
    are made. Where variants are draws under several templates, each draw reads each validation
    query under one of them, in turn: the arrays then have one row a draw.
    """

    name: ClassVar[str] = "behavior"
    axes: ClassVar[Stated] = AXES["behavior"]

    def cost_estimate(self, sizes: PromptSizes) -> CostEstimate:
        """Return the work of reading every query under its templates, and of writing answers."""
        task, ways, variants = sizes.task, len(sizes.ways), sizes.num_draws
        # Test queries under every template, validation queries under one each.
        queries = ways * len(task.test) + len(task.validation)
        groups = ways * sizes.groups
        if task.kind == "choice":
            # Read again without content, options and all, of which few prompts differ.
            return CostEstimate(
                prompts=2.0 * variants * queries,
                read_tokens=variants * sizes.read(queries, sizes.options, groups=groups),
                disk_bytes=32.0 * variants * queries * sizes.choices,
            )
        written = min(sizes.answer + STOP_TOKENS, task.max_new_tokens)
        if sizes.family != "tune":
            # Models that were not tuned write more than was asked for.
            written = (written + task.max_new_tokens) / 2
        twice = (sizes.read(queries, after, groups=groups) for after in (sizes.answer, 0.0))
        return CostEstimate(
            prompts=2.0 * variants * queries,
            read_tokens=variants * sum(twice),
            written_tokens=variants * queries * written,
            disk_bytes=variants * queries * (24.0 + 5 * written),
        )

    def measure(
        self, lm: Asked, task: Task, adapted: Adapted, *, progress: Progress | None = None
    ) -> Measured:
        """Return the arrays above, and prompts as actually sent, of every template."""
        if adapted.recorded is not None:
            return as_behavior(adapted.recorded, task)
        test = as_written(adapted, task.test)
        splits = {"": test}
        if task.validation:
            splits["validation_"] = _in_turn(adapted, task.validation)
        work = ForwardStats()
        texts: dict[str, object] = {}
        if task.kind == "choice":
            arrays = choices(lm, task, adapted, splits, progress, work)
        else:
            arrays, outputs = generation(lm, task, adapted, splits, progress, work)
            texts["outputs"] = outputs[""]
        texts["prompts"] = _shown(adapted, test)
        sent = [prompt for rows in splits.values() for row in rows.sent for prompt in row]
        counts = {
            "dropped_demos": float(sum(prompt.dropped_demos for prompt in sent)),
            "unshared_sequences": float(work.unshared),
            "seams_moved": float(work.seams_moved),
        }
        return Measured(counts, arrays, texts)


@dataclass(frozen=True)
class Rows:
    """What is read of some queries.

    Attributes:
        queries: which.
        variants: who reads each row.
        write: queries to their prompts [rows][queries].
        sent: those of these queries.
    """

    queries: Sequence[Example]
    variants: tuple[int, ...]
    write: Callable[[Sequence[Example]], list[list[Prompt]]]

    @functools.cached_property
    def sent(self) -> list[list[Prompt]]:
        """The prompts [rows][queries]."""
        return self.write(self.queries)

    def for_targets(self) -> "Rows":
        """Return the same with the wanted text as the one answer."""

        def write(queries: Sequence[Example]) -> list[list[Prompt]]:
            return [[Prompt(p.parts, (p.target,), p.query_id) for p in row] for row in self.sent]

        return replace(self, write=write)

    def content_free(self) -> "Rows":
        """Return the same with queries that say nothing."""
        return replace(self, queries=[render.content_free(query) for query in self.queries])


def as_written(adapted: Adapted, queries: Sequence[Example]) -> Rows:
    """Return queries as every variant reads them."""
    return Rows(queries, tuple(range(len(adapted.draws))), functools.partial(_written, adapted))


def _shown(adapted: Adapted, rows: Rows) -> list[dict[str, object]]:
    """Return the first draw's first prompts as sent, then one of each further template."""
    ways = adapted.templates or ("",)
    draws = len(adapted.draws) // len(ways)
    return [
        {
            "query_id": prompt.query_id,
            "template": way,
            "gold": query.target,
            "parts": [[part.role, part.text] for part in prompt.parts],
            "answers": list(prompt.answers),
        }
        for place, way in enumerate(ways)
        for prompt, query in zip(
            rows.sent[place * draws][: 1 if place else SHOWN_PROMPTS], rows.queries, strict=False
        )
    ]


def _in_turn(adapted: Adapted, queries: Sequence[Example]) -> Rows:
    """Return the validation split: all variants, or each draw with its templates taking turns."""
    if not adapted.templates:
        return as_written(adapted, queries)
    ways = len(adapted.templates)
    draws = adapted.draws[: len(adapted.draws) // ways]

    def write(queries: Sequence[Example]) -> list[list[Prompt]]:
        sent = _written(adapted, queries)
        return [
            [sent[(q + draw) % ways * len(draws) + place][q] for q in range(len(queries))]
            for place, draw in enumerate(draws)
        ]

    return Rows(queries, tuple(range(len(draws))), write)


def _written(adapted: Adapted, queries: Sequence[Example]) -> list[list[Prompt]]:
    """Return the prompts [repeats][queries], written once where variants share them."""
    repeats = len(adapted.draws)
    if adapted.shares_prompts:
        each = repeats // (len(adapted.templates) or 1)
        firsts = range(0, repeats, each)
        return [row for i in firsts for row in [[adapted.write(i, q) for q in queries]] * each]
    return [[adapted.write(i, query) for query in queries] for i in range(repeats)]


def scored(
    lm: Asked,
    adapted: Adapted,
    parts: Sequence[Rows],
    progress: Progress | None,
    work: ForwardStats,
) -> list[list[list[Float64[np.ndarray, " _"]]]]:
    """Return the log-likelihoods of every prompt's answers, [parts][rows][queries] of [choices].

    Equal prompts of one set of weights are scored once.
    """
    places: dict[tuple[int, bytes, tuple[str, ...], tuple[int, ...]], int] = {}
    unique: list[Prompt] = []
    owners: list[int] = []
    where = []
    for part in parts:
        for variant, row in zip(part.variants, part.sent, strict=True):
            own = _owner(adapted, variant)
            for prompt in row:
                key = (own, _digest(prompt.text), prompt.answers, prompt.given)
                if key not in places:
                    places[key] = len(unique)
                    unique.append(prompt)
                    owners.append(own)
                where.append(places[key])
    found = lm.log_likelihoods(unique, owners, adapted.weights, progress=progress, work=work)
    each = iter(where)
    return [[[found[next(each)] for _ in row] for row in part.sent] for part in parts]


def _digest(text: str) -> bytes:
    """Return what stands for a text that may be long."""
    return hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=16).digest()


def _owner(adapted: Adapted, variant: int) -> int:
    """Return the number of the weights that read a variant's prompts."""
    return variant % adapted.weights.num_variants if adapted.weights is not None else 0


def choices(
    lm: Asked,
    task: Task,
    adapted: Adapted,
    splits: Mapping[str, Rows],
    progress: Progress | None,
    work: ForwardStats,
) -> dict[str, np.ndarray]:
    """Return the scores of answers to every split, its prefix before their names.

    Of a model that scores no answers, the choices that it writes.
    """
    if not lm.scores_answers:
        return _written_choices(lm, task, adapted, splits, progress)
    free = [rows.content_free() for rows in splits.values()]
    both = scored(lm, adapted, [*splits.values(), *free], progress, work)
    arrays: dict[str, np.ndarray] = {}
    for (prefix, rows), found, prior in zip(
        splits.items(), both[: len(splits)], both[len(splits) :], strict=True
    ):
        tokens, size = _sizes(lm, rows)
        own = {
            "loglik": _padded(found),
            "prior_loglik": _padded(prior),
            "answer_tokens": tokens,
            "answer_bytes": size,
            "gold": _golds(task, rows),
        }
        arrays |= {prefix + name: array for name, array in own.items()}
    return arrays


def _golds(task: Task, rows: Rows) -> Int64[np.ndarray, " queries"]:
    options = [query.choices or task.choices for query in rows.queries]
    return np.array([o.index(q.target) for o, q in zip(options, rows.queries, strict=True)])


def _written_choices(
    lm: Asked,
    task: Task,
    adapted: Adapted,
    splits: Mapping[str, Rows],
    progress: Progress | None,
) -> dict[str, np.ndarray]:
    sent = {
        prefix: (rows.sent, [_owner(adapted, variant) for variant in rows.variants])
        for prefix, rows in splits.items()
    }
    arrays, _ = written(lm, task, sent, adapted.weights, progress)
    for prefix, rows in splits.items():
        arrays[f"{prefix}gold"] = _golds(task, rows)
        arrays[f"{prefix}num_choices"] = np.array(
            [len(query.choices or task.choices) for query in rows.queries]
        )
    return arrays


def _padded(
    found: Sequence[Sequence[Float64[np.ndarray, " _"]]],
) -> Float64[np.ndarray, "rows queries choices"]:
    """Return log-likelihoods, NaN where a query has fewer choices."""
    most = max(len(logliks) for row in found for logliks in row)
    padded = np.full((len(found), len(found[0]), most), np.nan)
    for repeat, row in enumerate(found):
        for position, logliks in enumerate(row):
            padded[repeat, position, : len(logliks)] = logliks
    return padded


def _sizes(
    lm: Asked, rows: Rows
) -> tuple[Int64[np.ndarray, "rows queries choices"], Int64[np.ndarray, "rows queries choices"]]:
    """Return tokens and bytes of the answers as they were scored."""
    texts = [*dict.fromkeys(a for row in rows.sent for prompt in row for a in _scored_of(prompt))]
    counts = dict(zip(texts, lm.token_counts(texts), strict=True))
    most = max(len(prompt.answers) for row in rows.sent for prompt in row)
    tokens, size = np.zeros((2, len(rows.sent), len(rows.queries), most), np.int64)
    for repeat, row in enumerate(rows.sent):
        for position, prompt in enumerate(row):
            num = len(prompt.answers)
            tokens[repeat, position, :num] = [counts[text] for text in _scored_of(prompt)]
            size[repeat, position, :num] = [len(text.encode()) for text in _scored_of(prompt)]
    return tokens, size


def _scored_of(prompt: Prompt) -> Sequence[str]:
    """Return of each answer what is scored."""
    if not prompt.given:
        return prompt.answers
    return [a[given:] for a, given in zip(prompt.answers, prompt.given, strict=True)]


def generation(
    lm: Asked,
    task: Task,
    adapted: Adapted,
    splits: Mapping[str, Rows],
    progress: Progress | None,
    work: ForwardStats,
) -> tuple[dict[str, np.ndarray], dict[str, list[list[str]]]]:
    """Return the scores of texts written for every split, likewise, and the texts by prefix."""
    from sacrebleu.metrics import CHRF

    targets = [rows.for_targets() for rows in splits.values()]
    logliks = scored(lm, adapted, targets, None, work) if lm.scores_answers else [[]] * len(targets)
    flat = [prompt for rows in splits.values() for row in rows.sent for prompt in row]
    owners = [
        _owner(adapted, variant)
        for rows in splits.values()
        for variant in rows.variants
        for _ in rows.queries
    ]
    generated = iter(
        lm.continuations(
            flat,
            owners,
            task.max_new_tokens,
            stop=render.stops(task),
            weights=adapted.weights,
            progress=progress,
            work=work,
        )
    )
    chrf = CHRF()
    arrays: dict[str, np.ndarray] = {}
    outputs: dict[str, list[list[str]]] = {}
    for (prefix, rows), loglik in zip(splits.items(), logliks, strict=True):
        texts = [[next(generated) for _ in row] for row in rows.sent]
        if task.matching is None:
            texts = [[text.strip() for text in row] for row in texts]
        outputs[prefix] = texts
        wanted = [(query.target, *query.accepted) for query in rows.queries]
        pairs = [list(zip(row, wanted, strict=True)) for row in texts]
        own = {
            "exact": np.array([[exact_match(o, w, task.matching) for o, w in r] for r in pairs]),
            "chrf": np.array([[chrf.sentence_score(o, w).score for o, w in r] for r in pairs]),
            "target_tokens": np.array(lm.token_counts([p.target for p in rows.sent[0]])),
        }
        if loglik:
            own["target_loglik"] = np.array([[float(one[0]) for one in row] for row in loglik])
        arrays |= {prefix + name: array for name, array in own.items()}
    return arrays, outputs
