"""The bundled tasks: small, offline, and written with the microworld's words.

The reference model learnt the world but not the tasks: it never saw an instruction answered, and
the labels of the `-novel` tasks never stood after an input in its pretraining. How each is asked,
in five ways, is in `tasks/wordings.py`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from adaptlens.errors import UserError, unknown
from adaptlens.tasks import puzzles, world
from adaptlens.tasks.puzzles import Puzzle
from adaptlens.tasks.wordings import WORDINGS
from adaptlens.types import Example, Kind, Task


@dataclass(frozen=True, slots=True)
class Bundled:
    """One bundled task: how an item is made, and the words that go with it.

    `labels` maps a class of the world to the word that stands for it; empty where the options
    differ by item, and for generation.
    """

    kind: Kind
    cluster: str
    instruction: str
    description: str
    make: Callable[[Random, str], Puzzle]
    labels: dict[str, str]


def _classified(
    maker: Callable[[Random, str], str], labels: dict[str, str]
) -> Callable[[Random, str], Puzzle]:
    return lambda rng, name: Puzzle((("", maker(rng, name)),), labels[name])


def _unlabelled(maker: Callable[[Random], Puzzle]) -> Callable[[Random, str], Puzzle]:
    return lambda rng, _: maker(rng)


def _translated(rng: Random) -> Puzzle:
    english, invented = world.sentence_pair(rng)
    return Puzzle((("", english),), invented)


_SENTIMENT = {"positive": "positive", "negative": "negative"}
_SENTIMENT_NOVEL = {"positive": "lantern", "negative": "ribbon"}
_TOPIC = {name: name for name in world.TOPICS}
_TOPIC_NOVEL = dict(zip(world.TOPICS, ("pebble", "marble", "feather", "candle"), strict=True))
_FAMILY = {name: name for name in ("animal", "tool", "clothing", "fruit")}
_FAMILY_NOVEL = dict(zip(_FAMILY, ("basket", "ribbon", "marble", "anchor"), strict=True))
_WITHHELD_2 = {"vehicle": "anchor", "instrument": "button"}
_WITHHELD_3 = {"vehicle": "pillow", "furniture": "thread", "instrument": "blanket"}
_YES_NO = {name: name for name in puzzles.YES_NO}
_PLACES = {name: name for name in puzzles.PLACES}
_VERBS = {name: name for name in puzzles.INVENTED_VERBS}

_BUNDLED = {
    "sentiment": Bundled(
        "choice",
        "sentiment",
        "Decide whether the text is positive or negative.",
        "Clauses of praise and blame. Two classes under their natural words, which pretraining "
        "often paired with such clauses: knowledge helps before any demonstration.",
        _classified(world.sentiment, _SENTIMENT),
        _SENTIMENT,
    ),
    "sentiment-novel": Bundled(
        "choice",
        "sentiment",
        "Decide whether the text is a lantern or a ribbon.",
        "The clauses of `sentiment` under two words that pretraining never paired with any input: "
        "what they stand for can only come from the demonstrations or from tuning.",
        _classified(world.sentiment, _SENTIMENT_NOVEL),
        _SENTIMENT_NOVEL,
    ),
    "praise": Bundled(
        "choice",
        "sentiment",
        "Decide which of the two texts is praise: the first or the second.",
        "Two clauses, one of praise and one of blame, in either order.",
        puzzles.praise,
        _PLACES,
    ),
    "agreement": Bundled(
        "choice",
        "sentiment",
        "Decide whether the two texts are both praise or both blame: yes or no.",
        "Two clauses that are both praise, both blame, or one of each.",
        puzzles.agreement,
        _YES_NO,
    ),
    "topic": Bundled(
        "choice",
        "topic",
        "Decide whether the text is about sport, food, science or money.",
        "Clauses about who does what to what. Four classes under their natural words.",
        _classified(world.topic, _TOPIC),
        _TOPIC,
    ),
    "topic-novel": Bundled(
        "choice",
        "topic",
        "Decide whether the text is a pebble, a marble, a feather or a candle.",
        "The clauses of `topic` under four words that pretraining never paired with any input.",
        _classified(world.topic, _TOPIC_NOVEL),
        _TOPIC_NOVEL,
    ),
    "same-topic": Bundled(
        "choice",
        "topic",
        "Decide whether the two texts are about the same topic: yes or no.",
        "Two clauses about one of four topics, or about two of them.",
        puzzles.same_topic,
        _YES_NO,
    ),
    "topic-pick": Bundled(
        "choice",
        "topic",
        "Decide which of the two texts is about the topic: the first or the second.",
        "Two clauses about different topics, and the topic of one. No pretraining listed it.",
        puzzles.topic_pick,
        _PLACES,
    ),
    "family": Bundled(
        "choice",
        "words",
        "Decide which kind the words are: animal, tool, clothing or fruit.",
        "Two or three words of a kind. Four classes under their natural words.",
        _classified(puzzles.family, _FAMILY),
        _FAMILY,
    ),
    "family-novel": Bundled(
        "choice",
        "words",
        "Decide whether the words are a basket, a ribbon, a marble or an anchor.",
        "The words of `family` under four words that pretraining never paired with any input.",
        _classified(puzzles.family, _FAMILY_NOVEL),
        _FAMILY_NOVEL,
    ),
    "withheld-2": Bundled(
        "choice",
        "words",
        "Decide whether the words are an anchor or a button.",
        "Words of two kinds that pretraining never listed, under two words it never paired.",
        _classified(puzzles.family, _WITHHELD_2),
        _WITHHELD_2,
    ),
    "withheld-3": Bundled(
        "choice",
        "words",
        "Decide whether the words are a pillow, a thread or a blanket.",
        "Words of three kinds that pretraining never listed, under three words it never paired.",
        _classified(puzzles.family, _WITHHELD_3),
        _WITHHELD_3,
    ),
    "same-family": Bundled(
        "choice",
        "words",
        "Decide whether the two words are of the same kind: yes or no.",
        "Two words of one of nine kinds, or of two of them.",
        puzzles.same_family,
        _YES_NO,
    ),
    "odd-one-out": Bundled(
        "choice",
        "lists",
        "Find the word that is not of the same kind as the others.",
        "Four words, three of them of a kind; the options are the four. How much of it "
        "pretraining showed is set by the exposure of the ladder's models.",
        _unlabelled(puzzles.odd_one_out),
        {},
    ),
    "in-list": Bundled(
        "choice",
        "lists",
        "Decide whether the word is in the list: yes or no.",
        "A list of four or five words, and a word that is in it or not.",
        puzzles.in_list,
        _YES_NO,
    ),
    "last-word": Bundled(
        "generation",
        "lists",
        "Give the last word of the list.",
        "A list of three to five words; the answer is written out.",
        _unlabelled(puzzles.last_word),
        {},
    ),
    "translation": Bundled(
        "generation",
        "language",
        "Translate the sentence into the invented language.",
        "English sentences of the microworld and their translations into its invented language: "
        "adjectives follow nouns, the verb comes last. Pretraining knows the language; "
        "demonstrations or tuning must show that a translation is wanted.",
        _unlabelled(_translated),
        {},
    ),
    "translation-choice": Bundled(
        "choice",
        "language",
        "Choose the translation of the sentence into the invented language.",
        "An English sentence; the options are translations of it and of three sentences that "
        "differ from it in a word. How much of the language pretraining showed is set by the "
        "exposure of the ladder's models.",
        _unlabelled(puzzles.translation_choice),
        {},
    ),
    "back-translation": Bundled(
        "choice",
        "language",
        "Choose the English sentence that the invented one stands for.",
        "An invented sentence; the options are its translation and three that differ in a word.",
        _unlabelled(puzzles.back_translation),
        {},
    ),
    "verb-translation": Bundled(
        "choice",
        "language",
        "Give the translation of the verb into the invented language.",
        "An English sentence; the options are the translations of the eight verbs.",
        puzzles.verb_translation,
        _VERBS,
    ),
    "right-translation": Bundled(
        "choice",
        "language",
        "Decide whether the translation is right: yes or no.",
        "An English sentence and its translation, or that of a sentence that differs in a word. "
        "No pretraining listed it.",
        puzzles.right_translation,
        _YES_NO,
    ),
}


def names() -> list[str]:
    """Return the names of the bundled tasks."""
    return list(_BUNDLED)


def task(
    name: str, *, seed: int = 0, train: int = 512, validation: int = 100, test: int = 200
) -> Task:
    """Return a bundled task with splits of these sizes, classes balanced, no text in two splits.

    The same arguments give the same task. Items are drawn without repetition: every input text
    occurs once in the whole task. Inputs do not depend on which labels a task uses, so
    `sentiment` and `sentiment-novel` of one seed hold the same texts.

    Args:
        name: one of `names()`.
        seed: of the draw of items.
        train: number of training items.
        validation: number of validation items.
        test: number of test items.

    Raises:
        UserError: the name is unknown, a size is negative, or the world has too few texts.
    """
    if name not in _BUNDLED:
        raise unknown("bundled task", name, _BUNDLED)
    sizes = {"train": train, "validation": validation, "test": test}
    for split, size in sizes.items():
        if size < 0:
            raise UserError(
                f"task '{name}': {split} size {size} is negative; expected 0 or more items."
            )
    bundled = _BUNDLED[name]
    classes = list(bundled.labels) or ["any"]
    rng = Random(f"task {name.removesuffix('-novel')} {seed}")
    used: set[str] = set()
    splits: dict[str, tuple[Example, ...]] = {}
    for split, size in sizes.items():
        order = [classes[index % len(classes)] for index in range(size)]
        rng.shuffle(order)
        items = []
        for index, label in enumerate(order):
            puzzle = _fresh(bundled, rng, label, used, name, sum(sizes.values()))
            items.append(_example(f"{split}-{index}", puzzle))
        splits[split] = tuple(items)
    return Task(
        name=name,
        kind=bundled.kind,
        instruction=bundled.instruction,
        choices=tuple(bundled.labels.values()),
        max_new_tokens=16,
        description=bundled.description,
        cluster=bundled.cluster,
        wordings=WORDINGS[name],
        notes=(f"Generated from the microworld with seed {seed}; all input texts are distinct.",),
        train=splits["train"],
        validation=splits["validation"],
        test=splits["test"],
    )


def clusters() -> dict[str, list[str]]:
    """Return cluster -> names of the bundled tasks in it."""
    found: dict[str, list[str]] = {}
    for name, bundled in _BUNDLED.items():
        found.setdefault(bundled.cluster, []).append(name)
    return found


def _example(id_: str, puzzle: Puzzle) -> Example:
    """Return a puzzle as an item; an item without parts has no fields."""
    fields = puzzle.parts if puzzle.parts[0][0] else ()
    return Example(id_, puzzle.text, puzzle.target, choices=puzzle.choices, fields=fields)


def _fresh(
    bundled: Bundled, rng: Random, label: str, used: set[str], name: str, wanted: int
) -> Puzzle:
    """Return an item whose input was not used yet, and mark it used."""
    for _ in range(2000):
        puzzle = bundled.make(rng, label)
        if puzzle.text not in used:
            used.add(puzzle.text)
            return puzzle
    raise UserError(
        f"task '{name}': {wanted} distinct items were asked for; the microworld has no more than "
        f"about {len(used)}; ask for fewer."
    )
