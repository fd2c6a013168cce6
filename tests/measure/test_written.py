import pytest

from adaptlens.prompts.parsing import NONE, option_in


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("positive", 0),
        ("The review sounds NEGATIVE, not positive.", 1),
        ("very positive", 2),
        ("positively awful", NONE),
        ("", NONE),
    ],
)
def test_the_option_that_is_named_first_is_the_answer(text, place):
    assert option_in(text, (" positive", " negative", " very positive")) == place


def test_signs_in_an_option_are_no_pattern():
    assert option_in("(a) or b.c", ("b.c", "(a)")) == 1
    assert option_in("bxc", ("b.c", "(a)")) == NONE
