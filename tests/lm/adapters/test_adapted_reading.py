"""Whatever is tuned is what is read: every reading equals the adapted model's own forward pass."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch
import transformers

import tiny
from adaptlens.errors import UserError
from adaptlens.lm.adapters import targets
from adaptlens.lm.adapters.bank import LoraBank
from adaptlens.lm.adapters.full_weights import FullVariants
from adaptlens.lm.generate import generate
from adaptlens.lm.load import LM, assemble
from adaptlens.lm.patching.patch import sweep
from adaptlens.lm.prefix.boundaries import Request
from adaptlens.lm.score import score
from adaptlens.lm.states import Place, as_variant, lens, readout, states_at
from adaptlens.lm.units import Pair, Unit
from adaptlens.types import Weights

pytestmark = pytest.mark.filterwarnings("ignore")

KINDS = [
    ("llama", False), ("llama", True), ("gpt2", True), ("gpt2", False), ("gemma2", True),
    ("opt", True), ("phi3", False), ("gptj", False), ("gpt_neox", False), ("mamba", True),
]  # fmt: skip
NUM_VARIANTS = 3
STEM = (5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16)
REQUESTS = [
    Request((*STEM, *own), ((40,), (41, 42), (43,)), variant)
    for variant in (2, 0, 1)
    for own in ((20, 21), (22, 23, 24), (25,))
]
TOKENS = (40, 41, 43)


def tied_model(arch: str, tied: bool) -> Any:
    if arch != "mamba":
        return tiny.tiny_model(arch, tie_word_embeddings=tied)
    config = transformers.MambaConfig(
        vocab_size=tiny.VOCAB, hidden_size=32, num_hidden_layers=2, state_size=4,
        initializer_range=0.3, eos_token_id=2, pad_token_id=0, bos_token_id=1,
    )  # fmt: skip
    torch.manual_seed(0)
    return transformers.AutoModelForCausalLM.from_config(config).eval().requires_grad_(False)


def language_model(arch: str, tied: bool) -> LM:
    return assemble(tied_model(arch, tied), tiny.tiny_tokenizer(), name=arch, digest=arch)


def linear_maps(model: Any) -> list[str]:
    """Return the last parts of the names of all linear maps, the output head's among them."""
    kinds = (torch.nn.Linear, transformers.pytorch_utils.Conv1D)
    return sorted({n.rpartition(".")[2] for n, m in model.named_modules() if isinstance(m, kinds)})


def random_bank(lm: LM, targets: Sequence[str]) -> LoraBank:
    bank = LoraBank(lm, num_variants=NUM_VARIANTS, rank=2, alpha=4, target_modules=targets)
    bank.master_weights += 0.3 * torch.randn(
        bank.master_weights.shape, generator=torch.manual_seed(0)
    )
    return bank


def log_probabilities(model: Any, ids: Sequence[int]) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=torch.tensor([list(ids)])).logits[0].float().log_softmax(-1)


def own_scores(model: Any, request: Request) -> list[float]:
    found = []
    for answer in request.answers_ids:
        logs = log_probabilities(model, (*request.prompt_ids, *answer))
        start = len(request.prompt_ids) - 1
        found.append(sum(float(logs[start + i, token]) for i, token in enumerate(answer)))
    return found


def check_all(lm: LM, weights: Weights, truths: Sequence[Any]) -> None:
    """Compare score, generation, states, lens, readout and patching with the models themselves."""
    found = score(lm, REQUESTS, weights)
    for request, own in zip(REQUESTS, found, strict=True):
        wanted = own_scores(truths[request.variant], request)
        np.testing.assert_allclose(own, wanted, rtol=1e-4, atol=1e-4)
    texts = generate(lm, REQUESTS, 5, weights=weights)
    for request, text in zip(REQUESTS, texts, strict=True):
        out = truths[request.variant].generate(
            input_ids=torch.tensor([request.prompt_ids]),
            attention_mask=torch.ones(1, len(request.prompt_ids), dtype=torch.long),
            do_sample=False, max_new_tokens=5,
        )  # fmt: skip
        written = out[0, len(request.prompt_ids) :].tolist()
        assert text == lm.tokenizer.decode(written, skip_special_tokens=True)
    if lm.architecture is not None:
        check_inside(lm, weights, truths)


def check_inside(lm: LM, weights: Weights, truths: Sequence[Any]) -> None:
    assert lm.architecture is not None
    places = [Place(request.prompt_ids, variant=request.variant) for request in REQUESTS]
    states = states_at(lm, places, weights)
    for n, request in enumerate(REQUESTS):
        with torch.no_grad():
            own = truths[request.variant](
                input_ids=torch.tensor([request.prompt_ids]), output_hidden_states=True
            )
        wanted = [hidden[0, -1].numpy() for hidden in own.hidden_states]
        close(states.residual[n, :-1], np.stack(wanted[:-1]))
        close(states.final[n], wanted[-1])
        logits = own.logits[0, -1]
        with as_variant(weights, request.variant):
            seen = lens(lm, states.residual[n], TOKENS)
            _, rows = readout(lm, TOKENS)
            bias = getattr(lm.architecture.unembed, "bias", None)
            offset = 0.0 if bias is None else float(bias[TOKENS[0]] - bias[TOKENS[1]])
        close(seen[-1, :-1], logits.log_softmax(-1)[list(TOKENS)].numpy())
        if lm.architecture.final_softcap is None:
            apart = (rows[0] - rows[1]) @ states.final[n]
            close(apart + offset, float(logits[TOKENS[0]] - logits[TOKENS[1]]))
    check_patching(lm, weights, truths)


def check_patching(lm: LM, weights: Weights, truths: Sequence[Any]) -> None:
    last = len(STEM) + 1
    pairs = [
        Pair((*STEM, 20, 21), (*STEM, 22, 21), 40, 43, ((last,),), variant)
        for variant in range(NUM_VARIANTS)
    ]
    assert lm.architecture is not None
    top = Unit("residual", lm.architecture.num_layers - 1)
    effects = sweep(lm, pairs, units=[top, Unit("head", 0)], weights=weights)
    for n, pair in enumerate(pairs):
        for ids, found in ((pair.clean, effects.clean[n]), (pair.corrupt, effects.corrupt[n])):
            logs = log_probabilities(truths[pair.variant], ids)[-1]
            close(found[0], float(logs[40] - logs[43]))
            close(found[1], float(logs[40]))
        # With the clean run's last state put in, the corrupt run says what the clean one says.
        close(effects.values[n, 0, 0, 0], effects.clean[n, 0])


def close(found: Any, wanted: Any) -> None:
    np.testing.assert_allclose(found, wanted, rtol=2e-4, atol=2e-4)


def peft_models(arch: str, tied: bool, bank: LoraBank, folder: Path) -> Iterator[Any]:
    bank.save(folder, [str(n) for n in range(NUM_VARIANTS)])
    for n in range(NUM_VARIANTS):
        yield peft.PeftModel.from_pretrained(tied_model(arch, tied), str(folder / str(n))).eval()


@pytest.mark.parametrize(("arch", "tied"), KINDS)
def test_every_linear_map_that_lora_adapts_is_read_adapted(
    arch: str, tied: bool, tmp_path: Path
) -> None:
    lm = language_model(arch, tied)
    # PEFT itself refuses Mamba's out_proj; see below for its dt_proj.
    names = [
        n for n in linear_maps(lm.model) if arch != "mamba" or n not in ("dt_proj", "out_proj")
    ]
    assert "lm_head" in names
    inner = [name for name in names if name != "lm_head"]
    for number, chosen in enumerate([["lm_head"], inner, names]):
        bank = random_bank(lm, chosen)
        check_all(lm, bank, list(peft_models(arch, tied, bank, tmp_path / str(number))))


@pytest.mark.parametrize("name", linear_maps(tied_model("llama", False)))
def test_each_linear_map_of_llama_on_its_own(name: str, tmp_path: Path) -> None:
    lm = language_model("llama", False)
    bank = random_bank(lm, [name])
    base = score(lm, REQUESTS)
    found = score(lm, REQUESTS, bank)
    assert max(np.abs(a - b).max() for a, b in zip(base, found, strict=True)) > 1e-2
    check_all(lm, bank, list(peft_models("llama", False, bank, tmp_path)))


@pytest.mark.parametrize(("arch", "tied"), KINDS)
def test_full_tuning_is_read_with_its_own_norm_and_head(arch: str, tied: bool) -> None:
    lm = language_model(arch, tied)
    generator = torch.Generator().manual_seed(1)
    variants = [
        [p + 0.1 * torch.randn(p.shape, generator=generator) for p in lm.model.parameters()]
        for _ in range(NUM_VARIANTS)
    ]
    truths = []
    for own in variants:
        model = tied_model(arch, tied)
        for parameter, numbers in zip(model.parameters(), own, strict=True):
            parameter.data = numbers.clone()
        truths.append(model)
    check_all(lm, FullVariants(lm, variants), truths)


@pytest.mark.parametrize("tied", [True, False])
def test_lora_on_the_embeddings_is_refused_by_name(tied: bool) -> None:
    with pytest.raises(UserError, match=r"embed_tokens.*Embedding") as caught:
        LoraBank(language_model("llama", tied), num_variants=1, target_modules=["embed_tokens"])
    assert "\n" not in str(caught.value)


def test_a_map_whose_weight_is_used_without_its_module_is_refused_by_name() -> None:
    with pytest.raises(UserError, match=r"dt_proj of 'mamba' does not run on every token"):
        LoraBank(language_model("mamba", True), num_variants=1, target_modules=["dt_proj"])


def test_without_known_projections_the_modules_that_can_be_tuned_are_named() -> None:
    with pytest.raises(
        UserError, match=r'tunes \(in_proj, out_proj, x_proj\), such as --set "tune.target_modules='
    ):
        LoraBank(language_model("mamba", True), num_variants=1)


def test_where_no_module_can_be_tuned_full_tuning_is_named(monkeypatch) -> None:
    monkeypatch.setattr(targets, "_reached", lambda lm, modules: set())
    with pytest.raises(UserError, match=r"no linear module that runs on every token; tune it in f"):
        LoraBank(language_model("mamba", True), num_variants=1)


def test_attention_in_some_layers_only_is_tuned_at_its_queries_and_values() -> None:
    lm = assemble(recurrent_gemma(), tiny.tiny_tokenizer(), name="m", digest="")
    bank = LoraBank(lm, num_variants=1, rank=2)
    assert sorted(bank.matrices(0)) == [
        "model.layers.2.temporal_block.q_proj",
        "model.layers.2.temporal_block.v_proj",
    ]


def recurrent_gemma() -> Any:
    config = transformers.RecurrentGemmaConfig(
        vocab_size=tiny.VOCAB,
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=3,
        num_attention_heads=4,
        lru_width=32,
    )
    return transformers.AutoModelForCausalLM.from_config(config)


@pytest.mark.parametrize("tied", [False, True])
def test_a_tuned_output_head_saved_by_peft_is_read_and_another_base_is_refused(
    tied: bool, tmp_path: Path
) -> None:
    """PEFT saves the head's own weight along with an adapter on it."""
    config = peft.LoraConfig(
        r=2, lora_alpha=3, target_modules=["lm_head", "q_proj"], init_lora_weights=False,
        task_type="CAUSAL_LM",
    )  # fmt: skip
    model = peft.get_peft_model(tied_model("llama", tied), config).eval()
    model.save_pretrained(str(tmp_path))
    lm = language_model("llama", tied)
    requests = [Request(r.prompt_ids, r.answers_ids) for r in REQUESTS[:2]]
    found = score(lm, requests, LoraBank.load(lm, [tmp_path]))
    for request, own in zip(requests, found, strict=True):
        np.testing.assert_allclose(own, own_scores(model, request), rtol=1e-4, atol=1e-4)
    other = assemble(
        tiny.tiny_model("llama", 1, tie_word_embeddings=tied), tiny.tiny_tokenizer(),
        name="other", digest="other",
    )  # fmt: skip
    with pytest.raises(UserError, match=r"weights of its own for lm_head.weight, others than"):
        LoraBank.load(other, [tmp_path])
