"""The adaptation that trains LoRA to give without demonstrations what the base gives with them.

The teacher is the base model after the draw's k demonstrations, the student the same model without
them and with an adapter; they read inputs whose answers nobody looks at. Of a choice the student
learns the teacher's distribution over the options, of text what the teacher writes.

Source: context distillation, Askell et al. 2021 (arXiv 2112.00861, section 2.3) and Snell et al.
2022 (arXiv 2209.15189); texts as targets as in sequence-level distillation, Kim and Rush 2016.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, NamedTuple

import numpy as np
import scipy

from adaptlens.adapt.batches import Counts, TokenizedExample
from adaptlens.adapt.lora import InstructionTuning
from adaptlens.adapt.prompting import InContext
from adaptlens.adapt.settings import Fold, parts
from adaptlens.adapt.steps import usual_steps
from adaptlens.adapt.tokenizing import tokenized
from adaptlens.adapt.unlabeled import check_unlabeled, inputs_after
from adaptlens.errors import UserError
from adaptlens.lm import score
from adaptlens.lm.load import LM
from adaptlens.lm.prefix.walk import ForwardStats
from adaptlens.prompts import render
from adaptlens.prompts.fitting import Fitting
from adaptlens.prompts.sizes import PromptSizes, prompt_sizes
from adaptlens.tasks import templates
from adaptlens.tasks.templates import Written
from adaptlens.types import CostEstimate, Example, Prompt, Task


@dataclass(frozen=True)
class Distillation(InstructionTuning):
    """LoRA trained on what the base gives after k demonstrations; read without them.

    Attributes:
        unlabeled: inputs to learn on: those that follow the demonstrations in the draw; fewer where
            the training split ends. Their answers are not used.
        on_overflow: as of `InContext`, for the teacher's prompts.
    """

    unlabeled: int = 64
    on_overflow: str = "error"

    name: ClassVar[str] = "distil"

    def __post_init__(self) -> None:
        """Check the arguments."""
        super().__post_init__()
        check_unlabeled(self.name, self.unlabeled)

    def cost_estimate(self, sizes: PromptSizes) -> CostEstimate:
        """Return the work of tuning, and of the teacher's reading."""
        found = super().cost_estimate(sizes)
        read = self.teacher_sizes(sizes)
        inputs = len(self.inputs(sizes.task, 0))
        ways, draws = self.num_templates or len(sizes.ways), sizes.num_draws
        each = read.shared + inputs * (read.rest + read.options)
        written = 0.0 if sizes.task.kind == "choice" else ways * draws * inputs * sizes.answer
        return replace(
            found,
            prompts=found.prompts + draws * ways * inputs,
            read_tokens=found.read_tokens + draws * ways * each,
            written_tokens=found.written_tokens + written,
        )

    def teacher_sizes(self, sizes: PromptSizes) -> PromptSizes:
        """Return the sizes of the teacher's prompts."""
        shown = InContext(self.examples, on_overflow=self.on_overflow)
        return prompt_sizes(shown, sizes.task, sizes.model, num_draws=sizes.num_draws)

    @property
    def num_rows(self) -> int:
        """How many items a draw is trained on."""
        return self.unlabeled

    @property
    def usual_steps(self) -> int:
        """Twice as many passes as over labeled examples: there are more templates than passes."""
        return usual_steps(2 * self.unlabeled, self.batch_size)

    def inputs(self, task: Task, draw: int) -> tuple[Example, ...]:
        """Return the unlabeled inputs of a draw.

        Raises:
            UserError: the training split has none beyond the demonstrations.
        """
        return inputs_after(self, task, draw)

    def training_texts(
        self, lm: LM, task: Task, draws: Sequence[int]
    ) -> tuple[list[list[TokenizedExample]], Counts]:
        """Return what each draw's student learns from, and what the teachers read for it.

        Raises:
            UserError: a draw's teacher writes nothing after any input.
        """
        found = self.taught(
            lm,
            [
                Lesson(self.as_tuned(task, draw), self.drawn(task, draw), self.inputs(task, draw))
                for draw in draws
            ],
        )
        for draw, texts in zip(draws, found[0], strict=True):
            if not texts:
                raise UserError(
                    f"{self.label}, draw {draw}: after its demonstrations '{lm.name}' writes "
                    "nothing for any input, so there is nothing to learn; show more examples, or "
                    "try another template."
                )
        return found

    def folds(self, lm: LM, task: Task, draw: int) -> list[Fold]:
        """Return the draw's inputs in as many folds as they have parts."""
        own, shown = self.as_tuned(task, draw), self.drawn(task, draw)
        inputs = self.inputs(task, draw)
        part = parts(len(inputs))
        found = []
        for held in dict.fromkeys(part):
            sides = [
                [one for one, its in zip(inputs, part, strict=True) if (its == held) == is_held]
                for is_held in (False, True)
            ]
            lessons = [Lesson(own, shown, side) for side in sides]
            found.append(Fold(*(self.taught(lm, [lesson])[0][0] for lesson in lessons)))
        return found

    def taught(
        self, lm: LM, lessons: Sequence["Lesson"]
    ) -> tuple[list[list[TokenizedExample]], Counts]:
        """Return each lesson's training texts, template by template, and what teachers read."""
        asked = self.asked(lm, lessons)
        given, counts = self.answers(lm, lessons[0].task, asked)
        texts: list[list[TokenizedExample]] = [[] for _ in lessons]
        for one, answers in zip(asked, given, strict=True):
            for place, answer in enumerate(answers):
                text = replace(self.text(lm, one, answer), weight=answer.weight, joined=place > 0)
                texts[one.place].append(text)
        return texts, counts

    def asked(self, lm: LM, lessons: Sequence["Lesson"]) -> list["Asked"]:
        """Return what each lesson's teacher is asked of its inputs, template by template."""
        found = []
        for place, lesson in enumerate(lessons):
            for way in templates.ways(lesson.task):
                fitting = Fitting(lm, way, lesson.shown, on_overflow=self.on_overflow)
                found += [
                    Asked(place, way, query, fitting.prompt(query)) for query in lesson.inputs
                ]
        return found

    def answers(
        self, lm: LM, task: Task, asked: Sequence["Asked"]
    ) -> tuple[list[list["Answer"]], Counts]:
        """Return the teacher's answers to each, and what it read for them.

        Of a choice they are all its options, of text the one that the teacher writes, if any.
        """
        work = ForwardStats()
        found = (_weighed if task.kind == "choice" else _written)(lm, task, asked, work)
        lengths = [len(lm.encode(one.prompt.text)) for one in asked]
        return found, reading(lengths, work, labels=sum(map(len, found)))

    def text(self, lm: LM, asked: "Asked", answer: "Answer") -> TokenizedExample:
        """Return the student's text: an item as a template has it, without demonstrations."""
        way = asked.way
        shown = replace(way.example(asked.query), target=answer.target, choices=())
        bare = replace(way.task.template, item="", words=(), instruction=None)
        plain = replace(way.task, template=bare, choices=())
        (text,) = tokenized(lm, plain, [shown], instruction=self.instruction)
        return text


class Lesson(NamedTuple):
    """What one draw is taught: the task under its templates, demonstrations, inputs to learn on."""

    task: Task
    shown: Sequence[Example]
    inputs: Sequence[Example]


class Asked(NamedTuple):
    """What a teacher is asked: which of several draws', in which wording, of which input."""

    place: int
    way: Written
    query: Example
    prompt: Prompt


class Answer(NamedTuple):
    """An answer of the teacher's, and how much it counts beside others that count 1 on average."""

    target: str
    weight: float


def reading(lengths: Sequence[int], work: ForwardStats, labels: int) -> Counts:
    """Return what it takes to read texts of so many tokens for so many labels."""
    pairs = float(sum(n * (n + 1) // 2 for n in lengths))
    return Counts(
        tokens_given=float(work.tokens_given),
        pairs_given=pairs,
        tokens_computed=float(work.tokens_computed),
        pairs_computed=pairs,
        labels=float(labels),
    )


def _weighed(lm: LM, task: Task, asked: Sequence[Asked], work: ForwardStats) -> list[list[Answer]]:
    """Return each prompt's options, each with its share of the teacher's belief.

    Shares of a prompt's n options add up to n, so that a text counts 1 on average.
    """
    requests = score.encode(lm, [one.prompt for one in asked], [0] * len(asked))
    found = []
    for one, logliks in zip(asked, score.score(lm, requests, work=work), strict=True):
        options = one.way.example(one.query).choices or one.way.task.choices
        shares = scipy.special.softmax(np.asarray(logliks))
        found.append(
            [
                Answer(option, float(share) * len(options))
                for option, share in zip(options, shares, strict=True)
            ]
        )
    return found


def _written(lm: LM, task: Task, asked: Sequence[Asked], work: ForwardStats) -> list[list[Answer]]:
    """Return what the teacher writes after each prompt; nothing where it writes nothing."""
    requests = score.encode(lm, [one.prompt for one in asked], [0] * len(asked))
    texts = score.generate(lm, requests, task.max_new_tokens, stop=render.stops(task), work=work)
    return [[Answer(text.strip(), 1.0)] if text.strip() else [] for text in texts]
