"""Prompts that are made sure to fit a model's context."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptlens.prompts import render
from adaptlens.prompts.fitting import Fitting, TooLong, fit
from adaptlens.types import Example, Prompt, Task


class Reader:
    """Reads pairs of characters as tokens, so that what follows may move where pairs begin."""

    def __init__(self, context_tokens: int) -> None:
        self.context_tokens = context_tokens
        self.characters_read = 0

    def encode(self, text: str) -> list[int]:
        self.characters_read += len(text)
        return [0] * (-(-len(text) // 2))

    def chat_of(self, template):
        return None


def make_task(lengths, kind="choice") -> Task:
    train = tuple(Example(f"t{i}", "x" * size, "AB"[i % 2]) for i, size in enumerate(lengths))
    queries = (Example("q", "the query", "A"), Example("r", "another one, longer", "B"))
    choices = ("A", "B") if kind == "choice" else ()
    return Task("toy", kind, train, (), queries, instruction="Say.", choices=choices)


def longest(task: Task, prompt: Prompt) -> int:
    """Return the tokens of a prompt with its longest answer, or with all it may write."""
    if task.kind == "choice":
        return -(-len(prompt.text + max(prompt.answers, key=len)) // 2)
    return -(-len(prompt.text) // 2) + task.max_new_tokens


@given(
    lengths=st.lists(st.integers(1, 60), max_size=12),
    context=st.integers(30, 300),
    kind=st.sampled_from(["choice", "generation"]),
)
def test_as_few_demonstrations_are_dropped_as_will_do(lengths, context, kind):
    task = make_task(lengths, kind)
    fitting = Fitting(Reader(context), task, task.train, on_overflow="drop-demos")
    for query in task.test:
        naive = (
            (n, render.render(task, task.train[n:], query)) for n in range(len(task.train) + 1)
        )
        wanted = next(
            ((n, prompt.text) for n, prompt in naive if longest(task, prompt) <= context), None
        )
        if wanted is None:
            with pytest.raises(TooLong):
                fitting.prompt(query)
        else:
            prompt = fitting.prompt(query)
            assert (prompt.dropped_demos, prompt.text) == wanted


def test_a_prompt_is_what_is_written_without_a_fitting():
    task = make_task([5, 7, 9])
    fitting = Fitting(Reader(10**6), task, task.train, on_overflow="error")
    for query in task.test:
        assert fitting.prompt(query) == render.render(task, task.train, query)


def test_demonstrations_are_written_and_counted_once_for_all_queries():
    task = make_task([2] * 1000)
    whole = len(render.render(task, task.train, task.test[0]).text)
    reader = Reader(whole // 2 + 60)
    fitting = Fitting(reader, task, task.train, on_overflow="error")
    first, second = (fitting.prompt(query) for query in task.test)
    assert reader.characters_read < whole
    shared = [a is b for a, b in zip(first.parts, second.parts, strict=False)]
    assert all(shared[:5000])


def test_an_excess_is_told_in_tokens_with_the_way_out():
    task = make_task([40, 40])
    reader = Reader(40)
    with pytest.raises(
        TooLong, match=r"example q of task 'toy' with 2 demonstrations is 35 tokens"
    ):
        fit(reader, task, task.train, task.test[0], on_overflow="error")
    with pytest.raises(TooLong, match=r"with 0 demonstrations is 4 tokens .* shorten the text"):
        fit(Reader(12), task, task.train, task.test[0], on_overflow="drop-demos")
