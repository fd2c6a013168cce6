"""Weight-decomposed LoRA: PEFT's, without ever forming the sum of base and adapter."""

from pathlib import Path
from typing import Any

import peft
import pytest
import safetensors.torch
import torch
from torch import nn

import tiny
from adaptlens.adapt import loop
from adaptlens.adapt.batches import TokenizedExample
from adaptlens.adapt.optimizer import TrainingConfig
from adaptlens.errors import UserError
from adaptlens.lm.adapters import peft_files
from adaptlens.lm.adapters.bank import LoraBank
from adaptlens.lm.adapters.row_norms import RowNorms
from adaptlens.lm.load import LM

pytestmark = pytest.mark.filterwarnings("ignore")

STEPS, RATE = 20, 5e-3
TAUGHT = [
    [TokenizedExample((5, 6, 7, 8, 9), 4), TokenizedExample((5, 6, 9, 10, 11, 12), 4)],
    [TokenizedExample((30, 31, 32, 33), 3)],
    [TokenizedExample((40, 41, 42, 43, 44), 3), TokenizedExample((40, 45, 46), 2)],
]
IDS = torch.tensor([[3, 4, 5, 6, 7]])


def with_biases(model: Any) -> Any:
    """Return the model with random biases, where fresh ones are zero."""
    generator = torch.manual_seed(1)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            nn.init.normal_(parameter, std=0.5, generator=generator)
    return model


def lm_of(arch: str) -> LM:
    lm = tiny.tiny_lm(arch)
    with_biases(lm.model)
    return lm


def peft_model(arch: str, bank: LoraBank, variant: int, dtype: torch.dtype = torch.float32) -> Any:
    """Return the bank's variant as the peft library runs it, ready to be trained."""
    model = peft.get_peft_model(
        with_biases(tiny.tiny_model(arch)).to(dtype),
        peft.LoraConfig(
            r=bank.rank,
            lora_alpha=bank.alpha,
            use_dora=True,
            target_modules=list(bank.target_modules),
            task_type="CAUSAL_LM",
            fan_in_fan_out=bank.sites[0].transposed,
        ),
    ).eval()
    modules = dict(model.base_model.model.named_modules())
    with torch.no_grad():
        for name, (a, b) in bank.matrices(variant).items():
            modules[name].lora_A["default"].weight.copy_(a)
            modules[name].lora_B["default"].weight.copy_(b)
            modules[name].lora_magnitude_vector["default"].weight.copy_(
                bank.magnitudes(variant)[name]
            )
    return model


def dora_bank(lm: LM, num_variants: int = 3, **settings: Any) -> LoraBank:
    return LoraBank(lm, num_variants=num_variants, rank=4, alpha=8, use_dora=True, **settings)


def disturbed(bank: LoraBank) -> LoraBank:
    bank.master_weights += 0.1 * torch.randn(
        bank.master_weights.shape, generator=torch.manual_seed(0)
    )
    return bank


def read(lm: LM, bank: LoraBank, variant: int) -> torch.Tensor:
    with torch.no_grad(), bank.routed([variant]):
        return lm.model(input_ids=IDS).logits


def test_the_norms_of_two_rows_worked_by_hand() -> None:
    linear = nn.Linear(2, 2)
    linear.weight.data = torch.tensor([[3.0, 4.0], [1.0, 0.0]])
    norms = RowNorms(linear, "x")
    torch.testing.assert_close(norms.of_base(), torch.tensor([5.0, 1.0]))
    # s B A = 2 [[1], [0]] [[1, 2]] = [[2, 4], [0, 0]]; rows (5, 8) and (1, 0): sqrt(89) and 1.
    a, b = torch.tensor([[[1.0, 2.0]]]), torch.tensor([[[1.0], [0.0]]])
    found = norms.gain(a, b, torch.tensor([[89**0.5, 3.0]]), 2.0)
    torch.testing.assert_close(found, torch.tensor([[1.0, 3.0]]))


@pytest.mark.parametrize("arch", ["llama", "qwen2", "gpt2", "opt"])
def test_adapters_read_as_pefts(arch: str) -> None:
    lm = lm_of(arch)
    bank = disturbed(dora_bank(lm))
    bare = lm.model(input_ids=IDS).logits
    for variant in range(3):
        with torch.no_grad():
            expected = peft_model(arch, bank, variant)(input_ids=IDS).logits
        found = read(lm, bank, variant)
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)
        assert (found - bare).abs().max() > 1e-2
    # Rows in no even order, each by its own adapter.
    order = [2, 0, 0, 1]
    with torch.no_grad(), bank.routed(order):
        mixed = lm.model(input_ids=IDS.expand(4, -1)).logits
    for row, variant in enumerate(order):
        torch.testing.assert_close(mixed[row], read(lm, bank, variant)[0], atol=1e-4, rtol=0)


@pytest.mark.parametrize("arch", ["qwen2", "gpt2"])
def test_adapters_trained_together_equal_those_trained_alone_by_peft(arch: str) -> None:
    lm = lm_of(arch)
    bank = dora_bank(lm, seeds=(5, 6, 7))
    models = [peft_model(arch, bank, n, torch.float64) for n in range(3)]
    start = bank.master_weights.clone()
    config = TrainingConfig((RATE,) * 3, (STEPS,) * 3, (0, 1, 2), weight_decay=0.01)
    loop.train(lm, bank, TAUGHT, config)
    for variant, model in enumerate(models):
        trained = train(model, TAUGHT[variant])
        for name, (a, b) in bank.matrices(variant).items():
            own = (a, b, bank.magnitudes(variant)[name])
            for one, other in zip(own, trained[name], strict=True):
                torch.testing.assert_close(one.double(), other, atol=1e-3, rtol=0)
    site = bank.sites[0]
    assert (bank._m(site, bank.master_weights) - bank._m(site, start)).abs().max() > 1e-3


def train(model: Any, own: list[TokenizedExample]) -> dict[str, tuple[torch.Tensor, ...]]:
    """Train as PEFT's users do: a padded batch with labels, AdamW on all that is trainable."""
    longest = max(len(example.ids) for example in own)
    ids = torch.zeros(len(own), longest, dtype=torch.long)
    seen, labels = torch.zeros_like(ids), torch.full_like(ids, -100)
    for row, example in enumerate(own):
        stop = len(example.ids)
        ids[row, :stop], seen[row, :stop] = torch.tensor(example.ids), 1
        labels[row, example.prompt_tokens : stop] = ids[row, example.prompt_tokens : stop]
    weights = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=RATE, weight_decay=0.01)
    for _ in range(STEPS):
        model(input_ids=ids, attention_mask=seen, labels=labels).loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        optimizer.zero_grad()
    return {
        name: (
            module.lora_A["default"].weight.detach(),
            module.lora_B["default"].weight.detach(),
            module.lora_magnitude_vector["default"].weight.detach(),
        )
        for name, module in model.base_model.model.named_modules()
        if hasattr(module, "lora_magnitude_vector")
    }


def test_dropout_reaches_the_base_part_as_in_peft() -> None:
    lm = lm_of("qwen2")
    bank = dora_bank(lm, 1, dropout=0.25)
    site = bank.sites[0]
    x = torch.randn(1, 6, 32, generator=torch.manual_seed(2))
    base = site.module(x)

    def added() -> torch.Tensor:
        with bank.training(0, 1, torch.zeros_like(bank.master_weights)):
            return (site.module(x) - base).detach()

    # Norms doubled, B still zero: what is added is W times what dropout left of x.
    bank._m(site, bank.master_weights).mul_(2)
    dropped = added() @ torch.linalg.inv(site.module.weight.double()).float().T
    kept = dropped.abs() > 1e-3
    torch.testing.assert_close(dropped[kept], (x / 0.75)[kept], atol=1e-3, rtol=1e-3)
    assert 0 < int((~kept).sum()) < x.numel()
    disturbed(bank)
    layer = dict(peft_model("qwen2", bank, 0).base_model.model.named_modules())[site.name]
    expected = layer.lora_magnitude_vector["default"](
        torch.where(kept, x / 0.75, 0.0),
        lora_A=layer.lora_A["default"],
        lora_B=layer.lora_B["default"],
        scaling=layer.scaling["default"],
        base_layer=layer.base_layer,
    )
    torch.testing.assert_close(added(), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("arch", ["llama", "gpt2"])
def test_what_is_saved_reads_the_same_here_and_in_peft(arch: str, tmp_path: Path) -> None:
    lm = tiny.tiny_lm(arch)
    bank = disturbed(dora_bank(lm, 2, use_rslora=True))
    bank.save(tmp_path, ["a", "b"])
    model = peft.PeftModel.from_pretrained(tiny.tiny_model(arch), str(tmp_path / "b")).eval()
    with torch.no_grad():
        theirs = model(input_ids=IDS).logits
    torch.testing.assert_close(theirs, read(lm, bank, 1), atol=1e-4, rtol=0)
    again = LoraBank.load(lm, [tmp_path / "a", tmp_path / "b"])
    assert again.use_dora
    torch.testing.assert_close(read(lm, again, 1), read(lm, bank, 1), atol=1e-5, rtol=0)
    model.save_pretrained(tmp_path / "theirs")
    there = LoraBank.load(lm, [tmp_path / "theirs"])
    torch.testing.assert_close(read(lm, there, 0), theirs, atol=1e-4, rtol=0)


def test_magnitudes_that_are_missing_or_do_not_fit_are_told(tmp_path: Path) -> None:
    lm = tiny.tiny_lm("llama")
    dora_bank(lm, 1).save(tmp_path, ["a"])
    LoraBank(lm, num_variants=1, rank=4).save(tmp_path, ["plain"])
    weights = tmp_path / "a" / peft_files.WEIGHTS
    tensors = safetensors.torch.load_file(weights)
    name = next(key for key in tensors if key.endswith("magnitude_vector"))
    with pytest.raises(UserError, match="is no DoRA, and others beside it are"):
        LoraBank.load(lm, [tmp_path / "plain", tmp_path / "a"])
    safetensors.torch.save_file({**tensors, name: tensors[name][:3].clone()}, weights)
    with pytest.raises(UserError, match=r"the shape \[3\] for DoRA's magnitudes"):
        LoraBank.load(lm, [tmp_path / "a"])
    safetensors.torch.save_file({k: v for k, v in tensors.items() if k != name}, weights)
    with pytest.raises(UserError, match="none for DoRA's magnitudes"):
        LoraBank.load(lm, [tmp_path / "a"])


def test_weights_that_are_quantized_are_refused_in_one_line() -> None:
    linear = nn.Linear(2, 2).requires_grad_(False)
    linear.weight = nn.Parameter(torch.zeros(2, 2, dtype=torch.int8), requires_grad=False)
    with pytest.raises(UserError, match="load the model without quantization") as caught:
        RowNorms(linear, "q_proj")
    assert "\n" not in str(caught.value)
