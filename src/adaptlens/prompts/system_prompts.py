"""Prompts and training texts of the five systems.

regular: what to do, the item in one of its task's wordings, and the answer marker.
samplegen: what to do and the item; the model writes two examples, the item again, and the answer.
gold: two gold examples and the item, as samplegen writes them, for the base model.
pipeline: what samplegen wrote, up to its answer marker, for the base model.
base: the item in its wording and the answer marker, for the base model.

Source: Bigoulaeva, Tayyar Madabushi and Gurevych 2025 (arXiv 2501.08716), as its released code
writes them. Ours differ in the words that say what to do, and in that the answer marker is given
wherever the model would only have to repeat it.
"""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from adaptlens import sandbox
from adaptlens.errors import UserError
from adaptlens.prompts import render, variations
from adaptlens.prompts.variations import (
    ADVERSARIAL,
    BLANK,
    CORRUPTED,
    IGNORE,
    NO_ANSWER,
    NONE,
    READ,
    UNIFIED,
    asking,
    varied,  # fmt: skip
)
from adaptlens.types import Example, Part, Prompt, Role

SHOWN = 2
"""How many examples are shown or written."""
MARKER = "Answer Solution:"
END = "END_EXAMPLES"
OPTIONS_BETWEEN = "; "
_SOLUTION = "Solution"


def wording(item: Example) -> str:
    """Return an item as it is asked: its wording (`instruction`, Jinja) filled in."""
    if not item.instruction:
        return item.input
    values = {
        **{name.replace(" ", "_"): text for name, text in item.fields},
        "input": item.input,
        "options": OPTIONS_BETWEEN.join(item.choices),
    }
    return sandbox.render(item.instruction, values, f"wording of item {item.id}")


def regular(item: Example, *, chat: render.RenderChat | None = None, variation: str = "") -> Prompt:
    """Return the prompt of an instruction-tuned model, up to and with the answer marker."""
    item = varied(item, variation)
    parts = _asked("regular", item, chat, variation)
    return _prompt([*parts, Part("cue", MARKER)], item)


def samplegen(
    item: Example, *, chat: render.RenderChat | None = None, variation: str = ""
) -> Prompt:
    """Return the prompt after which a model writes examples, the item again, and its answer."""
    item = varied(item, variation)
    return _prompt(_asked("samplegen", item, chat, variation), item)


def response(item: Example, shown: Sequence[Example], *, variation: str = "") -> str:
    """Return what a samplegen model learns to write after the prompt of an item."""
    item = varied(item, variation)
    if variation == CORRUPTED:
        item = replace(
            item,
            fields=tuple((name, NONE) for name, _ in _fields(item)),
            choices=(NONE,) if item.choices else (),
        )
    answer = "" if variation == NO_ANSWER else f" {item.target}"
    text = "".join(part.text for part in (*_examples(shown, variation), *_restated(item)))
    return f"{text}{answer}\n{END}"


def gold(item: Example, shown: Sequence[Example], *, variation: str = "") -> Prompt:
    """Return gold examples and the item in the layout of samplegen, for the base model."""
    item = varied(item, variation)
    ignore = [Part("instruction", f"{IGNORE}\n")] if variation == ADVERSARIAL else []
    return _prompt([*_examples(shown, variation), *ignore, *_restated(item)], item)


def base(item: Example, *, variation: str = "") -> Prompt:
    """Return the item in its wording, and the answer marker, without a word on what to do."""
    item = varied(item, variation)
    return _prompt([*_worded(item, variation), Part("cue", f"\n{MARKER}")], item)


def pipeline(item: Example, generated: str, *, variation: str = "") -> Prompt | None:
    """Return what a samplegen model wrote, up to its first answer marker, for the base model.

    None where it wrote none.
    """
    before, found, _ = generated.partition(MARKER)
    item = varied(item, variation)
    return _prompt([Part("demo_input", before), Part("cue", MARKER)], item) if found else None


def continued(asked: Prompt, generated: str) -> Prompt | None:
    """Return a samplegen prompt with what the model itself wrote up to its first answer marker.

    None where it wrote none.
    """
    before, found, _ = generated.partition(MARKER)
    if not found:
        return None
    written = [Part("demo_input", before), Part("cue", MARKER)]
    return replace(asked, parts=(*asked.parts, *(part for part in written if part.text)))


def _prompt(parts: Sequence[Part], item: Example) -> Prompt:
    answers = tuple(f" {choice}" for choice in item.choices)
    return Prompt(tuple(part for part in parts if part.text), answers, item.id)


def _asked(
    system: str, item: Example, chat: render.RenderChat | None, variation: str
) -> list[Part]:
    """Return what to do and the item, as one message or in the plain layout."""
    query = _worded(item, variation)
    if variation == ADVERSARIAL:
        query += [Part("separator", "\n"), Part("instruction", IGNORE)]
    told = [Part("instruction", asking(system, variation)), Part("separator", "\n\n")]
    parts = [part for part in (*told, *query) if part.text]
    if chat is None:
        return [*parts, Part("separator", "\n")]
    return render.as_messages([("user", parts)], chat)


def _worded(item: Example, variation: str) -> list[Part]:
    """Return an item as it is asked; with unified names, field by field instead."""
    if variation != UNIFIED:
        return [Part("query", wording(item))]
    lines = _lines(item, "", "query")
    return [*lines[:-1]]


def _fields(item: Example) -> tuple[tuple[str, str], ...]:
    return item.fields or (("input", item.input),)


def _lines(item: Example, suffix: str, role: Role) -> list[Part]:
    """Return one line per field, the options last, each with the suffix behind its name."""
    named = list(_fields(item))
    if item.choices:
        named.append(("options", OPTIONS_BETWEEN.join(item.choices)))
    parts: list[Part] = []
    for name, text in named:
        heading = " ".join(filter(None, [_heading(name), suffix]))
        parts += [Part("cue", f"{heading}: "), Part(role, text), Part("separator", "\n")]
    return parts


def _heading(name: str) -> str:
    plain = name.replace("_", " ")
    return plain[:1].upper() + plain[1:]


def _examples(shown: Sequence[Example], variation: str) -> list[Part]:
    parts: list[Part] = []
    for number, example in enumerate(shown, 1):
        parts.append(Part("cue", f"Example {number}:\n"))
        target = BLANK
        if variation == CORRUPTED:
            parts.append(Part("demo_input", f"{BLANK}\n"))
        else:
            example = varied(example, variation)
            parts += _lines(example, str(number), "demo_input")
            target = example.target
        parts += [
            Part("cue", f"Answer {number}:"),
            Part("demo_target", f" {target}"),
            Part("separator", "\n"),
        ]
    return parts


def _restated(item: Example) -> list[Part]:
    return [
        Part("cue", f"{_SOLUTION}:\n"),
        *_lines(item, _SOLUTION, "query"),
        Part("cue", MARKER),
    ]


def picked(
    pool: Mapping[str, Sequence[Example]],
    group: str,
    key: Sequence[int],
    *,
    shown: int = SHOWN,
    variation: str = "",
    clusters: Mapping[str, str] | None = None,
) -> tuple[Example, ...]:
    """Return examples for an item of `group`, drawn without replacement; equal keys, equal ones.

    Args:
        pool: task -> its gold examples.
        group: the item's task.
        key: seeds of the draw.
        shown: how many.
        variation: with "irrelevant" and "irrelevant-same" they come from another task.
        clusters: task -> its cluster, needed for these two.

    Raises:
        UserError: there are too few, or no other task.
    """
    generator = np.random.default_rng([*key, zlib.crc32(group.encode())])
    name = variations.source(group, list(pool), clusters or {}, variation, generator)
    found = pool.get(name, ())
    if len(found) < shown:
        raise UserError(
            f"{shown} examples of task '{name}' were asked for; the mixture holds {len(found)} "
            "that are not trained on; give the task more training items."
        )
    return tuple(found[i] for i in generator.choice(len(found), shown, replace=False))


def by_group(pool: Sequence[Example]) -> dict[str, tuple[Example, ...]]:
    """Return a mixture's gold examples by their task."""
    found: dict[str, list[Example]] = {}
    for example in pool:
        found.setdefault(example.group, []).append(example)
    return {group: tuple(examples) for group, examples in found.items()}


@dataclass(frozen=True)
class Writer:
    """Writes the prompts of one system; a function of (variant, query) as `Adapted.write` is.

    Attributes:
        system: "base", "gold", "regular" or "samplegen".
        chat: the tokenizer's chat template, for the tuned systems.
        variation: in which prompts are written.
        pool: task -> gold examples, for gold.
        clusters: task -> cluster, for irrelevant examples.
        draws: of each variant, for gold.
        shown: how many examples gold shows.
        seed: of the draws.
        opening: what stands before every text of the base model that no tokenizer adds (BOS, for
            a model that is otherwise read in chat).
    """

    system: str
    chat: render.RenderChat | None = None
    variation: str = ""
    pool: Mapping[str, Sequence[Example]] = field(default_factory=dict)
    clusters: Mapping[str, str] = field(default_factory=dict)
    draws: tuple[int, ...] = ()
    shown: int = SHOWN
    seed: int = 0
    opening: str = ""

    def __call__(self, variant: int, query: Example) -> Prompt:
        """Return the prompt of a variant for a query."""
        if self.system == "gold":
            shown = self.examples(variant, query.group)
            return self.opened(gold(query, shown, variation=self.variation))
        if self.system == "base":
            return self.opened(base(query, variation=self.variation))
        write = regular if self.system == "regular" else samplegen
        return write(query, chat=self.chat, variation=self.variation)

    def opened(self, prompt: Prompt) -> Prompt:
        """Return a prompt of the base model with its opening."""
        if not self.opening:
            return prompt
        return replace(prompt, parts=(Part("chat", self.opening), *prompt.parts))

    def examples(self, variant: int, group: str) -> tuple[Example, ...]:
        """Return what a variant shows before every item of a task."""
        return picked(
            self.pool,
            group,
            (self.seed, self.draws[variant]),
            shown=self.shown,
            variation=self.variation,
            clusters=self.clusters,
        )

    def varied(self, variation: str) -> "Writer":
        """Return the writer of the same system in a variation; "" leaves it as it is.

        Raises:
            UserError: this system cannot be read with it.
        """
        if not variation:
            return self
        variations.check(variation, self.system, READ)
        return replace(self, variation=variation)


def key_of(item: Example) -> int:
    """Return a number that stands for an item in the keys of draws."""
    return zlib.crc32(item.id.encode())
