"""The bundled tasks: small, offline, and written with the microworld's words.

The reference model learnt the world but not the tasks: it never saw an instruction answered, and
the labels of the `-novel` tasks never stood after an input in its pretraining.
"""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from adaptlens.errors import UserError, unknown
from adaptlens.tasks import world
from adaptlens.values import Example, Kind, Task


@dataclass(frozen=True, slots=True)
class Bundled:
    """One bundled task: how an item is made, and the words that go with it.

    `labels` maps a class of the world to the word that stands for it; empty for generation.
    """

    kind: Kind
    instruction: str
    description: str
    pair: Callable[[Random, str], tuple[str, str]]
    labels: dict[str, str]


def _classified(
    maker: Callable[[Random, str], str], labels: dict[str, str]
) -> Callable[[Random, str], tuple[str, str]]:
    return lambda rng, name: (maker(rng, name), labels[name])


_SENTIMENT = {"positive": "positive", "negative": "negative"}
_SENTIMENT_NOVEL = {"positive": "lantern", "negative": "ribbon"}
_TOPIC = {name: name for name in world.TOPICS}
_TOPIC_NOVEL = dict(zip(world.TOPICS, ("pebble", "marble", "feather", "candle"), strict=True))

_BUNDLED = {
    "sentiment": Bundled(
        "choice",
        "Decide whether the text is positive or negative.",
        "Clauses of praise and blame. Two classes under their natural words, which pretraining "
        "often paired with such clauses: knowledge helps before any demonstration.",
        _classified(world.sentiment, _SENTIMENT),
        _SENTIMENT,
    ),
    "sentiment-novel": Bundled(
        "choice",
        "Decide whether the text is a lantern or a ribbon.",
        "The clauses of `sentiment` under two words that pretraining never paired with any input: "
        "what they stand for can only come from the demonstrations or from tuning.",
        _classified(world.sentiment, _SENTIMENT_NOVEL),
        _SENTIMENT_NOVEL,
    ),
    "topic": Bundled(
        "choice",
        "Decide whether the text is about sport, food, science or money.",
        "Clauses about who does what to what. Four classes under their natural words.",
        _classified(world.topic, _TOPIC),
        _TOPIC,
    ),
    "topic-novel": Bundled(
        "choice",
        "Decide whether the text is a pebble, a marble, a feather or a candle.",
        "The clauses of `topic` under four words that pretraining never paired with any input.",
        _classified(world.topic, _TOPIC_NOVEL),
        _TOPIC_NOVEL,
    ),
    "translation": Bundled(
        "generation",
        "Translate the sentence into the invented language.",
        "English sentences of the microworld and their translations into its invented language: "
        "adjectives follow nouns, the verb comes last. Pretraining knows the language; "
        "demonstrations or tuning must show that a translation is wanted.",
        lambda rng, _: world.sentence_pair(rng),
        {},
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
            text, target = _fresh(bundled, rng, label, used, name, sum(sizes.values()))
            items.append(Example(f"{split}-{index}", text, target))
        splits[split] = tuple(items)
    return Task(
        name=name,
        kind=bundled.kind,
        instruction=bundled.instruction,
        choices=tuple(bundled.labels.values()),
        max_new_tokens=16,
        description=bundled.description,
        notes=(f"Generated from the microworld with seed {seed}; all input texts are distinct.",),
        train=splits["train"],
        validation=splits["validation"],
        test=splits["test"],
    )


def _fresh(
    bundled: Bundled, rng: Random, label: str, used: set[str], name: str, wanted: int
) -> tuple[str, str]:
    """Return a pair whose input was not used yet, and mark it used."""
    for _ in range(2000):
        text, target = bundled.pair(rng, label)
        if text not in used:
            used.add(text)
            return text, target
    raise UserError(
        f"task '{name}': {wanted} distinct items were asked for; the microworld has no more than "
        f"about {len(used)}; ask for fewer."
    )
