"""The prompt that is found is the one that reading everything finds, and it is found on no test."""

import gc
import weakref
import zlib
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tiny
from adaptlens.adapt import best_prompt
from adaptlens.adapt.best_prompt import NARROW, ORDERS, WIDE, BestPrompt, arranged
from adaptlens.adapt.halving import KEPT, LEAST_CALIBRATED, Search, Tried
from adaptlens.adapt.settings import choosing
from adaptlens.errors import UserError
from adaptlens.lm.load import LM
from adaptlens.measure.behavior import Behavior
from adaptlens.metrics import accuracy
from adaptlens.prompts import render, selection
from adaptlens.tasks.template_space import templates_to_try, words_to_try
from adaptlens.tasks.templates import usual, written
from adaptlens.types import Example, Part, Prompt, Task, Template

PLENTY = 10**6


def example(number: int, split: str) -> Example:
    return Example(f"{split}{number}", f"{split} {number}", ("no", "yes")[number * 7 % 5 % 2])


def yes_or_no(validation: int = 40, **changes: Any) -> Task:
    made = Task(
        "parity",
        "choice",
        tuple(example(i, "train") for i in range(12)),
        tuple(example(i, "held") for i in range(validation)),
        tuple(example(i, "test") for i in range(8)),
        instruction="Is it?",
        choices=("no", "yes"),
        columns=("sentence", "verdict"),
    )
    made = replace(made, templates=usual(made, chat=False)[:3])
    return replace(made, **changes)


def by_text(prompt: Prompt) -> np.ndarray:
    """Log-likelihoods that a hash of prompt and answer decides."""
    texts = [prompt.text + answer for answer in prompt.answers]
    return -1 - np.array([zlib.crc32(text.encode()) % 9973 for text in texts]) / 1000


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[Prompt]:
    """Every prompt that a search reads; answers are then scored by `by_text`."""
    sent: list[Prompt] = []

    def score(lm: Any, requests: list[Prompt], work: Any) -> list[np.ndarray]:
        sent.extend(requests)
        return [by_text(prompt) for prompt in requests]

    monkeypatch.setattr(LM, "log_likelihoods", score)
    monkeypatch.setattr(best_prompt, "_SEARCHED", weakref.WeakKeyDictionary())
    return sent


def seen(write: Any, items: Any, task: Task, lm: Any) -> list[tuple[float, float]]:
    """Accuracy and the gold answer's log-probability under every rule, all items read."""
    golds = np.array([(item.choices or task.choices).index(item.target) for item in items])
    sent = [write(item) for item in items]
    sizes = [
        [[f(answer) for answer in prompt.answers] for prompt in sent]
        for f in (
            lambda answer: len(answer.encode()),
            lambda answer: len(lm.tokenizer(answer, add_special_tokens=False).input_ids),
        )
    ]
    arrays = {
        "loglik": np.array([[by_text(prompt) for prompt in sent]]),
        "prior_loglik": np.array([[by_text(write(render.content_free(i))) for i in items]]),
        "answer_bytes": np.array([sizes[0]]),
        "answer_tokens": np.array([sizes[1]]),
        "gold": golds,
    }
    return [
        (
            float(accuracy.correct(arrays, rule).mean()),
            float(accuracy.choice_loglik(accuracy.choice_scores(arrays, rule), golds).mean()),
        )
        for rule in accuracy.RULES
        if rule != "calibrated" or len(items) >= LEAST_CALIBRATED
    ]


def in_order(qualities: list[list[tuple[float, float]]], num_items: int) -> list[int]:
    """Numbers of candidates, best first, by the rule of one standard error."""
    top = max(right for own in qualities for right, _ in own)
    bar = top - (top * (1 - top) / num_items) ** 0.5

    def key(one: tuple[float, float]) -> tuple[bool, float, float]:
        right, sure = one
        return (True, sure, 0.0) if right >= bar else (False, right, sure)

    best = [max(map(key, own)) for own in qualities]
    return sorted(range(len(best)), key=lambda i: best[i], reverse=True)


def naive(task: Task, demos: Any, lm: Any) -> tuple[str, str]:
    """Name of the template, and order, that are found by reading every candidate on everything."""
    items = choosing(task)

    def writer(template: Template, order: str = "drawn", shown: Any = ()) -> Any:
        way = written(task, template)

        def write(query: Example) -> Prompt:
            own = [way.example(demo) for demo in arranged(shown, order, query)]
            return render.render(way.task, own, way.example(query))

        return write

    def best(candidates: list[Any], keep: int) -> list[Any]:
        order = in_order([seen(writer(*one), items, task, lm) for one in candidates], len(items))
        return [candidates[i] for i in order[:keep]]

    kept = best([(template,) for template in templates_to_try(task)], WIDE)
    for (template,) in list(kept):
        for words in words_to_try(task.choices):
            if words:
                name = f"{template.name}, {'/'.join(word for _, word in words)}"
                kept.append((replace(template, name=name, words=words),))
    kept = best(kept, WIDE)
    if not demos:
        return kept[0][0].name, "drawn"
    pool = dict.fromkeys((*task.templates, *(template for (template,) in kept)))
    unique = {replace(t, name=""): t for t in reversed(pool)}
    shown = [(t, "drawn", demos) for t in pool if unique[replace(t, name="")] is t]
    shown = best(shown, NARROW)
    more = [
        (template, order, demos)
        for place, (template, _, _) in enumerate(shown)
        for order in (ORDERS[1:] if place == 0 else ORDERS[1:-1])
    ]
    template, order, _ = best([*shown, *more], 1)[0]
    return template.name, order


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("size", [0, 6])
def test_with_reads_enough_it_is_the_best_of_all(size: int, seed: int, lm: Any, read: Any) -> None:
    task = yes_or_no(instruction=f"Is it {seed}?")
    found = BestPrompt(size, reads=PLENTY, draw_reads=PLENTY).adapt(lm, task, (3, 1))
    for draw, record in zip(found.draws, found.training["search"], strict=True):
        demos = selection.demonstrations(task, draw, size) if size else ()
        assert (record["template"]["name"], record["order"]) == naive(task, demos, lm)
        assert record["items"] == 20


def test_every_item_read_is_one_that_chooses(lm: Any, read: list[Prompt]) -> None:
    task = yes_or_no()
    BestPrompt(4).adapt(lm, task, (0, 1))
    allowed = {item.id for item in choosing(task)}
    assert {prompt.query_id for prompt in read} == allowed
    assert allowed == {f"held{i}" for i in range(20)}
    assert not any("test" in prompt.text for prompt in read)


@settings(max_examples=60)
@given(
    st.integers(1, 40), st.integers(1, 30), st.integers(1, 400), st.integers(1, 8), st.booleans()
)
def test_a_search_keeps_to_its_budget(
    count: int, items: int, budget: int, keep: int, free: bool
) -> None:
    sent: list[Prompt] = []

    def score(lm: Any, requests: list[Prompt], work: Any) -> list[np.ndarray]:
        sent.extend(requests)
        return [by_text(prompt) for prompt in requests]

    lm: Any = SimpleNamespace(token_counts=lambda texts: [1] * len(texts))
    lm.log_likelihoods = lambda requests, work: score(lm, requests, work)
    queries = [Example(f"q{i}", f"{i}", "a") for i in range(items)]

    def tried(number: int) -> Tried:
        def write(query: Example) -> Prompt:
            return Prompt((Part("query", f"{number}: {query.input}"),), ("a", "b"), query.id)

        return Tried(
            str(number), write, (lambda q: write(render.content_free(q))) if free else None
        )

    search = Search(lm, queries, lambda _: ("a", "b"), ("raw", "corrected"))
    kept = search.halve([tried(i) for i in range(count)], budget, keep)
    assert len(kept) == min(count, keep)
    assert search.reads == len(sent) == len({prompt.text for prompt in sent})
    # One item of each whatever the budget, and one prompt each without content.
    assert len(sent) <= max(budget, count) + (count if free else 0)
    if budget >= count * items * (len(str(count)) + 9):
        assert all(len(one.reads) == items for one in kept)


def test_what_one_round_leaves_over_the_next_ones_read(lm: Any, read: list[Prompt]) -> None:
    # 27 candidates, 9 and 3 of them in rounds of 100 prompts each. The first reads 3 items each,
    # 81 prompts; the second has (300 - 81) / 2: 12 more items each; the third 111: 25 are left.
    queries = [Example(f"q{i}", f"{i}", "a") for i in range(40)]

    def tried(number: int) -> Tried:
        return Tried(str(number), lambda q: Prompt((Part("query", f"{number} {q.input}"),),
                                                   ("a", "b"), q.id))  # fmt: skip

    search = Search(lm, queries, lambda _: ("a", "b"), ("raw",))
    (best,) = search.halve([tried(i) for i in range(27)], 300)
    assert KEPT == 3
    assert len(best.reads) == 40
    assert search.reads == 27 * 3 + 9 * 12 + 3 * 25


def test_equally_good_candidates_keep_their_order(lm: Any, read: Any) -> None:
    queries = [Example(f"q{i}", f"{i}", "a") for i in range(10)]

    def same(query: Example) -> Prompt:
        return Prompt((Part("query", query.input),), ("a", "b"), query.id)

    search = Search(lm, queries, lambda _: ("a", "b"), ("raw",))
    kept = search.halve([Tried(str(i), same) for i in range(9)], 30, 3)
    assert [one.name for one in kept] == ["0", "1", "2"]


def test_candidates_are_compared_on_the_same_items(
    lm: Any, read: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that was read before, on items it got wrong since, has no start over a new one."""
    queries = [Example(f"q{i}", f"{i}", "a") for i in range(10)]

    def right_until(last: int) -> Any:
        def write(query: Example) -> Prompt:
            good = int(query.input) < last
            return Prompt((Part("query", f"{last} {query.input}"),),
                          ("a", "bbb") if good else ("aaa", "b"), query.id)  # fmt: skip

        return write

    def score(lm: Any, requests: list[Prompt], work: Any) -> list[np.ndarray]:
        return [-np.array([len(a) for a in prompt.answers], float) for prompt in requests]

    monkeypatch.setattr(LM, "log_likelihoods", score)
    search = Search(lm, queries, lambda _: ("a", "b"), ("raw",))
    (old,) = search.halve([Tried("old", right_until(2))], 10)
    assert len(old.reads) == 10 and search.found(old).accuracy == 0.2
    new = Tried("new", right_until(2))
    assert [one.name for one in search.halve([new, old], 2, 2)] == ["new", "old"]


def test_a_draws_prompt_does_not_depend_on_the_other_draws(lm: Any, read: Any) -> None:
    task, how = yes_or_no(), BestPrompt(4, reads=200, draw_reads=100)
    both = how.adapt(lm, task, (0, 5)).training["search"]
    turned = how.adapt(lm, task, (5, 0)).training["search"]
    alone = how.adapt(lm, task, (5,)).training["search"]
    assert both == turned[::-1]
    assert alone == [both[1]]


def test_true_few_shot_shows_no_example_of_a_querys_own_part(lm: Any, read: list[Prompt]) -> None:
    task = yes_or_no(validation=0)
    adapted = BestPrompt(6, true_few_shot=True).adapt(lm, task, (2,))
    demos = selection.demonstrations(task, 2, 6)
    # Six examples in four parts: 0 1 | 2 | 3 4 | 5.
    parts = [{0, 1}, {2}, {3, 4}, {5}]
    place = {demo.id: i for i, demo in enumerate(demos)}
    assert {prompt.query_id for prompt in read} == set(place)
    shown_once = False
    for prompt in read:
        own = next(part for part in parts if place[prompt.query_id] in part)
        shown = {
            i
            for i, demo in enumerate(demos)
            if any(p.role == "demo_input" and p.text == demo.input for p in prompt.parts)
        }
        assert not shown & own
        shown_once |= bool(shown)
    assert shown_once
    # To a query of the test, all may be shown.
    assert adapted.write(0, task.test[0]).text.count("train") >= 3


def test_the_search_without_examples_is_made_once_and_counted_in_full(
    lm: Any, read: list[Prompt]
) -> None:
    task, how = yes_or_no(), BestPrompt(0, reads=300)
    (first,) = how.adapt(lm, task, (-1,)).training["search"]
    assert first["reads"] == len(read)
    (again,) = how.adapt(lm, task, (-1,)).training["search"]
    assert again == first and len(read) == first["reads"]
    found = BestPrompt(3, reads=300).adapt(lm, task, (0, 1)).training
    each = [record["reads"] - first["reads"] for record in found["search"]]
    assert sum(each) == len(read) - first["reads"]
    assert found["search_reads"] == first["reads"] + sum(each) / 2


@pytest.mark.parametrize(
    "changes",
    [
        {"instruction": "Was it?"},
        {"template": Template("Say: ", "\nThen:")},
        {"choices": ("yes", "no")},
        {"columns": ("headline", "topic")},
    ],
)
def test_another_task_of_the_same_name_is_searched_anew(
    changes: Any, lm: Any, read: list[Prompt]
) -> None:
    how = BestPrompt(0, reads=100)
    how.adapt(lm, yes_or_no(), (-1,))
    other = yes_or_no(**changes)
    known = how.adapt(lm, other, (-1,)).training["search"]
    best_prompt._SEARCHED.clear()
    assert known == how.adapt(lm, other, (-1,)).training["search"]


def test_what_was_found_does_not_keep_the_model_in_memory(read: Any) -> None:
    lm = tiny.tiny_lm("gpt2")
    BestPrompt(2, reads=50, draw_reads=50).adapt(lm, yes_or_no(), (0,))
    gone = weakref.ref(lm)
    del lm
    gc.collect()
    assert gone() is None


def test_what_the_search_saw_is_what_is_then_measured(lm: Any) -> None:
    """Accuracy by the rule it names, with options of their own, and as many as each item has."""
    words = ("no", "yes", "maybe so")

    def own(item: Example, number: int) -> Example:
        return replace(item, choices=words[: 2 + number % 2], instruction=f"{number % 3}?")

    task = yes_or_no(validation=16)
    splits = {
        split: tuple(own(e, i) for i, e in enumerate(getattr(task, split)))
        for split in ("train", "validation", "test")
    }
    task = replace(task, choices=(), templates=(), **splits)
    for size in (0, 2):
        adapted = BestPrompt(size, reads=PLENTY, draw_reads=PLENTY).adapt(lm, task, (0, 1))
        arrays = Behavior().measure(lm, task, adapted).arrays
        arrays = {n: arrays[f"validation_{n}"] for n in
                  ("loglik", "prior_loglik", "answer_bytes", "answer_tokens", "gold")}  # fmt: skip
        for draw, record in enumerate(adapted.training["search"]):
            right = accuracy.correct(arrays, record["rule"])[draw, :8].mean()
            assert record["validation_accuracy"] == pytest.approx(right)


def test_orders_by_hand() -> None:
    demos = [
        Example("1", "red fish", "a"),
        Example("2", "blue bird", "a"),
        Example("3", "red bird", "b"),
        Example("4", "green frog", "a"),
        Example("5", "blue frog", "b"),
    ]
    query = Example("q", "a red bird", "a")

    def shown(order: str) -> str:
        return "".join(demo.id for demo in arranged(demos, order, query))

    assert shown("drawn") == "12345"
    assert shown("reversed") == "54321"
    # The answers take turns: a 1, b 3, a 2, b 5, a 4.
    assert shown("balanced") == "13254"
    assert shown("half") == "13"
    # "red bird" shares two words; 1 and 2 one each; 4 shares none and precedes 5. Best last.
    assert shown("nearest")[-1] == "3"
    assert set(shown("nearest")) == set("1234")


def test_the_nearest_are_nearest_by_the_measure_that_is_given() -> None:
    demos = [Example(str(n), "x" * n, "a") for n in range(1, 8)]
    query = Example("q", "xxxxxx", "a")

    def by_length(queries: Any, texts: Any) -> np.ndarray:
        return np.array([[-abs(len(q) - len(t)) for t in texts] for q in queries])

    # Lengths 6; 5 and 7; 4 are nearest to 6; of equals the first is nearer.
    assert "".join(d.id for d in arranged(demos, "nearest", query, by_length)) == "4756"


def test_candidates_that_do_not_fit_are_left_out_and_counted(lm: Any) -> None:
    """One template is longer than the context; with the answer taken from it, others win."""
    task = yes_or_no()
    long = Template(name="long", before_input="word " * lm.context_tokens)
    given_ = replace(task, templates=(*task.templates, long))
    how = BestPrompt(2, reads=200, draw_reads=100)
    found, without = (how.adapt(lm, one, (0, 1)).training["search"] for one in (given_, task))
    assert [one["too_long"] for one in without] == [0, 0]
    # Without demonstrations once, and with each draw's.
    assert [one["too_long"] for one in found] == [2, 2]
    assert [one["prompt"] for one in found] == [one["prompt"] for one in without]
    words = "word " * lm.context_tokens
    everything = replace(task, templates=(), template=Template(between=words + "\n"))
    with pytest.raises(UserError, match="longer than the context"):
        how.adapt(lm, everything, (0,))


@pytest.mark.parametrize(
    ("how", "task", "said"),
    [
        ({}, yes_or_no(validation=0), "no validation split to search by"),
        ({}, yes_or_no(kind="generation", choices=()), "is a generation task"),
    ],
)
def test_a_task_that_cannot_be_searched_is_one_line(
    how: Any, task: Task, said: str, lm: Any
) -> None:
    with pytest.raises(UserError, match=said) as error:
        BestPrompt(2, **how).adapt(lm, task, (0,))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("given_", "said"),
    [
        ({"examples": -1}, "examples -1 was given; it must be at least 0"),
        ({"examples": 1, "true_few_shot": True}, "needs at least 2"),
        ({"examples": 1, "reads": 0}, "reads 0 was given"),
        ({"examples": 1, "selection": "similar"}, "unknown selection"),
        ({"examples": 1, "retrieval": "random"}, "unknown retrieval"),
    ],
)
def test_wrong_arguments_are_one_line(given_: Any, said: str) -> None:
    with pytest.raises(UserError, match=said):
        BestPrompt(**given_)
