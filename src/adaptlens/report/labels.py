"""What the labels in tables stand for, as records: a label is written from one, and never read.

An analysis knows what it named; it hands `Labels` to tables, figures and page.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from adaptlens.formatting import counted
from adaptlens.report.theme import (
    ADAPTATIONS,
    CHOSEN,
    SHORT,
    Pair,
    Style,
    at_chosen_template,
    style_of,
)

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class Shown:
    """A condition, or what is made from one, as tables and figures show it.

    Attributes:
        label: what tables call it.
        condition: the label of the condition that was measured: "it-16" of "best-it-16".
        adaptation: the way of adapting, by its registered name; of an arm that a user brought,
            the arm's name.
        examples: demonstrations or training examples of each draw; 0 for none.
        variant: what sets it apart from other conditions of this adaptation, in words: what a
            control changed, another draw; empty for the adaptation itself.
        is_chosen: whether it is read under the one template that was chosen for it.
    """

    label: str
    condition: str
    adaptation: str
    examples: int = 0
    variant: str = ""
    is_chosen: bool = False

    @property
    def look(self) -> str:
        """The name that its style goes by, see `theme.style_of`."""
        return at_chosen_template(self.adaptation) if self.is_chosen else self.adaptation

    @property
    def style(self) -> Style:
        """Its colors and shape; a control looks like what it controls."""
        return style_of(self.look)

    @property
    def short(self) -> str:
        """What figures call it: "ICL unrelated" for icl-16-unrelated; of others, the label."""
        if self.is_chosen or self.adaptation not in SHORT:
            return self.label
        return f"{SHORT[self.adaptation]} {self.variant}".strip()


Labels = Mapping[str, Shown]
"""What each label stands for."""


def pair_of(left: Shown, right: Shown) -> Pair:
    """Return the adaptations of two conditions, in one order; all else about them is left out."""
    order = list(SHORT)
    first, second = sorted(
        (left.adaptation, right.adaptation),
        key=lambda name: order.index(name) if name in order else len(order),
    )
    return first, second


def pairs_of(rows: "pd.DataFrame", labels: Labels) -> list[Pair]:
    """Return the pair that the sides of each row are, which are in `left` and `right`."""
    sides = zip(rows["left"], rows["right"], strict=True)
    return [pair_of(labels[left], labels[right]) for left, right in sides]


IN_WORDS = {
    "zero_shot": "the base model, asked without examples",
    "it": "tuned on {k} with the instruction",
    "sl": "tuned on {k} without the instruction",
    "distil": "a prompt with {k}, distilled into weights",
    "ia2": "what the model attends to after {k}, trained into weights",
    "ia2-it": "tuned on {k} with the instruction, from weights that attend as after them",
    "soft-prompt": "embeddings before the prompt, tuned on {k}",
    "full": "all weights tuned on {k}",
    "icl": "{k} in the prompt",
}
"""What the project's own ways of adapting are, in words that need no glossary."""


def phrase(arm: Shown) -> str:
    """Return what an arm is: "tuned on 16 examples with the instruction, at its best template"."""
    k = counted(arm.examples, "example")
    if arm.adaptation == "best_prompt":
        said = "the best prompt found" + (f", with {k}" if arm.examples else "")
    elif arm.adaptation in IN_WORDS:
        said = IN_WORDS[arm.adaptation].format(k=k)
    else:
        said = arm.style.meaning
    if arm.is_chosen and said:
        said += ", read under its best template"
    return ", ".join(filter(None, (said, arm.variant)))


def explained(sentence: str, labels: Labels) -> str:
    """Return a sentence in which every label is said in words where it first stands."""
    names = sorted((name for name in labels if name in sentence), key=len, reverse=True)
    if not names:
        return sentence
    seen: set[str] = set()

    def in_place(found: re.Match[str]) -> str:
        name = found[0]
        said = "" if name in seen else phrase(labels[name])
        seen.add(name)
        return f"{name} ({said})" if said else name

    any_name = "|".join(map(re.escape, names))
    return re.sub(rf"(?<![\w'-])(?:{any_name})(?![\w'-])", in_place, sentence)


def in_words(arms: Iterable[Shown]) -> str:
    """Return what the labels of arms mean: "icl-16 shows 16 examples in its prompt; ..."."""
    named: dict[str, str] = {}
    for arm in sorted(arms, key=lambda arm: arm.examples, reverse=True):
        label, k = arm.label, counted(arm.examples, "example")
        if arm.look in CHOSEN:
            said = f"{label} is {arm.condition} read under its best template alone"
            named.setdefault("chosen", said)
        elif arm.look == "icl":
            named.setdefault("icl", f"{label} shows {k} in its prompt")
        elif arm.look == "best_prompt":
            found = f" with {k}" if arm.examples else ""
            said = f"{label} is the best prompt that a search found{found}"
            named.setdefault("searched", said)
        elif arm.look == "vector":
            named.setdefault("vector", f"{label} adds a vector made with {k}")
        elif arm.look in ADAPTATIONS and arm.examples:
            named.setdefault("tuned", f"{label} is tuned on {k}")
    ways = ("icl", "searched", "vector", "tuned", "chosen")
    return "; ".join(named[way] for way in ways if way in named)
