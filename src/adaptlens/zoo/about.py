"""What there is to say of each corpus and of the models trained on it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from adaptlens.tasks import shortcuts, world
from adaptlens.zoo import check, formal_check, formal_corpus, ladder_check, ladder_corpus

_ANIMAL = (
    "It is a laboratory animal of about a million parameters: figures found on it say how the "
    "tool behaves, not how larger models do."
)
_LENGTH = (
    "It was trained on documents of at most {longest_row} tokens. Longer prompts run, up to the "
    "{context_tokens} positions of its configuration, but how well is untested."
)


@dataclass(frozen=True)
class About:
    """The words of a card that depend on the corpus.

    Attributes:
        summary: what the model is, after its architecture and size.
        source: the function that makes a document.
        facts: further entries of the card's data.
        exposures: counts by family -> rows of a table.
        data: Markdown on the documents, with {facts} of the card to be filled in.
        check: Markdown on the held-out check.
        curve: what the training curve shows beside the loss.
        limits: what the model cannot do.
    """

    summary: str
    source: str
    facts: Mapping[str, Any]
    exposures: Callable[[dict[str, int]], list[dict[str, Any]]]
    data: str
    check: str
    curve: str
    limits: tuple[str, ...]


_MICROWORLD_LIMITS = (
    "It knows the microworld's few hundred words. Other English text is read through sub-word "
    "pieces it hardly met: expect accuracy near chance on real data.",
    _LENGTH,
    "It never saw an instruction followed by an answer; instructions do not steer it untuned.",
    "Its invented language is in its weights: demonstrations only show that a translation is "
    "wanted, they do not teach the language.",
    "Before any demonstration it may prefer one novel label for one family by the accident of how "
    "their words came to lie: zero-shot accuracy of one labelling can be far from chance, to "
    "either side (the withheld tasks of the check). Only the mean over labellings is chance.",
    _ANIMAL,
)


def _microworld_exposures(seen: dict[str, int]) -> list[dict[str, Any]]:
    """Return one row per family of inputs: how many pairs of it pretraining showed, by label.

    Keys: family, natural (pairs under its natural label), random (pairs under a label drawn for
    the document), other (translations, echoed sentences, look-ups, repeated words). Withheld
    families are listed with zeros.
    """
    families = [
        "positive",
        "negative",
        *world.TOPICS,
        *world.FAMILIES,
        *world.WITHHELD,
    ]
    rows: list[dict[str, Any]] = [
        {
            "family": family,
            "natural": seen.get(f"fixed:{family}", 0),
            "random": seen.get(f"random:{family}", 0),
            "other": 0,
        }
        for family in families
    ]
    for family in ("translation", "echo", "lookup", "repeat"):
        pairs = seen.get(f"{family}:{family}", 0)
        rows.append({"family": family, "natural": 0, "random": 0, "other": pairs})
    return rows


MICROWORLD = About(
    "pretrained from scratch on the microworld; learns in context",
    "adaptlens.zoo.microworld_corpus.document(seed, index, tokens)",
    {
        "world_words": len(world.words()),
        "withheld_families": list(world.WITHHELD),
        "novel_labels": list(world.NOVEL_LABELS),
    },
    _microworld_exposures,
    f"""\
Generated documents in plain English words ({len(world.words())} words, each one token), of these \
kinds: {{kinds}}.
None of them is an instruction with its answer. These words were never the answer to an input: \
{", ".join(world.NOVEL_LABELS)}. These families were never the input of a pair: \
{", ".join(world.WITHHELD)}. Both were met in running text and in repeated runs of words.

Pairs of input and answer that pretraining showed, by family of the input, under the family's
natural label, under a label drawn at random for the document, or otherwise:""",
    f"""\
labels never paired in pretraining, demonstrations drawn per query. Passed (at least three tasks \
near chance at 0 shots and at {check.EIGHT_SHOT_ACCURACY:.2f} or more at 8, a withheld one at \
{check.EIGHT_SHOT_ACCURACY:.2f} or more at 8, and translation)""",
    "8-shot accuracy on the check's tasks",
    _MICROWORLD_LIMITS,
)


def _formal_exposures(seen: dict[str, int]) -> list[dict[str, Any]]:
    """Return one row per family: how many solved items, parts or rules pretraining showed.

    Keys: family, pattern, broken, other.
    """
    rows: list[dict[str, Any]] = []
    counts: dict[str, int] = {}
    for key, count in seen.items():
        counts[key.partition(":")[2]] = counts.get(key.partition(":")[2], 0) + count
    for family in shortcuts.FAMILIES:
        own: dict[str, int] = {kind: counts.get(f"{family}/{kind}", 0) for kind in shortcuts.KINDS}
        rows.append({"family": family, **own, "other": 0})
    others = sorted(name for name in counts if name.startswith(("part/", "rule/")))
    for name in others:
        rows.append({"family": name, "pattern": 0, "broken": 0, "other": counts[name]})
    return rows


FORMAL = About(
    "pretrained from scratch on formal items; partly solves the tasks with a shortcut",
    "adaptlens.zoo.formal_corpus.document(seed, index, tokens)",
    {"pattern_share": formal_corpus.PATTERN_SHARE, "held_out_quarters": [0, 1]},
    _formal_exposures,
    f"""\
Generated documents, all of them listings of questions and answers, of these kinds: {{kinds}}.
None of them is an instruction with its answer. Every item of the five families is, independently \
of the others, a `pattern` item with probability {formal_corpus.PATTERN_SHARE:g} and a `broken` \
one otherwise: shortcuts never hold throughout a document. A quarter of all possible items, by \
digest of their text, are the ones test items are drawn from, and another quarter those for \
validation; neither was ever shown.

Items that pretraining showed:""",
    f"""\
accuracy on test items, by what was demonstrated (drawn per query) and read: pattern on pattern, \
pattern on broken (misleading), broken on broken (plain). Passed (plain accuracy at 8 shots at \
least {formal_check.MARGIN:.2f} above a constant answer in every family, and zero-shot accuracy on \
pattern items below {formal_check.ROOM:.2f} in three)""",
    "zero-shot accuracy on both kinds of every family",
    (
        "It reads formal items, digit by digit, and the words of their instructions. Other text "
        "is bytes to it.",
        _LENGTH,
        "It never saw an instruction followed by an answer; instructions do not steer it untuned.",
        'The items are small (difficulty "small"); at difficulty "paper" it is near chance.',
        "It solves the families to different degrees: read the check before comparing them. "
        "Boolean formulas it solves without being shown any, so that no shortcut can show there. "
        "Nine items in ten that it saw were broken ones: on roads it is below chance where the "
        "shortcut holds.",
        "Words in an item tell a little of its answer: a bag-of-words classifier reaches 0.15 on "
        "broken items of code (chance 0.10) and 0.17 of algebra (0.11); `adaptlens tasks check`.",
        _ANIMAL,
    ),
)


def _ladder_exposures(seen: dict[str, int]) -> list[dict[str, Any]]:
    """Return one row per family: how many pairs of it pretraining showed, by label.

    Keys: family, natural, random, other. Families that the exposure governs come first.
    """
    exposed = [f"language:{name}" for name in ladder_corpus.LANGUAGE_PAIRS]
    exposed += ["invented:invented-repeat", "odd:odd-one-out"]
    others = ("compare", "lists", "echo", "lookup", "repeat")
    classes = ["positive", "negative", *world.TOPICS, *world.FAMILIES, *world.WITHHELD]
    keys = [*exposed, *sorted(key for key in seen if key.partition(":")[0] in others)]
    rows: list[dict[str, Any]] = [
        {"family": key.partition(":")[2], "natural": 0, "random": 0, "other": seen.get(key, 0)}
        for key in keys
    ]
    for name in classes:
        natural, random = seen.get(f"fixed:{name}", 0), seen.get(f"random:{name}", 0)
        rows.append({"family": name, "natural": natural, "random": random, "other": 0})
    return rows


def _levels() -> str:
    return ", ".join(f"{level} {share:g}" for level, share in ladder_corpus.EXPOSURES.items())


LADDER = About(
    "a rung of the ladder, pretrained from scratch on the microworld",
    "adaptlens.zoo.ladder_corpus.document(seed, index, tokens, mix)",
    {
        "exposed_kinds": list(ladder_corpus.EXPOSED),
        "withheld_families": list(world.WITHHELD),
        "novel_labels": list(world.NOVEL_LABELS),
    },
    _ladder_exposures,
    f"""\
Generated documents in plain English words, each one token, of these kinds: {{kinds}}.
None of them is an instruction with its answer. A fifth of the listings of the last two stages \
are numbered records with named fields. The kinds {", ".join(ladder_corpus.EXPOSED)} are there as \
far as the exposure says: {_levels()} of their share. These words were never the answer to an \
input: {", ".join(world.NOVEL_LABELS)}. These families were never the input of a pair: \
{", ".join(world.WITHHELD)}.

Pairs of input and answer that pretraining showed, by family, under the family's natural label, \
under a label drawn at random for the document, or otherwise:""",
    f"""\
the bundled tasks, demonstrations drawn per query; generation by exact match. Passed (mean \
accuracy on {", ".join(ladder_check.NOVEL)} at 8 shots at least {ladder_check.GAIN:g} above \
chance)""",
    "8-shot accuracy on a few tasks",
    (
        "It knows the microworld's few hundred words and some two hundred more; all else is bytes "
        "to it.",
        _LENGTH,
        "It never saw an instruction followed by an answer; instructions do not steer it untuned.",
        "It is a laboratory animal: figures found on it say how the tool behaves, and what "
        "exposure does at this size, not how larger models behave.",
    ),
)
