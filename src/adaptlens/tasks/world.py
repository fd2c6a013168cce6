"""The microworld: a few hundred plain English words in families, and an invented language.

The words, the item makers and the lexicon live here once; the bundled tasks
(`tasks/microworld.py`) and the reference model's pretraining corpus (`zoo/microworld.py`) are
both written with them. Every draw takes a `random.Random`, so equal seeds give equal text.
"""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


POSITIVE = _words(
    "wonderful great lovely brilliant delightful charming superb pleasant excellent beautiful "
    "perfect amazing"
)
NEGATIVE = _words(
    "terrible awful dull boring dreadful horrible poor ugly weak nasty clumsy tedious"
)
REVIEWED = _words("film book song play story show scene plot novel concert speech trip")
ADVERBS = _words("very truly rather quite really so")


@dataclass(frozen=True, slots=True)
class Topic:
    """The words of one topic: who does what to what, and where."""

    people: tuple[str, ...]
    verbs: tuple[str, ...]
    objects: tuple[str, ...]
    places: tuple[str, ...]


def _topic(people: str, verbs: str, objects: str, places: str) -> Topic:
    return Topic(*(_words(text) for text in (people, verbs, objects, places)))


TOPICS = {
    "sport": _topic(
        "player coach runner",
        "kicked threw won",
        "ball goal match race trophy league",
        "stadium pitch",
    ),
    "food": _topic(
        "chef cook waiter",
        "tasted baked fried",
        "soup bread cheese sauce rice pasta",
        "kitchen bakery",
    ),
    "science": _topic(
        "chemist physicist student",
        "measured tested observed",
        "atom cell planet gas virus magnet",
        "laboratory university",
    ),
    "money": _topic(
        "banker trader broker",
        "bought borrowed paid",
        "stock bond loan tax wage profit",
        "bank market",
    ),
}

FAMILIES = {
    "animal": _words("dog cat horse cow lion bear wolf fox rabbit goat"),
    "fruit": _words("apple pear plum cherry grape lemon peach melon banana berry"),
    "clothing": _words("shirt coat hat dress shoe sock glove scarf skirt boot"),
    "body": _words("arm leg hand foot knee ear eye nose mouth neck"),
    "tool": _words("hammer drill axe rake spade knife wrench ladder nail screw"),
    "person": _words("farmer teacher nurse lawyer pilot sailor soldier judge painter tailor"),
    "building": _words("castle church school house tower palace barn hotel temple museum"),
    "weather": _words("rain snow wind storm fog frost hail thunder"),
    "colour": _words("red blue green yellow white black brown pink"),
}
WITHHELD = {
    "vehicle": _words("car bus train truck boat plane bicycle tram"),
    "furniture": _words("chair bed sofa desk shelf lamp bench stool"),
    "instrument": _words("piano violin guitar flute drum trumpet harp cello"),
}
"""Families that pretraining meets in running text only, never in a listing of pairs."""

THINGS = _words(
    "box bottle rope stone paper key ring bell cup brick bucket wheel rock string spoon plate"
)
"""Words that pretraining uses both in running text and as labels."""

NOVEL_LABELS = _words(
    "lantern ribbon pebble marble feather candle basket anchor pillow button thread blanket"
)
"""Words that pretraining meets in running text only, never as a label."""

NUMBERS = _words("one two three four five six seven eight nine ten")

FUNCTION_WORDS = _words(
    "the a was is and in on at of with to we they she he i it saw found felt had there were near "
    "an today yesterday wore put played rode made like big"
)

NATURAL_LABELS = ("positive", "negative", *TOPICS, *FAMILIES)

TRANSLATED_VERBS = _words("sees likes follows helps hears calls finds greets")
TRANSLATED_ADJECTIVES = _words("big young tall small happy red white black")
TRANSLATED_NOUNS = [*FAMILIES["animal"][:8], *FAMILIES["person"][:8]]

LEXICON = dict(
    zip(
        ["the", "a", *TRANSLATED_NOUNS, *TRANSLATED_VERBS, *TRANSLATED_ADJECTIVES],
        _words(
            "lo mi "
            "kanu feli torka muvo rashi gurd volka zorri "
            "pelan domi sirka lexu avion maro krig yudo "
            "vidas amir segu helpo orel klamo trovi salut "
            "vetu nova alko pikt gajo rubra blank nigro"
        ),
        strict=True,
    )
)
"""English word -> word of the invented language, one to one."""


def words() -> list[str]:
    """Return every word of the world once, English words before invented ones."""
    topics = [
        word
        for topic in TOPICS.values()
        for group in (topic.people, topic.verbs, topic.objects, topic.places)
        for word in group
    ]
    families = [word for members in (*FAMILIES.values(), *WITHHELD.values()) for word in members]
    everything = [
        *FUNCTION_WORDS,
        *POSITIVE,
        *NEGATIVE,
        *REVIEWED,
        *ADVERBS,
        *topics,
        *families,
        *THINGS,
        *NOVEL_LABELS,
        *NUMBERS,
        *NATURAL_LABELS,
        *TRANSLATED_VERBS,
        *TRANSLATED_ADJECTIVES,
        *LEXICON.values(),
    ]
    return list(dict.fromkeys(everything))


def labels() -> list[str]:
    """Return the words pretraining may draw as random labels: no novel, natural or small word."""
    barred = {*NOVEL_LABELS, *NATURAL_LABELS, *FUNCTION_WORDS, *ADVERBS, *LEXICON.values()}
    barred |= {word for members in WITHHELD.values() for word in members}
    return [word for word in words() if word not in barred]


def a(words_: str) -> str:
    """Return the words with "a" or "an" before them."""
    vowel = words_[0] in "aeiou" and not words_.startswith("uni")
    return f"{'an' if vowel else 'a'} {words_}"


def sentiment(rng: Random, label: str) -> str:
    """Return a clause of praise ("positive") or blame ("negative")."""
    adjectives = POSITIVE if label == "positive" else NEGATIVE
    first, second = rng.sample(adjectives, 2)
    thing, adverb = rng.choice(REVIEWED), rng.choice(ADVERBS)
    return rng.choice(
        (
            f"the {thing} was {adverb} {first}",
            a(f"{adverb} {first} {thing}"),
            f"i found the {thing} {adverb} {first}",
            f"the {thing} felt {first} and {second}",
            f"we saw {a(f'{first} {thing}')}",
        )
    )


def topic(rng: Random, label: str) -> str:
    """Return a clause about "sport", "food", "science" or "money"."""
    words_ = TOPICS[label]
    person, verb = rng.choice(words_.people), rng.choice(words_.verbs)
    thing, place = rng.choice(words_.objects), rng.choice(words_.places)
    someone = rng.choice((f"the {person}", a(person)))
    something = rng.choice((f"the {thing}", a(thing)))
    return rng.choice(
        (
            f"{someone} {verb} {something}",
            f"{someone} {verb} {something} at the {place}",
            f"today {someone} {verb} {something}",
            f"{something} at the {place}",
            f"yesterday {someone} saw {something}",
        )
    )


def member(rng: Random, label: str) -> str:
    """Return a word of a family, bare or with a small word before it."""
    word = rng.choice(FAMILIES.get(label) or WITHHELD[label])
    return rng.choice((word, word, f"the {word}", a(word), f"a big {word}"))


def translate(sentence: str) -> str:
    """Return the translation of an English sentence into the invented language.

    The invented language puts adjectives after nouns and the verb last, and keeps articles:
    "the big dog sees a cat" -> "lo kanu vetu mi feli vidas". Only sentences as `sentence_pair`
    writes them, article [adjective] noun verb article [adjective] noun, have a translation.
    """
    words_ = sentence.split()
    (verb,) = (word for word in words_ if word in TRANSLATED_VERBS)
    at = words_.index(verb)
    order: list[str] = []
    for article, *adjectives, noun in (words_[:at], words_[at + 1 :]):
        order += [article, noun, *adjectives]
    return " ".join(LEXICON[word] for word in (*order, verb))


def sentence_pair(rng: Random) -> tuple[str, str]:
    """Return an English sentence and its translation into the invented language."""
    phrases = []
    for _ in range(2):
        article, noun = rng.choice(("the", "a")), rng.choice(TRANSLATED_NOUNS)
        adjective = rng.choice(TRANSLATED_ADJECTIVES) if rng.random() < 0.5 else ""
        phrases.append(" ".join(filter(None, (article, adjective, noun))))
    sentence = f"{phrases[0]} {rng.choice(TRANSLATED_VERBS)} {phrases[1]}"
    return sentence, translate(sentence)


MAKERS: dict[str, tuple[Callable[[Random, str], str], tuple[str, ...]]] = {
    "sentiment": (sentiment, ("positive", "negative")),
    "topic": (topic, tuple(TOPICS)),
    "families": (member, tuple(FAMILIES)),
    "withheld": (member, tuple(WITHHELD)),
}
"""Group of classes -> (maker of an item of a class, its classes)."""
