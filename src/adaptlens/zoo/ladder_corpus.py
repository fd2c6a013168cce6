"""The pretraining corpus of the ladder: the microworld, more kinds of pairs, and set exposures.

Beside running text, repeats, and pairs under natural and random labels (see `zoo/microworld.py`)
there are listings of items with several parts, written as any listing is, or as numbered records
with named fields:

- `compare`: two texts or words; whether they are alike, or which of them is praise;
- `lists`: a list of words; its last or first, or whether a word is in it;
- `odd`: a list of words; the one that is of another family (a skill);
- `language`: sentences and what their translation is (knowledge), or one word's of them.

How much there is of the skill and of the knowledge is the exposure of a mix: "much", "little" (an
eighth of it) or "none", where no document has either in any form; other kinds fill what is freed.
No document states an instruction and answers it, none picks the text about a given topic or
judges a translation, no novel label is an answer and no withheld family the input of a pair.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random
from string import ascii_letters, digits

from adaptlens.tasks import puzzles, world
from adaptlens.tasks.puzzles import Puzzle
from adaptlens.zoo import microworld_corpus
from adaptlens.zoo.documents import Document, Listing, repeated

EXPOSURES = {"none": 0.0, "little": 0.125, "much": 1.0}
"""Level -> share of "much" that documents of the exposed kinds have."""
EXPOSED = ("language", "invented", "odd")
"""Kinds of document that only exposure brings; "invented" is text and repeats in the language."""

_MUCH = {
    "repeats": {"repeat": 0.68, "invented": 0.08, "fixed": 0.10, "text": 0.14},
    "pairs": {
        "repeat": 0.12,
        "text": 0.08,
        "fixed": 0.10,
        "lookup": 0.18,
        "random": 0.28,
        "lists": 0.10,
        "invented": 0.02,
        "language": 0.07,
        "odd": 0.05,
    },
    "world": {
        "text": 0.08,
        "repeat": 0.04,
        "fixed": 0.06,
        "random": 0.29,
        "lookup": 0.04,
        "echo": 0.04,
        "compare": 0.14,
        "lists": 0.07,
        "invented": 0.02,
        "language": 0.14,
        "odd": 0.08,
    },
}


def _exposed(shares: dict[str, float], level: float) -> dict[str, float]:
    """Return the shares with the exposed kinds at a level and the others filling the rest."""
    exposed = sum(shares.get(kind, 0.0) for kind in EXPOSED)
    others = (1 - exposed * level) / (1 - exposed)
    return {
        kind: share * (level if kind in EXPOSED else others)
        for kind, share in shares.items()
        if level or kind not in EXPOSED
    }


MIXES = {
    f"{mix}-{name}": _exposed(shares, level)
    for mix, shares in _MUCH.items()
    for name, level in EXPOSURES.items()
}
"""MIX-EXPOSURE -> share of documents of each kind; repeats, then pairs, then world."""
KINDS = tuple(dict.fromkeys(kind for shares in _MUCH.values() for kind in shares))


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


ASKING_WORDS = _words(
    "which of two text texts this that say says what word words same kind not yes no or family "
    "topic about good bad answer choose right wrong find give tell decide whether does do is are "
    "first second one all list last odd out sentence sentences language translate translation "
    "means invented praise blame read write here from for question options both belong group "
    "other than more new pick name between english if then after before four three each stands "
    "below above true its them kinds things get put how label pair part only input output can "
    "look at your my question sort must be with as by another different alike likes agree talk "
    "speak view line it the a an in on to and others thing verb has have done belongs"
)
"""The words that tasks are asked with; the tokenizer knows them with a capital too."""
COMMON_WORDS = tuple(
    dict.fromkeys(
        (
            *ASKING_WORDS,
            *_words(
                "may use take time people long day very many where when some who now most over "
                "such into year also back work life even still own through much way well down "
                "should because any these give most us place home old great small large hand "
                "high every world school state never become end city man woman child under ask "
                "house big late run keep eye thought head far call turn open close start stop "
                "hard fact room side kind need mean set try next night week month story party "
                "power water money case system number"
            ),
        )
    )
)
"""Common English words the tokenizer knows, in preambles and now and then as labels and keys."""
INVENTED = tuple(world.LEXICON.values())
_WORDS = [word for word in world.words() if word not in INVENTED]
_NATURAL = {*world.NATURAL_LABELS, *puzzles.YES_NO, *puzzles.PLACES}
_LABELS = [word for word in world.labels() if word not in world.LEXICON]
SPACED = _words("Solution Say Options Give English")
"""Words with a capital that also stand after a space."""
CUES = _words(
    "Example Solution Options Answer Words Word First Second Topic Sentence Translation Text Input "
    "END EXAMPLES"
)
END = "END_EXAMPLES"


@dataclass(frozen=True, slots=True)
class Pair:
    """One pair of a listing: what is read and wanted, its family, and the options, if any."""

    puzzle: Puzzle
    family: str
    options: tuple[str, ...] = ()


Maker = Callable[[], Pair]


def _plain(text: str, target: str) -> Puzzle:
    return Puzzle((("", text),), target)


def _label(rng: Random, taken: list[str]) -> str:
    """Return a label not yet taken: a word of the world, or one in six a common English word."""
    while True:
        label = rng.choice(COMMON_WORDS if rng.random() < 1 / 6 else _LABELS)
        if label not in taken and label not in world.NOVEL_LABELS:
            return label


def _renamed(rng: Random, names: tuple[str, ...]) -> dict[str, str]:
    """Return a label drawn at random for each name."""
    labels: list[str] = []
    for _ in names:
        labels.append(_label(rng, [*labels, *_NATURAL]))
    return dict(zip(names, labels, strict=True))


def _classes(rng: Random, kind: str) -> Maker:
    """Return what sorts texts or words into two to four classes, natural or renamed."""
    group = rng.choices(("sentiment", "topic", "families"), (0.25, 0.3, 0.45))[0]
    maker, classes = world.MAKERS[group]
    if group == "families" and rng.random() < 0.5:
        maker = puzzles.family
    chosen = tuple(rng.sample(classes, min(len(classes), rng.choice((2, 2, 3, 4)))))
    names = _renamed(rng, chosen) if kind == "random" else {name: name for name in chosen}

    def pair() -> Pair:
        label = rng.choice(chosen)
        return Pair(_plain(maker(rng, label), names[label]), label, tuple(names.values()))

    return pair


_COMPARED: dict[str, tuple[Callable[[Random, str], Puzzle], tuple[str, ...], float]] = {
    "agreement": (puzzles.agreement, puzzles.YES_NO, 0.25),
    "praise": (puzzles.praise, puzzles.PLACES, 0.25),
    "same-topic": (puzzles.same_topic, puzzles.YES_NO, 0.25),
    "same-family": (puzzles.same_family, puzzles.YES_NO, 0.25),
    "in-list": (puzzles.in_list, puzzles.YES_NO, 0.0),
}
_LANGUAGE: dict[str, tuple[Callable[[Random], Puzzle], float]] = {
    "translation": (lambda rng: _plain(*world.sentence_pair(rng)), 0.4),
    "back-translation": (lambda rng: _plain(*world.sentence_pair(rng)[::-1]), 0.25),
    "verb": (lambda rng: puzzles.verb_translation(rng, rng.choice(puzzles.INVENTED_VERBS)), 0.2),
    "subject": (puzzles.subject_translation, 0.15),
}
LANGUAGE_PAIRS = tuple(_LANGUAGE)


def _judged(rng: Random, name: str) -> Maker:
    """Return what asks a two-way question, three in ten under random labels."""
    make, answers, _ = _COMPARED[name]
    names = _renamed(rng, answers) if rng.random() < 0.3 else {each: each for each in answers}

    def pair() -> Pair:
        answer = rng.choice(answers)
        puzzle = replace(make(rng, answer), target=names[answer])
        return Pair(puzzle, name, tuple(names.values()))

    return pair


def _maker(rng: Random, kind: str) -> Maker:
    """Return what makes the pairs of one listing."""
    if kind in ("fixed", "random"):
        return _classes(rng, kind)
    if kind == "compare":
        weights = [weight for *_, weight in _COMPARED.values()]
        return _judged(rng, rng.choices(list(_COMPARED), weights)[0])
    if kind == "lists":
        name = rng.choice(("in-list", "in-list", "last-word", "first-word"))
        if name == "in-list":
            return _judged(rng, name)
        make = puzzles.last_word if name == "last-word" else puzzles.first_word
        return lambda: Pair(make(rng), name)
    if kind == "odd":

        def odd() -> Pair:
            puzzle = puzzles.odd_one_out(rng)
            return Pair(puzzle, "odd-one-out", puzzle.choices)

        return odd
    if kind == "language":
        weights = [weight for _, weight in _LANGUAGE.values()]
        name = rng.choices(list(_LANGUAGE), weights)[0]
        return lambda: Pair(_LANGUAGE[name][0](rng), name)
    if kind == "echo":
        return lambda: Pair(_plain(*2 * world.sentence_pair(rng)[:1]), "echo")
    keys = rng.sample(COMMON_WORDS if rng.random() < 0.3 else _LABELS, rng.randint(3, 8))
    table: dict[str, str] = {}
    for word in keys:
        table[word] = _label(rng, [*keys, *table.values()])
    return lambda: Pair(_plain(*rng.choice(list(table.items()))), "lookup")


def _num_tokens(text: str) -> int:
    """Estimate the tokens of a text of known words: words, marks and line breaks count one."""
    return 1 + sum(text.count(mark) for mark in " \n:,;_")


def _any_word(rng: Random, kind: str) -> str:
    """Return a word of the world, a common English word, a cue, or a few letters and digits."""
    draw = rng.random()
    if kind == "invented" and draw < 0.7:
        return rng.choice(INVENTED)
    if draw < 0.72:
        return rng.choice(_WORDS)
    if draw < 0.87:
        return rng.choice(COMMON_WORDS)
    if draw < 0.92:
        return rng.choice((*CUES, *SPACED, END))
    return "".join(rng.choices(ascii_letters + digits, k=rng.randint(1, 3)))


def _repeat(rng: Random, kind: str, room: int, is_exposed: bool) -> Document:
    """Return a run of 4 or more words of any sort, said again until the room is full.

    Letters at random may spell a word of the language, but not where it is never shown.
    """
    run = [_any_word(rng, kind) for _ in range(rng.randint(4, max(6, room // 3)))]
    while not is_exposed and not set(run).isdisjoint(INVENTED):
        run = [_any_word(rng, kind) if word in INVENTED else word for word in run]
    text, answers = repeated([f" {word}" for word in run], room)
    family = "repeat" if kind == "repeat" else "invented-repeat"
    return Document(kind, text, answers, (family,) * len(answers))


_TEXT_FAMILIES = (*microworld_corpus.FAMILY_NAMES, *world.TOPICS, "positive", "negative", "pairs")


def _paragraph(rng: Random, num_sentences: int) -> str:
    family = rng.choice(_TEXT_FAMILIES)
    if family == "pairs":
        return " ".join(f"{world.sentence_pair(rng)[0]}." for _ in range(num_sentences))
    return " ".join(microworld_corpus.sentence(rng, family) for _ in range(num_sentences))


def _text(rng: Random, kind: str, room: int) -> Document:
    sentences: list[str] = []
    while _num_tokens(" ".join(sentences)) < room:
        if kind == "invented":
            sentences.append(f"{world.sentence_pair(rng)[1]}.")
        else:
            sentences.append(_paragraph(rng, rng.randint(2, 6)))
    return Document(kind, " ".join(sentences))


def _preamble(rng: Random) -> str:
    """Return text to stand before a listing: sentences, or common words in any order."""
    if rng.random() < 0.5:
        return _paragraph(rng, rng.randint(1, 3))
    return f"{' '.join(rng.choices(COMMON_WORDS, k=rng.randint(4, 16))).capitalize()}."


def _list_pairs(
    rng: Random, made: Listing, maker: Maker, shape: microworld_corpus.Surface, room: int
) -> None:
    """Write pairs as a listing of the microworld does, those of several parts on lines or one."""
    joint = rng.choice(("\n", "\n", " "))
    used = _num_tokens(made.text)
    while used < room:
        pair = maker()
        read = pair.puzzle.text.replace("\n", joint)
        before = f"{shape.before_input}{read}{shape.before_target}"
        used += _num_tokens(made.add(before, pair.puzzle.target, pair.family, shape.between)) - 1


def _list_records(rng: Random, made: Listing, maker: Maker, room: int) -> None:
    """Write numbered records: in a row, or two examples and a third item, again and again."""
    alone = rng.choice(("Input", "Text", "Sentence", "Word", "Question"))
    with_options, grouped, ended = rng.random() < 0.5, rng.random() < 0.6, rng.random() < 0.5
    between = rng.choice(("\n", "\n\n"))
    number, used = 0, _num_tokens(made.text)
    while used < room:
        pair, number = maker(), number + 1
        mark, heading = str(number), ""
        if grouped:
            number %= 3
            mark = str(number) if number else "Solution"
            heading = f"Example {mark}:\n" if number else "Solution:\n"
        lines = [f"{name.capitalize() or alone} {mark}: {text}" for name, text in pair.puzzle.parts]
        if with_options and pair.options:
            lines.append(f"Options {mark}: {'; '.join(pair.options)}")
        after = between
        if grouped and not number:
            after = f"\n{END}\n\n" if ended else "\n\n"
        before = heading + "\n".join([*lines, f"Answer {mark}:"])
        used += _num_tokens(made.add(before, pair.puzzle.target, pair.family, after)) - 1


def document(seed: int, index: int, tokens: int, mix: str = "world-much") -> Document:
    """Return document `index` of a mix, about `tokens` long or up to 40% shorter.

    Args:
        seed: of the corpus.
        index: of the document; documents are independent of one another.
        tokens: the room there is; what lies beyond it is for the caller to cut.
        mix: a key of `MIXES`; listings of mixes other than the world's have no preamble.
    """
    rng = Random(f"ladder {seed} {mix} {index}")
    kinds = MIXES[mix]
    kind = rng.choices(list(kinds), list(kinds.values()))[0]
    room = int(tokens * rng.uniform(0.6, 1.05))
    if kind == "repeat" or (kind == "invented" and rng.random() < 0.6):
        return _repeat(rng, kind, room, not mix.endswith("-none"))
    if kind in ("text", "invented"):
        return _text(rng, kind, room)
    maker, is_world = _maker(rng, kind), mix.startswith("world")
    shape = microworld_corpus.surface(rng) if is_world else rng.choice(microworld_corpus.PLAIN)
    preamble = ""
    if is_world and rng.random() < 0.4:
        preamble = f"{_preamble(rng)}{rng.choice((shape.between, chr(10)))}"
    made = Listing(kind, preamble)
    if is_world and rng.random() < 0.2:
        _list_records(rng, made, maker, room)
    else:
        _list_pairs(rng, made, maker, shape, room)
    return made.document()
