"""Items that an adaptation was not made for score as plain forwards of their prompts score them."""

import math
from dataclasses import replace

import pytest

from adaptlens.adapt.lora import InstructionTuning
from adaptlens.adapt.prompting import InContext, ZeroShot
from adaptlens.errors import UserError
from adaptlens.measure import axes
from adaptlens.measure.elsewhere import BehaviorElsewhere
from adaptlens.prompts import render, selection
from adaptlens.types import Elsewhere, Example, Task, Template
from tests.measure.test_behavior import CHOICE, WRITE, plain_loglik
from tiny import tiny_lm

DOMAIN = Task("far", "choice", (), (), (Example("o0", "a far x", "B"), Example("o1", "z", "A")),
              "Pick.", ("A", "B"))  # fmt: skip
OTHER = Task("other", "choice", (), (), (Example("a0", "of", "put"), Example("a1", "the", "end")),
             "Say it.", ("put", "end"))  # fmt: skip
TEXT = Task("text", "generation", (), (), (Example("t0", "", "the end of it"),
                                           Example("t1", "", "a put")))  # fmt: skip
SETS = (
    Elsewhere("far", "ood", DOMAIN),
    Elsewhere("other", "also", OTHER),
    Elsewhere("text", "text", TEXT),
    Elsewhere("write", "also", replace(WRITE, train=())),
)
TASK = replace(CHOICE, elsewhere=SETS)


def test_other_domains_are_read_after_the_demonstrations_of_every_draw():
    lm = tiny_lm("llama")
    task = replace(TASK, templates=(Template(), Template(name="ask", before_input="Q: ")))
    adapted = InContext(2).adapt(lm, task, (0, 3))
    found = BehaviorElsewhere(roles=("ood",)).measure(lm, task, adapted).arrays
    assert {name.partition(".")[0] for name in found} == {"ood0"}
    for variant, (template, draw) in enumerate((t, d) for t in task.templates for d in (0, 3)):
        demos = selection.demonstrations(task, draw, 2)
        for place, query in enumerate(DOMAIN.test):
            prompt = render.render(replace(task, template=template), demos, query)
            for choice, answer in enumerate(prompt.answers):
                assert found["ood0.loglik"][variant, place, choice] == pytest.approx(
                    plain_loglik(lm, prompt.text, answer), abs=1e-5
                )
    assert found["ood0.gold"].tolist() == [1, 0]


def test_other_tasks_and_texts_are_read_by_each_draw_s_weights_without_its_prompt():
    lm = tiny_lm("llama")
    adapted = InstructionTuning(2, max_steps=(3,), learning_rate=(0.05,)).adapt(lm, TASK, (0, 1))
    found = BehaviorElsewhere().measure(lm, TASK, adapted).arrays
    base = BehaviorElsewhere().measure(lm, TASK, ZeroShot().adapt(lm, TASK, ())).arrays
    for name, array in found.items():
        axes.check(f"elsewhere.{name}", array)
    for draw in (0, 1):
        with adapted.weights.routed([draw]):
            for place, query in enumerate(OTHER.test):
                prompt = render.render(OTHER, (), query)
                assert found["also1.loglik"][draw, place].tolist() == pytest.approx(
                    [plain_loglik(lm, prompt.text, answer) for answer in prompt.answers], abs=1e-5
                )
            for place, text in enumerate(("the end of it", "a put")):
                first, rest = text.split(" ", 1)
                assert found["text2.target_loglik"][draw, place] == pytest.approx(
                    plain_loglik(lm, first, f" {rest}"), abs=1e-5
                )
            asked = render.render(WRITE, (), WRITE.test[0])
            assert found["also3.target_loglik"][draw, 0] == pytest.approx(
                plain_loglik(lm, asked.text, asked.target), abs=1e-5
            )
    assert found["text2.bytes"].tolist() == [len(" end of it"), len(" put")]
    assert abs(found["also1.loglik"][0] - base["also1.loglik"][0]).max() > 0.01
    assert abs(found["also1.loglik"][0] - found["also1.loglik"][1]).max() > 1e-4


def test_the_base_reads_everything_once():
    lm = tiny_lm("gpt2")
    found = BehaviorElsewhere().measure(lm, TASK, ZeroShot().adapt(lm, TASK, ())).arrays
    assert found["also1.loglik"].shape == (1, 2, 2)
    (loglik,) = found["text2.target_loglik"]
    assert loglik[1] == pytest.approx(plain_loglik(lm, "a", " put"), abs=1e-5)
    assert math.isfinite(found["also3.chrf"].sum())


def test_a_text_beyond_the_context_is_refused_in_a_line():
    lm = replace(tiny_lm("llama"), context_tokens=8)
    with pytest.raises(UserError, match=r"t0 of 'text' is \d+ tokens longer than the context of 8"):
        long = replace(TEXT, test=(Example("t0", "", "the end of it " * 9),))
        task = replace(CHOICE, elsewhere=(Elsewhere("text", "text", long),))
        BehaviorElsewhere().measure(lm, task, ZeroShot().adapt(lm, task, ()))


def test_queries_of_other_domains_are_shown_the_examples_nearest_to_them():
    lm = tiny_lm("llama")
    adapted = InContext(2, selection="similar").adapt(lm, TASK, ())
    found = BehaviorElsewhere(roles=("ood",)).measure(lm, TASK, adapted).arrays
    shown = selection.nearest(TASK, DOMAIN.test, 2, selection.bm25)
    for place, query in enumerate(DOMAIN.test):
        prompt = render.render(TASK, shown[query.id], query)
        assert found["ood0.loglik"][0, place, 0] == pytest.approx(
            plain_loglik(lm, prompt.text, prompt.answers[0]), abs=1e-5
        )
