"""R adapters in one pass are R adapters trained alone; outside the bank the base is untouched."""

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import safetensors.torch
import torch

import tiny
from adaptlens.adapt import batches, loop
from adaptlens.adapt.batches import PLAIN, TokenizedExample
from adaptlens.adapt.optimizer import TrainingConfig
from adaptlens.errors import UserError
from adaptlens.lm.adapters.bank import LoraBank
from adaptlens.lm.load import LM

RATE, DECAY, STEPS = 5e-3, 0.01, 30


def examples(num_variants: int, k: int = 4, seed: int = 0) -> list[list[TokenizedExample]]:
    """Return random examples under one six-token instruction, answers of one or two tokens."""
    generator = np.random.default_rng(seed)
    instruction = generator.integers(3, 300, 6).tolist()
    found = []
    for _ in range(num_variants):
        own = []
        for i in range(k):
            rest = generator.integers(3, 300, int(generator.integers(4, 14))).tolist()
            own.append(
                TokenizedExample((*instruction, *rest), len(instruction) + len(rest) - 1 - i % 2)
            )
        found.append(own)
    return found


def recipe(
    num_variants: int, steps: int = STEPS, rate: float = RATE, **settings: Any
) -> TrainingConfig:
    return TrainingConfig(
        (rate,) * num_variants,
        (steps,) * num_variants,
        tuple(range(num_variants)),
        weight_decay=DECAY,
        **settings,
    )


def random_bank(lm: LM, num_variants: int, **settings: Any) -> LoraBank:
    """Return a bank whose B is not zero, so that every adapter changes the output."""
    bank = LoraBank(lm, num_variants=num_variants, rank=4, alpha=8, **settings)
    bank.master_weights += 0.1 * torch.randn(
        bank.master_weights.shape, generator=torch.manual_seed(0)
    )
    return bank


def logits(lm: LM, ids: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return lm.model(input_ids=ids, use_cache=False).logits


Matrices = dict[str, tuple[torch.Tensor, torch.Tensor]]


def train_with_peft(
    arch: str, bank: LoraBank, variant: int, own: list[TokenizedExample], dtype: torch.dtype
) -> Matrices:
    """Train one adapter from the bank's start as PEFT's users do: a padded batch with labels."""
    model = peft.get_peft_model(
        tiny.tiny_model(arch).to(dtype),
        peft.LoraConfig(
            r=4,
            lora_alpha=8,
            use_rslora=bank.use_rslora,
            target_modules=list(bank.target_modules),
            task_type="CAUSAL_LM",
            fan_in_fan_out=bank.sites[0].transposed,
        ),
    ).eval()
    sites = {
        name: (module.lora_A["default"].weight, module.lora_B["default"].weight)
        for name, module in model.named_modules()
        if hasattr(module, "lora_A")
    }
    sites = {name.removeprefix("base_model.model."): pair for name, pair in sites.items()}
    with torch.no_grad():
        for name, start in bank.matrices(variant).items():
            for weight, value in zip(sites[name], start, strict=True):
                weight.copy_(value)
    longest = max(len(example.ids) for example in own)
    ids = torch.zeros(len(own), longest, dtype=torch.long)
    seen, labels = torch.zeros_like(ids), torch.full_like(ids, -100)
    for row, example in enumerate(own):
        stop = len(example.ids)
        ids[row, :stop], seen[row, :stop] = torch.tensor(example.ids), 1
        labels[row, example.prompt_tokens : stop] = ids[row, example.prompt_tokens : stop]
    weights = [weight for pair in sites.values() for weight in pair]
    optimizer = torch.optim.AdamW(weights, lr=RATE, weight_decay=DECAY)
    for _ in range(STEPS):
        model(input_ids=ids, attention_mask=seen, labels=labels).loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        optimizer.zero_grad()
    return sites


@pytest.mark.filterwarnings("ignore")
def test_adapters_on_the_output_head_trained_together_equal_those_trained_alone_by_peft() -> None:
    lm, taught = tiny.tiny_lm("llama"), examples(3)
    taught[1] = taught[1][:1]
    bank = LoraBank(
        lm, num_variants=3, rank=4, alpha=8, seeds=(5, 6, 7), target_modules=("lm_head", "q_proj")
    )
    truth = [train_with_peft("llama", bank, n, taught[n], torch.float64) for n in range(3)]
    history = loop.train(lm, bank, taught, recipe(3))
    for variant in range(3):
        assert farthest(bank.matrices(variant), truth[variant]) <= 1e-3
    # What training ends on is what `evaluate` reads, variant by variant.
    read, _ = loop.evaluate(lm, bank, taught[0], 3)
    alone = [loop.evaluate(lm, bank.pick([n]), taught[0], 1)[0][0] for n in range(3)]
    np.testing.assert_allclose(read, alone, rtol=1e-5)
    assert read[0] < history.losses[0, 0]


@pytest.mark.filterwarnings("ignore")
def test_rank_stabilized_adapters_train_as_pefts_and_read_as_pefts_once_saved(
    tmp_path: Path,
) -> None:
    lm, taught = tiny.tiny_lm("llama"), examples(2)
    bank = LoraBank(lm, num_variants=2, rank=4, alpha=8, use_rslora=True)
    assert bank.scale == 4.0  # 8 / sqrt(4)
    truth = [train_with_peft("llama", bank, n, taught[n], torch.float64) for n in range(2)]
    loop.train(lm, bank, taught, recipe(2))
    for variant in range(2):
        assert farthest(bank.matrices(variant), truth[variant]) <= 1e-3
    bank.save(tmp_path, ["one", "other"])
    model = peft.PeftModel.from_pretrained(tiny.tiny_model("llama"), str(tmp_path / "other")).eval()
    ids = torch.tensor([[3, 4, 5, 6]])
    with torch.no_grad(), bank.routed([1]):
        own = lm.model(input_ids=ids).logits
    with torch.no_grad():
        torch.testing.assert_close(model(input_ids=ids).logits, own, atol=1e-5, rtol=0)
    again = LoraBank.load(lm, [tmp_path / "other"])
    with torch.no_grad(), again.routed([0]):
        torch.testing.assert_close(lm.model(input_ids=ids).logits, own, atol=1e-5, rtol=0)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("arch", tiny.ARCHITECTURES)
def test_adapters_trained_together_equal_adapters_trained_alone_by_peft(arch: str) -> None:
    """PEFT in float64 is the truth; where Adam blows rounding up, PEFT in float32 sets the bar."""
    lm, taught = tiny.tiny_lm(arch), examples(3)
    bank = LoraBank(lm, num_variants=3, rank=4, alpha=8, seeds=(5, 6, 7))
    # Gemma 2's eager attention gives NaN for padded rows in float64.
    truth = torch.float32 if arch == "gemma2" else torch.float64
    exact, rounded = (
        [train_with_peft(arch, bank, variant, taught[variant], dtype) for variant in range(3)]
        for dtype in (truth, torch.float32)
    )
    start = bank.master_weights.clone()
    loop.train(lm, bank, taught, recipe(3))
    assert (bank.master_weights - start).abs().max() > 0.05
    for variant in range(3):
        own = bank.matrices(variant)
        ours = farthest(own, exact[variant])
        assert ours <= max(1e-4, 3 * farthest(rounded[variant], exact[variant]))


def farthest(one: Matrices, other: Matrices) -> float:
    """Return the largest difference between two adapters' weights."""
    pairs = ((a, b) for name in one for a, b in zip(one[name], other[name], strict=True))
    return max((a.double() - b.double()).abs().max().item() for a, b in pairs)


def test_adapters_start_as_peft_starts_them() -> None:
    lm = tiny.tiny_lm("llama")
    bank = LoraBank(lm, num_variants=2, rank=4, seeds=(3, 3))
    a, b = bank.matrices(0)["model.layers.0.self_attn.q_proj"]
    assert not b.any()
    # Kaiming uniform with a = sqrt(5): the bound is sqrt(6 / ((1 + 5) * width)), width 32.
    assert 0.15 < a.abs().max() <= 32**-0.5
    assert torch.equal(bank.master_weights[0], bank.master_weights[1])


def test_the_base_is_untouched_outside_the_bank() -> None:
    lm, ids = tiny.tiny_lm("llama"), torch.arange(3, 23).reshape(2, 10)
    before = logits(lm, ids)
    bank = random_bank(lm, 2)
    with bank.routed([0, 1]):
        assert not torch.allclose(logits(lm, ids), before, atol=1e-2)
    loop.train(lm, bank, examples(2), recipe(2, steps=2))
    assert torch.equal(logits(lm, ids), before)
    assert not any(p.requires_grad or p.grad is not None for p in lm.model.parameters())


@pytest.mark.parametrize("arch", ["llama", "gpt2", "opt"])
@pytest.mark.parametrize("order", [[0, 0, 1, 1, 2, 2], [1, 2], [2, 0, 0, 1], [1, 1, 1]])
def test_every_row_runs_as_its_own_adapter(arch: str, order: list[int]) -> None:
    lm = tiny.tiny_lm(arch)
    bank = random_bank(lm, 3)
    ids = torch.randint(3, 300, (len(order), 9), generator=torch.manual_seed(1))
    with bank.routed(order):
        together = logits(lm, ids)
    for row, variant in enumerate(order):
        with bank.pick([variant]).routed([0]):
            alone = logits(lm, ids[row : row + 1])
        torch.testing.assert_close(together[row], alone[0], atol=1e-4, rtol=1e-5)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("arch", ["llama", "gpt2"])
def test_peft_reads_what_was_saved_and_gives_the_same_outputs(arch: str, tmp_path: Path) -> None:
    lm, ids = tiny.tiny_lm(arch), torch.arange(3, 15)[None]
    bank = random_bank(lm, 2)
    bank.save(tmp_path, ["draw=0", "draw=1"])
    with bank.routed([1]):
        expected = logits(lm, ids)
    model = peft.PeftModel.from_pretrained(tiny.tiny_model(arch), str(tmp_path / "draw=1"))
    with torch.no_grad():
        torch.testing.assert_close(model(ids).logits, expected, atol=1e-5, rtol=1e-5)
    again = LoraBank.load(lm, [tmp_path / "draw=0", tmp_path / "draw=1"])
    assert torch.equal(again.master_weights, bank.master_weights)
    assert (again.rank, again.alpha) == (bank.rank, bank.alpha)


@pytest.mark.filterwarnings("ignore")
def test_an_adapter_saved_by_peft_can_be_loaded(tmp_path: Path) -> None:
    lm, ids = tiny.tiny_lm("llama"), torch.arange(3, 15)[None]
    config = peft.LoraConfig(
        r=2, lora_alpha=3, target_modules=["o_proj", "down_proj"], init_lora_weights=False
    )
    model = peft.get_peft_model(tiny.tiny_model("llama"), config).eval()
    model.save_pretrained(str(tmp_path))
    bank = LoraBank.load(lm, [tmp_path])
    with torch.no_grad(), bank.routed([0]):
        torch.testing.assert_close(logits(lm, ids), model(ids).logits, atol=1e-5, rtol=1e-5)


def test_the_same_adapter_is_the_same_bytes_whoever_writes_it(tmp_path: Path) -> None:
    bank = random_bank(tiny.tiny_lm("llama"), 1)
    written = set()
    for n in range(12):
        bank.save(tmp_path, [f"{n}"])
        written.add((tmp_path / f"{n}" / "adapter_model.safetensors").read_bytes())
    assert len(written) == 1


def test_what_one_adapter_learns_cannot_reach_another() -> None:
    lm, taught = tiny.tiny_lm("llama"), examples(4)
    changed = [
        *taught[:3],
        [TokenizedExample(tuple(reversed(x.ids)), x.prompt_tokens) for x in taught[3]],
    ]
    banks = [LoraBank(lm, num_variants=4, rank=4) for _ in range(2)]
    for bank, given in zip(banks, (taught, changed), strict=True):
        loop.train(lm, bank, given, recipe(4, steps=5), width=PLAIN)
    assert torch.equal(banks[0].master_weights[:3], banks[1].master_weights[:3])
    assert not torch.equal(banks[0].master_weights[3], banks[1].master_weights[3])


def test_each_adapter_has_its_own_rate_and_number_of_steps() -> None:
    lm, taught = tiny.tiny_lm("llama"), examples(1)
    settings = ((5e-3, 6), (1e-3, 6), (5e-3, 2))
    rates, steps = zip(*settings, strict=True)
    bank = LoraBank(lm, num_variants=3, rank=4, seeds=(0, 0, 0))
    history = loop.train(
        lm,
        bank,
        taught * 3,
        TrainingConfig(rates, steps, (0, 0, 0), lr_scheduler="linear", warmup_steps=1),
    )
    assert np.isfinite(history.losses).sum(0).tolist() == [6, 6, 2]
    for variant, (rate, count) in enumerate(settings):
        alone = LoraBank(lm, num_variants=1, rank=4)
        loop.train(
            lm,
            alone,
            taught,
            TrainingConfig((rate,), (count,), (0,), lr_scheduler="linear", warmup_steps=1),
        )
        torch.testing.assert_close(
            alone.master_weights[0], bank.master_weights[variant], atol=1e-5, rtol=0
        )


@pytest.mark.parametrize("arch", tiny.ARCHITECTURES)
def test_sharing_the_instruction_changes_neither_loss_nor_gradient(arch: str) -> None:
    lm, taught = tiny.tiny_lm(arch), examples(2)
    bank = random_bank(lm, 2)
    found, computed = [], []
    for width in (PLAIN, 64):
        gradients = torch.zeros_like(bank.master_weights)
        losses = torch.zeros(2)
        for block in batches.lay_out(taught, width, block_tokens=10_000):
            with bank.training(block.first, block.last, gradients):
                own = block.losses(lm)
                own.sum().backward()
            losses[block.first : block.last] += block.per_variant(own)
            computed.append(block.tokens_computed)
        found.append((losses, gradients))
    assert computed[1] < computed[0]
    torch.testing.assert_close(found[0][0], found[1][0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found[0][1], found[1][1], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("arch", tiny.ARCHITECTURES)
def test_what_no_label_depends_on_can_be_left_out(arch: str, monkeypatch: Any) -> None:
    lm = tiny.tiny_lm(arch)
    # The first two are the same prompt with other answers: one token predicts both.
    ids = ((5, 6, 7, 8), (5, 6, 7, 9), (5, 8, 7, 4, 3))
    taught = [[TokenizedExample(row, 3) for row in ids]]
    bank = random_bank(lm, 1)
    block = batches.lay_out(taught, 64, block_tokens=1000)[0]
    results = []
    for everywhere in (True, False):
        if everywhere:
            monkeypatch.setattr(batches, "last_mlp_at", lambda *_: contextlib.nullcontext())
        gradients = torch.zeros_like(bank.master_weights)
        with bank.training(0, 1, gradients):
            losses = block.losses(lm, bank)
            losses.sum().backward()
        results.append((losses.detach(), gradients))
        monkeypatch.undo()
    torch.testing.assert_close(results[1][0], results[0][0], atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(results[1][1], results[0][1], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("block_tokens", [1, 40, 130])
def test_smaller_blocks_give_the_same_adapters(block_tokens: int) -> None:
    lm, taught = tiny.tiny_lm("llama"), examples(3)
    banks = [LoraBank(lm, num_variants=3, rank=4) for _ in range(2)]
    for bank, tokens in zip(banks, (10_000, block_tokens), strict=True):
        loop.train(lm, bank, taught, recipe(3, steps=4), width=32, block_tokens=tokens)
    torch.testing.assert_close(banks[0].master_weights, banks[1].master_weights, atol=1e-5, rtol=0)


def test_running_out_of_memory_halves_the_block_and_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lm, taught = tiny.tiny_lm("llama"), examples(3)
    expected = LoraBank(lm, num_variants=3, rank=4)
    loop.train(lm, expected, taught, recipe(3, steps=3), width=PLAIN)
    real = batches.Block.losses
    refused = []

    def scarce(block: batches.Block, lm: LM, weights: Any) -> torch.Tensor:
        if block.tokens_computed > 100 or (block.first == 1 and len(refused) == 2):
            refused.append(block.tokens_computed)
            raise torch.OutOfMemoryError("out of memory")
        return real(block, lm, weights)

    monkeypatch.setattr(batches.Block, "losses", scarce)
    bank = LoraBank(lm, num_variants=3, rank=4)
    loop.train(lm, bank, taught, recipe(3, steps=3), width=PLAIN, block_tokens=400)
    assert len(refused) == 3
    torch.testing.assert_close(bank.master_weights, expected.master_weights, atol=1e-5, rtol=0)


def test_dropout_of_one_adapter_does_not_depend_on_the_others() -> None:
    lm, taught = tiny.tiny_lm("llama"), examples(3)
    longer = [TokenizedExample((7, 8, 9, *x.ids), x.prompt_tokens + 3) for x in taught[2]]
    banks = [LoraBank(lm, num_variants=3, rank=4, dropout=0.3) for _ in range(2)]
    for bank, given in zip(banks, (taught, [*taught[:2], longer]), strict=True):
        loop.train(lm, bank, given, recipe(3, steps=3))
    torch.testing.assert_close(
        banks[0].master_weights[:2], banks[1].master_weights[:2], atol=1e-5, rtol=0
    )
    without = LoraBank(lm, num_variants=3, rank=4)
    loop.train(lm, without, taught, recipe(3, steps=3))
    assert not torch.allclose(without.master_weights[0], banks[0].master_weights[0], atol=1e-4)


def test_dropout_drops_its_share_of_inputs_and_scales_up_the_rest() -> None:
    lm = tiny.tiny_lm("llama")
    bank = random_bank(lm, 1, dropout=0.25, target_modules=["layers.0.self_attn.q_proj"])
    seen = []
    site = bank.sites[0]
    a, b = bank.matrices(0)[site.name]
    with torch.no_grad():
        a.zero_()[0, 0] = 1
        b.zero_()[0, 0] = 1
    before = lm.model.get_submodule(site.name)
    with bank.training(0, 1, torch.zeros_like(bank.master_weights)):
        handle = before.register_forward_hook(lambda m, x, y: seen.append((x[0], y)))
        lm.model(input_ids=torch.arange(300)[None, :250])
        handle.remove()
    x, y = seen[0]
    added = (y - torch.nn.functional.linear(x, before.weight))[0, :, 0].detach()
    kept = added.abs() > 1e-6
    # Scale alpha / rank is 2; what is kept is divided by 0.75.
    torch.testing.assert_close(added[kept], (x[0, :, 0] * 2 / 0.75)[kept], atol=1e-4, rtol=1e-4)
    assert 0.15 < 1 - kept.float().mean() < 0.35


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"rank": 0}, "rank 0"),
        ({"dropout": 1.0}, "dropout 1.0"),
        ({"target_modules": ["q_prj"]}, "did you mean 'q_proj'"),
        ({"target_modules": ["self_attn"]}, "expected a linear module"),
    ],
)
def test_a_bank_that_cannot_be_made_says_why(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        LoraBank(tiny.tiny_lm("llama"), num_variants=1, **settings)


def test_adapters_that_do_not_fit_the_model_are_refused(tmp_path: Path) -> None:
    lm = tiny.tiny_lm("llama")
    for name, rank in (("a", 4), ("b", 2)):
        LoraBank(lm, num_variants=1, rank=rank).save(tmp_path, [name])
    with pytest.raises(UserError, match="is not a saved adapter"):
        LoraBank.load(lm, [tmp_path / "missing"])
    with pytest.raises(UserError, match="was made for a model with other files"):
        LoraBank.load(tiny.tiny_lm("gemma3"), [tmp_path / "a"])
    weights = tmp_path / "a" / "adapter_model.safetensors"
    safetensors.torch.save_file(safetensors.torch.load_file(weights), weights)
    with pytest.raises(UserError, match=r"\[32, 4\], but model .tiny-gemma3. needs \[64, 4\]"):
        LoraBank.load(tiny.tiny_lm("gemma3"), [tmp_path / "a"])
    config = tmp_path / "b" / "adapter_config.json"
    config.write_text(config.read_text().replace('"r": 2', '"r": 2, "use_dora": true'))
    with pytest.raises(UserError, match="DoRA"):
        LoraBank.load(lm, [tmp_path / "b"])
    (tmp_path / "a" / "adapter_model.safetensors").write_bytes(b"not weights")
    with pytest.raises(UserError, match="damaged"):
        LoraBank.load(lm, [tmp_path / "a"])
