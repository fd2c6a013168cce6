"""Splits are disjoint, complete, reproducible, and do not depend on the order of the rows."""

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptlens.errors import UserError
from adaptlens.tasks import split
from adaptlens.tasks.assembly import Settings, assemble
from adaptlens.tasks.items import Item

QUESTIONS = st.lists(
    st.text("abcdef ", min_size=1, max_size=6), min_size=6, max_size=60, unique=True
)


def items(texts, answer=lambda i: "ab"[i % 2]):
    return [Item(f"row {i}", text, answer(i)) for i, text in enumerate(texts)]


@given(QUESTIONS, st.integers(0, 5), st.randoms(use_true_random=False))
@settings(max_examples=150, deadline=None)
def test_a_pool_is_cut_into_disjoint_complete_reproducible_splits(texts, seed, random):
    texts = [f"{i} {text}" for i, text in enumerate(texts)]
    pool = items(texts)
    first, _ = split.complete({"train": pool}, seed, stratified=True)
    shuffled = list(pool)
    random.shuffle(shuffled)
    second, _ = split.complete({"train": shuffled}, seed, stratified=True)
    assert first == second
    together = [item.input for name in split.SPLITS for item in first[name]]
    assert sorted(together) == sorted(texts)
    for name, share in (("train", 0.6), ("validation", 0.2), ("test", 0.2)):
        assert abs(len(first[name]) - share * len(pool)) < 1
        counts = Counter(item.target for item in first[name])
        for answer in "ab":
            of_class = sum(item.target == answer for item in pool)
            assert abs(counts[answer] - share * of_class) <= 1


def test_another_seed_cuts_otherwise():
    pool = items([f"text {i}" for i in range(100)])
    tests = [
        {item.input for item in split.complete({"train": pool}, seed, stratified=True)[0]["test"]}
        for seed in (0, 1)
    ]
    assert tests[0] != tests[1]


def test_the_first_of_a_split_are_a_sample_of_sorted_rows_not_the_first_rows():
    pool = items([f"text {i:04}" for i in range(1000)], answer=lambda i: "a" if i < 500 else "b")
    task = assemble("t", {"train": pool}, Settings(limit_test=100))
    counts = Counter(example.target for example in task.test)
    # 100 of 200 without replacement, half of them 'a': standard deviation 3.5
    assert abs(counts["a"] - 50) < 18


def test_a_limited_split_begins_the_unlimited_one():
    pool = items([f"text {i}" for i in range(50)])
    whole = assemble("t", {"train": pool}, Settings())
    part = assemble("t", {"train": pool}, Settings(limit_train=7))
    assert part.train == whole.train[:7] and part.test == whole.test


def grouped(sizes):
    named = [f"user {i}" for i, size in enumerate(sizes) for _ in range(size)]
    return [replace(item, group=group) for item, group in zip(
        items([f"text {i}" for i in range(len(named))]), named, strict=True)]  # fmt: skip


@pytest.mark.parametrize("sizes", [[10] * 20, [1, 50, 3, 7, 2, 9, 30, 1, 4, 5]])
def test_a_group_is_in_one_split_only(sizes):
    pool = grouped(sizes)
    found, notes = split.complete({"train": pool}, 0, stratified=True)
    assert sorted(item.input for one in found.values() for item in one) == sorted(
        item.input for item in pool
    )
    groups = [{item.group for item in found[name]} for name in split.SPLITS]
    assert [len(one) for one in groups] == [len(sizes) * part // 5 for part in (3, 1, 1)]
    assert not groups[0] & groups[1] | groups[0] & groups[2] | groups[1] & groups[2]
    assert f"No group of the test split ({len(groups[2])}) is in another split." in notes
    assert "by groups and seed 0" in notes[0]
    shuffled, _ = split.complete({"train": pool[::-1]}, 0, stratified=True)
    assert shuffled == found


def test_validation_is_cut_from_training_by_whole_groups_and_shared_ones_are_told():
    pool = grouped([4] * 10)
    found, notes = split.complete({"train": pool[8:], "test": pool[:8]}, 0, stratified=True)
    assert not {item.group for item in found["train"]} & {i.group for i in found["validation"]}
    assert notes[-1].startswith("No group of the test split (2)")
    found, notes = split.complete({"train": pool[4:], "test": pool[:8]}, 0, stratified=True)
    assert notes[-1].startswith("1 of the 2 groups of the test split are in the training")


def test_items_without_a_group_are_groups_of_their_own():
    pool = [*items([f"alone {i}" for i in range(10)]), *grouped([5])]
    found, _ = split.complete({"train": pool}, 0, stratified=True)
    assert len({name for name in split.SPLITS for item in found[name] if item.group}) == 1
    assert sum(not item.group for item in found["train"]) in (6, 7)


def test_too_few_groups_to_cut_are_refused():
    with pytest.raises(UserError, match=r"too few groups \(2\).*leave out --group"):
        split.complete({"train": grouped([20, 20])}, 0, stratified=True, name="t")


def test_duplicates_and_contradictions_are_left_out_and_counted():
    pool = items([f"text {i}" for i in range(20)])
    extra = [
        Item("", "text 0", "a"),
        Item("", "text  0", "a"),
        Item("", "text 1", "a"),
    ]
    kept, notes = split.without_duplicates([*pool, *extra], "train", one_answer=True)
    assert len(kept) == 19 and "text 1" not in {item.input for item in kept}
    assert notes == [
        "train: 2 duplicate rows left out.",
        "train: 2 rows left out whose input occurs with different answers.",
    ]


def test_a_generation_task_keeps_one_of_several_answers():
    pool = [Item("", "x", "b"), Item("", "x", "a"), Item("", "y", "c")]
    kept, notes = split.without_duplicates(pool, "train", one_answer=False)
    assert [(item.input, item.target) for item in kept] == [("x", "a"), ("y", "c")]
    assert notes == ["train: 1 further answers to an input already there left out."]


def test_a_leak_stays_in_the_later_split_only():
    splits = {
        "train": items(["a", "b", "c"]),
        "validation": items(["b", "d"]),
        "test": items(["c", "d", "e"]),
    }
    clean, notes = split.without_leaks(splits)
    inputs = {name: [item.input for item in clean[name]] for name in clean}
    assert inputs == {"train": ["a"], "validation": ["b"], "test": ["c", "d", "e"]}
    assert sorted(notes) == [
        "1 train items left out because they are also in the test split.",
        "1 train items left out because they are also in the validation split.",
        "1 validation items left out because they are also in the test split.",
    ]


def test_without_a_test_split_the_validation_split_is_it():
    given = {"train": items([f"a{i}" for i in range(10)]), "validation": items(["x", "y"])}
    result, notes = split.complete(given, 0, stratified=True)
    assert {item.input for item in result["test"]} == {"x", "y"}
    assert (len(result["train"]), len(result["validation"])) == (8, 2)
    assert "the validation split is used as the test split" in notes[0]


def test_a_training_split_equal_to_the_test_split_is_refused():
    same = items(["a", "b", "c"])
    with pytest.raises(UserError, match="nothing is left of the train split"):
        assemble("t", {"train": same, "test": same}, Settings(choices="a,b"))
