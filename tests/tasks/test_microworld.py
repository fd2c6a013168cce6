"""The microworld and the tasks bundled from it."""

import hashlib
import re
import subprocess
import sys
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptlens import sandbox
from adaptlens.errors import UserError
from adaptlens.tasks import microworld, puzzles, world
from adaptlens.types import Example, Task

NAMES = microworld.names()
LABELED = [n for n in NAMES if microworld.task(n, train=1, validation=0, test=0).choices]
OWN_OPTIONS = ["odd-one-out", "translation-choice", "back-translation"]


def splits(task: Task) -> list[set[str]]:
    return [{e.input for e in split} for split in (task.train, task.validation, task.test)]


def test_at_least_sixteen_tasks_are_bundled_in_five_clusters() -> None:
    clusters = microworld.clusters()
    assert sum(map(len, clusters.values())) == len(microworld.names()) >= 16
    assert len(clusters) == 5 and all(len(names) >= 3 for names in clusters.values())


@pytest.mark.parametrize("name", NAMES)
def test_splits_have_the_sizes_asked_for_and_share_no_text(name: str) -> None:
    task = microworld.task(name)
    train, validation, test = splits(task)
    assert [len(train), len(validation), len(test)] == [512, 100, 200]
    assert len(train | validation | test) == 812
    ids = [e.id for split in (task.train, task.validation, task.test) for e in split]
    assert len(set(ids)) == 812


@pytest.mark.parametrize("name", NAMES)
def test_the_seed_decides_the_items(name: str) -> None:
    sizes = {"train": 20, "validation": 5, "test": 5}
    assert microworld.task(name, seed=3, **sizes) == microworld.task(name, seed=3, **sizes)
    assert microworld.task(name, seed=3, **sizes).train != microworld.task(name, **sizes).train


@pytest.mark.parametrize("name", LABELED)
def test_every_choice_is_equally_often_right(name: str) -> None:
    task = microworld.task(name, train=48, validation=24, test=72)
    for split in (task.train, task.validation, task.test):
        counts = {choice: [e.target for e in split].count(choice) for choice in task.choices}
        assert set(counts.values()) == {len(split) // len(task.choices)}


def test_novel_labels_rename_the_classes_of_the_same_texts() -> None:
    natural, novel = microworld.task("sentiment"), microworld.task("sentiment-novel")
    assert [e.input for e in natural.test] == [e.input for e in novel.test]
    pairs = {(a.target, b.target) for a, b in zip(natural.test, novel.test, strict=True)}
    assert pairs == {("positive", "lantern"), ("negative", "ribbon")}


@pytest.mark.parametrize(
    "name", ["sentiment-novel", "topic-novel", "family-novel", "withheld-2", "withheld-3"]
)
def test_novel_choices_are_words_kept_from_pretraining_pairs(name: str) -> None:
    assert set(microworld.task(name, train=4, validation=0, test=4).choices) <= set(
        world.NOVEL_LABELS
    )


def test_sentiment_labels_agree_with_a_count_of_adjectives() -> None:
    for item in microworld.task("sentiment").train:
        words = set(item.input.split())
        praise, blame = words & set(world.POSITIVE), words & set(world.NEGATIVE)
        assert bool(praise) != bool(blame)
        assert item.target == ("positive" if praise else "negative")


def test_topic_labels_agree_with_the_topic_of_every_topical_word() -> None:
    topic_of = {
        word: name
        for name, topic in world.TOPICS.items()
        for word in (*topic.people, *topic.verbs, *topic.objects, *topic.places)
    }
    for item in microworld.task("topic").train:
        assert {topic_of[word] for word in item.input.split() if word in topic_of} == {item.target}


def test_adjectives_follow_nouns_and_the_verb_comes_last() -> None:
    lexicon = world.LEXICON
    assert [lexicon[w] for w in ("the", "a", "dog", "cat", "big", "sees")] == [
        "lo", "mi", "kanu", "feli", "vetu", "vidas",
    ]  # fmt: skip
    assert world.translate("the big dog sees a cat") == "lo kanu vetu mi feli vidas"


def english_from_invented(sentence: str) -> str:
    """Translate back, parsing the invented grammar from its end: an independent solver."""
    back = {invented: english for english, invented in world.LEXICON.items()}
    *rest, verb = [back[word] for word in sentence.split()]
    second = max(i for i, word in enumerate(rest) if word in ("the", "a"))
    phrases = []
    for article, noun, *adjective in (rest[:second], rest[second:]):
        phrases.append(" ".join([article, *adjective, noun]))
    return f"{phrases[0]} {verb} {phrases[1]}"


@given(st.integers())
def test_every_translation_can_be_translated_back(seed: int) -> None:
    english, invented = world.sentence_pair(Random(seed))
    assert english_from_invented(invented) == english


def test_no_word_of_the_world_has_two_families() -> None:
    groups = [*world.FAMILIES.values(), *world.WITHHELD.values(), world.THINGS, world.NOVEL_LABELS]
    groups += [world.POSITIVE, world.NEGATIVE]
    members = [word for group in groups for word in group]
    assert len(members) == len(set(members))


def test_the_article_fits_the_word() -> None:
    assert [world.a(w) for w in ("dog", "apple", "university")] == [
        "a dog", "an apple", "a university",
    ]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_translations_and_labels_end_within_the_tokens_allowed(name: str) -> None:
    # Every word of the world is one token, so words bound tokens; the line end takes one more.
    task = microworld.task(name)
    assert max(len(e.target.split()) for e in task.test) < task.max_new_tokens


def test_an_unknown_task_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(UserError, match="did you mean 'sentiment-novel'"):
        microworld.task("sentimentnovel")


def test_a_negative_size_is_refused() -> None:
    with pytest.raises(UserError, match="train size -1 is negative"):
        microworld.task("topic", train=-1)


def test_more_items_than_the_world_has_are_refused_not_repeated() -> None:
    with pytest.raises(UserError, match=r"100300 distinct items .* ask for fewer"):
        microworld.task("topic", train=100_000)


def test_the_bundled_tasks_need_no_torch() -> None:
    code = (
        "import sys; from adaptlens.tasks import microworld; microworld.task('translation');"
        "sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def digest(task: Task) -> str:
    items = [(e.id, e.input, e.target) for e in (*task.train, *task.validation, *task.test)]
    return hashlib.sha256(repr(items).encode()).hexdigest()[:12]


def test_the_first_five_tasks_keep_the_items_they_always_had() -> None:
    # Digests of the items as they were before the other tasks came.
    kept = {
        "sentiment": "d773ad9a8bde",
        "sentiment-novel": "4f68a4514af8",
        "topic": "cd455ab77b27",
        "topic-novel": "c9457ef5b77b",
        "translation": "e1d7ec54e969",
    }
    assert {name: digest(microworld.task(name)) for name in kept} == kept


def parts(item: Example) -> list[str]:
    return [text for _, text in item.fields]


def mood(text: str) -> str:
    return "praise" if set(text.split()) & set(world.POSITIVE) else "blame"


def topic_of(text: str) -> str:
    (found,) = {
        name
        for name, topic in world.TOPICS.items()
        if set(text.split()) & {*topic.people, *topic.objects, *topic.places}
    }
    return found


def family_of(text: str) -> str:
    (found,) = {
        name
        for name, members in {**world.FAMILIES, **world.WITHHELD}.items()
        if set(re.findall(r"\w+", text)) & set(members)
    }
    return found


def yes(is_so: bool) -> str:
    return "yes" if is_so else "no"


def place(is_first: bool) -> str:
    return "first" if is_first else "second"


def odd(words: list[str]) -> str:
    families = [family_of(word) for word in words]
    return words[[families.count(each) for each in families].index(1)]


SOLVERS = {
    "agreement": lambda e: yes(mood(parts(e)[0]) == mood(parts(e)[1])),
    "praise": lambda e: place(mood(parts(e)[0]) == "praise"),
    "same-topic": lambda e: yes(topic_of(parts(e)[0]) == topic_of(parts(e)[1])),
    "topic-pick": lambda e: place(topic_of(parts(e)[0]) == parts(e)[2]),
    "family": lambda e: family_of(e.input),
    "same-family": lambda e: yes(family_of(parts(e)[0]) == family_of(parts(e)[1])),
    "odd-one-out": lambda e: odd(e.input.split(", ")),
    "in-list": lambda e: yes(parts(e)[1] in parts(e)[0].split(", ")),
    "last-word": lambda e: e.input.rpartition(" ")[2],
    "translation-choice": lambda e: next(
        option for option in e.choices if english_from_invented(option) == e.input
    ),
    "back-translation": lambda e: english_from_invented(e.input),
    "verb-translation": lambda e: world.translate(e.input).split()[-1],
    "right-translation": lambda e: yes(english_from_invented(parts(e)[1]) == parts(e)[0]),
}


@pytest.mark.parametrize("name", SOLVERS)
def test_a_solver_that_knows_nothing_of_the_maker_gives_the_same_answers(name: str) -> None:
    for item in microworld.task(name, train=300, validation=0, test=0).train:
        assert SOLVERS[name](item) == item.target


@pytest.mark.parametrize("name", ["family-novel", "withheld-2", "withheld-3"])
def test_a_novel_word_stands_for_one_family(name: str) -> None:
    train = microworld.task(name).train
    pairs = {(family_of(item.input), item.target) for item in train}
    assert len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})


@pytest.mark.parametrize("name", OWN_OPTIONS)
def test_options_of_an_item_are_four_different_ones_in_any_order(name: str) -> None:
    train = microworld.task(name).train
    assert all(len(set(item.choices)) == 4 and item.target in item.choices for item in train)
    places = [item.choices.index(item.target) for item in train]
    # 512 items over four places: 128 each, four standard errors are 39.
    assert all(abs(places.count(i) - 128) <= 39 for i in range(4))


@pytest.mark.parametrize("name", NAMES)
def test_the_fields_of_an_item_are_the_lines_of_its_text(name: str) -> None:
    for item in microworld.task(name, train=20, validation=0, test=0).train:
        lines = [f"{key.capitalize()}: {text}" for key, text in item.fields]
        assert item.input == "\n".join(lines) or (not item.fields and "\n" not in item.input)


@pytest.mark.parametrize("name", NAMES)
def test_items_are_short(name: str) -> None:
    for item in microworld.task(name).test:
        assert len(re.findall(r"\w+|[^\w\s]|\n", item.input)) <= 27


@pytest.mark.parametrize("name", NAMES)
def test_each_of_five_wordings_asks_the_whole_item(name: str) -> None:
    task = microworld.task(name, train=3, validation=0, test=0)
    assert len(set(task.wordings)) == 5
    for item in task.train:
        options = "; ".join(item.choices or task.choices)
        values = {"input": item.input, "options": options, **dict(item.fields)}
        asked = [sandbox.render(wording, values, "here") for wording in task.wordings]
        assert len(set(asked)) == 5
        for text in asked:
            assert all(part in text for part in parts(item) or [item.input])


def test_every_cluster_has_tasks_with_and_without_knowledge_of_labels() -> None:
    clusters = microworld.clusters()
    assert [*clusters] == ["sentiment", "topic", "words", "lists", "language"]
    assert all(microworld.task(n).cluster == c for c, names in clusters.items() for n in names)


def test_a_puzzle_with_parts_is_written_one_line_each() -> None:
    puzzle = puzzles.Puzzle((("words", "dog, cat"), ("word", "cat")), "yes")
    assert puzzle.text == "Words: dog, cat\nWord: cat"
    assert puzzles.Puzzle((("", "a dog"),), "animal").text == "a dog"
