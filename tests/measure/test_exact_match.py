"""How generated answers are compared: facts worked by hand, and lm-evaluation-harness's numbers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptlens.measure.exact_match import exact_match, filtered
from adaptlens.types import ExactMatch

STRICT = ("regex", r"#### (\-?[0-9\.\,]+)", 0, "[invalid]")
FLEXIBLE = ("regex", r"(-?[$0-9.,]{2,})|(-?[0-9]+)", -1, "[invalid]")
IGNORED = (",", r"\$", "(?s).*#### ", r"\.$")


def test_without_a_rule_whole_texts_are_compared_but_for_blanks_at_their_ends():
    assert exact_match(" a b\n", ("a b",)) == 1.0
    assert exact_match("a  b", ("a b",)) == 0.0


def test_a_rule_leaves_blanks_unless_its_filter_strips():
    assert exact_match(" a", ("a",), ExactMatch()) == 0.0
    assert exact_match(" a", ("a",), ExactMatch((("strip",),))) == 1.0


def test_any_accepted_answer_is_right():
    assert exact_match("b", ("a", "b"), ExactMatch()) == 1.0


@pytest.mark.parametrize(
    ("step", "text", "found"),
    [
        (STRICT, "It is 3.\n#### 1,003\n#### 4", "1,003"),
        (STRICT, "It is 3.", "[invalid]"),
        (FLEXIBLE, "It is 3, so $1,003.50", "$1,003.50"),
        (FLEXIBLE, "It is 7", "7"),
        (("lower",), "AbC", "abc"),
        (("upper",), "AbC", "ABC"),
    ],
)
def test_a_step_of_a_filter_cuts_out(step, text, found):
    assert filtered(text, ExactMatch((step,))) == found


def test_grade_school_mathematics_is_judged_as_lm_eval_judges_it():
    rule = ExactMatch((STRICT,), IGNORED, ignore_case=True)
    answer = "He has 12.\n#### 1,003"
    assert exact_match("It is that.\n#### 1003.", (answer,), rule) == 1.0
    assert exact_match("It is 1003.", (answer,), rule) == 0.0


TEXTS = st.text("aB1.,$# \n-", max_size=12)


@given(
    TEXTS, TEXTS, st.sampled_from([STRICT, FLEXIBLE, ("strip",), ("lower",)]), st.booleans(),
    st.booleans(), st.booleans(), st.booleans(),
)  # fmt: skip
def test_it_agrees_with_lm_evaluation_harness(output, wanted, step, regexes, case, marks, digits):
    metrics = pytest.importorskip("lm_eval.api.metrics")
    filters = pytest.importorskip("lm_eval.filters")
    names = {"strip": "remove_whitespace", "lower": "lowercase"}
    arguments = {}
    if step[0] == "regex":
        arguments = dict(zip(("regex_pattern", "group_select", "fallback"), step[1:], strict=True))
    cut = filters.get_filter(names.get(step[0], step[0]))(**arguments)
    [[found]] = cut.apply([[output]], [{}])
    known = metrics.exact_match_hf_evaluate(
        [found], [wanted], IGNORED if regexes else None, case, marks, digits
    )
    rule = ExactMatch((step,), IGNORED if regexes else (), case, marks, digits)
    assert exact_match(output, (wanted,), rule) == known["exact_match"]
