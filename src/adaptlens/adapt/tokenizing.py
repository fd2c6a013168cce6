"""Examples become training texts in tokens: a prompt without demonstrations, and the answer.

The loss is taken on the answer's tokens alone. After a generated answer comes what separates items
in a prompt (two line breaks; the end-of-text token with a chat template), so that generation learns
to stop; a choice is only scored, so its text ends with it.
"""

from collections.abc import Sequence

from adaptlens.adapt.batches import TokenizedExample
from adaptlens.errors import UserError
from adaptlens.lm.load import LM
from adaptlens.lm.prefix.trie import common
from adaptlens.prompts import render
from adaptlens.tasks.templates import Written, ways
from adaptlens.types import Example, Task


def tokenized(
    lm: LM, task: Task, examples: Sequence[Example], *, instruction: bool
) -> list[TokenizedExample]:
    """Return the training texts of these examples in tokens, with where their answers begin.

    Under each of the task's templates, template by template; texts that would be the same under
    several are there once. A text is tokenized as a whole; its answer begins at the first token
    that differs from the prompt's own tokenization.

    Raises:
        UserError: a text is longer than the model's context, or its answer is empty.
    """
    written = [text for way in ways(task) for text in _texts(lm, way, examples, instruction)]
    written = list(dict.fromkeys(written))
    whole = lm.encode_all([asked + answer for _, asked, answer in written])
    alone = lm.encode_all([asked for _, asked, _ in written])
    made = []
    for (example, _, _), prompt_ids, ids in zip(written, alone, whole, strict=True):
        excess = len(ids) - lm.context_tokens
        if excess > 0:
            raise UserError(
                f"example {example.id} of task '{task.name}' with its answer is {excess} tokens "
                f"longer than the context of {lm.context_tokens} tokens; shorten or remove it, or "
                "use a model with a longer context."
            )
        one = TokenizedExample(tuple(ids), max(common(prompt_ids, ids), 1))
        if not one.num_labels:
            raise UserError(
                f"example {example.id} of task '{task.name}' has an empty answer, which cannot be "
                "trained on; give it a target or remove it."
            )
        made.append(one)
    return made


def _texts(
    lm: LM, way: Written, examples: Sequence[Example], instruction: bool
) -> list[tuple[Example, str, str]]:
    """Return each example with its prompt and its answer, as a template writes them."""
    task, chat = way.task, lm.chat_of(way.task.template)
    found = []
    for example in examples:
        shown = way.example(example)
        asked = render.render(task, (), shown, instruction=instruction, chat=chat).text
        found.append((example, asked, answered(lm, task, shown.target)))
    return found


def answered(lm: LM, task: Task, target: str) -> str:
    """Return what follows a prompt in a training text: an answer, and what ends it."""
    chat = lm.chat_of(task.template) is not None
    ending = ""
    if task.kind == "generation":
        ending = (lm.tokenizer.eos_token or "") if chat else task.template.between
    return render.answer(task, target, chat=chat) + ending
