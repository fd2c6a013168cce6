"""Tuning trains what it says, on the draws it says, and leaves the base as it was."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

import tiny
from adaptlens.adapt import loop
from adaptlens.adapt.batches import TokenizedExample
from adaptlens.adapt.full_tuning import FullTuning
from adaptlens.adapt.lora import InstructionTuning, SupervisedTuning
from adaptlens.adapt.optimizer import AdamW, TrainingConfig, rate_factor
from adaptlens.adapt.tokenizing import tokenized
from adaptlens.adapt.training_cost import training_flops
from adaptlens.errors import UserError
from adaptlens.lm.adapters.bank import LoraBank
from adaptlens.lm.adapters.full_weights import FullParameters, FullVariants
from adaptlens.lm.load import LM
from adaptlens.prompts import selection
from adaptlens.types import Example, Task


def example(number: int) -> Example:
    return Example(f"e{number}", f"the {number}", "pos" if number % 2 else "neg")


def task(kind: Any = "choice") -> Task:
    return Task(
        "parity",
        kind,
        tuple(map(example, range(20))),
        tuple(map(example, range(20, 26))),
        tuple(map(example, range(30, 40))),
        instruction="Is it odd?",
        choices=("pos", "neg") if kind == "choice" else (),
    )


def weights_of(lm: LM) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in lm.model.state_dict().items()}


def is_same(lm: LM, before: dict[str, torch.Tensor]) -> bool:
    now = lm.model.state_dict()
    return all(torch.equal(now[name], value) for name, value in before.items())


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
def test_schedules_are_those_of_hugging_face(schedule: str) -> None:
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    make = {
        "constant": transformers.get_constant_schedule_with_warmup,
        "linear": transformers.get_linear_schedule_with_warmup,
        "cosine": transformers.get_cosine_schedule_with_warmup,
    }[schedule]
    total = {} if schedule == "constant" else {"num_training_steps": 10}
    scheduler = make(optimizer, num_warmup_steps=4, **total)
    for step in range(10):
        expected = optimizer.param_groups[0]["lr"]
        assert rate_factor(schedule, step, 10, 4) == pytest.approx(expected, abs=1e-12)
        optimizer.step()
        scheduler.step()


def test_a_stacked_step_is_torchs_adamw_on_each_row_alone() -> None:
    generator = torch.manual_seed(0)
    start = torch.randn(3, 7, generator=generator)
    gradients = [torch.randn(3, 7, generator=generator) * s for s in (5.0, 0.01, 1.0, 0.3)]
    rates = (0.1, 0.01, 0.001)
    stacked = start.clone()
    ours = AdamW(
        stacked, TrainingConfig(rates, (4,) * 3, (0,) * 3, weight_decay=0.1, max_grad_norm=1.0)
    )
    for step, gradient in enumerate(gradients):
        ours.gradients.copy_(gradient)
        ours.step(step, 3)
    for row, rate in enumerate(rates):
        weight = torch.nn.Parameter(start[row].clone())
        theirs = torch.optim.AdamW([weight], lr=rate, weight_decay=0.1)
        for gradient in gradients:
            weight.grad = gradient[row].clone()
            torch.nn.utils.clip_grad_norm_([weight], 1.0)
            theirs.step()
        torch.testing.assert_close(stacked[row], weight.detach(), atol=1e-6, rtol=1e-6)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 20), st.integers(1, 8), st.integers(0, 5))
def test_every_pass_uses_every_example_once(count: int, batch: int, seed: int) -> None:
    steps = loop.batches_of(count, batch, seed)
    for _ in range(3):
        one_pass = [i for _ in range(-(-count // batch)) for i in next(steps)]
        assert sorted(one_pass) == list(range(count))
    if count <= batch:
        assert next(steps) == tuple(range(count))


def test_the_loss_is_on_the_answer_alone() -> None:
    lm, parity = tiny.tiny_lm("llama"), task()
    taught = tokenized(lm, parity, parity.train[:2], instruction=True)
    for example, item in zip(taught, parity.train, strict=False):
        text = f"Is it odd?\n\nInput: {item.input}\nOutput:"
        assert list(example.ids[: example.prompt_tokens]) == lm.encode(text)
        assert lm.tokenizer.decode(example.ids[example.prompt_tokens :]) == f" {item.target}"


def test_plain_supervised_tuning_never_sees_the_instruction() -> None:
    lm, parity = tiny.tiny_lm("llama"), task()
    adapted = SupervisedTuning(2, max_steps=1).adapt(lm, parity, (0,))
    assert "odd" not in adapted.write(0, parity.test[0]).text
    bare = replace(parity, instruction="")
    other = SupervisedTuning(2, max_steps=1).adapt(lm, bare, (0,))
    assert adapted.training["losses"] == other.training["losses"]
    assert (
        "odd"
        in InstructionTuning(2, max_steps=1).adapt(lm, parity, (0,)).write(0, parity.test[0]).text
    )


def test_generated_answers_are_taught_to_stop() -> None:
    lm, parity = tiny.tiny_lm("llama"), task("generation")
    example = tokenized(lm, parity, parity.train[:1], instruction=True)[0]
    assert lm.tokenizer.decode(example.ids[example.prompt_tokens :]) == " neg\n\n"
    lm = tiny.tiny_lm("llama", chat=True)
    example = tokenized(lm, parity, parity.train[:1], instruction=True)[0]
    assert lm.tokenizer.decode(example.ids[example.prompt_tokens :]) == "neg</s>"


def test_adapters_come_from_the_draws_that_prompting_shows() -> None:
    lm, parity = tiny.tiny_lm("llama"), task()
    both = InstructionTuning(3, max_steps=3).adapt(lm, parity, (0, 4))
    assert both.adaptation == "it-3" and both.draws == (0, 4) and both.shares_prompts
    alone = InstructionTuning(3, max_steps=3).adapt(lm, parity, (4,))
    torch.testing.assert_close(
        both.weights.master_weights[1], alone.weights.master_weights[0], atol=1e-5, rtol=0
    )
    shown = tokenized(lm, parity, selection.demonstrations(parity, 4, 3), instruction=True)
    by_hand = LoraBank(lm, num_variants=1, seeds=both.weights.seeds[1:])
    loop.train(lm, by_hand, [shown], TrainingConfig((0.64 / 32,), (3,), (0,)))
    assert torch.equal(by_hand.master_weights, alone.weights.master_weights)


def test_full_tuning_is_a_plain_torch_loop_and_puts_the_base_back() -> None:
    lm, parity = tiny.tiny_lm("llama"), task()
    before = weights_of(lm)
    full = FullTuning(4, learning_rate=1e-3, max_steps=5, weight_decay=0.1)
    adapted = full.adapt(lm, parity, (2,))
    assert is_same(lm, before)
    model = tiny.tiny_model("llama").requires_grad_(True)
    taught = tokenized(lm, parity, selection.demonstrations(parity, 2, 4), instruction=True)
    longest = max(len(x.ids) for x in taught)
    ids = torch.tensor([[*x.ids, *[0] * (longest - len(x.ids))] for x in taught])
    labels = torch.full_like(ids, -100)
    for row, x in enumerate(taught):
        labels[row, x.prompt_tokens : len(x.ids)] = ids[row, x.prompt_tokens : len(x.ids)]
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.1)
    for _ in range(5):
        model(input_ids=ids, labels=labels).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    with adapted.weights.routed([0, 0]):
        for (name, own), theirs in zip(
            lm.model.named_parameters(), model.parameters(), strict=True
        ):
            torch.testing.assert_close(own, theirs, atol=1e-5, rtol=0, msg=name)
    assert is_same(lm, before)
    assert not any(p.requires_grad or p.grad is not None for p in lm.model.parameters())


def test_the_base_is_put_back_when_full_tuning_fails() -> None:
    lm, parity = tiny.tiny_lm("gpt2"), task()
    before = weights_of(lm)
    with pytest.raises(UserError, match=r"full-4, draw 1 \(learning rate 1e\+30.* lower its"):
        FullTuning(4, learning_rate=1e30, max_steps=9, max_grad_norm=None).adapt(lm, parity, (1,))
    assert is_same(lm, before)


def test_half_precision_models_are_tuned_in_float32_and_put_back() -> None:
    lm = tiny.tiny_lm("llama")
    lm.model.to(torch.bfloat16)
    before = weights_of(lm)
    taught = [[TokenizedExample((1, 50, 60, 70, 80), 3), TokenizedExample((1, 50, 61, 71), 3)]]
    parameters = FullParameters(lm)
    # A step of 1e-4 is lost in bfloat16 weights near 0.25 (spacing 1e-3); ten add up in float32.
    with parameters.opened():
        loop.train(lm, parameters, taught, TrainingConfig((1e-4,), (20,), (0,)))
        changed = [
            not torch.equal(value, before[name]) for name, value in lm.model.state_dict().items()
        ]
    assert all(changed)
    assert parameters.master_weights.dtype == torch.float32
    assert is_same(lm, before)


def test_kept_weights_are_a_model_folder(tmp_path: Path) -> None:
    lm, parity = tiny.tiny_lm("llama"), task()
    ids = torch.arange(3, 12)[None]
    for keep in (False, True):
        adapted = FullTuning(2, max_steps=2, keep=keep).adapt(lm, parity, (0,))
        assert isinstance(adapted.weights, FullVariants)
        adapted.weights.save(tmp_path / str(keep), ["draw=0"])
    assert not (tmp_path / "False").exists()
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "True" / "draw=0")
    with torch.no_grad(), adapted.weights.routed([0]):
        torch.testing.assert_close(again(ids).logits, lm.model(ids).logits, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", [InstructionTuning, FullTuning])
def test_rates_and_steps_are_chosen_on_validation_and_never_see_test(kind: Any) -> None:
    lm = tiny.tiny_lm("llama")
    # The validation split is wider than the examples, so the least training loss need not win.
    untested = replace(task(), test=())
    tuning = kind(4, learning_rate=[1e-5, 5e-3], max_steps=[2, 8])
    adapted = tuning.adapt(lm, untested, (0, 1))
    tried = adapted.training["candidates"]
    assert {(c["learning_rate"], c["max_steps"]) for c in tried} == {
        (rate, steps) for rate in (1e-5, 5e-3) for steps in (2, 8)
    }
    losses = np.array(adapted.training["validation_losses"])
    assert losses.shape == (2, 4)
    assert adapted.training["chosen"] == losses.argmin(1).tolist()
    for place, draw in enumerate((0, 1)):
        best = tried[adapted.training["chosen"][place]]
        alone = kind(4, learning_rate=best["learning_rate"], max_steps=best["max_steps"]).adapt(
            lm, untested, (draw,)
        )
        assert len(adapted.training["losses"][place]) == best["max_steps"]
        ids = torch.arange(3, 12)[None]
        with torch.no_grad():
            with adapted.weights.routed([place]):
                chosen = lm.model(ids).logits
            with alone.weights.routed([0]):
                torch.testing.assert_close(chosen, lm.model(ids).logits, atol=1e-3, rtol=1e-3)


def test_validation_loss_is_the_mean_over_answer_tokens() -> None:
    lm, parity = tiny.tiny_lm("llama"), task()
    taught = tokenized(lm, parity, parity.validation, instruction=True)
    total = count = 0.0
    for example in taught:
        ids = torch.tensor([example.ids])
        with torch.no_grad():
            logprob = lm.model(ids).logits[0].log_softmax(-1)
        for place in range(example.prompt_tokens, len(example.ids)):
            total -= float(logprob[place - 1, example.ids[place]])
            count += 1
    losses, counts = loop.evaluate(lm, None, taught, 1)
    assert losses[0] == pytest.approx(total / count, abs=1e-5)
    assert counts.tokens_given == sum(len(example.ids) for example in taught)
    assert counts.labels == count


def test_operations_are_counted_as_the_formula_says() -> None:
    lm = tiny.tiny_lm("llama")
    # Tiny Llama: width 32, 4 heads of 8, 2 key-value heads, inner width 48, 3 layers, vocab 320.
    matrices = 3 * (2 * 32 * 32 + 2 * 16 * 32 + 3 * 48 * 32)
    attention = 55 * 12 * 3 * 4 * 8
    assert training_flops(lm, 10, 55, 3) == 10 * 6 * matrices + attention + 3 * 6 * 320 * 32
    assert training_flops(lm, 10, 55, 3, 100) == (
        10 * (4 * matrices + 600) + attention + 3 * 4 * 320 * 32
    )


@pytest.mark.parametrize("kind", [InstructionTuning, FullTuning])
def test_one_run_is_counted_as_the_texts_that_a_plain_trainer_would_read(kind: Any) -> None:
    lm, parity = tiny.tiny_lm("llama"), task()
    draws = (0, 1)
    made = kind(4, max_steps=(2, 3), learning_rate=(1e-3, 1e-2), batch_size=4)
    training = made.adapt(lm, parity, draws).training
    adapter = None if kind is FullTuning else training["trained_parameters"]
    for place, draw in enumerate(draws):
        # Four examples a batch of four: every step reads each of them whole.
        sizes = [len(one.ids) for one in made.tokenized(lm, parity, made.drawn(parity, draw))]
        run = training["runs"][place]
        assert run["steps"] == training["candidates"][training["chosen"][place]]["max_steps"]
        assert run["tokens_given"] == run["steps"] * sum(sizes)
        pairs = run["steps"] * sum(n * (n + 1) / 2 for n in sizes)
        read = run["tokens_given"]
        assert run["flops"] == pytest.approx(training_flops(lm, read, pairs, read, adapter))
    assert training["flops"] == pytest.approx(np.mean([run["flops"] for run in training["runs"]]))
    # Instruction tuning takes both rates to 3 steps, with a stop at 2; full tuning starts anew: two
    # rates of 2 and of 3.
    trained = 6 if kind is InstructionTuning else 10
    held_out = sum(len(one.ids) for one in made.held_out(lm, parity))
    tokens = [
        sum(len(one.ids) for one in made.tokenized(lm, parity, made.drawn(parity, d)))
        for d in draws
    ]
    assert training["tried_tokens_given"] == trained * np.mean(tokens) + 4 * held_out
    assert training["tried_flops"] > 2 * training["flops"]


def test_a_run_costs_the_same_whatever_was_trained_beside_it() -> None:
    lm, parity = tiny.tiny_lm("llama"), task()
    kind = InstructionTuning(4, max_steps=3)
    alone = kind.adapt(lm, parity, (1,)).training["runs"][0]
    beside = kind.adapt(lm, parity, (0, 1, 2)).training["runs"][1]
    assert (alone["flops"], alone["tokens_given"]) == (beside["flops"], beside["tokens_given"])


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"examples": 0}, "examples 0 was given; it must be at least 1"),
        ({"learning_rate": -1.0}, "learning_rate -1.0 was given; it must be above 0"),
        ({"learning_rate": (1e-3, 0.0)}, "above 0"),
        ({"max_steps": 0}, "max_steps 0 was given"),
        ({"batch_size": 0}, "batch_size 0 was given"),
        ({"max_steps": 5, "warmup_steps": 5}, "fewer than the steps"),
        ({"lr_scheduler": "cosin"}, "unknown lr_scheduler 'cosin'; did you mean 'cosine'"),
        ({"selection": "similar"}, "unknown selection 'similar'"),
        ({"max_grad_norm": 0.0}, "max_grad_norm 0.0 was given"),
    ],
)
@pytest.mark.parametrize("kind", [InstructionTuning, FullTuning])
def test_arguments_that_make_no_sense_are_refused(
    kind: Any, wrong: dict[str, Any], said: str
) -> None:
    with pytest.raises(UserError, match=said.replace("(", r"\(")):
        kind(**{"examples": 4, **wrong})


def test_what_cannot_be_trained_on_is_named() -> None:
    lm, parity = tiny.tiny_lm("llama"), task("generation")
    with pytest.raises(UserError, match="training split of task 'parity'"):
        InstructionTuning(21).adapt(lm, parity, (0,))
    with pytest.raises(UserError, match="no validation split"):
        InstructionTuning(2, max_steps=1, learning_rate=(1e-3, 1e-2)).adapt(
            lm, replace(parity, validation=()), (0,)
        )
    long = replace(parity, train=(replace(example(1), input="xyz " * 100),))
    excess = len(lm.encode(f"Is it odd?\n\nInput: {'xyz ' * 100}\nOutput: pos\n\n")) - 256
    with pytest.raises(UserError, match=rf"e1 .* is {excess} tokens longer"):
        InstructionTuning(1).adapt(lm, long, (0,))
    with pytest.raises(UserError, match=r"it-2, draw 7 .*step . of 9"):
        InstructionTuning(2, learning_rate=1e39, max_steps=9).adapt(lm, parity, (7,))
