"""The script for a GPU, run small on the CPU: what it compares agrees, and nothing is left out."""

import pytest

import accelerator
from accelerator_parts import CASES, MINIATURE, distinct


@pytest.fixture(scope="module")
def found():
    return accelerator.measured(accelerator.options(["--miniature"]))


@pytest.fixture(scope="module")
def model(found):
    return found["models"]["llama-miniature"]


def test_every_part_ran(found, model):
    assert found["skipped"] == []
    for part in ("parity", *accelerator.PARTS):
        assert "failed" not in model[part], model[part]["failed"]
        assert model[part]["peak_bytes"] > 0


def test_both_sides_took_time_and_part_of_the_peak(model):
    rows = [*(model["scoring"][case] for case in CASES), model["bank"]]
    assert all(row["share_of_peak"] > 0 for row in rows)
    rows += [model[part] for part in ("states", "patching", "search")]
    assert all(row["ratio"] == pytest.approx(row["peer_seconds"] / row["seconds"]) for row in rows)
    assert all(row["ratio"] > 0 for row in rows)


@pytest.mark.parametrize("case", CASES)
def test_shared_prompts_are_scored_as_whole_ones_are(model, case):
    assert model["scoring"][case]["max_difference"] < 1e-4
    assert model["parity"]["float32_shared_against_unshared"][case] < 1e-4


def test_fixed_demonstrations_are_computed_once(model):
    size, row = MINIATURE, model["scoring"]["16 fixed demonstrations"]
    assert row["tokens_given"] == size.queries * 17 * size.item
    assert row["tokens_computed"] == (16 + size.queries) * size.item


def test_adapters_are_those_of_peft(model):
    assert model["bank"]["max_change"] > 1e-3
    assert model["bank"]["max_difference"] < 1e-5


def test_states_and_patches_are_those_of_the_peers(model):
    assert model["states"]["difference"] < 1e-5
    assert model["patching"]["difference"] < 1e-4
    assert model["patching"]["patches"] == 2 * 4


def test_the_search_finds_the_same_prompt_without_shared_prefixes(model):
    assert model["search"]["same_prompt"]
    assert model["search"]["reads"] == model["search"]["peer_reads"] > 0


def test_ways_of_attending_agree_in_both_number_formats(model):
    parity = model["parity"]
    assert parity["float32_ways_of_attending"].keys() == parity["ways_of_attending"].keys()
    assert max(parity["float32_ways_of_attending"].values()) < 1e-5
    assert max(parity["ways_of_attending"].values()) < 5e-2
    assert parity["dtype"] == "bfloat16"
    assert parity["task"][16]["items"] == MINIATURE.items


def test_without_time_every_part_is_left_out_and_said_to_be():
    given = accelerator.options(["--miniature", "--budget", "0"])
    found = accelerator.measured(given)
    parts = found["models"]["llama-miniature"]
    assert len(found["skipped"]) == 1 + len(accelerator.PARTS)
    for part in ("parity", *accelerator.PARTS):
        assert parts[part]["skipped"] in found["skipped"]


def test_a_tree_of_sequences_has_each_shared_token_once():
    # 1 2 3 and 1 2 4 5 share 1 2; 6 shares nothing.
    assert distinct([(1, 2, 4, 5), (6,), (1, 2, 3)]) == 3 + 2 + 1


def test_a_goal_is_met_from_its_least_on():
    bank = {"share_of_peak": 0.45, "ratio": 4.9}
    rows = accelerator.goals({"llama-8b": {"bank": bank}, "llama-1b": {"bank": bank}})
    assert [(row["goal"], row["met"]) for row in rows] == [
        ("llama-8b bank share_of_peak", True),
        ("llama-1b bank ratio", False),
    ]
