"""An adapter aligned by activations learns what the base attends to after demonstrations."""

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import peft
import pytest
import torch

import tiny
from adaptlens import tasks
from adaptlens.adapt import activation_alignment, loop
from adaptlens.adapt.activation_alignment import ActivationAlignment
from adaptlens.adapt.batches import Block, TokenizedExample, lay_out
from adaptlens.adapt.distillation import Distillation
from adaptlens.adapt.optimizer import TrainingConfig
from adaptlens.adapt.training_cost import Chosen, training_cost, training_flops
from adaptlens.errors import UserError
from adaptlens.lm import score
from adaptlens.lm.adapters.bank import LoraBank
from adaptlens.lm.load import LM, load
from adaptlens.lm.states import attention_outputs
from adaptlens.prompts.fitting import fit
from adaptlens.prompts.sizes import prompt_sizes
from adaptlens.tasks import templates
from adaptlens.types import Example, Task

HOW = ActivationAlignment(examples=2, unlabeled=5, max_steps=6, batch_size=2, learning_rate=0.01)
RATE, STEPS = 5e-3, 12


def put_out(model: Any, parts: Any, ids: torch.Tensor) -> torch.Tensor:
    """What attention modules put out [rows, seq, layers, width], by hooks of PyTorch's on them."""
    seen: dict[int, torch.Tensor] = {}

    def keep(layer: int, _: Any, __: Any, out: Any) -> None:
        seen[layer] = out[0] if isinstance(out, tuple) else out

    hooks = [
        parts.attention(layer).register_forward_hook(partial(keep, layer))
        for layer in range(parts.num_layers)
    ]
    model(input_ids=ids)
    for hook in hooks:
        hook.remove()
    return torch.stack([seen[layer] for layer in range(parts.num_layers)], 2)


@torch.no_grad()
def teacher(lm: LM, task: Task, demos: tuple[Example, ...], query: Example) -> tuple:
    """The option that the base believes in most, and what attends before each of its tokens."""
    prompt = fit(lm, templates.written(task), demos, query, on_overflow="error")
    start, sure = len(lm.encode(prompt.text)), []
    for answer in prompt.answers:
        ids = torch.tensor([lm.encode(prompt.text + answer)])
        logs = lm.model(input_ids=ids).logits[0].log_softmax(-1)
        sure.append(sum(float(logs[i - 1, ids[0, i]]) for i in range(start, ids.shape[1])))
    answer = prompt.answers[int(np.argmax(sure))]
    ids = torch.tensor([lm.encode(prompt.text + answer)])
    return answer, put_out(lm.model, lm.architecture, ids)[0, start - 1 : -1]


@pytest.mark.parametrize("arch", tiny.ARCHITECTURES)
def test_the_base_s_attention_is_what_hooks_on_its_modules_see(arch: str) -> None:
    """After a cached beginning, in shared rows, and in rows of their own."""
    lm = tiny.tiny_lm(arch)
    stem = np.random.default_rng(0).integers(3, 300, 90).tolist()
    texts = [[*stem, 7, 8, 9], [*stem, 7, 11], [5, 6, 7]]
    found = attention_outputs(lm, texts, [90, 89, 1])
    for ids, first, own in zip(texts, (90, 89, 1), found, strict=True):
        with torch.no_grad():
            expected = put_out(lm.model, lm.architecture, torch.tensor([ids]))[0, first:]
        np.testing.assert_allclose(own, expected.numpy(), atol=2e-4)


def test_the_teacher_s_likeliest_answer_is_read_and_its_attention_kept(lm, task):
    texts, counts = HOW.training_texts(lm, task, [0, 3])
    for draw, own in zip((0, 3), texts, strict=True):
        inputs = HOW.inputs(task, draw)
        assert len(own) == len(inputs)
        for text, query in zip(own, inputs, strict=True):
            answer, expected = teacher(lm, task, HOW.drawn(task, draw), query)
            bare = fit(lm, templates.written(task), (), query, on_overflow="error").text
            assert list(text.ids) == lm.encode(bare + answer)
            assert text.activations.shape == (text.num_labels, 3, 32)
            np.testing.assert_allclose(text.activations, expected.numpy(), atol=1e-4)
    # Options are scored first: nothing but the second reading goes without logits.
    scored = Distillation(examples=2, unlabeled=5).training_texts(lm, task, [0, 3])[1]
    assert counts.without_logits == counts.tokens_given - scored.tokens_given > 0
    assert counts.labels == scored.labels


def test_the_answers_of_the_inputs_have_no_say(lm, task):
    known = {example.id for example in HOW.drawn(task, 0)}
    other = {choice: task.choices[i - 1] for i, choice in enumerate(task.choices)}
    wrong = replace(
        task,
        train=tuple(
            one if one.id in known else replace(one, target=other[one.target]) for one in task.train
        ),
    )
    for one, same in zip(*(HOW.training_texts(lm, t, [0])[0][0] for t in (task, wrong)),
                         strict=True):  # fmt: skip
        assert one == same
        assert np.array_equal(one.activations, same.activations)


def taught(parts: Any, seed: int = 0) -> list[list[TokenizedExample]]:
    """Texts of three variants that begin alike, with one or two labels and random targets."""
    generator = np.random.default_rng(seed)
    stem = generator.integers(3, 300, 6).tolist()
    found = []
    for _ in range(3):
        own = []
        for i in range(4):
            rest = generator.integers(3, 300, int(generator.integers(4, 14))).tolist()
            labels = 1 + i % 2
            aim = generator.normal(size=(labels, parts.num_layers, parts.width))
            start = len(stem) + len(rest) - labels
            own.append(TokenizedExample((*stem, *rest), start, activations=aim.astype(np.float32)))
        found.append(own)
    return found


def mean_squared(model: Any, parts: Any, own: list[TokenizedExample]) -> torch.Tensor:
    """The loss, text by text: over labels and width the mean, over layers the sum."""
    gaps = []
    for text in own:
        there = put_out(model, parts, torch.tensor([text.ids]))[0, text.prompt_tokens - 1 : -1]
        aim = torch.from_numpy(text.activations).to(there.dtype)
        gaps.append((there - aim).square().mean(-1).sum(-1))
    return torch.cat(gaps).mean()


def with_peft(
    arch: str, bank: LoraBank, variant: int, own: list[TokenizedExample], dtype: torch.dtype
) -> tuple[list[float], dict, dict]:
    """Losses, first gradients and matrices of one adapter trained by PEFT and plain hooks."""
    config = peft.LoraConfig(
        r=4, lora_alpha=8, target_modules=list(bank.target_modules), task_type="CAUSAL_LM",
        fan_in_fan_out=bank.sites[0].transposed,
    )  # fmt: skip
    inner = tiny.tiny_lm(arch)
    model = peft.get_peft_model(inner.model.to(dtype), config).eval()
    pairs = {
        name.removeprefix("base_model.model."): (
            module.lora_A["default"].weight, module.lora_B["default"].weight
        )
        for name, module in model.named_modules()
        if hasattr(module, "lora_A")
    }  # fmt: skip
    with torch.no_grad():
        for name, start in bank.matrices(variant).items():
            for weight, value in zip(pairs[name], start, strict=True):
                weight.copy_(value)
    weights = [weight for pair in pairs.values() for weight in pair]
    optimizer = torch.optim.AdamW(weights, lr=RATE, weight_decay=0.01)
    losses, gradients = [], {}
    for _ in range(STEPS):
        loss = mean_squared(model, inner.architecture, own)
        loss.backward()
        losses.append(float(loss))
        gradients = gradients or {
            name: [torch.zeros_like(w) if w.grad is None else w.grad.clone() for w in pair]
            for name, pair in pairs.items()
        }
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        optimizer.zero_grad()
    return losses, gradients, pairs


def test_the_loss_is_the_one_worked_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two layers of width 2: (1 + 0) / 2 in the first and (1 + 4) / 2 in the other."""
    there = np.array([[[1, 0], [2, 2]]], np.float32)
    (block,) = lay_out([[TokenizedExample((5, 6, 7), 2, activations=there)]], 1, block_tokens=8)
    here = torch.tensor([[[0.0, 0.0], [1.0, 4.0]]])
    monkeypatch.setattr(Block, "_attention", lambda *_: here)
    assert block.losses(tiny.tiny_lm("llama")).tolist() == [3.0]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("arch", tiny.ARCHITECTURES)
def test_adapters_aligned_together_equal_those_aligned_alone_by_peft(arch: str) -> None:
    """Loss, gradient and adapter; PEFT in float64 is the truth, in float32 it sets the bar."""
    lm = tiny.tiny_lm(arch)
    assert lm.architecture is not None
    texts = taught(lm.architecture)
    bank = LoraBank(lm, num_variants=3, rank=4, alpha=8, seeds=(5, 6, 7))
    generator = torch.manual_seed(0)
    bank.master_weights += 0.02 * torch.randn(bank.master_weights.shape, generator=generator)
    exact, rounded = (
        [with_peft(arch, bank, n, texts[n], dtype) for n in range(3)]
        for dtype in (torch.float64, torch.float32)
    )
    gradients = torch.zeros_like(bank.master_weights)
    blocks = lay_out(texts, 64, block_tokens=4096)
    for block in blocks:
        with bank.training(block.first, block.last, gradients):
            block.losses(lm, bank).sum().backward()
    found = bank._holding(gradients, bank.seeds)
    config = TrainingConfig((RATE,) * 3, (STEPS,) * 3, (0, 1, 2), weight_decay=0.01)
    history = loop.train(lm, bank, texts, config)
    for variant in range(3):
        losses, there, pairs = exact[variant]
        np.testing.assert_allclose(history.losses[:, variant], losses, rtol=2e-4)
        assert history.losses[-1, variant] < history.losses[0, variant]
        for name, both in found.matrices(variant).items():
            for ours, theirs in zip(both, there[name], strict=True):
                torch.testing.assert_close(ours.double(), theirs, atol=1e-5, rtol=1e-3)
        ours = farthest(bank.matrices(variant), pairs)
        assert ours <= max(1e-4, 3 * farthest(rounded[variant][2], pairs))


def farthest(one: Any, other: Any) -> float:
    pairs = ((a, b) for name in one for a, b in zip(one[name], other[name], strict=True))
    return max((a.double() - b.double()).abs().max().item() for a, b in pairs)


@pytest.mark.parametrize("changes", [
    {"gradient_checkpointing": True}, {"gradient_accumulation_steps": 3},
])  # fmt: skip
def test_less_memory_gives_the_same_adapter(lm, task, changes):
    plain, other = (how.adapt(lm, task, [0, 1]).weights for how in (HOW, replace(HOW, **changes)))
    torch.testing.assert_close(plain.master_weights, other.master_weights, atol=1e-4, rtol=0)


def test_draws_beside_each_other_learn_what_they_learn_alone(lm, task):
    together = HOW.adapt(lm, task, [0, 1])
    assert together.adaptation == "ia2-2" and together.draws == (0, 1)
    for place, draw in enumerate((0, 1)):
        alone = HOW.adapt(lm, task, [draw])
        gap = together.weights.master_weights[place] - alone.weights.master_weights[0]
        # AdamW takes a whole step where a gradient is nothing but rounding.
        assert float((gap.abs() > 2e-5).float().mean()) < 0.005


def test_rates_are_chosen_by_the_labeled_items_loss_of_their_answers(lm, task):
    how = replace(HOW, learning_rate=(0.001, 0.03), validation_examples=6)
    training = how.adapt(lm, task, [0, 1]).training
    held_out = how.held_out(lm, task)
    assert all(text.activations is None for text in held_out)
    for place, rate in enumerate(how.learning_rate):
        alone = replace(how, learning_rate=rate).adapt(lm, task, [0, 1]).weights
        losses, _ = loop.evaluate(lm, alone, held_out, 2)
        told = [own[place] for own in training["validation_losses"]]
        np.testing.assert_allclose(told, losses, rtol=1e-3)


def test_true_few_shot_chooses_by_the_distance_on_inputs_left_out(lm, task):
    how = replace(HOW, learning_rate=(0.001, 0.03), true_few_shot=True)
    folds = how.folds(lm, task, 0)
    assert sorted(len(fold.held_out) for fold in folds) == [1, 1, 1, 2]
    assert all(text.activations is not None for fold in folds for text in fold.held_out)
    adapted = how.adapt(lm, replace(task, validation=()), [0])
    assert len(adapted.training["validation_losses"][0]) == 2


@pytest.fixture(scope="module")
def aligned(task):
    """The shipped model aligned with itself after eight demonstrations, and what it was asked."""
    lm = load("reference")
    how = ActivationAlignment(examples=8, unlabeled=16, max_steps=40, batch_size=8)
    return lm, how, replace(task, test=how.inputs(task, 0)), how.adapt(lm, task, [0])


def test_the_student_s_attention_comes_nearer_to_the_teacher_s(aligned):
    lm, how, read, adapted = aligned
    (texts,), _ = how.training_texts(lm, read, [0])
    sizes = np.mean([np.square(text.activations).mean(-1).sum(-1).mean() for text in texts])
    before, after = (loop.evaluate(lm, w, texts, 1)[0][0] for w in (None, adapted.weights))
    assert after < before / 2 < sizes


def test_the_student_answers_as_the_teacher(aligned):
    """It is not trained to: that follows from what it attends to."""
    lm, how, read, adapted = aligned
    demos, way = how.drawn(read, 0), templates.written(read)
    shares = []
    for shown, weights in ((demos, None), ((), None), ((), adapted.weights)):
        sent = [fit(lm, way, shown, query, on_overflow="error") for query in read.test]
        logs = np.stack(score.score(lm, score.encode(lm, sent, [0] * len(sent)), weights))
        shares.append(np.exp(logs[:, 0]) / np.exp(logs).sum(1))
    base, before, after = shares
    assert np.abs(after - base).mean() < np.abs(before - base).mean() / 2


def test_the_plan_is_right_to_within_a_third(aligned):
    _, how, read, adapted = aligned
    planned = how.cost_estimate(prompt_sizes(how, read, "reference", num_draws=1))
    trained, whole = planned.trained_tokens, planned.trained_tokens + planned.read_tokens
    done = adapted.training["tokens_computed"]
    assert trained < done
    assert whole == pytest.approx(done, rel=1 / 3)


def test_training_is_charged_without_logits(lm):
    assert lm.architecture is not None
    texts = taught(lm.architecture)
    bank = LoraBank(lm, num_variants=3, rank=4)
    config = TrainingConfig((RATE,) * 3, (1,) * 3, (0, 1, 2))
    history = loop.train(lm, bank, texts, config)
    total = history.total
    assert total.labels == 0
    assert total.without_logits == total.tokens_given == sum(len(t.ids) for o in texts for t in o)
    told = training_cost(
        lm, [history], history.losses, bank.num_parameters,
        [Chosen(history, variant, 1) for variant in range(3)],
        token_parameters=bank.num_parameters,
    )  # fmt: skip
    for ending in ("given", "computed"):
        tokens, pairs = (getattr(total, f"{what}_{ending}") for what in ("tokens", "pairs"))
        expected = training_flops(lm, tokens, pairs, 0, bank.num_parameters) / 3
        assert told["flops" if ending == "given" else "flops_computed"] == pytest.approx(expected)


def test_of_text_it_learns_to_attend_as_where_the_teacher_writes(lm):
    task = replace(tasks.load("translation", seed=0), max_new_tokens=4)
    how = replace(HOW, unlabeled=3)
    (texts,), _ = how.training_texts(lm, task, [0])
    distilled = Distillation(examples=2, unlabeled=3).training_texts(lm, task, [0])[0][0]
    assert [text.ids for text in texts] == [text.ids for text in distilled]
    demos, way = how.drawn(task, 0), templates.written(task)
    query = next(q for q in how.inputs(task, 0))
    prompt = fit(lm, way, demos, query, on_overflow="error").text
    written = lm.tokenizer.decode(texts[0].ids[texts[0].prompt_tokens :])
    assert written.endswith("\n\n")
    ids = lm.encode(prompt + written)
    with torch.no_grad():
        there = put_out(lm.model, lm.architecture, torch.tensor([ids]))[0]
    expected = there[len(ids) - texts[0].num_labels - 1 : -1]
    np.testing.assert_allclose(texts[0].activations, expected.numpy(), atol=1e-4)


def test_what_cannot_be_matched_is_refused(lm, task, monkeypatch):
    with pytest.raises(UserError, match=r"ia2: the inside of .* is not known"):
        HOW.adapt(replace(lm, architecture=None), task, [0])
    with pytest.raises(UserError, match="ia2: unlabeled 0 was given"):
        replace(HOW, unlabeled=0)
    monkeypatch.setattr(activation_alignment, "answered", lambda *_: " otherwise")
    with pytest.raises(UserError, match="becomes other tokens after demonstrations"):
        HOW.adapt(lm, task, [0])
