"""Sizes of prompts, before there is a model: what is shared is counted once."""

from dataclasses import replace

import pytest

from adaptlens.prompts.sizes import PromptSizes, common, spread
from adaptlens.types import Example, Task

SIZES = PromptSizes(
    task=Task("t", "choice", (), (), tuple(Example(str(i), "", "a", group="ab"[i % 2])
                                           for i in range(5)), choices=("a",)),
    model="reference", num_draws=2, ways=(), family="none", templates_known=False, shared=10,
    rest=3, groups=2, options=1, choices=2, answer=1, longest=1, written=0,
)  # fmt: skip


def test_what_a_group_shares_is_read_once():
    # Two groups begin with 10 tokens each; five prompts have 3 of their own and 1 after them.
    assert SIZES.read(5, after=1) == 2 * 10 + 5 * (3 + 1)


def test_fewer_queries_than_groups_share_nothing():
    assert SIZES.read(1) == 10 + 3
    assert replace(SIZES, groups=9).read(5) == 5 * (10 + 3)


def test_items_of_a_group_are_counted():
    assert SIZES.items_of("a") == 3
    assert SIZES.items_of("") == 5


@pytest.mark.parametrize(
    ("texts", "shared"), [(["ab", "abc"], "ab"), (["a", "b"], ""), (["x y", "x z", "x"], "x")]
)
def test_common_is_what_all_texts_begin_with(texts, shared):
    assert common(texts) == shared


def test_few_items_are_taken_evenly_from_all():
    assert spread(list(range(10)), 5) == [0, 2, 4, 6, 8]
    assert spread([1, 2], 5) == [1, 2]
