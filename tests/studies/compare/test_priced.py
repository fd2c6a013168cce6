"""Whose prices are whose, and what genai-prices lists."""

import sys

import pytest

from adaptlens.errors import UserError
from adaptlens.studies.compare.priced import check_prices, list_price_notes, list_prices, prices_of


def test_a_model_with_prices_of_its_own_has_none_of_the_others():
    given = {
        "gpu_hour": 2.0,
        "input_million_tokens": 1.0,
        "output_million_tokens": 4.0,
        "models": {"small": {"input_million_tokens": 0.1}},
    }
    assert prices_of(given, "small") == {"gpu_hour": 2.0, "input_million_tokens": 0.1}
    assert prices_of(given, "large") == {
        "gpu_hour": 2.0,
        "input_million_tokens": 1.0,
        "output_million_tokens": 4.0,
    }
    assert prices_of({}, "large") == {}


def test_prices_of_a_model_that_is_not_compared_are_refused():
    with pytest.raises(UserError, match=r"unknown model in prices\.models 'smal'; did you mean"):
        check_prices({"models": {"smal": {"input_million_tokens": 1.0}}}, ["small"])


def test_without_genai_prices_a_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "genai_prices.data_snapshot", None)
    with pytest.raises(UserError, match=r"pip install 'adaptlens\[prices\]'"):
        check_prices({"hosted": "openai:gpt-5-mini"}, ["reference"])


@pytest.fixture
def genai_prices():
    return pytest.importorskip("genai_prices", reason="needs adaptlens[prices]")


def test_list_prices_are_those_that_genai_prices_computes(genai_prices):
    ours = list_prices("openai:gpt-5-mini")
    usage = genai_prices.Usage(input_tokens=1000, cache_read_tokens=400, output_tokens=50)
    theirs = genai_prices.calc_price(usage, "gpt-5-mini", provider_id="openai").total_price
    paid = (
        600 * ours["input_million_tokens"]
        + 400 * ours["cached_million_tokens"]
        + 50 * ours["output_million_tokens"]
    ) / 1e6
    assert paid == pytest.approx(float(theirs))
    (note,) = list_price_notes({"models": {"m": {"hosted": "openai:gpt-5-mini"}}})
    assert note.startswith("prices of openai:gpt-5-mini, US dollars a million tokens (0.25 input")


def test_a_price_that_rises_with_the_prompt_is_its_lowest(genai_prices):
    assert list_prices("openai:gpt-5.4")["input_million_tokens"] == 2.5


def test_prices_given_by_hand_stand_in_place_of_listed_ones(genai_prices):
    own = {"hosted": "openai:gpt-5-mini", "cached_million_tokens": 0.1}
    assert prices_of(own, "m")["cached_million_tokens"] == 0.1
    assert prices_of(own, "m")["input_million_tokens"] == 0.25


@pytest.mark.parametrize(
    ("hosted", "said"),
    [
        ("gpt-5-mini", "expected PROVIDER:MODEL"),
        ("opnai:gpt-5-mini", "unknown provider of prices 'opnai'; did you mean 'openai'"),
        ("openai:gpt-5-mni", "unknown model of openai in genai-prices 'gpt-5-mni'; did you mean"),
    ],
)
def test_a_hosted_model_that_is_not_known_is_refused(genai_prices, hosted, said):
    with pytest.raises(UserError, match=said):
        check_prices({"hosted": hosted}, ["reference"])
