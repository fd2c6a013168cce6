"""benchmarks/search.py, small: the peer reads what the search read, and would choose the same."""

import pytest

import models
import search
from adaptlens.adapt.best_prompt import BestPrompt


@pytest.fixture(scope="module")
def found():
    task = search.given_task(None, 8)
    how = BestPrompt(2, reads=90, draw_reads=30)
    return search.compare(models.build("reference"), task, how, num_candidates=3, num_items=4)


def test_both_sides_find_the_same(found):
    assert found["same_choice"]
    assert all(row["max_difference"] < 1e-4 for row in found["stages"])


def test_the_peer_reads_every_candidate_on_every_item(found):
    templates, demos, one, ten = found["stages"]
    for row in (templates, demos):
        assert row["items"] == 4
        assert row["prompts"] == 4 * row["candidates"]
        assert row["timed_on"] == 3 * 4
    assert one["prompts"] == templates["prompts"] + demos["prompts"]
    assert ten["prompts"] == templates["prompts"] + 10 * demos["prompts"]


def test_the_ratio_is_that_of_the_seconds(found):
    for row in found["stages"]:
        assert row["ratio"] == pytest.approx(row["peer_seconds"] / row["seconds"])
