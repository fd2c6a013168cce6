"""Rates and steps of tuning are chosen as a naive loop of single trainings chooses them."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

import tiny
from adaptlens.adapt import loop
from adaptlens.adapt.batches import Counts
from adaptlens.adapt.full_tuning import FullTuning
from adaptlens.adapt.lora import InstructionTuning, SupervisedTuning
from adaptlens.adapt.optimizer import TrainingConfig
from adaptlens.adapt.settings import ORDER, START, Candidate
from adaptlens.adapt.tokenizing import tokenized
from adaptlens.errors import UserError
from adaptlens.lm.adapters.bank import LoraBank
from adaptlens.lm.adapters.full_weights import FullParameters
from adaptlens.studies.compare import plan
from adaptlens.studies.compare.config import compare_config
from adaptlens.tasks.templates import parse, usual
from adaptlens.types import Example, Task

RATES = (0.001, 0.02)


def example(number: int) -> Example:
    return Example(f"e{number}", f"the {number}", "pos" if number % 2 else "neg")


def parity(templates: bool = False) -> Task:
    task = Task(
        "parity",
        "choice",
        tuple(map(example, range(20))),
        tuple(map(example, range(20, 32))),
        tuple(map(example, range(32, 36))),
        instruction="Is it odd?",
        choices=("pos", "neg"),
    )
    return replace(task, templates=usual(task, chat=False)[:3]) if templates else task


def alone(lm: Any, how: InstructionTuning, draw: int, candidate: Any, examples: Any) -> LoraBank:
    """One adapter, trained by itself."""
    rate, steps = candidate
    bank = LoraBank(lm, num_variants=1, seeds=[how.seed_for(draw, START)])
    recipe = TrainingConfig(
        (rate,), (steps,), (how.seed_for(draw, ORDER),),
        batch_size=min(how.batch_size, how.examples), lr_scheduler=how.lr_scheduler,
    )  # fmt: skip
    loop.train(lm, bank, [examples], recipe)
    return bank


def mean_loss(lm: Any, bank: Any, examples: Any) -> float:
    """Minus the log-probability of the answers' tokens, on average, one text after another."""
    total, labels = 0.0, 0
    for example in examples:
        with torch.no_grad(), bank.routed([0]):
            logits = lm.model(torch.tensor([example.ids])).logits[0].log_softmax(-1)
        for place in range(example.prompt_tokens, len(example.ids)):
            total -= float(logits[place - 1, example.ids[place]])
            labels += 1
    return total / labels


@pytest.mark.parametrize("way", [InstructionTuning, SupervisedTuning])
@pytest.mark.parametrize("schedule", ["constant", "linear"])
@pytest.mark.parametrize("templates", [False, True])
def test_parts_left_out_choose_as_a_naive_loop_does(
    way: Any, schedule: Any, templates: bool
) -> None:
    lm, task = tiny.tiny_lm("llama"), parity(templates)
    how = way(
        6,
        learning_rate=RATES,
        max_steps=(3, 8),
        batch_size=4,
        lr_scheduler=schedule,
        true_few_shot=True,
    )
    adapted = how.adapt(lm, replace(task, validation=()), (0, 3))
    candidates = adapted.training["candidates"]
    assert {(c["learning_rate"], c["max_steps"]) for c in candidates} == {
        (r, s) for r in RATES for s in (3, 8)
    }

    def texts(examples: Any) -> Any:
        return tokenized(lm, task, examples, instruction=how.instruction)

    for place, draw in enumerate((0, 3)):
        drawn = how.drawn(task, draw)
        # Six examples in four parts.
        parts = [drawn[0:2], drawn[2:3], drawn[3:5], drawn[5:6]]
        for number, one in enumerate(candidates):
            losses = []
            for part in parts:
                taught = texts([e for e in drawn if e not in part])
                bank = alone(lm, how, draw, (one["learning_rate"], one["max_steps"]), taught)
                losses += [mean_loss(lm, bank, texts(part))] * len(part)
            told = adapted.training["validation_losses"][place][number]
            # Answers are as long as each other, so parts count by their examples.
            assert told == pytest.approx(np.mean(losses), abs=2e-4)
        chosen = adapted.training["chosen"][place]
        assert chosen == int(np.argmin(adapted.training["validation_losses"][place]))
        best = candidates[chosen]
        final = alone(lm, how, draw, (best["learning_rate"], best["max_steps"]), texts(drawn))
        torch.testing.assert_close(
            adapted.weights.master_weights[place], final.master_weights[0], atol=1e-5, rtol=0
        )
        assert len(adapted.training["losses"][place]) == best["max_steps"]


def test_draws_that_choose_other_steps_keep_their_places(monkeypatch: Any) -> None:
    lm, task = tiny.tiny_lm("llama"), parity()
    how = InstructionTuning(4, learning_rate=0.01, max_steps=(2, 5), true_few_shot=True)
    # Draw 0 is made to choose two steps and draw 1 five.
    losses = iter([[0.0, 1.0]] * 4 + [[1.0, 0.0]] * 4)
    monkeypatch.setattr(loop, "evaluate", lambda *_: (np.array(next(losses)), Counts()))
    adapted = how.adapt(lm, task, (0, 1))
    candidates = [c["max_steps"] for c in adapted.training["candidates"]]
    assert [candidates[c] for c in adapted.training["chosen"]] == [2, 5]
    assert [len(own) for own in adapted.training["losses"]] == [2, 5]
    for place, steps in enumerate((2, 5)):
        taught = tokenized(lm, task, how.drawn(task, place), instruction=True)
        final = alone(lm, how, place, (0.01, steps), taught)
        torch.testing.assert_close(
            adapted.weights.master_weights[place], final.master_weights[0], atol=1e-5, rtol=0
        )


def test_full_tuning_chooses_by_parts_left_out_too() -> None:
    lm, task = tiny.tiny_lm("llama"), parity()
    how = FullTuning(5, learning_rate=(1e-4, 2e-3), max_steps=3, true_few_shot=True)
    told = []
    adapted = how.adapt(
        lm, replace(task, validation=()), (2,), progress=lambda i, n: told.append((i, n))
    )
    assert all(i <= n for i, n in told)
    drawn = how.drawn(task, 2)
    parts = [drawn[0:2], drawn[2:3], drawn[3:4], drawn[4:5]]
    means = []
    for rate in (1e-4, 2e-3):
        losses = []
        for part in parts:
            taught = tokenized(lm, task, [e for e in drawn if e not in part], instruction=True)
            held = tokenized(lm, task, part, instruction=True)
            parameters = FullParameters(lm)
            with parameters.opened():
                loop.train(lm, parameters, [taught], how.training_config([Candidate(rate, 3)], [2]))
                losses += [float(loop.evaluate(lm, None, held, 1)[0][0])] * len(part)
        means.append(np.mean(losses))
    assert adapted.training["validation_losses"][0] == pytest.approx(means, abs=1e-5)
    assert adapted.training["chosen"] == [int(np.argmin(means))]
    best = FullTuning(5, learning_rate=(1e-4, 2e-3)[int(np.argmin(means))], max_steps=3)
    wanted = best.adapt(lm, task, (2,))
    assert adapted.training["losses"] == wanted.training["losses"]
    # Eight trainings on parts and the last, in what they took.
    assert adapted.training["tried_tokens_given"] > 5 * wanted.training["tokens_given"]


def test_fewer_steps_at_a_constant_rate_are_a_stop_on_the_way() -> None:
    lm, task = tiny.tiny_lm("llama"), parity(templates=True)
    searched = InstructionTuning(6, learning_rate=RATES, max_steps=(2, 4, 7), batch_size=4).adapt(
        lm, task, (0, 1)
    )
    candidates = searched.training["candidates"]
    for place, chosen in enumerate(searched.training["chosen"]):
        one = candidates[chosen]
        apart = InstructionTuning(
            6, learning_rate=one["learning_rate"], max_steps=one["max_steps"], batch_size=4
        )
        wanted = apart.adapt(lm, task, (place,))
        torch.testing.assert_close(
            searched.weights.master_weights[place],
            wanted.weights.master_weights[0],
            atol=1e-5,
            rtol=0,
        )
        assert searched.training["losses"][place] == pytest.approx(
            wanted.training["losses"][0], abs=1e-5
        )


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_what_a_search_over_steps_finds_is_what_separate_trainings_find(schedule: Any) -> None:
    lm, task = tiny.tiny_lm("llama"), parity()
    how = {"learning_rate": 0.01, "batch_size": 4, "lr_scheduler": schedule}
    searched = InstructionTuning(6, max_steps=(2, 6), **how).adapt(lm, task, (0, 1))
    items = task.validation[:6]
    held_out = tokenized(lm, task, items, instruction=True)
    for number, one in enumerate(searched.training["candidates"]):
        apart = InstructionTuning(6, max_steps=one["max_steps"], **how).adapt(lm, task, (0, 1))
        for place in range(2):
            told = searched.training["validation_losses"][place][number]
            found = mean_loss(lm, apart.weights.pick([place]), held_out)
            assert told == pytest.approx(found, abs=1e-4)


def test_templates_take_turns_over_the_items_that_choose() -> None:
    lm, task = tiny.tiny_lm("llama"), parity(templates=True)
    held_out = InstructionTuning(4).held_out(lm, task)
    # The first half of twelve items, each under one of three templates.
    wanted = []
    for place, template in enumerate(task.templates):
        own = replace(task, templates=(template,))
        wanted += tokenized(lm, own, task.validation[:6][place::3], instruction=True)
    assert held_out == wanted and len(wanted) == 6


@pytest.mark.parametrize("strict", [False, True])
def test_a_draw_is_tuned_and_chooses_under_its_own_templates_alone(strict: bool) -> None:
    lm, task = tiny.tiny_lm("llama"), parity(templates=True)
    how = InstructionTuning(
        4, learning_rate=RATES, max_steps=3, num_templates=2, true_few_shot=strict
    )
    adapted = how.adapt(lm, task, (0, 1, 2))
    names = [template.name for template in task.templates]
    assert adapted.templates == tuple(names) and len(adapted.draws) == 9
    told = adapted.training["tuned_on"]
    # Three draws of two templates take each of the three twice.
    assert sorted(name for own in told for name in own) == sorted(2 * names)
    for place in range(3):
        own = replace(task, templates=tuple(t for t in task.templates if t.name in told[place]))
        alone = replace(how, num_templates=None).adapt(lm, own, (place,))
        torch.testing.assert_close(
            adapted.weights.master_weights[place],
            alone.weights.master_weights[0],
            atol=2e-4,  # of steps that are a hundred times as long
            rtol=0,
        )
        assert adapted.training["chosen"][place] == alone.training["chosen"][0]
        assert adapted.training["validation_losses"][place] == pytest.approx(
            alone.training["validation_losses"][0], abs=1e-5
        )
    assert "tuned_on" not in replace(how, num_templates=None).adapt(lm, task, (0,)).training


def test_full_tuning_has_a_draw_s_own_templates_too() -> None:
    lm, task = tiny.tiny_lm("llama"), parity(templates=True)
    how = FullTuning(4, learning_rate=(1e-4, 2e-3), max_steps=2, num_templates=1)
    adapted = how.adapt(lm, task, (1,))
    (name,) = adapted.training["tuned_on"][0]
    own = replace(task, templates=tuple(t for t in task.templates if t.name == name))
    alone = replace(how, num_templates=None).adapt(lm, own, (1,))
    assert adapted.training["losses"] == alone.training["losses"]
    assert adapted.training["validation_losses"] == alone.training["validation_losses"]


def test_texts_that_are_the_same_under_several_templates_are_learned_once() -> None:
    lm, task = tiny.tiny_lm("llama"), parity()
    same = tuple(parse(text) for text in ("A: {input} {target}", "A: {{ input }} {target}"))
    both = tokenized(lm, replace(task, templates=same), task.train[:3], instruction=True)
    one = tokenized(lm, replace(task, templates=same[:1]), task.train[:3], instruction=True)
    assert both == one and len(both) == 3


@pytest.mark.parametrize("way", [InstructionTuning, FullTuning])
def test_one_example_cannot_choose(way: Any) -> None:
    with pytest.raises(UserError, match="1 examples were given with true_few_shot") as error:
        way(1, learning_rate=(0.1, 0.2), true_few_shot=True)
    assert "\n" not in str(error.value)
    way(1, learning_rate=0.1, true_few_shot=True)


@pytest.mark.parametrize("way", [InstructionTuning, FullTuning])
def test_without_a_validation_split_nothing_is_trained_before_it_is_missed(
    way: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr(loop, "train", lambda *_, **__: pytest.fail("trained"))
    with pytest.raises(UserError, match="no validation split to choose by"):
        way(4, learning_rate=(0.1, 0.2)).adapt(
            tiny.tiny_lm("llama"), replace(parity(), validation=()), (0,)
        )


def test_a_true_few_shot_comparison_reads_no_validation_split() -> None:
    config = compare_config(
        models=["reference"], tasks=["sentiment-novel"], shots=[0, 1, 4], draws=2,
        true_few_shot=True,
    )  # fmt: skip
    study = plan.plan(config)
    assert all(task.validation == () for task in study.tasks.values())
    made = {cell.label: cell.adaptation.arguments for cell in study.cells}
    assert set(made) == {
        "zero-shot", "icl-1", "icl-4", "best-prompt-4", "it-1", "sl-1", "full-1", "it-4", "sl-4",
        "full-4",
    }  # fmt: skip
    assert made["it-4"]["true_few_shot"] and len(made["it-4"]["learning_rate"]) > 1
    # One example cannot judge: the usual rate and steps.
    assert made["it-1"]["learning_rate"] == made["it-4"]["learning_rate"][1]
    assert made["it-1"]["max_steps"] == 30
