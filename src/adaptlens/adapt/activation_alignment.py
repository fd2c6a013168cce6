"""The adaptation that trains LoRA to attend without demonstrations as the base does after them.

Teacher, student and inputs are those of `adapt.distillation`. The student learns no answers, but
what each layer's attention puts out, after its projection, in the teacher: at the last token of the
prompt, and at those of the teacher's own answer but its last.

Source: ICL activation alignment (IA2), Mishra et al. 2025 (arXiv 2509.22621) and its `act` in
https://github.com/aamixsh/ia2; what differs from it stands in docs/methods.md, section 24.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from adaptlens.adapt.batches import Counts, TokenizedExample
from adaptlens.adapt.distillation import Answer, Asked, Distillation, Lesson, reading
from adaptlens.adapt.tokenizing import answered
from adaptlens.errors import UserError
from adaptlens.lm.load import LM
from adaptlens.lm.prefix.walk import ForwardStats
from adaptlens.lm.states import attention_outputs
from adaptlens.prompts.sizes import PromptSizes
from adaptlens.types import CostEstimate


@dataclass(frozen=True)
class ActivationAlignment(Distillation):
    """LoRA trained on what the base attends to after k demonstrations; read without them.

    Rates and steps are chosen by the loss of labeled items' answers, as for every way of tuning; in
    true few-shot, by this way's own on inputs left out.
    """

    name: ClassVar[str] = "ia2"

    def cost_estimate(self, sizes: PromptSizes) -> CostEstimate:
        """Return the work of distillation, and of the teacher's reading of its own answers."""
        found = super().cost_estimate(sizes)
        shown = self.teacher_sizes(sizes)
        ways = self.num_templates or len(sizes.ways)
        inputs, every = len(self.inputs(sizes.task, 0)), sizes.num_draws * ways
        again = shown.shared + inputs * (shown.rest + sizes.answer)
        return replace(
            found,
            prompts=found.prompts + every * inputs,
            read_tokens=found.read_tokens + every * again,
        )

    def taught(
        self, lm: LM, lessons: Sequence[Lesson]
    ) -> tuple[list[list[TokenizedExample]], Counts]:
        """Return each lesson's texts, each the teacher's likeliest answer, with its activations.

        Raises:
            UserError: the model's inside is not known, or an answer becomes other tokens after
                demonstrations.
        """
        if lm.architecture is None:
            raise UserError(
                f"ia2: the inside of '{lm.name}' is not known, so what its attention puts out "
                "cannot be learned; use a model of a supported architecture, or distil."
            )
        asked = self.asked(lm, lessons)
        given, choosing = self.answers(lm, lessons[0].task, asked)
        pairs = [
            (one, max(answers, key=lambda answer: answer.weight))
            for one, answers in zip(asked, given, strict=True)
            if answers
        ]
        bare = [self.text(lm, *pair) for pair in pairs]
        read = [_teacher_ids(lm, *pair, text) for pair, text in zip(pairs, bare, strict=True)]
        work = ForwardStats()
        first = [len(ids) - text.num_labels for ids, text in zip(read, bare, strict=True)]
        found = attention_outputs(lm, read, first, work=work)
        texts: list[list[TokenizedExample]] = [[] for _ in lessons]
        for (one, _), text, activations in zip(pairs, bare, found, strict=True):
            texts[one.place].append(replace(text, activations=activations))
        counts = reading([len(ids) for ids in read], work, labels=0)
        counts = counts._replace(without_logits=counts.tokens_given)
        return texts, Counts(*np.add(choosing, counts))


def _teacher_ids(lm: LM, asked: Asked, answer: Answer, text: TokenizedExample) -> list[int]:
    """Return what the teacher reads: its prompt and answer, without the answer's last token.

    Raises:
        UserError: after demonstrations, the answer becomes other tokens than in the student's text.
    """
    ids = lm.encode(asked.prompt.text + answered(lm, asked.way.task, answer.target))
    if tuple(ids[-text.num_labels :]) != text.ids[text.prompt_tokens :]:
        raise UserError(
            f"ia2: the answer to input {asked.query.id} becomes other tokens after demonstrations "
            "than without them, so what attention puts out cannot be matched token by token; "
            "change how the template begins an answer, or use distil."
        )
    return ids[:-1]
