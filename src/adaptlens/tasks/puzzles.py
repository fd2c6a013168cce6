"""Items of the microworld that have several parts or options of their own.

Written with the words of `tasks/world.py`; the bundled tasks and the ladder's pretraining corpus
are both made of them. Every maker takes a `random.Random` and, where the answer is one of a few
words, the answer wanted.
"""

from dataclasses import dataclass
from random import Random

from adaptlens.tasks import world

YES_NO = ("yes", "no")
PLACES = ("first", "second")


@dataclass(frozen=True, slots=True)
class Puzzle:
    """An item: its named parts, the answer, and the options where they differ by item.

    The only part of an item without parts has the name "".
    """

    parts: tuple[tuple[str, str], ...]
    target: str
    choices: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The parts as one text: one line each, behind their names."""
        return "\n".join(
            f"{name.capitalize()}: {text}" if name else text for name, text in self.parts
        )


def _two(first: str, second: str, target: str) -> Puzzle:
    return Puzzle((("first", first), ("second", second)), target)


def agreement(rng: Random, answer: str) -> Puzzle:
    """Return two reviews that are both praise or both blame ("yes"), or one of each ("no")."""
    one, other = rng.sample(("positive", "negative"), 2)
    second = one if answer == "yes" else other
    return _two(world.sentiment(rng, one), world.sentiment(rng, second), answer)


def praise(rng: Random, answer: str) -> Puzzle:
    """Return a review that praises, in the place that is the answer, and one that blames."""
    labels = ("positive", "negative") if answer == "first" else ("negative", "positive")
    first, second = (world.sentiment(rng, label) for label in labels)
    return _two(first, second, answer)


def same_topic(rng: Random, answer: str) -> Puzzle:
    """Return two clauses about one topic ("yes") or about two ("no")."""
    one, other = rng.sample(list(world.TOPICS), 2)
    return _two(world.topic(rng, one), world.topic(rng, one if answer == "yes" else other), answer)


def topic_pick(rng: Random, answer: str) -> Puzzle:
    """Return two clauses and the topic of the one in the place that is the answer."""
    labels = rng.sample(list(world.TOPICS), 2)
    first, second = (world.topic(rng, label) for label in labels)
    asked = labels[PLACES.index(answer)]
    return Puzzle((("first", first), ("second", second), ("topic", asked)), answer)


def family(rng: Random, label: str) -> str:
    """Return two or three words of a family."""
    members = world.FAMILIES.get(label) or world.WITHHELD[label]
    one, two, three = rng.sample(members, 3)
    return rng.choice(
        (
            f"{one} and {two}",
            f"the {one} and the {two}",
            f"{world.a(one)} and {world.a(two)}",
            f"{one}, {two} and {three}",
        )
    )


def same_family(rng: Random, answer: str) -> Puzzle:
    """Return two words of one family ("yes") or of two ("no")."""
    one, other = rng.sample(list(world.FAMILIES), 2)
    first, second = rng.sample(world.FAMILIES[one], 2)
    if answer == "no":
        second = rng.choice(world.FAMILIES[other])
    shape = rng.choice(("{}", "the {}", "a big {}"))
    return _two(shape.format(first), shape.format(second), answer)


_LISTED = [*(word for words in world.FAMILIES.values() for word in words), *world.THINGS]


def in_list(rng: Random, answer: str) -> Puzzle:
    """Return a list of four or five words and a word that is in it ("yes") or not ("no")."""
    *words, other = rng.sample(_LISTED, rng.randint(5, 6))
    asked = rng.choice(words) if answer == "yes" else other
    return Puzzle((("words", ", ".join(words)), ("word", asked)), answer)


def _listed(rng: Random, place: int) -> Puzzle:
    words = rng.sample(_LISTED, rng.randint(3, 5))
    return Puzzle((("", ", ".join(words)),), words[place])


def last_word(rng: Random) -> Puzzle:
    """Return a list of three to five words; the last is the answer."""
    return _listed(rng, -1)


def first_word(rng: Random) -> Puzzle:
    """Return a list of three to five words; the first is the answer."""
    return _listed(rng, 0)


def odd_one_out(rng: Random) -> Puzzle:
    """Return three words of one family and, somewhere among them, the answer, of another."""
    one, other = rng.sample(list(world.FAMILIES), 2)
    odd = rng.choice(world.FAMILIES[other])
    words = [*rng.sample(world.FAMILIES[one], 3), odd]
    rng.shuffle(words)
    return Puzzle((("", ", ".join(words)),), odd, tuple(words))


def _swapped(rng: Random, sentence: str) -> str:
    """Return the English sentence with one noun, verb or adjective replaced by another."""
    words = sentence.split()
    groups = (world.TRANSLATED_NOUNS, world.TRANSLATED_VERBS, world.TRANSLATED_ADJECTIVES)
    at = rng.choice([i for i, word in enumerate(words) if word not in ("the", "a")])
    group = next(group for group in groups if words[at] in group)
    words[at] = rng.choice([word for word in group if word != words[at]])
    return " ".join(words)


def _near(rng: Random, sentence: str) -> list[str]:
    """Return four different English sentences, the given one among them, in any order."""
    found = {sentence}
    while len(found) < 4:
        found.add(_swapped(rng, sentence))
    return rng.sample(sorted(found), 4)


def translation_choice(rng: Random) -> Puzzle:
    """Return an English sentence; the options are translations, those of near sentences too."""
    english, invented = world.sentence_pair(rng)
    return Puzzle((("", english),), invented, tuple(map(world.translate, _near(rng, english))))


def back_translation(rng: Random) -> Puzzle:
    """Return an invented sentence; the options are its translation and near sentences."""
    english, invented = world.sentence_pair(rng)
    return Puzzle((("", invented),), english, tuple(_near(rng, english)))


def right_translation(rng: Random, answer: str) -> Puzzle:
    """Return an English sentence and its translation ("yes"), or that of a near one ("no")."""
    english, invented = world.sentence_pair(rng)
    if answer == "no":
        invented = world.translate(_swapped(rng, english))
    return Puzzle((("sentence", english), ("translation", invented)), answer)


def verb_translation(rng: Random, answer: str) -> Puzzle:
    """Return an English sentence whose verb's translation is the answer."""
    verb = next(verb for verb in world.TRANSLATED_VERBS if world.LEXICON[verb] == answer)
    english, _ = world.sentence_pair(rng)
    words = [verb if word in world.TRANSLATED_VERBS else word for word in english.split()]
    return Puzzle((("", " ".join(words)),), answer)


def subject_translation(rng: Random) -> Puzzle:
    """Return an English sentence; the answer is the translation of its first noun."""
    english, _ = world.sentence_pair(rng)
    noun = next(word for word in english.split() if word in world.TRANSLATED_NOUNS)
    return Puzzle((("", english),), world.LEXICON[noun])


INVENTED_VERBS = tuple(world.LEXICON[verb] for verb in world.TRANSLATED_VERBS)
