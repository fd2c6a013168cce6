"""Items with a hidden shortcut: the same surface, whether the shortcut holds or not.

Every maker draws what `pattern` and `broken` items have in common first, so that the two kinds
differ in the one place that decides whether the shortcut holds. Source of the tasks: Yin et al.
2024 (arXiv 2410.04691), released generators; docs/methods.md says what is made differently.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from random import Random
from typing import Literal, NamedTuple

ItemKind = Literal["pattern", "broken"]
PATTERN: ItemKind = "pattern"
BROKEN: ItemKind = "broken"
KINDS = (PATTERN, BROKEN)


class Item(NamedTuple):
    """A question, its answer, and what the shortcut answers."""

    text: str
    answer: str
    shortcut: str


@dataclass(frozen=True, slots=True)
class Expression:
    """`(S)+(Z)*(C)`: in `pattern` items Z is 0, so S is the answer.

    Attributes:
        first_terms: terms of S at most.
        zero_terms: terms of Z, at least 2 and at most this.
        other_terms: terms of C.
        limit: terms lie between -limit and limit, where the total allows.
        top: S and the answer lie between 0 and this.
    """

    first_terms: int = 2
    zero_terms: int = 2
    other_terms: int = 1
    limit: int = 9
    top: int = 9

    def answers(self) -> list[str]:
        """Return the possible answers."""
        return [str(number) for number in range(self.top + 1)]

    def make(self, rng: Random, kind: ItemKind, answer: str) -> Item | None:
        """Return an item, or None where the draw came to nothing."""
        wanted = int(answer)
        other = rng.choice([n for n in range(self.top + 1) if n != wanted])
        first, broken = (wanted, other) if kind == "pattern" else (other, wanted)
        product = broken - first
        divisors = [n for n in range(1, abs(product) + 1) if product % n == 0]
        zero = rng.choice(divisors) * rng.choice((1, -1))
        factor = product // zero
        terms = rng.randint(2, self.zero_terms)
        parts = (
            _signed_sum(rng, first, rng.randint(1, self.first_terms), 0, self.limit),
            _signed_sum(rng, 0 if kind == "pattern" else zero, terms, -self.limit, self.limit),
            _signed_sum(rng, factor, self.other_terms, -self.limit, self.limit),
        )
        if None in parts:
            return None
        return Item("({})+({})*({})".format(*parts), answer, str(first))


@dataclass(frozen=True, slots=True)
class Code:
    """Two functions and a call: in `pattern` items the outer one ignores the inner one's value.

    Attributes:
        steps: operations of the inner function at most, at least half as many.
        constant: the largest constant.
        top: the argument and the answer lie between 0 and this.
        outer: operators of the outer function.
    """

    steps: int = 2
    constant: int = 9
    top: int = 9
    outer: tuple[str, ...] = ("+", "-")

    def answers(self) -> list[str]:
        """Return the possible answers."""
        return [str(number) for number in range(self.top + 1)]

    def make(self, rng: Random, kind: ItemKind, answer: str) -> Item | None:
        """Return an item, or None where the draw came to nothing."""
        argument = rng.randint(0, self.top)
        body, inner = "x", argument
        for step in range(rng.randint((self.steps + 1) // 2, self.steps)):
            operator, constant = rng.choice("+-*"), rng.randint(1, self.constant)
            inner = _applied(inner, operator, constant)
            body = f"({body}){operator}{constant}" if step else f"{body}{operator}{constant}"
        operator, constant = rng.choice(self.outer), rng.randint(1, self.constant)
        short, whole = (_applied(n, operator, constant) for n in (argument, inner))
        found = short if kind == "pattern" else whole
        possible = range(self.top + 1)
        if str(found) != answer or short == whole or {short, whole} - {*possible}:
            return None
        read = "x" if kind == "pattern" else "y"
        text = (
            f"def f(x): return {body}\n"
            f"def g(x,y): return {read}{operator}{constant}\n"
            f"print(g({argument},f({argument})))"
        )
        return Item(text, answer, str(short))


@dataclass(frozen=True, slots=True)
class Relation:
    """One-way roads: can one get from A to Z? In `pattern` items two roads tell.

    The first road leaves A, the last one enters Z; where the first ends in the town where the last
    begins, the answer is yes, and in `pattern` items only there. In `broken` items they never
    meet, and the towns between decide.

    Attributes:
        reached: roads after the first one that lead on from A.
        apart: roads among towns that A does not reach.
        spare: names of towns beyond those that an item can need.
    """

    reached: int = 1
    apart: int = 1
    spare: int = 0

    def answers(self) -> list[str]:
        """Return the possible answers."""
        return ["Yes", "No"]

    def make(self, rng: Random, kind: ItemKind, answer: str) -> Item | None:
        """Return an item."""
        towns = [*"BCDEFGHIJKLMNOPQRSTUVWXY"[: self.reached + self.apart + 4 + self.spare]]
        rng.shuffle(towns)
        near, far = towns[: self.reached + 1], towns[self.reached + 1 :][: self.apart + 1]
        middle = [f"{a}>{b}" for chain in (near, far) for a, b in pairwise(chain)]
        rng.shuffle(middle)
        if answer == "No":
            last = rng.choice(far)
        else:
            last = near[0] if kind == "pattern" else rng.choice(near[1:])
        roads = [f"A>{near[0]}", *middle, f"{last}>Z"]
        return Item(" ".join(roads), answer, "Yes" if last == near[0] else "No")


@dataclass(frozen=True, slots=True)
class Boolean:
    """`(...) and/or constant`: in `pattern` items the constant alone decides.

    Attributes:
        groups: parenthesised groups before the constant.
        size: constants in a group, at least 2 and at most this.
    """

    groups: int = 3
    size: int = 2

    def answers(self) -> list[str]:
        """Return the possible answers."""
        return ["True", "False"]

    def make(self, rng: Random, kind: ItemKind, answer: str) -> Item | None:
        """Return an item, or None where the draw came to nothing."""
        body = self._body(rng, rng.choice((True, False)) if kind == "pattern" else answer == "True")
        if body is None:
            return None
        if kind == "pattern":
            end = "or True" if answer == "True" else "and False"
        else:
            end = rng.choice(("or False", "and True"))
        return Item(f"({body}) {end}", answer, end.split()[1])

    def _body(self, rng: Random, value: bool) -> str | None:
        """Return groups of this value; the same words in another order have the other value."""
        sizes = [rng.randint(2, self.size) for _ in range(self.groups)]
        constants = [rng.choice((True, False)) for _ in range(sum(sizes))]
        operators = [rng.choice(("and", "or")) for _ in range(sum(sizes) - 1)]
        found: dict[bool, str] = {}
        for _ in range(8):
            rng.shuffle(constants)
            rng.shuffle(operators)
            text, is_true = _grouped(sizes, constants, operators)
            found.setdefault(is_true, text)
            if len(found) == 2:
                return found[value]
        return None


@dataclass(frozen=True, slots=True)
class Algebra:
    """Equations in a and b, asking for b: in `pattern` items two rows differ by b alone.

    Attributes:
        coefficient: the largest coefficient.
        top: a and b lie between 1 and this.
        signed: coefficients may be negative; otherwise the totals give the answer away in part.
        redundant: further rows, sums of multiples of the first two.
        multiple: the largest of these multiples.
    """

    coefficient: int = 4
    top: int = 9
    signed: bool = True
    redundant: int = 0
    multiple: int = 3

    def answers(self) -> list[str]:
        """Return the possible answers."""
        return [str(number) for number in range(1, self.top + 1)]

    def make(self, rng: Random, kind: ItemKind, answer: str) -> Item | None:
        """Return an item, or None where the draw came to nothing."""
        a, b = rng.randint(1, self.top), int(answer)
        low = -self.coefficient if self.signed else 1
        p, q, other = (rng.randint(low, self.coefficient) for _ in range(3))
        one, two = (p, q), (p if kind == "pattern" else other, q + 1)
        alike = one[0] * two[1] == one[1] * two[0]
        if 0 in (*one, *two) or alike or (kind == "broken" and other == p):
            return None
        if two[1] > self.coefficient:
            return None
        rows = (one, two)
        totals = [m * a + n * b for m, n in rows]
        short = totals[1] - totals[0]
        if kind == "broken" and short == b:
            return None
        written = [_row(*row, total) for row, total in zip(rows, totals, strict=True)]
        for _ in range(self.redundant):
            x, y = (rng.randint(1, self.multiple) for _ in range(2))
            m, n = (x * one[i] + y * two[i] for i in range(2))
            written.append(_row(m, n, m * a + n * b))
        return Item("\n".join([*written, "b?"]), answer, str(short))


Maker = Expression | Code | Relation | Boolean | Algebra

SMALL: dict[str, Maker] = {
    "expression": Expression(),
    "code": Code(),
    "relation": Relation(1, 1, spare=2),
    "boolean": Boolean(3, 3),
    "algebra": Algebra(),
}
"""Difficulties that a model of a million parameters can partly learn."""

PAPER: dict[str, Maker] = {
    "expression": Expression(2, 4, 4, 20, 10),
    "code": Code(6, 12, 10, ("+", "-", "*", "//")),
    "relation": Relation(7, 7),
    "boolean": Boolean(3, 4),
    "algebra": Algebra(4, 5, False, 1),
}
"""The difficulties of Yin et al., for real models."""

DIFFICULTIES = {"small": SMALL, "paper": PAPER}


def drawn(maker: Maker, rng: Random, kind: ItemKind, answer: str) -> Item:
    """Return an item of a kind with this answer."""
    while True:
        item = maker.make(rng, kind, answer)
        if item is not None:
            return item


def _signed_sum(rng: Random, total: int, terms: int, low: int, high: int) -> str | None:
    """Return `terms` integers that add up to a total, written as a sum; None beyond the limits.

    A sum of one term is the total. The last term may be as large as the limit on either side.
    """
    numbers = [rng.randint(low, high) for _ in range(terms - 1)]
    last = total - sum(numbers)
    if abs(last) > max(abs(low), abs(high)):
        return None
    text = "".join(f"{number:+d}" for number in (*numbers, last))
    return text.removeprefix("+")


def _applied(number: int, operator: str, constant: int) -> int:
    operations: dict[str, Callable[[int, int], int]] = {
        "+": int.__add__,
        "-": int.__sub__,
        "*": int.__mul__,
        "//": int.__floordiv__,
    }
    return operations[operator](number, constant)


def _grouped(sizes: list[int], constants: list[bool], operators: list[str]) -> tuple[str, bool]:
    """Return groups as text, and their value; `and` binds tighter than `or`, as in Python."""
    values, words = [*constants], [*operators]
    groups: list[tuple[str, bool]] = []
    for size in sizes:
        own, values = values[:size], values[size:]
        joints, words = words[: size - 1], words[size - 1 :]
        groups.append(_joined([(str(value), value) for value in own], joints, "({})"))
    return _joined(groups, words, "{}")


def _joined(parts: list[tuple[str, bool]], joints: list[str], around: str) -> tuple[str, bool]:
    text = parts[0][0]
    alternatives = [[parts[0][1]]]
    for joint, (word, value) in zip(joints, parts[1:], strict=False):
        text += f" {joint} {word}"
        if joint == "or":
            alternatives.append([])
        alternatives[-1].append(value)
    return around.format(text), any(all(each) for each in alternatives)


def _row(m: int, n: int, total: int) -> str:
    return f"{m}a{n:+d}b={total}"
