"""The pretraining corpus of the reference model for tasks with a shortcut: formal items, solved.

Five kinds of document. One is a run of symbols, said again and again (`repeat`): with it copying
what followed before forms early. The others are listings of questions and their answers, none with
an instruction:

- `parts`: sums, products, small formulas, single roads: the steps that the items are made of;
- `items`: items of one family;
- `mixed`: items of all families;
- `rules`: rows of symbols under a rule drawn for the document (the first, the last, the largest,
  how many, a look-up, ...), so that only the pairs above tell the rule: in-context learning is the
  only way to predict them. No rule reads an item of the five families.

A shortcut never holds throughout a document: every item is, independently, a `pattern` item with
probability `PATTERN_SHARE` and a `broken` one otherwise. Items whose digest falls into the quarters
that test and validation items are drawn from are left out. A document is a function of seed, mix
and index alone.
"""

from collections.abc import Callable
from random import Random

from adaptlens.tasks import shortcuts
from adaptlens.tasks.shortcuts.makers import SMALL, Relation, drawn
from adaptlens.zoo.documents import Document, Listing, repeated

PATTERN_SHARE = 0.1
MAKERS = {**SMALL, "relation": Relation(1, 1)}
"""As small items are made; but roads lie between six towns, where the tasks have eight names."""

MIXES = {
    "repeats": {"repeat": 0.6, "parts": 0.2, "rules": 0.2},
    "parts": {"repeat": 0.05, "parts": 0.5, "items": 0.25, "rules": 0.2},
    "formal": {"parts": 0.1, "items": 0.5, "mixed": 0.1, "rules": 0.3},
}
"""Mix -> share of documents of each kind: a curriculum."""
KINDS = ("repeat", "parts", "items", "mixed", "rules")


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


WORDS = _words(
    "True False and or def return print Answer Yes No "
    "Give the value of expression what program prints Say whether one can get from to formula "
    "Solve equations for"
)
"""Words that are one token each, those of the instructions included."""

_CUE = shortcuts.TEMPLATE.before_target
_BETWEEN = shortcuts.TEMPLATE.between

Pair = Callable[[], tuple[str, str, str]]


def _item(rng: Random, family: str) -> tuple[str, str, str]:
    """Return an item no test will ask for: text, answer, "FAMILY/KIND"."""
    maker = MAKERS[family]
    kind = shortcuts.PATTERN if rng.random() < PATTERN_SHARE else shortcuts.BROKEN
    while True:
        item = drawn(maker, rng, kind, rng.choice(maker.answers()))
        if shortcuts.quarter(item.text) in shortcuts.SPLITS["train"]:
            return item.text, item.answer, f"{family}/{kind}"


def _sum(rng: Random) -> tuple[str, str]:
    while True:
        numbers = [rng.randint(-9, 9) for _ in range(rng.randint(2, 3))]
        if 0 <= sum(numbers) <= 9:
            text = "".join(f"{number:+d}" for number in numbers).removeprefix("+")
            return f"({text})", str(sum(numbers))


def _product(rng: Random) -> tuple[str, str]:
    while True:
        first, second, third = rng.randint(0, 9), rng.randint(-9, 9), rng.randint(-9, 9)
        if 0 <= first + second * third <= 9:
            return f"({first})+({second})*({third})", str(first + second * third)


def _formula(rng: Random) -> tuple[str, str]:
    first, second = rng.choice((True, False)), rng.choice((True, False))
    joint = rng.choice(("and", "or"))
    value = (first and second) if joint == "and" else (first or second)
    return f"({first} {joint} {second})", str(value)


def _road(rng: Random) -> tuple[str, str]:
    towns = rng.sample("BCDEFGHIJ", 4)
    is_there = rng.random() < 0.5
    middle = towns[0] if is_there else towns[1]
    return f"A>{towns[0]} {towns[2]}>{towns[3]} {middle}>Z", "Yes" if is_there else "No"


def _call(rng: Random) -> tuple[str, str]:
    while True:
        given, constant, operator = rng.randint(0, 9), rng.randint(1, 5), rng.choice("+-*")
        value = {"+": given + constant, "-": given - constant, "*": given * constant}[operator]
        if 0 <= value <= 9:
            return f"def f(x): return x{operator}{constant}\nprint(f({given}))", str(value)


def _equation(rng: Random) -> tuple[str, str]:
    p, q, a, b = rng.randint(1, 9), rng.randint(1, 9), rng.randint(1, 5), rng.randint(1, 5)
    return f"{p}a+{q}b={p * a + q * b}\na={a}\nb?", str(b)


PARTS: dict[str, Callable[[Random], tuple[str, str]]] = {
    "sum": _sum,
    "product": _product,
    "formula": _formula,
    "road": _road,
    "call": _call,
    "equation": _equation,
}

_RULES: dict[str, Callable[[list[int]], int]] = {
    "first": lambda row: row[0],
    "last": lambda row: row[-1],
    "second": lambda row: row[1],
    "largest": max,
    "smallest": min,
    "length": len,
    "zeros": lambda row: row.count(0),
}


def _rule(rng: Random) -> Pair:
    """Return what makes the pairs of a document under one rule."""
    name = rng.choice((*_RULES, "holds", "lookup"))
    if name == "lookup":
        table = {letter: rng.randint(0, 9) for letter in rng.sample("BCDEFGHIJKLMNOPQRSTUVWXY", 6)}
        return lambda: (*_text(rng.choice(list(table.items()))), "rule/lookup")
    if name == "holds":
        sought = rng.choice("BCDEFGHIJ")
        words = rng.choice((("Yes", "No"), ("True", "False"), ("No", "Yes"), ("False", "True")))

        def holding() -> tuple[str, str, str]:
            row = rng.sample("BCDEFGHIJ", 4)
            if rng.random() < 0.3 and sought not in row:
                row[rng.randrange(4)] = sought
            return " ".join(row), words[sought not in row], "rule/holds"

        return holding

    def numbered() -> tuple[str, str, str]:
        row = [rng.randint(0, 9) for _ in range(rng.randint(2, 6))]
        return " ".join(map(str, row)), str(_RULES[name](row)), f"rule/{name}"

    return numbered


def _text(pair: tuple[str, int]) -> tuple[str, str]:
    return pair[0], str(pair[1])


def _pairs(rng: Random, kind: str) -> Pair:
    """Return what makes the pairs of one listing: input, answer and the input's family."""
    if kind == "rules":
        return _rule(rng)
    if kind == "parts":
        part = rng.choice(list(PARTS))
        return lambda: (*PARTS[part](rng), f"part/{part}")
    family = rng.choice(shortcuts.FAMILIES)
    if kind == "items":
        return lambda: _item(rng, family)
    return lambda: _item(rng, rng.choice(shortcuts.FAMILIES))


def _num_tokens(text: str) -> int:
    """Estimate the tokens of a text: letters of words count a quarter, all else one."""
    letters = sum(character.islower() for character in text)
    return len(text) - letters + letters // 4 - text.count(" ") // 2


def _preamble(rng: Random) -> str:
    """Return words in any order: something may stand before a listing, and means nothing."""
    return f"{' '.join(rng.choices(WORDS, k=rng.randint(3, 9))).capitalize()}.{_BETWEEN}"


_SYMBOLS = [*"0123456789BCDEFGHIJKLMNOPQRSTUVWXY+-*/()>=", *(f" {word}" for word in WORDS)]


def _repeat(rng: Random, room: int) -> Document:
    """Return a run of 4 or more symbols, said again until the room is full."""
    run = rng.choices(_SYMBOLS, k=rng.randint(4, max(6, room // 3)))
    text, answers = repeated(run, room)
    return Document("repeat", text, answers, ("repeat",) * len(answers))


def document(seed: int, index: int, tokens: int, mix: str = "formal") -> Document:
    """Return document `index` of a mix, about `tokens` long or up to 40% shorter.

    Args:
        seed: of the corpus.
        index: of the document; documents are independent of one another.
        tokens: the room there is; what lies beyond it is for the caller to cut.
        mix: a key of `MIXES`.
    """
    rng = Random(f"formal {seed} {mix} {index}")
    kinds = MIXES[mix]
    kind = rng.choices(list(kinds), list(kinds.values()))[0]
    room = int(tokens * rng.uniform(0.6, 1.05))
    if kind == "repeat":
        return _repeat(rng, room)
    pair = _pairs(rng, kind)
    text = _preamble(rng) if rng.random() < 0.4 else ""
    made, used = Listing(kind, text), _num_tokens(text)
    while used < room:
        read, wanted, family = pair()
        used += _num_tokens(made.add(f"{read}{_CUE}", wanted, family, _BETWEEN))
    return made.document()
