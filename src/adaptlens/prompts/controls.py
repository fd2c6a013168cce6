"""Controls: the same draws with wrong, shuffled, unrelated or empty content, and better prompts.

What a control changes is written into its name, so that it stands beside what it controls:
"icl-16-shuffled" beside "icl-16".
"""

import math
import re
import string
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from adaptlens.errors import UserError, unknown
from adaptlens.prompts.selection import demonstrations
from adaptlens.types import Example, Task

NONE, SHUFFLED, UNRELATED, NEUTRAL = "none", "shuffled", "unrelated", "neutral"
NULL = "null"
"""Of arms that change weights: random changes of the same shape and norm."""
CONTROLS = (NONE, SHUFFLED, UNRELATED, NEUTRAL, "wrong-25", "wrong-50", "wrong-75", "wrong-100")
_WRONG = re.compile(r"wrong-(100|[1-9]?[0-9])")

WORDINGS: dict[str, str] = {
    "description": "{instruction} Each item below is one text; read the text and give the one "
    "answer that fits it. Texts that are alike have the same answer.",
    "format": "{instruction} Write the answer alone, directly after '{cue}', and nothing else.",
    "options": "{instruction} The possible answers are: {choices}.",
    "chain": "{instruction} First think step by step about what the text says, then answer.",
}
"""Better prompts for zero-shot. All of them change the instruction alone, so that every condition
ends in the same tokens."""

_LABEL_STREAM, _WRONG_STREAM, _WORD_STREAM = 1, 2, 3


def check_control(control: str) -> None:
    """Raise where there is no such control.

    Raises:
        UserError: it is none of `CONTROLS`, nor "wrong-P" with P from 0 to 100.
    """
    if control not in CONTROLS and not _WRONG.fullmatch(control):
        raise unknown("control", control, CONTROLS)


def suffix(control: str) -> str:
    """Return what a control adds to a condition's label."""
    return "" if control == NONE else f"-{control}"


def drawn(
    task: Task, draw: int, size: int, *, selection: str, seed: int, control: str = NONE
) -> tuple[Example, ...]:
    """Return the first `size` training examples of a draw, changed as a control says.

    none: `prompts.selection.demonstrations`.
    shuffled: each example gets the target of another one; targets of the whole training split are
    permuted, so that they keep their shares and say nothing of the input.
    wrong-P: P percent of the examples get another answer than their own, at random (generation:
    the target of an example that has another one). At a higher P the same ones and more.
    unrelated: examples of `task.unrelated`, in the order of the draw.
    neutral: as long as the own ones in words, but both input and target are words of
    `task.unrelated` in random order.

    Raises:
        UserError: unknown control; too few examples; no unrelated ones; no other answer to give.
    """
    check_control(control)
    if control == UNRELATED:
        return _unrelated(task, draw, size, seed)
    own = demonstrations(task, draw, size, selection=selection, seed=seed)
    if control == SHUFFLED:
        order = np.random.default_rng([seed, draw, _LABEL_STREAM]).permutation(len(task.train))
        place = {example.id: i for i, example in enumerate(task.train)}
        return tuple(_answered(e, task.train[order[place[e.id]]]) for e in own)
    if control == NEUTRAL:
        words = filler_words(task, draw, seed)
        return tuple(
            Example(e.id, _as_many(words, e.input), _as_many(words, e.target)) for e in own
        )
    if found := _WRONG.fullmatch(control):
        return _wrong(
            task, own, int(found[1]) / 100, np.random.default_rng([seed, draw, _WRONG_STREAM])
        )
    return own


def _answered(example: Example, other: Example) -> Example:
    """Return the example with another's target; where options differ, the one in its place."""
    if not example.choices or not other.choices:
        return replace(example, target=other.target)
    place = other.choices.index(other.target) % len(example.choices)
    return replace(example, target=example.choices[place])


def _wrong(
    task: Task, own: tuple[Example, ...], share: float, generator: np.random.Generator
) -> tuple[Example, ...]:
    order = generator.permutation(len(own))
    others = generator.random(len(own))
    changed = set(order[: math.floor(share * len(own) + 0.5)].tolist())
    targets = sorted({example.target for example in task.train})
    found = []
    for i, example in enumerate(own):
        options = example.choices or task.choices or tuple(targets)
        wrong = [option for option in options if option != example.target]
        if i in changed and not wrong:
            raise UserError(
                f"task '{task.name}' has no answer but '{example.target}' to give example "
                f"{example.id} wrongly; wrong labels need at least two answers."
            )
        pick = wrong[int(others[i] * len(wrong))] if i in changed else example.target
        found.append(replace(example, target=pick))
    return tuple(found)


def _unrelated(task: Task, draw: int, size: int, seed: int) -> tuple[Example, ...]:
    if size > len(task.unrelated):
        raise UserError(
            f"{size} unrelated examples were asked for beside task '{task.name}', which has "
            f"{len(task.unrelated)}; name a task with more examples (unrelated)."
        )
    order = np.random.default_rng([seed, draw]).permutation(len(task.unrelated))
    return tuple(task.unrelated[i] for i in order[:size])


def filler_words(task: Task, draw: int, seed: int) -> Iterator[str]:
    """Yield for ever words of the unrelated task's inputs, in random order, the same per draw.

    Raises:
        UserError: the task has no unrelated examples.
    """
    words = [word for example in task.unrelated for word in example.input.split()]
    if not words:
        raise UserError(
            f"task '{task.name}' has no unrelated task to take neutral words from; name one "
            "(unrelated)."
        )
    generator = np.random.default_rng([seed, draw, _WORD_STREAM])
    while True:
        yield words[int(generator.integers(len(words)))]


def _as_many(words: Iterator[str], text: str) -> str:
    return " ".join(next(words) for _ in range(max(1, len(text.split()))))


def worded(task: Task, name: str, text: str) -> Task:
    """Return the task with its instruction in another wording.

    {instruction}, {choices} and {cue} in the wording stand for the task's instruction, its choices
    and the text before an answer.

    Raises:
        UserError: a placeholder that means nothing, or {choices} where the task has none.
    """
    known = {
        "instruction": task.instruction,
        "choices": ", ".join(task.choices),
        "cue": task.template.before_target.strip(),
    }
    for _, field, _, _ in string.Formatter().parse(text):
        if field is not None and field not in known:
            raise unknown(f"placeholder in wording '{name}'", field, known)
        if field == "choices" and not task.choices:
            raise UserError(
                f"wording '{name}' lists the choices, but the items of task '{task.name}' share "
                "none; leave this wording out."
            )
    return replace(task, instruction=text.format(**known).strip())
