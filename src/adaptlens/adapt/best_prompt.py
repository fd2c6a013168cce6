"""The best prompt that can be found: template, label words, demonstrations and rule are searched.

On the labels that tuning gets: the draw's own examples, and the part of the validation split that
chooses rates of tuning, too.
"""

import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

import numpy as np

from adaptlens.adapt import Progress, estimates
from adaptlens.adapt.halving import Read, Search, Tried
from adaptlens.adapt.prompting import OVERFLOW, with_demonstrations
from adaptlens.adapt.settings import choosing, parts
from adaptlens.errors import UserError, unknown
from adaptlens.lm.asked import Asked
from adaptlens.lm.encoder import DEFAULT_ENCODER, Similarity, cosine_similarity
from adaptlens.metrics import accuracy
from adaptlens.prompts import controls, render
from adaptlens.prompts.fitting import Fitting, TooLong
from adaptlens.prompts.selection import DRAWN, RETRIEVED, bm25, take_turns
from adaptlens.prompts.sizes import PromptSizes
from adaptlens.stats.scores import Family
from adaptlens.tasks.template_space import templates_to_try, words_to_try
from adaptlens.tasks.templates import Written, written
from adaptlens.types import NO_DRAWS, Adapted, CostEstimate, Example, Prompt, Task, Template

ORDERS = ("drawn", "reversed", "balanced", "half", "nearest")
"""How a draw's examples are shown: as drawn; the other way round; the answers taking turns; the
first half of these; the `NEAREST` most like the query, the most similar last."""

NEAREST = 4
READS = 2400
"""Prompts that the search for a template reads by default."""
DRAW_READS = 640
"""Prompts that the search for demonstrations reads for each draw by default."""
WIDE, NARROW = 6, 3
"""Templates that go on to be read with demonstrations; those of them read in several orders."""

Shown = Callable[[Sequence[Example], Example], Sequence[Example]]
"""Which of the demonstrations may stand before a query."""


@dataclass(frozen=True)
class BestPrompt:
    """The prompt that does best on labeled items, found by successive halving.

    First, without demonstrations, the template (`tasks.template_space`, and the task's own) with
    its label words. Then, for every draw, the best of those with the draw's examples, in `ORDERS`.
    Scored by accuracy under the best of the scoring rules; log-probabilities break ties. Candidates
    that do not fit the model's context are left out, and counted.

    Attributes:
        examples: of a draw, to be shown; 0 for none, and then there is one prompt.
        selection: how the draw's examples are drawn: "random" or "balanced".
        seed: of the draws.
        reads: prompts to read in the search for a template.
        draw_reads: prompts to read for each draw.
        true_few_shot: use no validation split: prompts are judged on the draw's own examples,
            each with the others as demonstrations, in `steps.FOLDS` parts (Perez et al. 2021,
            arXiv 2105.11447).
        on_overflow: "error" or "drop-demos".
        retrieval: what "nearest" means: "similar" (BM25) or "embedding" (`encoder`).
        encoder: a sentence-transformers name or folder.
    """

    examples: int
    selection: str = "random"
    seed: int = 0
    reads: int = READS
    draw_reads: int = DRAW_READS
    true_few_shot: bool = False
    on_overflow: str = "error"
    retrieval: str = "similar"
    encoder: str = DEFAULT_ENCODER

    name: ClassVar[str] = "best_prompt"
    family: ClassVar[Family] = "prompt"
    draws_per_cell: ClassVar[int | None] = None

    def __post_init__(self) -> None:
        """Check the arguments."""
        if self.selection not in DRAWN:
            raise unknown("selection", self.selection, DRAWN)
        if self.on_overflow not in OVERFLOW:
            raise unknown("overflow rule", self.on_overflow, OVERFLOW)
        if self.retrieval not in RETRIEVED:
            raise unknown("retrieval", self.retrieval, RETRIEVED)
        for name, least in (("examples", 0), ("reads", 1), ("draw_reads", 1)):
            if getattr(self, name) < least:
                raise UserError(
                    f"best_prompt: {name} {getattr(self, name)} was given; it must be at least "
                    f"{least}."
                )
        if self.true_few_shot and self.examples < 2:
            raise UserError(
                f"best_prompt: {self.examples} examples were given with true_few_shot, which "
                "judges prompts on them; it needs at least 2."
            )

    @property
    def label(self) -> str:
        """The condition's name in tables."""
        return f"best-prompt-{self.examples}"

    def sketch(self, task: Task, query: Example, way: Written) -> str:
        """Return a prompt of about the length of those that will be read."""
        return with_demonstrations(task, query, way, self.examples, self.seed)

    def cost_estimate(self, sizes: PromptSizes) -> CostEstimate:
        """Return the work of the search, see `adapt.estimates`."""
        return estimates.of_search(self, sizes)

    def adapt(
        self, lm: Asked, task: Task, draws: Sequence[int], *, progress: Progress | None = None
    ) -> Adapted:
        """Return one variant per draw, each with the prompt that was found for it.

        Raises:
            UserError: the task has no options to choose among, or no labeled items to search by.
        """
        if task.kind != "choice":
            raise UserError(
                f"{self.label}: task '{task.name}' is a generation task, whose prompts are not "
                "searched; leave out the search (search: false)."
            )
        drawn: list[tuple[Example, ...]] = [()]
        if self.examples:
            how, size, seed = self.selection, self.examples, self.seed
            drawn = [controls.drawn(task, d, size, selection=how, seed=seed) for d in draws]
        told = _Told(progress, len(drawn), self)
        by_meaning = bool(self.examples) and self.retrieval == "embedding"
        alike = cosine_similarity(self.encoder) if by_meaning else bm25
        found = [self._searched(lm, task, demos, alike, told) for demos in drawn]

        def write(variant: int, query: Example) -> Prompt:
            return found[variant][0].prompt(query)

        records = [record for _, record in found]
        return Adapted(
            self.label,
            tuple(draws) if self.examples else NO_DRAWS,
            write,
            training={
                "search": records,
                "search_reads": sum(r["reads"] for r in records) / len(records),
                "search_tokens": sum(r["tokens"] for r in records) / len(records),
                **_mean_flops(records),
            },
            examples=tuple(drawn) if self.examples else (),
        )

    def _searched(
        self,
        lm: Asked,
        task: Task,
        demos: Sequence[Example],
        alike: Similarity,
        told: "_Told",
    ) -> tuple["_Way", dict[str, Any]]:
        """Return the best way of writing prompts with a draw's examples, and what was found."""
        items, shown = self._items(task, demos)
        bare = self._templates(lm, task, items, told.part(self.reads))
        search = _search(lm, task, items)
        if demos:
            part = told.part(self.draw_reads)
            start = _Way(
                lm, written(task, bare.templates[0]), demos, "drawn", shown, alike, self.on_overflow
            )
            (way, best), too_long = self._demonstrations(task, search, bare, start, part)
        else:
            way, too_long = self._bare(lm, task, bare.templates[0]), 0
            best = replace(way.tried(), reads=bare.best)
        found = search.found(best)
        return way, {
            "prompt": best.name,
            "template": asdict(way.written.task.template),
            "order": way.order,
            "rule": found.rule,
            "validation_accuracy": found.accuracy,
            "items": found.items,
            "reads": bare.num_reads + search.reads,
            "tokens": bare.num_tokens + search.tokens,
            # Attention and unembedding are left out, so this is the least that it takes.
            **_flops(lm, bare.num_tokens + search.tokens),
            "templates": [template.name for template in bare.templates],
            "too_long": bare.too_long + too_long,
            "sent": way.prompt(task.test[0]).text,
        }

    def _items(self, task: Task, demos: Sequence[Example]) -> tuple[Sequence[Example], Shown]:
        """Return the labeled items to search by, and what may be shown before each of them."""
        if not self.true_few_shot:
            items = choosing(task)
            if not items:
                raise UserError(
                    f"{self.label}: task '{task.name}' has no validation split to search by; give "
                    "one, or use --true-few-shot, which searches by the examples themselves."
                )
            return items, _all
        fold = dict(zip((demo.id for demo in demos), parts(len(demos)), strict=True))

        def others(shown: Sequence[Example], query: Example) -> Sequence[Example]:
            own = fold.get(query.id)
            return [demo for demo in shown if own is None or fold[demo.id] != own]

        return demos, others

    def _templates(
        self, lm: Asked, task: Task, items: Sequence[Example], progress: Progress
    ) -> "_Bare":
        """Return the best templates without demonstrations, with their label words, best first.

        Where they are judged on the validation split they are the same for every draw and every
        number of examples, and are searched once for a model and a task.
        """
        about = replace(task, train=(), validation=(), test=(), unrelated=(), pool=())
        key = (about, tuple(items), self.reads, self.on_overflow)
        kept = _SEARCHED.setdefault(lm, {})
        if key not in kept:
            kept[key] = self._search_templates(lm, task, items, progress)
        progress(1, 1)
        return kept[key]

    def _search_templates(
        self, lm: Asked, task: Task, items: Sequence[Example], progress: Progress
    ) -> "_Bare":
        search = _search(lm, task, items)
        first, too_long = _candidates(
            (self._bare(lm, task, template) for template in templates_to_try(task)), items
        )
        best = _halved(search, first, self.reads * 2 // 3, WIDE, progress)
        worded = [
            replace(way.template, name=f"{way.template.name}, {_said(words)}", words=words)
            for way, _ in best
            for words in words_to_try(task.choices)
            if words
        ]
        more, longer = _candidates(
            (self._bare(lm, task, template) for template in worded), items, best
        )
        again = _halved(search, [*best, *more], self.reads // 3, WIDE, progress)
        templates = tuple(way.template for way, _ in again)
        too_long += longer
        return _Bare(templates, again[0][1].reads, search.reads, search.tokens, too_long)

    def _bare(self, lm: Asked, task: Task, template: Template) -> "_Way":
        """Return how a template writes prompts without demonstrations."""
        return _Way(lm, written(task, template), on_overflow=self.on_overflow)

    def _demonstrations(
        self, task: Task, search: Search, bare: "_Bare", start: "_Way", progress: Progress
    ) -> tuple["_Candidate", int]:
        """Return the best candidate with demonstrations, and how many were too long.

        `start` says which demonstrations, under any template and in the order drawn.
        """
        ways = (
            replace(start, written=written(task, template))
            for template in (*task.templates, *bare.templates)
        )
        drawn, too_long = _candidates(ways, search.items)
        kept = _halved(search, drawn, self.draw_reads // 3, NARROW, progress)
        # Prompts with the nearest examples share no prefix, so they are tried once.
        more = [
            replace(way, order=order)
            for place, (way, _) in enumerate(kept)
            for order in (ORDERS[1:] if place == 0 else ORDERS[1:-1])
        ]
        ordered, longer = _candidates(more, search.items, kept)
        again = [*kept, *ordered]
        best = _halved(search, again, self.draw_reads * 2 // 3, 1, progress)[0]
        return best, too_long + longer


def _all(shown: Sequence[Example], _: Example) -> Sequence[Example]:
    return shown


@dataclass(frozen=True)
class _Way:
    """One way of writing prompts: a template, demonstrations and their order."""

    lm: Asked
    written: Written
    demos: Sequence[Example] = ()
    order: str = "drawn"
    shown: Shown = _all
    alike: Similarity = bm25
    on_overflow: str = "error"

    @property
    def name(self) -> str:
        name = self.template.name
        return f"{name}; {self.order}" if self.demos else name

    def prompt(self, query: Example) -> Prompt:
        shown = arranged(self.shown(self.demos, query), self.order, query, self.alike)
        key = tuple(demo.id for demo in shown)
        if key not in self._fittings:
            self._fittings[key] = Fitting(
                self.lm, self.written, shown, on_overflow=self.on_overflow
            )
        return self._fittings[key].prompt(query)

    @functools.cached_property
    def _fittings(self) -> dict[tuple[str, ...], Fitting]:
        return {}

    @property
    def template(self) -> Template:
        """How items are written."""
        return self.written.task.template

    def tried(self) -> Tried:
        """Return it as a candidate that nobody has read."""
        return Tried(self.name, self.prompt, lambda item: self.prompt(render.content_free(item)))


_Candidate = tuple[_Way, Tried]


@dataclass(frozen=True)
class _Bare:
    """What a search without demonstrations kept and took. It must not hold the model: it is kept.

    Attributes:
        templates: the best, best first.
        best: what the first of them was found to do.
        num_reads: prompts read.
        num_tokens: tokens computed.
        too_long: candidates that did not fit the model's context.
    """

    templates: Sequence[Template]
    best: list[Read]
    num_reads: int
    num_tokens: int
    too_long: int


_SEARCHED: WeakKeyDictionary[Asked, dict[Any, _Bare]] = WeakKeyDictionary()
"""Templates found for a model that is loaded, by what the search depended on."""


def _candidates(
    ways: Iterable[_Way], items: Sequence[Example], known: Sequence[_Candidate] = ()
) -> tuple[list[_Candidate], int]:
    """Return ways to be tried, and how many were left out as too long for the model's context.

    Without those that write every item as an earlier one does.

    Raises:
        TooLong: none fits.
    """

    def texts(way: _Way) -> tuple[tuple[str, tuple[str, ...]], ...]:
        sent = (way.prompt(item) for item in items)
        return tuple((prompt.text, prompt.answers) for prompt in sent)

    seen = {texts(way) for way, _ in known}
    found, too_long = [], []
    for way in ways:
        try:
            own = texts(way)
        except TooLong as error:
            too_long.append(error)
            continue
        if own not in seen:
            seen.add(own)
            found.append((way, way.tried()))
    if too_long and not seen:
        raise too_long[0]
    return found, len(too_long)


def _halved(
    search: Search,
    candidates: Sequence[_Candidate],
    budget: int,
    keep: int,
    progress: Progress,
) -> list[_Candidate]:
    """Return the best candidates, see `Search.halve`."""
    ways = {id(one): way for way, one in candidates}
    best = search.halve([one for _, one in candidates], budget, keep, progress)
    return [(ways[id(one)], one) for one in best]


def _search(lm: Asked, task: Task, items: Sequence[Example]) -> Search:
    return Search(lm, items, lambda item: item.choices or task.choices, _rules(task))


def arranged(
    demos: Sequence[Example], order: str, query: Example, alike: Similarity = bm25
) -> tuple[Example, ...]:
    """Return a draw's examples as they are shown before a query; see `ORDERS`."""
    if order == "reversed":
        return tuple(demos[::-1])
    if order in ("balanced", "half"):
        turns = take_turns(demos)
        return tuple(turns if order == "balanced" else turns[: max(1, len(demos) // 2)])
    if order == "nearest" and demos:
        scores = alike([query.input], [demo.input for demo in demos])[0]
        return tuple(demos[i] for i in np.argsort(-scores, kind="stable")[:NEAREST][::-1])
    return tuple(demos)


class _Told:
    """Adds up the progress of the searches that an arm makes one after the other."""

    def __init__(self, progress: Progress | None, num_draws: int, how: BestPrompt) -> None:
        self._progress, self._before = progress, 0
        each = how.reads + (how.draw_reads if how.examples else 0)
        self._total = num_draws * each

    def part(self, size: int) -> Progress:
        """Return what is told of a search of this size; the ones before it count as done."""
        before = self._before
        self._before += size

        def told(done: int, of: int) -> None:
            if self._progress:
                self._progress(min(before + size * done // max(1, of), self._total), self._total)

        return told


def _flops(lm: Asked, tokens: int) -> dict[str, float]:
    """Return the operations of reading so many tokens; nothing where they cannot be known."""
    return {} if lm.flops_a_token is None else {"flops": lm.flops_a_token * tokens}


def _mean_flops(records: Sequence[dict[str, Any]]) -> dict[str, float]:
    counted = [record["flops"] for record in records if "flops" in record]
    return {"search_flops": sum(counted) / len(counted)} if counted else {}


def _rules(task: Task) -> tuple[accuracy.Rule, ...]:
    """Return the rules answers may be chosen by; calibration over a batch needs shared options."""
    return tuple(rule for rule in accuracy.RULES if rule != "calibrated" or task.choices)


def _said(words: Sequence[tuple[str, str]]) -> str:
    return "/".join(word for _, word in words)
