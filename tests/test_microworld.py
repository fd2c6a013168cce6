"""The microworld and the tasks bundled from it."""

import subprocess
import sys
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptlens.errors import UserError
from adaptlens.tasks import microworld, world
from adaptlens.values import Task

NAMES = ["sentiment", "sentiment-novel", "topic", "topic-novel", "translation"]
CHOICE_TASKS = NAMES[:4]


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


@pytest.mark.parametrize("name", CHOICE_TASKS)
def test_every_choice_is_equally_often_right(name: str) -> None:
    task = microworld.task(name, train=40, validation=8, test=12)
    for split in (task.train, task.validation, task.test):
        counts = {choice: [e.target for e in split].count(choice) for choice in task.choices}
        assert set(counts.values()) == {len(split) // len(task.choices)}


def test_novel_labels_rename_the_classes_of_the_same_texts() -> None:
    natural, novel = microworld.task("sentiment"), microworld.task("sentiment-novel")
    assert [e.input for e in natural.test] == [e.input for e in novel.test]
    pairs = {(a.target, b.target) for a, b in zip(natural.test, novel.test, strict=True)}
    assert pairs == {("positive", "lantern"), ("negative", "ribbon")}


@pytest.mark.parametrize("name", ["sentiment-novel", "topic-novel"])
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
