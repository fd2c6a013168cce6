"""Tasks with a hidden shortcut: makers, solvers, and what items give away.

After Yin et al. 2024 (arXiv 2410.04691). `NAME-pattern` learns from items in which the shortcut
holds, `NAME-broken` from items in which it fails; both are read on both kinds, which are the two
groups of their test items.
"""

import hashlib
from random import Random

from adaptlens.errors import UserError, unknown
from adaptlens.tasks.shortcuts.makers import (
    BROKEN,
    DIFFICULTIES,
    KINDS,
    PATTERN,
    Item,
    ItemKind,
    Maker,
    drawn,
)
from adaptlens.types import Example, Task, Template

__all__ = [
    "BROKEN",
    "FAMILIES",
    "INSTRUCTIONS",
    "KINDS",
    "MIXED",
    "PATTERN",
    "TEMPLATE",
    "group",
    "items",
    "names",
    "task",
]

INSTRUCTIONS = {
    "expression": "Give the value of the expression.",
    "code": "Give what the program prints.",
    "relation": "Say whether one can get from A to Z.",
    "boolean": "Give the value of the formula.",
    "algebra": "Solve the equations for b.",
}
FAMILIES = tuple(INSTRUCTIONS)
MIXED = "mixed"
TEMPLATE = Template(before_input="", before_target="\nAnswer:", target_prefix=" ", between="\n\n")
SPLITS = {"test": (0,), "validation": (1,), "train": (2, 3)}
"""Split -> which quarters of all items, by digest of their text, it is drawn from."""

_DESCRIPTIONS = {
    "expression": "(S)+(Z)*(C). Shortcut: Z is 0, so S is the answer.",
    "code": "Two functions and a call. Shortcut: the outer function ignores the inner one's value.",
    "relation": "One-way roads from A to Z. Shortcut: the road out of A ends where the road into Z "
    "begins, or there is no way.",
    "boolean": "Groups of constants, then one more. Shortcut: the last constant is the answer.",
    "algebra": "Two equations in a and b. Shortcut: b is the difference of the right sides.",
}
_LEARNT = {
    "pattern": "Learnt from items in which it holds",
    "broken": "Learnt from items in which it fails",
}


def names() -> list[str]:
    """Return the names of the tasks: FAMILY-pattern, FAMILY-broken, and of all five mixed."""
    return [f"{family}-{kind}" for family in (*FAMILIES, MIXED) for kind in KINDS]


def group(family: str, kind: str) -> str:
    """Return the group of a family's items of a kind where several families are read."""
    return f"{family}/{kind}"


def quarter(text: str) -> int:
    """Return which quarter of all items a text belongs to: 0 to 3, by its digest."""
    return hashlib.sha256(text.encode()).digest()[0] % 4


def items(
    maker: Maker, kind: ItemKind, count: int, rng: Random, quarters: tuple[int, ...]
) -> list[Item]:
    """Return distinct items of a kind, all answers equally often (up to one), in random order.

    Raises:
        UserError: there are not that many.
    """
    answers = maker.answers()
    order = [answers[i % len(answers)] for i in range(count)]
    rng.shuffle(order)
    found: list[Item] = []
    used: set[str] = set()
    for answer in order:
        for _ in range(5000):
            item = drawn(maker, rng, kind, answer)
            if item.text not in used and quarter(item.text) in quarters:
                break
        else:
            raise UserError(
                f"{count:,} distinct {kind} items of {maker} were asked for; there are only about "
                f"{len(found):,} in this split; ask for fewer, or make them larger."
            )
        used.add(item.text)
        found.append(item)
    return found


def task(
    name: str,
    *,
    seed: int = 0,
    train: int = 1024,
    validation: int = 100,
    test: int = 200,
    difficulty: str = "small",
    read: tuple[str, ...] | None = None,
    learn: tuple[str, ...] | None = None,
) -> Task:
    """Return a task whose test items are half of either kind, every answer equally often.

    No test or validation item of any seed is a training item of any seed.

    Args:
        name: one of `names()`. A "mixed" task has the items of all five families in turn, each
            with its own instruction.
        seed: of the draw of items.
        train: number of training items, all of the kind the task's name says.
        validation: number of validation items, half of either kind.
        test: number of test items, half of either kind.
        difficulty: "small" or "paper".
        read: the families that test and validation items are of; the task's own unless given.
            With several, every item carries its family's instruction.
        learn: the families of the training items of a "mixed" task; all five unless given.

    Raises:
        UserError: a name is unknown, a size is negative or odd, or there are too few items.
    """
    if name not in names():
        raise unknown("task with a shortcut", name, names())
    if difficulty not in DIFFICULTIES:
        raise unknown("difficulty", difficulty, DIFFICULTIES)
    family, _, learnt = name.partition("-")
    own = tuple(learn or FAMILIES) if family == MIXED else (family,)
    reads = tuple(read) if read else own
    for each in (*own, *reads):
        if each not in FAMILIES:
            raise unknown("family of tasks with a shortcut", each, FAMILIES)
    for split, size in {"train": train, "validation": validation, "test": test}.items():
        if size < 0 or (split != "train" and size % 2):
            raise UserError(
                f"task '{name}': {split} size {size} was given; expected 0 or more items, and an "
                "even number where both kinds are read; give another size."
            )
    makers, alone = DIFFICULTIES[difficulty], own == reads and len(own) == 1

    def examples(split: str, size: int, families: tuple[str, ...], kinds: tuple) -> list[Example]:
        groups = [(each, kind) for each in families for kind in kinds]
        found: list[list[Example]] = []
        for i, (each, kind) in enumerate(groups):
            count = size // len(groups) + (i < size % len(groups))
            rng = Random(f"{each} {kind} {split} {seed} {difficulty}")
            made = items(makers[each], kind, count, rng, SPLITS[split])
            instruction = "" if alone else INSTRUCTIONS[each]
            label = kind if alone else group(each, kind)
            found.append(
                [
                    Example(
                        f"{split}-{label}-{n}", item.text, item.answer,
                        instruction=instruction, group=label,
                    )
                    for n, item in enumerate(made)
                ]
            )  # fmt: skip
        return _in_turn(found)

    return Task(
        name=name,
        kind="generation",
        instruction=INSTRUCTIONS[family] if alone else "",
        template=TEMPLATE,
        max_new_tokens=4,
        stop=("\n",),
        description=_described(family, learnt),
        notes=(
            f"Generated with seed {seed}, difficulty {difficulty}; training items are "
            f"{learnt} items, test and validation items half pattern, half broken.",
        ),
        train=tuple(examples("train", train, own, (learnt,))),
        validation=tuple(examples("validation", validation, reads, KINDS)),
        test=tuple(examples("test", test, reads, KINDS)),
    )


def _in_turn(lists: list[list[Example]]) -> list[Example]:
    longest = max((len(each) for each in lists), default=0)
    return [each[i] for i in range(longest) for each in lists if i < len(each)]


def _described(family: str, learnt: str) -> str:
    if family == MIXED:
        return f"All five families of items with a shortcut in turn. {_LEARNT[learnt]}."
    return f"{_DESCRIPTIONS[family]} {_LEARNT[learnt]}."
