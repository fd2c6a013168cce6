"""The formal corpus, its tokenizer, and the shipped model for tasks with a shortcut."""

import itertools
import json
import re
from collections import Counter

import pytest

from adaptlens.models import shipped
from adaptlens.tasks import shortcuts
from adaptlens.tasks.shortcuts import makers, solvers
from adaptlens.zoo import formal_check, formal_corpus, pretrain
from adaptlens.zoo import tokenizer as tokenizers_
from adaptlens.zoo.documents import Document

DOCUMENTS = [formal_corpus.document(7, index, 256) for index in range(600)]


def pairs(document: Document) -> list[tuple[str, str, str]]:
    """Return (question, answer, family) of every pair of a listing."""
    found, end = [], 0
    for (start, stop), family in zip(document.answers, document.families, strict=True):
        question = document.text[end:start].removesuffix("\nAnswer:")
        found.append((question, document.text[start:stop].strip(), family))
        end = stop + len("\n\n")
    return found


def listed(kinds: tuple[str, ...]) -> list[tuple[str, str, str]]:
    """Return the items of listings of these kinds, without the first, before which words may be."""
    return [pair for d in DOCUMENTS if d.kind in kinds for pair in pairs(d)[1:]]


@pytest.mark.parametrize("mix", formal_corpus.MIXES)
def test_the_mix_of_documents_is_the_stated_one(mix: str) -> None:
    counts = Counter(formal_corpus.document(5, index, 64, mix).kind for index in range(600))
    assert sum(formal_corpus.MIXES[mix].values()) == pytest.approx(1)
    for kind, share in formal_corpus.MIXES[mix].items():
        assert counts[kind] / 600 == pytest.approx(share, abs=0.07)


def test_a_document_is_decided_by_seed_and_index() -> None:
    assert formal_corpus.document(7, 3, 256) == DOCUMENTS[3]
    assert formal_corpus.document(8, 3, 256) != DOCUMENTS[3]


def test_items_are_answered_as_the_solver_answers_them() -> None:
    items = listed(("items", "mixed"))
    assert {family.partition("/")[0] for _, _, family in items} == set(shortcuts.FAMILIES)
    for question, answer, family in items:
        assert solvers.solved(family.partition("/")[0], question) == answer


def test_one_item_in_ten_is_a_pattern_item_in_no_order() -> None:
    kinds = [family.endswith("/pattern") for _, _, family in listed(("items", "mixed"))]
    assert sum(kinds) / len(kinds) == pytest.approx(formal_corpus.PATTERN_SHARE, abs=0.02)
    runs = [len(list(run)) for is_pattern, run in itertools.groupby(kinds) if is_pattern]
    assert sum(runs) / len(runs) == pytest.approx(1 / (1 - formal_corpus.PATTERN_SHARE), abs=0.1)


def test_no_item_that_a_test_may_ask_for_is_ever_shown() -> None:
    held_out = {*shortcuts.SPLITS["test"], *shortcuts.SPLITS["validation"]}
    assert (
        not {shortcuts.quarter(question) for question, _, _ in listed(("items", "mixed"))}
        & held_out
    )


def test_no_document_states_an_instruction() -> None:
    for document in DOCUMENTS:
        assert not any(
            instruction in document.text for instruction in shortcuts.INSTRUCTIONS.values()
        )


def test_no_rule_reads_an_item() -> None:
    for question, _, _ in listed(("rules",)):
        assert re.fullmatch(r"[0-9]( [0-9])*|[B-Y]( [B-Y])*", question)


def test_digits_are_tokens_and_an_answer_is_one_with_its_space() -> None:
    tokenizer = tokenizers_.build("formal")
    assert len(tokenizer) < 500
    assert tokenizer.tokenize("(12+3)*(-4)") == [*"(12+3)*(-4)"]
    for family, maker in makers.SMALL.items():
        for answer in maker.answers():
            assert len(tokenizer(f" {answer}", add_special_tokens=False).input_ids) == 1, family


def test_the_shipped_weights_fit_and_are_what_the_recipe_makes() -> None:
    card = json.loads((shipped.folder("reference-math") / "card.json").read_text())
    assert card["recipe"] == json.loads(json.dumps(pretrain.RECIPES["reference-math"].described()))
    size = (shipped.folder("reference-math") / "model.safetensors").stat().st_size
    assert size <= 4_000_000
    assert size == pytest.approx(4 * card["parameters"], rel=0.01)


def test_the_check_of_the_shipped_model_is_the_one_on_its_card() -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = shipped.folder("reference-math")
    held_out = shipped.card("reference-math")["held_out"]
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    found = formal_check.rows(
        model, AutoTokenizer.from_pretrained(folder), queries=held_out["queries"], shots=(0,)
    )
    stated = {(r["task"], r["condition"], r["shots"]): r["value"] for r in held_out["rows"]}
    for row in found:
        assert row["value"] == pytest.approx(stated[row["task"], row["condition"], 0], abs=0.011)
