"""Prompts are read in portions that fit in memory."""

from hypothesis import given
from hypothesis import strategies as st

from adaptlens.lm.portions import in_portions
from adaptlens.types import Part, Prompt


def prompt(text: str) -> Prompt:
    return Prompt((Part("query", text),), ("a", "b"))


@given(
    texts=st.lists(st.text("xy", max_size=8), max_size=20),
    most=st.integers(1, 100),
    variants=st.booleans(),
)
def test_each_prompt_is_read_once_and_answered_in_its_place(texts, most, variants):
    owners = [len(text) % 3 for text in texts] if variants else None
    sizes, told = [], []

    def read(some, own, progress):
        sizes.append([3 * len(one.text) for one in some])
        if progress:
            progress(1, 1)
        return [(one.text, n) for one, n in zip(some, own or [None] * len(some), strict=True)]

    found = in_portions(
        [prompt(text) for text in texts],
        owners,
        read,
        progress=lambda *counts: told.append(counts),
        most_characters=most,
    )
    assert found == list(zip(texts, owners or [None] * len(texts), strict=True))
    assert all(sum(portion) <= most or len(portion) == 1 for portion in sizes)
    if len(sizes) > 1:
        assert [done for done, _ in told] == sorted(done for done, _ in told)
        assert told[-1] == (len(texts), len(texts))


def test_prompts_that_begin_alike_are_read_together():
    beginnings = [f"{draw} " * 50 for draw in "abcd"]
    texts = [before + query for query in "wxyz" for before in beginnings]
    portions = []

    def read(some, own, progress):
        portions.append({one.text[:100] for one in some})
        return [None] * len(some)

    in_portions([prompt(text) for text in texts], None, read, most_characters=4 * 3 * 101)
    assert portions == [{before} for before in beginnings]
