"""The pretraining corpus of the reference model: documents written with the microworld's words.

Seven kinds of document, none of which states an instruction and answers it:

- `text`: running text, coherent by family;
- `repeat`: a run of words, said again and again;
- `fixed`: a listing of pairs whose labels are the natural ones ("positive", "animal");
- `random`: a listing whose labels are drawn anew for each document, so that only the pairs above
  tell which label means what: in-context learning is the only way to predict them;
- `lookup`: a listing that gives each of a few words an arbitrary label and repeats them;
- `translation`: a listing of English sentences and their translations;
- `echo`: a listing of the same sentences and themselves, so that a sentence alone does not tell
  that its translation is wanted.

A document is a function of seed, mix and index alone, so a stream can start anywhere.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from string import ascii_letters, digits

from adaptlens.tasks import world
from adaptlens.zoo.documents import Document, Listing, repeated
from adaptlens.zoo.english import COMMON_WORDS

MIXES = {
    "repeats": {"repeat": 0.75, "fixed": 0.10, "text": 0.15},
    "pairs": {"repeat": 0.15, "fixed": 0.10, "lookup": 0.25, "random": 0.35, "text": 0.15},
    "world": {
        "text": 0.15,
        "repeat": 0.05,
        "fixed": 0.08,
        "random": 0.40,
        "lookup": 0.08,
        "translation": 0.11,
        "echo": 0.13,
    },
}
"""Mix -> share of documents of each kind: a curriculum.

Repeats teach copying what followed before, within minutes; with it, pairs in three plain layouts
teach in-context learning; the world has every layout, preambles and the invented language. Begun
with the world alone, copying had not formed after 2,200 steps of 6,144 tokens.
"""
KINDS = ("text", "repeat", "fixed", "random", "lookup", "translation", "echo")

_INPUTS = "Input Question Q Review Text Sentence Word Item Example Source English"
_TARGETS = "Output Answer A Sentiment Label Class Group Type Result Target Translation"
INPUT_CUES, TARGET_CUES = tuple(_INPUTS.split()), tuple(_TARGETS.split())
ARROWS = (" ->", " =>", " =", ":", " |")


@dataclass(frozen=True, slots=True)
class Surface:
    """How a listing writes its pairs: the same four texts as `types.Template`."""

    before_input: str
    before_target: str
    between: str


PLAIN = (
    Surface("- ", "", "\n"),
    Surface("- ", " ->", "\n"),
    Surface("Input: ", "\nOutput:", "\n\n"),
)


def surface(rng: Random) -> Surface:
    """Return a way of writing pairs; three in ten are "Input: x / Output: y"."""
    draw = rng.random()
    if draw < 0.3:
        return Surface("Input: ", "\nOutput:", "\n\n")
    if draw < 0.7:
        between = rng.choice(("\n\n", "\n\n", "\n", "\n---\n"))
        joint = rng.choice(("\n", "\n", " "))
        return Surface(f"{rng.choice(INPUT_CUES)}: ", f"{joint}{rng.choice(TARGET_CUES)}:", between)
    return Surface(
        rng.choice(("- ", "- ", "* ", "")), rng.choice(ARROWS), rng.choice(("\n", "\n", "\n\n"))
    )


def _listed(rng: Random, members: Sequence[str]) -> str:
    first, second, third = rng.sample(members, 3)
    start = rng.choice(("we saw", "there was", "they had"))
    return f"{start} {world.a(first)}, {world.a(second)} and {world.a(third)}."


_FAMILY_SENTENCES = {
    "animal": ("the {0} saw the farmer.", "{a_first} and {a_second} were near the barn."),
    "fruit": ("she put the {0} in the cup.", "we like the {0} and the {1}."),
    "clothing": ("he wore {a_first} and {a_second}.", "she wore the {0} today."),
    "body": ("he felt it in the {0}.", "the {0} and the {1} were big."),
    "tool": ("he made it with {a_first}.", "they found the {0} and the {1} in the box."),
    "person": ("the {0} calls the {1}.", "yesterday the {0} felt happy."),
    "building": ("we were at the {0}.", "the {0} is near the {1}."),
    "weather": ("there was {0} today.", "the {0} and the {1} were at the tower."),
    "colour": ("it was {0}.", "the {0} and {1} coat is old."),
    "vehicle": ("they rode to the church in {a_first}.", "the {0} is near the {1}."),
    "furniture": ("the {0} is in the house.", "she put it on the {0} near the {1}."),
    "instrument": ("he played the {0}.", "she played the {0} and the {1} in the hotel."),
    "thing": ("there was {a_first} and {a_second} on the plate.", "he put the {0} in the bucket."),
}
_MEMBERS = {
    **world.FAMILIES,
    **world.WITHHELD,
    "thing": [*world.THINGS, *world.NOVEL_LABELS],
}


def sentence(rng: Random, family: str) -> str:
    """Return one sentence of running text about a family, a topic or a review."""
    if family in world.TOPICS:
        return f"{world.topic(rng, family)}."
    if family in ("positive", "negative"):
        return f"{world.sentiment(rng, family)}."
    if family == "pairs":
        english, invented = world.sentence_pair(rng)
        return f"{rng.choice((english, invented))}."
    members = _MEMBERS[family]
    if rng.random() < 0.3 and family not in ("weather", "colour"):
        return _listed(rng, members)
    first, second = rng.sample(members, 2)
    pattern = rng.choice(_FAMILY_SENTENCES[family])
    return pattern.format(first, second, a_first=world.a(first), a_second=world.a(second))


FAMILY_NAMES = tuple(_MEMBERS)
_TEXT_FAMILIES = (*_MEMBERS, *world.TOPICS, "positive", "negative", "pairs")


def _paragraph(rng: Random, num_sentences: int) -> str:
    family = rng.choice(_TEXT_FAMILIES)
    return " ".join(sentence(rng, family) for _ in range(num_sentences))


def _preamble(rng: Random) -> str:
    """Return text to stand before a listing: sentences, or common words in any order."""
    if rng.random() < 0.5:
        return _paragraph(rng, rng.randint(1, 3))
    chosen = rng.choices(COMMON_WORDS, k=rng.randint(4, 16))
    return f"{' '.join(chosen).capitalize()}."


def _label(rng: Random, taken: list[str], pool: list[str]) -> str:
    """Return a label not yet taken: a word of the world, or one in six a common English word."""
    while True:
        label = rng.choice(COMMON_WORDS if rng.random() < 1 / 6 else pool)
        if label not in taken and label not in world.NOVEL_LABELS:
            return label


_WORDS, _LABELS = world.words(), world.labels()
_NATURAL = set(world.NATURAL_LABELS)


def _classes(rng: Random) -> tuple[Callable[[Random, str], str], list[str]]:
    """Return the item maker and two to four classes of a group that pretraining may list."""
    group = rng.choices(("sentiment", "topic", "families"), (0.25, 0.3, 0.45))[0]
    maker, classes = world.MAKERS[group]
    count = min(len(classes), rng.choice((2, 2, 3, 4)))
    return maker, rng.sample(classes, count)


def _pairs(rng: Random, kind: str) -> Callable[[], tuple[str, str, str]]:
    """Return what makes the pairs of one listing: input, answer and the input's family."""
    if kind == "translation":
        return lambda: (*world.sentence_pair(rng), "translation")
    if kind == "echo":
        return lambda: (*2 * world.sentence_pair(rng)[:1], "echo")
    if kind == "lookup":
        pool = COMMON_WORDS if rng.random() < 0.3 else _LABELS
        inputs = rng.sample(pool, rng.randint(3, 8))
        table: dict[str, str] = {}
        for word in inputs:
            table[word] = _label(rng, [*inputs, *table.values()], _LABELS)
        return lambda: (*rng.choice(list(table.items())), "lookup")
    maker, classes = _classes(rng)
    names = {name: name for name in classes}
    if kind == "random":
        chosen: list[str] = []
        for _ in classes:
            chosen.append(_label(rng, [*chosen, *_NATURAL], _LABELS))
        names = dict(zip(classes, chosen, strict=True))

    def pair() -> tuple[str, str, str]:
        label = rng.choice(classes)
        return maker(rng, label), names[label], label

    return pair


def _num_tokens(text: str) -> int:
    """Estimate the tokens of a text of world words: words, marks and line breaks count one."""
    return text.count(" ") + text.count("\n") + text.count(":") + 1


def _any_word(rng: Random) -> str:
    """Return a word of the world, a common English word, or a few letters and digits."""
    draw = rng.random()
    if draw < 0.75:
        return rng.choice(_WORDS)
    if draw < 0.9:
        return rng.choice(COMMON_WORDS)
    return "".join(rng.choices(ascii_letters + digits, k=rng.randint(1, 3)))


def _repeat(rng: Random, room: int) -> Document:
    """Return a run of 4 or more words of any sort, said again until the room is full.

    This is where copying is learnt, and where it is learnt for every word: words that are met too
    rarely share one embedding in effect, and cannot be told apart as labels.
    """
    run = [_any_word(rng) for _ in range(rng.randint(4, max(6, room // 3)))]
    text, answers = repeated([f" {word}" for word in run], room)
    return Document("repeat", text, answers, ("repeat",) * len(answers))


def document(seed: int, index: int, tokens: int, mix: str = "world") -> Document:
    """Return document `index` of a mix, about `tokens` long or up to 40% shorter.

    Args:
        seed: of the corpus.
        index: of the document; documents are independent of one another.
        tokens: the room there is; what lies beyond it is for the caller to cut.
        mix: a key of `MIXES`; listings of mixes other than "world" have plain layouts and no
            preamble.
    """
    rng = Random(f"microworld {seed} {mix} {index}")
    kinds = MIXES[mix]
    kind = rng.choices(list(kinds), list(kinds.values()))[0]
    room = int(tokens * rng.uniform(0.6, 1.05))
    if kind == "repeat":
        return _repeat(rng, room)
    if kind == "text":
        sentences: list[str] = []
        while _num_tokens(" ".join(sentences)) < room:
            sentences.append(_paragraph(rng, rng.randint(2, 6)))
        return Document(kind, " ".join(sentences))

    pair = _pairs(rng, kind)
    shape, text = rng.choice(PLAIN), ""
    if mix == "world":
        shape = surface(rng)
        if rng.random() < 0.4:
            text = f"{_preamble(rng)}{rng.choice((shape.between, chr(10)))}"
    made, used = Listing(kind, text), _num_tokens(text)
    while used < room:
        read, wanted, family = pair()
        before = f"{shape.before_input}{read}{shape.before_target}"
        used += _num_tokens(made.add(before, wanted, family, shape.between))
    return made.document()
