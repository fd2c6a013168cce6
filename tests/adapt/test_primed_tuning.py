"""Primed tuning is alignment by activations, and then instruction tuning of what came of it."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from adaptlens.adapt import loop
from adaptlens.adapt.activation_alignment import ActivationAlignment
from adaptlens.adapt.distillation import Lesson
from adaptlens.adapt.lora import InstructionTuning
from adaptlens.adapt.primed_tuning import PrimedTuning
from adaptlens.adapt.settings import Candidate
from adaptlens.errors import UserError
from adaptlens.prompts.sizes import prompt_sizes

SAME = {"examples": 3, "batch_size": 2, "learning_rate": 0.01}
HOW = PrimedTuning(**SAME, unlabeled=5, priming_steps=4, max_steps=6)
BEFORE = ActivationAlignment(**SAME, unlabeled=5, max_steps=4)
AFTER = InstructionTuning(**SAME, max_steps=6)


def test_adapters_are_aligned_first_and_then_tuned_with_a_new_optimizer(lm, task):
    found = HOW.adapt(lm, task, [0, 4])
    assert found.adaptation == "ia2-it-3"
    bank = BEFORE.adapt(lm, task, [0, 4]).weights
    texts, _ = AFTER.training_texts(lm, task, [0, 4])
    history = loop.train(lm, bank, texts, AFTER.training_config([Candidate(0.01, 6)] * 2, [0, 4]))
    torch.testing.assert_close(found.weights.master_weights, bank.master_weights, atol=1e-5, rtol=0)
    np.testing.assert_allclose(found.training["losses"], history.losses.T, atol=1e-5)
    plain = AFTER.adapt(lm, task, [0, 4]).weights
    assert (found.weights.master_weights - plain.master_weights).abs().max() > 0.01


def test_fewer_steps_are_a_stop_on_the_way_of_tuning_not_of_alignment(lm, task):
    both = replace(HOW, max_steps=(2, 6), validation_examples=6).adapt(lm, task, [0])
    held_out = HOW.held_out(lm, task)[:6]
    for steps, told in zip((2, 6), both.training["validation_losses"][0], strict=True):
        alone = replace(HOW, max_steps=steps).adapt(lm, task, [0]).weights
        (loss,), _ = loop.evaluate(lm, alone, held_out, 1)
        assert told == pytest.approx(loss, rel=1e-4)


def test_what_alignment_takes_is_charged(lm, task):
    (all_of_it,), (before,), (after,) = (
        how.adapt(lm, task, [0]).training["runs"] for how in (HOW, BEFORE, AFTER)
    )
    for name in ("flops", "flops_computed", "tokens_given", "tokens_computed"):
        assert all_of_it[name] == pytest.approx(before[name] + after[name])
    assert all_of_it["steps"] == 6


def test_the_plan_adds_both_up(task):
    whole, before, after = (
        how.cost_estimate(prompt_sizes(how, task, "reference", num_draws=2))
        for how in (HOW, BEFORE, AFTER)
    )
    for name in ("prompts", "read_tokens", "trained_tokens", "steps"):
        assert getattr(whole, name) == getattr(before, name) + getattr(after, name)
    assert whole.disk_bytes == after.disk_bytes


def test_no_teacher_is_shown_the_examples_left_out(lm, task):
    how = replace(HOW, learning_rate=(0.001, 0.01), true_few_shot=True)
    examples, inputs = how.drawn(task, 0), how.alignment.inputs(task, 0)
    for place, fold in enumerate(how.folds(lm, task, 0)):
        shown = [one for number, one in enumerate(examples) if number != place]
        (aligned,), _ = how.alignment.taught(lm, [Lesson(task, shown, inputs)])
        own = [text for text in fold.train if text.activations is not None]
        for text, expected in zip(own, aligned, strict=True):
            assert np.array_equal(text.activations, expected.activations)
        assert len(fold.train) - len(own) == 2 and len(fold.held_out) == 1
        assert fold.held_out[0].activations is None
    found = how.adapt(lm, replace(task, validation=()), [0])
    assert len(found.training["validation_losses"][0]) == 2


def test_numbers_of_steps_that_cannot_be_are_refused():
    with pytest.raises(UserError, match="ia2-it: priming_steps 0 was given; it must be at least 1"):
        replace(HOW, priming_steps=0)
    with pytest.raises(UserError, match="ia2-it: unlabeled 0 was given"):
        replace(HOW, unlabeled=0)
    assert replace(HOW, priming_steps=None).alignment.max_steps is None
