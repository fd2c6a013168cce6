"""The adaptation that trains LoRA to give without demonstrations what the base gives with them.

The teacher is the base model after the draw's k demonstrations, the student the same model without
them and with an adapter; they read inputs whose answers nobody looks at. Of a choice the student
learns the teacher's distribution over the options, of text what the teacher writes.

Source: context distillation, Askell et al. 2021 (arXiv 2112.00861, section 2.3) and Snell et al.
2022 (arXiv 2209.15189); texts as targets as in sequence-level distillation, Kim and Rush 2016.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import scipy

from adaptlens.adapt.batches import Counts, TokenizedExample
from adaptlens.adapt.lora import InstructionTuning
from adaptlens.adapt.prompting import InContext
from adaptlens.adapt.settings import Fold, parts
from adaptlens.adapt.steps import usual_steps
from adaptlens.adapt.tokenizing import tokenized
from adaptlens.adapt.unlabeled import check_unlabeled, inputs_after
from adaptlens.lm import score
from adaptlens.lm.load import LM
from adaptlens.lm.prefix.walk import ForwardStats
from adaptlens.prompts import render
from adaptlens.prompts.fitting import fit
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
        shown = InContext(self.examples, on_overflow=self.on_overflow)
        read = prompt_sizes(shown, sizes.task, sizes.model, num_draws=sizes.num_draws)
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
        """Return what each draw's student learns from, and what the teachers read for it."""
        return self._taught(lm, task, draws, [self.inputs(task, draw) for draw in draws])

    def folds(self, lm: LM, task: Task, draw: int) -> list[Fold]:
        """Return the draw's inputs in as many folds as they have parts."""
        inputs = self.inputs(task, draw)
        part = parts(len(inputs))
        found = []
        for held in dict.fromkeys(part):
            sides = [
                [one for one, own in zip(inputs, part, strict=True) if (own == held) == is_held]
                for is_held in (False, True)
            ]
            found.append(Fold(*(self._taught(lm, task, [draw], [side])[0][0] for side in sides)))
        return found

    def _taught(
        self, lm: LM, task: Task, draws: Sequence[int], inputs: Sequence[Sequence[Example]]
    ) -> tuple[list[list[TokenizedExample]], Counts]:
        """Return each draw's training texts on these inputs, template by template."""
        asked = [
            (place, way, query, fit(lm, way, demos, query, on_overflow=self.on_overflow))
            for place, demos in enumerate(self.drawn(task, draw) for draw in draws)
            for way in templates.ways(self.as_tuned(task, draws[place]))
            for query in inputs[place]
        ]
        work = ForwardStats()
        prompts = [prompt for *_, prompt in asked]
        given = (self._weighed if task.kind == "choice" else self._written)(lm, task, prompts, work)
        texts: list[list[TokenizedExample]] = [[] for _ in draws]
        for (place, way, query, _), answers in zip(asked, given, strict=True):
            shown = way.example(query)
            options = shown.choices or way.task.choices
            first = True
            for number, (text, weight) in enumerate(answers):
                own = replace(shown, target=options[number] if options else text, choices=())
                one = replace(self._text(lm, way, own), weight=weight, joined=not first)
                texts[place].append(one)
                first = False
        lengths = [len(lm.encode(prompt.text)) for prompt in prompts]
        counts = Counts(
            tokens_given=float(work.tokens_given),
            pairs_given=float(sum(n * (n + 1) // 2 for n in lengths)),
            tokens_computed=float(work.tokens_computed),
            pairs_computed=float(sum(n * (n + 1) // 2 for n in lengths)),
            labels=float(sum(len(answers) for answers in given)),
        )
        return texts, counts

    def _weighed(
        self, lm: LM, task: Task, prompts: Sequence[Prompt], work: ForwardStats
    ) -> list[list[tuple[str, float]]]:
        """Return each prompt's options, each with its share of the teacher's belief.

        Shares of a prompt's n options add up to n, so that a text counts 1 on average.
        """
        requests = score.encode(lm, prompts, [0] * len(prompts))
        found = score.score(lm, requests, work=work)
        return [
            [
                (answer, float(share) * len(prompt.answers))
                for answer, share in zip(
                    prompt.answers, scipy.special.softmax(np.asarray(own)), strict=True
                )
            ]
            for prompt, own in zip(prompts, found, strict=True)
        ]

    def _written(
        self, lm: LM, task: Task, prompts: Sequence[Prompt], work: ForwardStats
    ) -> list[list[tuple[str, float]]]:
        """Return what the teacher writes after each prompt; nothing where it writes nothing."""
        requests = score.encode(lm, prompts, [0] * len(prompts))
        texts = score.generate(
            lm, requests, task.max_new_tokens, stop=render.stops(task), work=work
        )
        return [[(text.strip(), 1.0)] if text.strip() else [] for text in texts]

    def _text(self, lm: LM, way: Written, shown: Example) -> TokenizedExample:
        """Return a training text: an item as a template has it, without demonstrations."""
        bare = replace(way.task.template, item="", words=(), instruction=None)
        plain = replace(way.task, template=bare, choices=())
        (text,) = tokenized(lm, plain, [shown], instruction=self.instruction)
        return text
