"""Tuning in less memory: other ways to the same gradients."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

import tiny
from adaptlens.adapt import loop
from adaptlens.adapt.full_tuning import FullTuning
from adaptlens.adapt.lora import InstructionTuning
from adaptlens.adapt.optimizer import TrainingConfig
from adaptlens.adapt.tokenizing import tokenized
from adaptlens.errors import UserError
from adaptlens.lm.adapters.bank import LoraBank
from adaptlens.lm.adapters.full_weights import FullParameters
from adaptlens.prompts import selection
from adaptlens.types import Example, Task

ITEMS = tuple(Example(f"e{n}", f"the {n}", "pos" if n % 2 else "neg") for n in range(20))
TASK = Task("parity", "choice", ITEMS, (), ITEMS[:2], instruction="Odd?", choices=("pos", "neg"))
LESS = (
    {"gradient_checkpointing": True},
    {"gradient_accumulation_steps": 3},
    {"gradient_checkpointing": True, "gradient_accumulation_steps": 2},
)


def trained(kind: Any, arch: str, *, dropout: float = 0.0, **less: Any) -> tuple[Any, Any]:
    """Return the numbers of two adapters, or of a model, after three steps, and what happened."""
    lm = tiny.tiny_lm(arch)
    num_variants = 2 if kind is LoraBank else 1
    own = [
        tokenized(lm, TASK, selection.demonstrations(TASK, draw, 6), instruction=True)
        for draw in range(num_variants)
    ]
    each = (3,) * num_variants
    # With the usual epsilon Adam makes full steps of gradients that are rounding alone.
    recipe = TrainingConfig((1e-3,) * num_variants, each, each, epsilon=1e-2, **less)
    if kind is LoraBank:
        bank = LoraBank(lm, num_variants=2, rank=4, dropout=dropout)
        history = loop.train(lm, bank, own, recipe)
        return bank.master_weights, history
    parameters = FullParameters(lm)
    with parameters.opened():
        history = loop.train(lm, parameters, own, recipe)
        return parameters.master_weights.clone(), history


@pytest.mark.parametrize("less", LESS)
@pytest.mark.parametrize("arch", ["llama", "gpt2", "gemma3", "opt"])
@pytest.mark.parametrize("kind", [LoraBank, FullParameters])
def test_the_result_is_the_same(kind: Any, arch: str, less: dict[str, Any]) -> None:
    (plain, before), (other, after) = trained(kind, arch), trained(kind, arch, **less)
    torch.testing.assert_close(other, plain, atol=1e-6, rtol=0)
    np.testing.assert_allclose(after.losses, before.losses, atol=1e-5)
    assert after.total.tokens_given == before.total.tokens_given
    assert after.total.labels == before.total.labels


def test_dropout_drops_the_same_when_a_layer_is_computed_again() -> None:
    plain, _ = trained(LoraBank, "llama", dropout=0.3)
    other, _ = trained(LoraBank, "llama", dropout=0.3, gradient_checkpointing=True)
    torch.testing.assert_close(other, plain, atol=1e-6, rtol=0)
    without, _ = trained(LoraBank, "llama")
    assert (plain - without).abs().max() > 1e-4


@pytest.mark.parametrize(
    ("less", "least", "most"),
    [({}, 3, 3), (LESS[0], 6, 6), (LESS[1], 9, 18), (LESS[2], 12, 36)],
)
def test_a_layer_runs_as_often_as_that_takes(less: dict[str, Any], least: int, most: int) -> None:
    lm, runs = tiny.tiny_lm("llama"), 0

    def count(*_: object) -> None:
        nonlocal runs
        runs += 1

    lm.model.model.layers[1].mlp.register_forward_pre_hook(count)
    InstructionTuning(6, learning_rate=1e-3, max_steps=3, **less).adapt(lm, TASK, (0,))
    assert least <= runs <= most


def kept_bytes(less: dict[str, Any]) -> int:
    """Return the bytes that three steps of full tuning keep for their backward passes."""
    kept = 0

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        nonlocal kept
        kept += tensor.numel() * tensor.element_size()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        trained(FullParameters, "llama", **less)
    return kept


def test_checkpointed_layers_keep_less() -> None:
    assert kept_bytes(LESS[0]) < 0.5 * kept_bytes({})


def test_layers_that_are_not_known_cannot_be_checkpointed() -> None:
    lm = replace(tiny.tiny_lm("llama"), architecture=None)
    how = InstructionTuning(4, max_steps=1, target_modules=("q_proj",), gradient_checkpointing=True)
    with pytest.raises(UserError, match=r"layers of 'tiny-llama' are not known; leave out"):
        how.adapt(lm, TASK, (0,))


@pytest.mark.parametrize("kind", [InstructionTuning, FullTuning])
def test_a_step_has_one_part_at_least(kind: Any) -> None:
    with pytest.raises(UserError, match="gradient_accumulation_steps 0 was given"):
        kind(4, gradient_accumulation_steps=0)
