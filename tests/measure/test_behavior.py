"""What is measured of an adapted model equals what plain forwards of the same prompts give."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sacrebleu.metrics import CHRF

from adaptlens.adapt.prompting import InContext, ZeroShot
from adaptlens.errors import UserError
from adaptlens.measure.behavior import Behavior
from adaptlens.prompts import render, selection
from adaptlens.prompts.render import stops
from adaptlens.types import Example, Task, Template
from tiny import tiny_lm

QUERIES = tuple(Example(f"q{i}", f"the {word}", "AB"[i % 2]) for i, word in enumerate("xyzw"))
TRAIN = tuple(Example(f"t{i}", f"a {i} put", "AB"[i % 2]) for i in range(6))
CHOICE = Task("toy", "choice", TRAIN, QUERIES[2:], QUERIES[:2], "Pick.", ("A", "B"))
WRITE = Task(
    "write",
    "generation",
    tuple(Example(e.id, e.input, "the end") for e in TRAIN),
    (),
    tuple(Example(e.id, e.input, "the end") for e in QUERIES),
    "Go on.",
    max_new_tokens=5,
)


def plain_loglik(lm, text: str, answer: str) -> float:
    """Score an answer with one unshared forward of the whole text."""
    before, whole = lm.encode(text), lm.encode(text + answer)
    with torch.no_grad():
        logits = lm.model(torch.tensor([whole])).logits[0].double().log_softmax(-1)
    return sum(float(logits[i - 1, whole[i]]) for i in range(len(before), len(whole)))


def test_choices_are_scored_as_plain_forwards_score_them():
    lm = tiny_lm("llama")
    adapted = InContext(2).adapt(lm, CHOICE, (0, 3))
    found = Behavior().measure(lm, CHOICE, adapted)
    for repeat, draw in enumerate((0, 3)):
        demos = selection.demonstrations(CHOICE, draw, 2)
        for place, query in enumerate(CHOICE.test):
            prompt = render.render(CHOICE, demos, query)
            free = render.render(CHOICE, demos, render.content_free(query))
            for choice, answer in enumerate(prompt.answers):
                assert found.arrays["loglik"][repeat, place, choice] == pytest.approx(
                    plain_loglik(lm, prompt.text, answer), abs=1e-5
                )
                assert found.arrays["prior_loglik"][repeat, place, choice] == pytest.approx(
                    plain_loglik(lm, free.text, answer), abs=1e-5
                )
    assert found.arrays["gold"].tolist() == [0, 1]
    assert found.arrays["validation_loglik"].shape == (2, 2, 2)
    assert (found.arrays["answer_bytes"] == 2).all()


def test_queries_with_fewer_choices_are_padded_with_nan():
    test = (Example("a", "x", "A", ("A", "B", "the")), Example("b", "y", "B", ("A", "B")))
    task = Task("own", "choice", (), (), test, "Pick.")
    lm = tiny_lm("gpt2")
    found = Behavior().measure(lm, task, ZeroShot().adapt(lm, task, ()))
    assert np.isnan(found.arrays["loglik"]).tolist() == [[[False] * 3, [False, False, True]]]


def test_generation_is_hf_greedy_decoding_scored_by_sacrebleu():
    lm = tiny_lm("llama")
    found = Behavior().measure(lm, WRITE, ZeroShot().adapt(lm, WRITE, ()))
    for place, query in enumerate(WRITE.test):
        text = render.render(WRITE, (), query).text
        ids = torch.tensor([lm.encode(text)])
        with torch.no_grad():
            out = lm.model.generate(
                ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=5
            )
        wanted = lm.tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True)
        wanted = wanted.split("\n")[0].strip()
        assert found.texts["outputs"][0][place] == wanted
        assert found.arrays["chrf"][0, place] == pytest.approx(
            CHRF().sentence_score(wanted, [query.target]).score
        )
        assert found.arrays["target_loglik"][0, place] == pytest.approx(
            plain_loglik(lm, text, " the end"), abs=1e-4
        )


def test_answers_with_line_breaks_end_at_the_separator_instead():
    assert stops(WRITE) == ("\n",)
    lines = Task("lines", "generation", (Example("a", "x", "1\n2"),), (), ())
    assert stops(lines) == ("\n\n",)


def test_the_first_prompts_are_kept_with_the_role_of_every_part():
    lm = tiny_lm("llama")
    found = Behavior().measure(lm, CHOICE, InContext(1).adapt(lm, CHOICE, (0,)))
    shown = found.texts["prompts"][0]
    demos = selection.demonstrations(CHOICE, 0, 1)
    assert "".join(t for _, t in shown["parts"]) == render.render(CHOICE, demos, QUERIES[0]).text
    assert shown["answers"] == [" A", " B"]


def test_a_prompt_of_every_template_is_kept_of_the_first_draw():
    lm = tiny_lm("llama")
    ways = tuple(Template(name=name, before_input=f"{name}: ") for name in ("one", "two", "three"))
    task = replace(CHOICE, templates=ways)
    shown = Behavior().measure(lm, task, InContext(1).adapt(lm, task, (0, 1))).texts["prompts"]
    few = min(3, len(task.test))
    assert [one["template"] for one in shown] == ["one"] * few + ["two", "three"]
    demos = selection.demonstrations(CHOICE, 0, 1)
    for one, way in zip([shown[0], *shown[few:]], ways, strict=True):
        wanted = render.render(replace(CHOICE, template=way), demos, QUERIES[0]).text
        assert "".join(text for _, text in one["parts"]) == wanted


def test_a_prompt_over_the_context_names_the_example_and_the_excess():
    lm = tiny_lm("llama")
    long = Example("long", "x" * 300, "A")
    task = Task("toy", "choice", TRAIN, (), (long,), "Pick.", ("A", "B"))
    tokens = len(lm.encode(render.render(task, (), long).text + " A"))
    with pytest.raises(UserError, match=f"example long .* {tokens - 256} tokens longer .* 256"):
        Behavior().measure(lm, task, ZeroShot().adapt(lm, task, ()))


def test_demonstrations_dropped_to_fit_the_context_are_counted():
    lm = tiny_lm("llama")
    train = tuple(Example(f"t{i}", "y" * 60, "A") for i in range(6))
    task = Task("toy", "choice", train, (), QUERIES[:2], "Pick.", ("A", "B"))
    adaptation = InContext(6, on_overflow="drop-demos")
    found = Behavior().measure(lm, task, adaptation.adapt(lm, task, (0,)))
    whole = render.render(task, train, QUERIES[0]).text
    assert len(lm.encode(whole + " A")) > 256
    kept = sum(role == "demo_input" for role, _ in found.texts["prompts"][0]["parts"])
    # Both queries and their content-free twins are alike in length; the twins are not counted.
    assert found.numbers["dropped_demos"] == 2 * (6 - kept) > 0
    with pytest.raises(UserError, match="--on-overflow drop-demos"):
        Behavior().measure(lm, task, InContext(6).adapt(lm, task, (0,)))


def test_similar_demonstrations_do_not_depend_on_the_draw():
    lm = tiny_lm("llama")
    adapted = InContext(2, selection="similar").adapt(lm, CHOICE, (0, 1, 2))
    assert adapted.draws == (-1,)
    assert adapted.write(0, QUERIES[0]).text == adapted.write(0, QUERIES[0]).text


def test_texts_that_were_read_on_their_own_are_counted():
    shared = tiny_lm("llama")
    alone = replace(shared, shares_prefix=False)
    counted = [
        Behavior().measure(lm, CHOICE, ZeroShot().adapt(lm, CHOICE, ())).numbers
        for lm in (shared, alone)
    ]
    # Four queries and one without content; answers of one token need no text of their own.
    assert [numbers["unshared_sequences"] for numbers in counted] == [0, 5]
