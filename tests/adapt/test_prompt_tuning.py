"""A soft prompt is tuned on what LoRA is tuned on, and counts as tokens of every query."""

from dataclasses import replace

import numpy as np
import pandas as pd
import peft
import pytest
import torch

import adaptlens
import tiny
from adaptlens import tasks
from adaptlens.adapt import loop
from adaptlens.adapt.prompt_tuning import PromptTuning
from adaptlens.adapt.training_cost import training_flops
from adaptlens.errors import UserError
from adaptlens.lm.adapters.shifts import StateShifts
from adaptlens.lm.adapters.soft_prompts import SoftPrompts
from adaptlens.measure.cost import Cost
from adaptlens.measure.patch_pairs import check_units_can_be_read
from adaptlens.prompts.sizes import prompt_sizes
from adaptlens.types import Adapted

pytestmark = pytest.mark.filterwarnings("ignore")

HOW = PromptTuning(4, num_virtual_tokens=3, batch_size=4, max_steps=3, learning_rate=0.02)


@pytest.fixture(scope="module")
def task():
    found = tasks.load("sentiment-novel", seed=0)
    return replace(found, test=found.test[:3], validation=found.validation[:4])


def start(lm, task, how, draw=0):
    prompts = how.new_bank(lm, task, [draw])
    return prompts.embeddings(prompts.master_weights)[0]


def test_a_draw_trained_beside_others_is_the_draw_trained_alone(lm, task):
    together = HOW.adapt(lm, task, [0, 3])
    alone = HOW.adapt(lm, task, [3])
    assert together.adaptation == "soft-prompt-4" and together.draws == (0, 3)
    torch.testing.assert_close(
        together.weights.master_weights[1], alone.weights.master_weights[0], atol=1e-5, rtol=0
    )
    moved = together.weights.master_weights[1].view(3, -1) - start(lm, task, HOW, 3)
    assert 0.01 < moved.abs().max() <= 3 * 0.021  # Adam moves by at most about a rate a step.
    assert together.training["trained_parameters"] == 3 * 32


def test_rates_and_steps_are_those_of_least_loss_on_validation_items(lm, task):
    how = replace(HOW, learning_rate=None, lr_multipliers=(0.1, 2.0), max_steps=(1, 4))
    found = how.adapt(lm, task, [1])
    rate = 0.1 * float(lm.model.get_input_embeddings().weight.square().mean().sqrt())
    tried = found.training["candidates"]
    assert sorted({one["learning_rate"] for one in tried}) == pytest.approx([rate / 10, rate * 2])
    losses = []
    for one in tried:
        alone = replace(
            how, learning_rate=one["learning_rate"], lr_multipliers=1.0, max_steps=one["max_steps"]
        )
        weights = alone.adapt(lm, task, [1]).weights
        losses.append(loop.evaluate(lm, weights, how.held_out(lm, task), 1)[0][0])
    np.testing.assert_allclose(found.training["validation_losses"][0], losses, atol=1e-5)
    assert found.training["chosen"] == [int(np.argmin(losses))]


def test_it_starts_as_tokens_of_the_vocabulary_each_draw_its_own(lm, task):
    table = lm.model.get_input_embeddings().weight
    first, again, other = (start(lm, task, HOW, draw) for draw in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert all((table == row).all(1).any() for row in first)


@pytest.mark.parametrize("tokens", [2, 40])
def test_it_starts_as_a_text_where_the_peft_library_starts(tokens, lm, task, tmp_path):
    lm.tokenizer.save_pretrained(tmp_path)
    text = "Say what it is:"
    config = peft.PromptTuningConfig(
        task_type="CAUSAL_LM", num_virtual_tokens=tokens, prompt_tuning_init="TEXT",
        prompt_tuning_init_text=text, tokenizer_name_or_path=str(tmp_path), token_dim=32,
    )  # fmt: skip
    theirs = peft.get_peft_model(tiny.tiny_model("llama"), config)
    how = replace(
        HOW,
        num_virtual_tokens=tokens,
        prompt_tuning_init="text",
        prompt_tuning_init_text=text,
    )
    own = theirs.prompt_encoder["default"].embedding.weight
    torch.testing.assert_close(start(lm, task, how), own.detach())
    by_instruction = replace(how, prompt_tuning_init_text="")
    same = replace(task, instruction=text)
    assert torch.equal(start(lm, same, by_instruction), start(lm, task, how))


def test_virtual_tokens_are_tokens_of_every_text_and_query(lm, task):
    found = HOW.adapt(lm, task, [0])
    texts = HOW.tokenized(lm, task, HOW.drawn(task, 0))
    bare = super(PromptTuning, HOW).tokenized(lm, task, HOW.drawn(task, 0))
    assert [len(one.ids) for one in texts] == [3 + len(one.ids) for one in bare]
    assert found.training["tokens_given"] == 3 * sum(len(one.ids) for one in texts)
    pairs = 3 * sum(len(one.ids) * (len(one.ids) + 1) // 2 for one in texts)
    given = found.training["tokens_given"]
    assert found.training["flops"] == training_flops(lm, given, pairs, given, 0)
    own, zero = (Cost().measure(lm, task, one).numbers for one in (found, without(found)))
    assert own["query_tokens"] == zero["query_tokens"] + 3
    assert own["cached_tokens"] == zero["cached_tokens"] + 3
    assert own["query_flops"] > zero["query_flops"]
    sizes = [
        prompt_sizes(how, task, "reference", num_draws=1)
        for how in (HOW, replace(HOW, num_virtual_tokens=13))
    ]
    assert sizes[1].shared - sizes[0].shared == 10
    work = HOW.cost_estimate(sizes[0])
    assert (work.steps, work.disk_bytes) == (3, 4 * 3 * 128)


def without(adapted: Adapted) -> Adapted:
    return replace(adapted, weights=None)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"num_virtual_tokens": 0}, "num_virtual_tokens 0 was given; it must be at least 1"),
        (
            {"prompt_tuning_init": "random"},
            "unknown prompt_tuning_init 'random'; known: sample_vocab, text",
        ),
        ({"prompt_tuning_init_text": "So:"}, "which is for prompt_tuning_init text, not sample"),
    ],
)
def test_settings_that_make_no_soft_prompt_are_told(given, said):
    with pytest.raises(UserError, match=said) as caught:
        replace(HOW, **given)
    assert "\n" not in str(caught.value)


def test_a_soft_prompt_that_cannot_be_is_told_before_training(lm, task):
    with pytest.raises(UserError, match="fills the context of 'tiny-llama', which is 256 tokens"):
        replace(HOW, num_virtual_tokens=256).adapt(lm, task, [0])
    with pytest.raises(UserError, match="tokens longer than the context of 6 tokens"):
        replace(HOW, num_virtual_tokens=250).adapt(lm, task, [0])
    with pytest.raises(UserError, match="has no instruction to start as"):
        replace(HOW, prompt_tuning_init="text").adapt(lm, replace(task, instruction=""), [0])


def test_circuits_of_what_acts_at_some_tokens_are_refused(lm, task):
    shifts = StateShifts(lm, (0,), torch.zeros(1, 32))
    for weights in (SoftPrompts(lm, torch.zeros(1, 3, 32)), shifts):
        made = Adapted("mine-4", (0,), lambda i, query: query, weights=weights)
        with pytest.raises(UserError, match="mine-4: heads, circuits and edges are not read"):
            check_units_can_be_read(made)


def test_a_comparison_has_the_arm_and_says_how_it_was_made(tmp_path):
    found = adaptlens.prompt_or_tune(
        tiny.tiny_folder(tmp_path / "model", "llama"),
        "sentiment-novel",
        shots=[0, 2],
        tuning=["soft-prompt"],
        num_virtual_tokens=5,
        num_templates=2,
        draws=2,
        queries=6,
        validation=4,
        search=False,
        tune={"max_steps": [2]},
        out=tmp_path / "run",
        quiet=True,
    )
    assert "soft-prompt-2" in set(found.scores["arm"])
    (row,) = found.report.tables["recipes"].to_dict("records")
    assert (row["trained"], row["target_modules"]) == ("a soft prompt of 5 tokens", "")
    assert row["max_steps"] == "2" and len(row["learning_rates"].split(" or ")) == 2
    cost = found.report.tables["cost"].set_index("condition")
    assert isinstance(cost, pd.DataFrame)
    more = cost.loc["soft-prompt-2", "query_tokens"] - cost.loc["zero-shot", "query_tokens"]
    assert more == pytest.approx(5)
    saved = list((tmp_path / "run").rglob("draw=*/adapter_config.json"))
    assert len(saved) == 2
    assert "a soft prompt of 5 tokens, which starts as drawn tokens" in found.page.read_text()
