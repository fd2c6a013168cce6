"""Adaptations that change only the prompt: zero-shot and in-context learning."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from adaptlens.adapt import Progress
from adaptlens.errors import UserError, unknown
from adaptlens.lm.asked import Asked
from adaptlens.lm.encoder import DEFAULT_ENCODER, cosine_similarity
from adaptlens.prompts import controls, render
from adaptlens.prompts.fitting import Fitting, fit
from adaptlens.prompts.selection import (
    DRAWN,
    RETRIEVED,
    SELECTIONS,
    bm25,
    demonstrations,
    nearest,
)
from adaptlens.prompts.sizes import PromptSizes
from adaptlens.stats.scores import Family
from adaptlens.tasks import templates
from adaptlens.tasks.templates import Written
from adaptlens.types import NO_DRAWS, Adapted, CostEstimate, Example, Part, Prompt, Task

OVERFLOW = ("error", "drop-demos")


@dataclass(frozen=True)
class ZeroShot:
    """The anchor: the base model reads the instruction and the query.

    `wording` names another wording of the instruction; `text` is that wording (see
    `prompts.controls.worded`), and may be left out for those of `prompts.controls.WORDINGS`.
    """

    wording: str = ""
    text: str = ""

    name: ClassVar[str] = "zero_shot"
    family: ClassVar[Family] = "none"
    draws_per_cell: ClassVar[int | None] = None
    every_template: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Fill in the text of a built-in wording."""
        if self.wording and not self.text:
            if self.wording not in controls.WORDINGS:
                raise unknown("wording", self.wording, controls.WORDINGS)
            object.__setattr__(self, "text", controls.WORDINGS[self.wording])

    @property
    def label(self) -> str:
        """The condition's name in tables."""
        return f"zero-shot-{self.wording}" if self.wording else "zero-shot"

    def cost_estimate(self, sizes: PromptSizes) -> CostEstimate:
        """Return no work: prompts are read by measurements."""
        return CostEstimate()

    def adapt(
        self, lm: Asked, task: Task, draws: Sequence[int], *, progress: Progress | None = None
    ) -> Adapted:
        """Return one variant: there are no demonstrations to draw, so `draws` is not used."""
        read = controls.worded(task, self.wording, self.text) if self.wording else task
        ways = templates.ways(read)

        def write(variant: int, query: Example) -> Prompt:
            return fit(lm, ways[variant], (), query, on_overflow="error")

        return Adapted(
            self.label,
            NO_DRAWS * len(ways),
            write,
            shares_prompts=True,
            templates=names_of(task),
        )


@dataclass(frozen=True)
class InContext:
    """In-context learning: k demonstrations before the query, weights untouched.

    `selection` is "random" or "balanced"; or "similar" (BM25) or "embedding" (cosine of sentence
    embeddings by `encoder`): then the demonstrations depend on the query instead of the draw, so
    there is a single variant. `control` says what is changed about them (see
    `prompts.controls.drawn`); "neutral" puts words without order or answers in their place, as many
    tokens of them. `on_overflow` says what happens to a prompt longer than the model's context:
    "error", or "drop-demos" from the front, counted.
    """

    examples: int
    selection: str = "random"
    seed: int = 0
    on_overflow: str = "error"
    encoder: str = DEFAULT_ENCODER
    control: str = controls.NONE

    name: ClassVar[str] = "icl"
    family: ClassVar[Family] = "prompt"
    draws_per_cell: ClassVar[int | None] = None
    every_template: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check the arguments."""
        if self.selection not in SELECTIONS:
            raise unknown("selection", self.selection, SELECTIONS)
        if self.on_overflow not in OVERFLOW:
            raise unknown("overflow rule", self.on_overflow, OVERFLOW)
        controls.check_control(self.control)
        if self.control != controls.NONE and self.selection in RETRIEVED:
            raise UserError(
                f"icl: control '{self.control}' was given with selection '{self.selection}'; "
                f"changed demonstrations are drawn: use one of {', '.join(DRAWN)}."
            )
        if self.examples < 1:
            raise UserError(
                f"icl was asked for with {self.examples} demonstrations; it needs at least 1; "
                "use zero_shot for none."
            )

    @property
    def label(self) -> str:
        """The condition's name in tables."""
        return f"icl-{self.examples}{controls.suffix(self.control)}"

    def sketch(self, task: Task, query: Example, way: Written) -> str:
        """Return a prompt of about the length of those that will be read."""
        return with_demonstrations(task, query, way, self.examples, self.seed)

    def cost_estimate(self, sizes: PromptSizes) -> CostEstimate:
        """Return no work: prompts are read by measurements."""
        return CostEstimate()

    def adapt(
        self, lm: Asked, task: Task, draws: Sequence[int], *, progress: Progress | None = None
    ) -> Adapted:
        """Return one variant per draw: the same draws that tuning trains on."""
        ways = templates.ways(task)
        if self.selection in RETRIEVED:
            similarity = bm25 if self.selection == "similar" else cosine_similarity(self.encoder)
            further = (one.task.test for one in task.elsewhere if one.role == "ood")
            queries = (*task.test, *task.validation, *itertools.chain(*further))
            near = nearest(task, queries, self.examples, similarity)

            def write_near(variant: int, query: Example) -> Prompt:
                way = ways[variant]
                return fit(lm, way, near[query.id], query, on_overflow=self.on_overflow)

            return Adapted(
                self.label,
                NO_DRAWS * len(ways),
                write_near,
                shares_prompts=True,
                templates=names_of(task),
            )

        own = controls.NONE if self.control == controls.NEUTRAL else self.control
        drawn = tuple(
            controls.drawn(
                task, draw, self.examples, selection=self.selection, seed=self.seed, control=own
            )
            for draw in draws
        )
        if self.control == controls.NEUTRAL:
            check_one_way(task, self.label)
            fillers = [
                _filler(lm, task, demos, draw, self.seed)
                for demos, draw in zip(drawn, draws, strict=True)
            ]

            def write_filler(variant: int, query: Example) -> Prompt:
                return _after_filler(lm, task, fillers[variant], query)

            return Adapted(self.label, tuple(draws), write_filler)

        fittings = [
            Fitting(lm, way, demos, on_overflow=self.on_overflow) for way in ways for demos in drawn
        ]

        def write(variant: int, query: Example) -> Prompt:
            return fittings[variant].prompt(query)

        return Adapted(
            self.label,
            tuple(draws) * len(ways),
            write,
            examples=drawn * len(ways),
            templates=names_of(task),
        )


def with_demonstrations(task: Task, query: Example, way: Written, examples: int, seed: int) -> str:
    """Return a query after so many random demonstrations, whichever will be shown."""
    demos = [way.example(demo) for demo in demonstrations(task, 0, examples, seed=seed)]
    return render.render(way.task, demos, way.example(query)).text


def names_of(task: Task) -> tuple[str, ...]:
    """Return the names of the templates that variants are read under; none for the task's own."""
    return tuple(template.name for template in task.templates)


def check_one_way(task: Task, label: str) -> None:
    """Raise where an adaptation that writes a task in one way alone was given several.

    Raises:
        UserError: the task has templates.
    """
    if task.templates:
        raise UserError(
            f"{label} writes prompts under the task's own template, and task '{task.name}' came "
            f"with {len(task.templates)} others; leave those out."
        )


def _filler(lm: Asked, task: Task, demos: Sequence[Example], draw: int, seed: int) -> str:
    """Return neutral words of as many tokens as the demonstrations, to within one word."""
    query = task.test[0]
    chat = lm.chat_of(task.template)
    with_demos, without = (
        len(lm.encode(render.render(task, shown, query, chat=chat).text)) for shown in (demos, ())
    )
    words = controls.filler_words(task, draw, seed)
    text, longer = "", next(words)
    while len(lm.encode(longer)) <= with_demos - without:
        text, longer = longer, f"{longer} {next(words)}"
    return text


def _after_filler(lm: Asked, task: Task, filler: str, query: Example) -> Prompt:
    """Return the prompt with filler between its instruction and the query.

    Raises:
        UserError: it does not fit the model's context.
    """
    filled = replace(
        task, instruction=task.template.between.join(filter(None, [task.instruction, filler]))
    )
    prompt = fit(lm, filled, (), query, on_overflow="error")
    parts: list[Part] = []
    for part in prompt.parts:
        if part.role == "instruction" and part.text.endswith(filler):
            before = part.text.removesuffix(filler)
            parts += [Part("instruction", before), Part("filler", filler)]
        else:
            parts.append(part)
    return replace(prompt, parts=tuple(part for part in parts if part.text))
