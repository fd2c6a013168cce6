"""Examples become lessons: a prompt without demonstrations, and the answer to learn.

The loss is taken on the answer's tokens alone. After a generated answer comes what separates items
in a prompt (two line breaks; the end-of-text token with a chat template), so that generation learns
to stop; a choice is only scored, so its text ends with it.
"""

from collections.abc import Sequence

from adaptlens import prompts
from adaptlens.adapt.batches import Lesson
from adaptlens.errors import UserError
from adaptlens.lm.load import LM
from adaptlens.lm.trie import common
from adaptlens.values import Example, Task


def lessons_for(
    lm: LM, task: Task, examples: Sequence[Example], *, instruction: bool
) -> list[Lesson]:
    """Return the training texts of these examples in tokens, with where their answers begin.

    A text is tokenised as a whole; its answer begins at the first token that differs from the
    prompt's own tokenisation.

    Raises:
        UserError: a text is longer than the model's context, or its answer is empty.
    """
    chat = lm.render_chat if lm.chat else None
    asked = [prompts.render(task, (), e, instruction=instruction, chat=chat).text for e in examples]
    ending = ""
    if task.kind == "generation":
        ending = (lm.tokenizer.eos_token or "") if lm.chat else task.template.between
    answers = [prompts.answer(task, e.target, chat=lm.chat) + ending for e in examples]
    whole = lm.encode_all([a + b for a, b in zip(asked, answers, strict=True)])
    lessons = []
    for example, prompt_ids, ids in zip(examples, lm.encode_all(asked), whole, strict=True):
        excess = len(ids) - lm.context_tokens
        if excess > 0:
            raise UserError(
                f"example {example.id} of task '{task.name}' with its answer is {excess} tokens "
                f"longer than the context of {lm.context_tokens} tokens; shorten or remove it, or "
                "use a model with a longer context."
            )
        lesson = Lesson(tuple(ids), max(common(prompt_ids, ids), 1))
        if not lesson.num_labels:
            raise UserError(
                f"example {example.id} of task '{task.name}' has an empty answer, which cannot be "
                "trained on; give it a target or remove it."
            )
        lessons.append(lesson)
    return lessons
