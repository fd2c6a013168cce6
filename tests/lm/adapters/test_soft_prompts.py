"""A soft prompt reads and trains as the peft library's, however texts are packed and shared."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import safetensors.torch
import torch
import transformers

import tiny
from adaptlens.adapt import loop
from adaptlens.adapt.batches import TokenizedExample
from adaptlens.adapt.optimizer import TrainingConfig
from adaptlens.errors import UserError
from adaptlens.lm.adapters import peft_files
from adaptlens.lm.adapters.bank import LoraBank
from adaptlens.lm.adapters.soft_prompts import SoftPrompts
from adaptlens.lm.generate import generate
from adaptlens.lm.load import LM, assemble
from adaptlens.lm.prefix.boundaries import Request
from adaptlens.lm.prefix.walk import ForwardStats
from adaptlens.lm.score import score
from adaptlens.lm.states import Place, states_at

pytestmark = pytest.mark.filterwarnings("ignore")

TOKENS, VARIANTS = 4, 3
STEM = (5, 6, 7, 8, 9, 10, 11, 12)
REQUESTS = [
    Request((*STEM, *own), ((40,), (41, 42)), variant)
    for variant in (2, 0, 1)
    for own in ((20, 21), (22, 23, 24), (25,))
]
ARCHS = ["llama", "gpt2", "gemma2", "gemma3", "opt", "phi3", "gpt_neox"]
STEPS, RATE = 20, 0.02
TAUGHT = [
    [TokenizedExample((5, 6, 7, 8, 9), 4), TokenizedExample((5, 6, 9, 10, 11, 12), 4)],
    [TokenizedExample((30, 31, 32, 33), 3)],
    [TokenizedExample((40, 41, 42, 43, 44), 3), TokenizedExample((40, 45, 46), 2)],
]


def prompts_of(lm: LM, scale: float = 1.0) -> SoftPrompts:
    width = lm.model.get_input_embeddings().weight.shape[1]
    made = torch.randn(VARIANTS, TOKENS, width, generator=torch.manual_seed(0))
    return SoftPrompts(lm, scale * made)


def peft_model(model: Any, prompts: SoftPrompts, variant: int) -> Any:
    """Return the variant as the peft library runs it."""
    own = prompts.embeddings(prompts.master_weights)[variant]
    config = peft.PromptTuningConfig(
        task_type="CAUSAL_LM", num_virtual_tokens=len(own), token_dim=own.shape[1]
    )
    made = peft.get_peft_model(model, config).eval()
    made.prompt_encoder["default"].embedding.weight.data.copy_(own)
    return made


def logits(model: Any, ids: tuple[int, ...]) -> torch.Tensor:
    """Return peft's logits at each of the ids, those of virtual tokens left out."""
    with torch.no_grad():
        asked = torch.tensor([list(ids)])
        found = model(input_ids=asked, attention_mask=torch.ones_like(asked)).logits[0]
    return found[-len(ids) :]


def assert_scored_as_peft(lm: LM, model: Any, prompts: SoftPrompts) -> ForwardStats:
    work = ForwardStats()
    found = score(lm, REQUESTS, prompts, work=work)
    for variant in range(VARIANTS):
        theirs = peft_model(model(), prompts, variant)
        for request, own in zip(REQUESTS, found, strict=True):
            if request.variant != variant:
                continue
            for answer, value in zip(request.answers_ids, own, strict=True):
                whole = (*request.prompt_ids, *answer)
                logs = logits(theirs, whole).log_softmax(-1)
                start = len(request.prompt_ids)
                expected = sum(float(logs[i - 1, whole[i]]) for i in range(start, len(whole)))
                assert value == pytest.approx(expected, abs=1e-4)
    return work


@pytest.mark.parametrize("arch", ARCHS)
def test_answers_are_scored_as_peft_says(arch: str) -> None:
    lm = tiny.tiny_lm(arch)
    bare = score(lm, REQUESTS)
    prompts = prompts_of(lm)
    work = assert_scored_as_peft(lm, lambda: tiny.tiny_model(arch), prompts)
    # Each variant reads its own four tokens and the stem once, at most; the base is untouched.
    assert work.unshared == 0
    assert work.tokens_given == VARIANTS * 2 * (3 * (TOKENS + len(STEM)) + 6) + VARIANTS * 3
    assert work.tokens_computed == VARIANTS * (TOKENS + len(STEM) + 6 + 3)
    np.testing.assert_array_equal(np.concatenate(score(lm, REQUESTS)), np.concatenate(bare))


def test_a_model_whose_inside_is_not_known_scores_as_peft_says() -> None:
    def model() -> Any:
        config = transformers.MambaConfig(
            vocab_size=tiny.VOCAB, hidden_size=32, num_hidden_layers=2, state_size=4,
            initializer_range=0.3, eos_token_id=2, pad_token_id=0, bos_token_id=1,
        )  # fmt: skip
        torch.manual_seed(0)
        return transformers.AutoModelForCausalLM.from_config(config).eval().requires_grad_(False)

    lm = assemble(model(), tiny.tiny_tokenizer(), name="mamba", digest="mamba")
    prompts = prompts_of(lm)
    found = score(lm, REQUESTS[:1], prompts)[0]
    own = prompts.embeddings(prompts.master_weights)[REQUESTS[0].variant]
    table = lm.model.get_input_embeddings()
    for answer, value in zip(REQUESTS[0].answers_ids, found, strict=True):
        whole = torch.tensor([(*REQUESTS[0].prompt_ids, *answer)])
        with torch.no_grad():
            given = torch.cat([own[None], table(whole)], 1)
            logs = lm.model(inputs_embeds=given).logits[0, TOKENS:].log_softmax(-1)
        start = len(REQUESTS[0].prompt_ids)
        expected = sum(float(logs[i - 1, whole[0, i]]) for i in range(start, whole.shape[1]))
        assert value == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("arch", ["llama", "gpt2", "gemma3"])
def test_texts_are_written_as_peft_writes_them(arch: str) -> None:
    lm = tiny.tiny_lm(arch)
    prompts = prompts_of(lm)
    texts = generate(lm, REQUESTS, 5, weights=prompts)
    for request, text in zip(REQUESTS, texts, strict=True):
        theirs = peft_model(tiny.tiny_model(arch), prompts, request.variant)
        ids = list(request.prompt_ids)
        for _ in range(5):
            ids.append(int(logits(theirs, tuple(ids))[-1].argmax()))
            if ids[-1] in lm.eos_ids:
                ids.pop()
                break
        assert text == lm.tokenizer.decode(
            ids[len(request.prompt_ids) :],
            skip_special_tokens=True,
            clean_up_tokenization_spaces=False,
        )
    assert texts != generate(lm, REQUESTS, 5)


def test_states_are_those_after_the_virtual_tokens() -> None:
    lm = tiny.tiny_lm("llama")
    prompts = prompts_of(lm)
    ids = (5, 6, 7)
    found = states_at(lm, [Place(ids, (1,), 1), Place(ids, (1, 2), 2)], prompts)
    for variant, tokens, states in ((1, [-1], found.residual[0]), (2, [-1, -2], found.residual[1])):
        own = prompts.embeddings(prompts.master_weights)[variant]
        with torch.no_grad():
            given = torch.cat([own, lm.model.get_input_embeddings()(torch.tensor(ids))])[None]
            kept = lm.model(inputs_embeds=given, output_hidden_states=True).hidden_states
        for layer in range(3):
            expected = kept[layer][0, tokens].mean(0).numpy()
            np.testing.assert_allclose(states[layer], expected, atol=1e-4)


@pytest.mark.parametrize("arch", ["llama", "gpt2"])
def test_soft_prompts_trained_together_equal_those_trained_alone_by_peft(arch: str) -> None:
    lm = tiny.tiny_lm(arch)
    prompts = prompts_of(lm)
    models = [peft_model(tiny.tiny_model(arch).double(), prompts, n) for n in range(VARIANTS)]
    before = prompts.master_weights.clone()
    config = TrainingConfig((RATE,) * 3, (STEPS,) * 3, (0, 1, 2), weight_decay=0.01)
    taught = [
        [TokenizedExample(prompts.virtual_ids + one.ids, TOKENS + one.prompt_tokens) for one in own]
        for own in TAUGHT
    ]
    history = loop.train(lm, prompts, taught, config)
    for variant, model in enumerate(models):
        theirs = train(model, TAUGHT[variant])
        own = prompts.embeddings(prompts.master_weights)[variant]
        torch.testing.assert_close(own.double(), theirs, atol=1e-3, rtol=0)
    assert (prompts.master_weights - before).abs().max() > 0.05
    assert (history.losses[-1] < history.losses[0]).all()
    # What training ends on is what is read.
    read, counts = loop.evaluate(lm, prompts, taught[0], VARIANTS)
    alone = [loop.evaluate(lm, prompts.pick([n]), taught[0], 1)[0][0] for n in range(VARIANTS)]
    np.testing.assert_allclose(read, alone, rtol=1e-5)
    assert counts.tokens_given == VARIANTS * (2 * TOKENS + 5 + 6)


def train(model: Any, own: list[TokenizedExample]) -> torch.Tensor:
    """Train as PEFT's users do: a padded batch with labels."""
    model.double()
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
    return model.prompt_encoder["default"].embedding.weight.detach()


def test_what_is_saved_reads_the_same_here_and_in_peft(tmp_path: Path) -> None:
    lm = tiny.tiny_lm("llama")
    prompts = prompts_of(lm)
    prompts.save(tmp_path, ["a", "b", "c"])
    theirs = peft.PeftModel.from_pretrained(tiny.tiny_model("llama"), str(tmp_path / "b")).eval()
    expected = logits(peft_model(tiny.tiny_model("llama"), prompts, 1), STEM)
    torch.testing.assert_close(logits(theirs, STEM), expected)
    again = SoftPrompts.load(lm, tmp_path / "b")
    assert torch.equal(again.master_weights, prompts.master_weights[1:2])
    theirs.save_pretrained(tmp_path / "theirs")
    there = SoftPrompts.load(lm, tmp_path / "theirs")
    assert torch.equal(there.master_weights, prompts.master_weights[1:2])


def test_what_is_no_soft_prompt_of_this_model_is_told(tmp_path: Path) -> None:
    lm = tiny.tiny_lm("llama")
    prompts_of(lm).save(tmp_path, ["a", "b", "c"])
    LoraBank(lm, num_variants=1, rank=2).save(tmp_path, ["lora"])
    with pytest.raises(UserError, match="is of type LORA; expected PROMPT_TUNING"):
        SoftPrompts.load(lm, tmp_path / "lora")
    with pytest.raises(UserError, match="was made for a model with other files"):
        SoftPrompts.load(tiny.tiny_lm("gpt2"), tmp_path / "a")
    weights = tmp_path / "a" / peft_files.WEIGHTS
    for made, said in (
        ({"prompt_embeddings": torch.zeros(4, 8)}, r"the shape \[4, 8\] for prompt_embeddings"),
        ({"other": torch.zeros(4, 32)}, "has none for prompt_embeddings"),
        ({"prompt_embeddings": torch.full((4, 32), torch.nan)}, "holds what is no number"),
    ):
        safetensors.torch.save_file(made, weights)
        with pytest.raises(UserError, match=said):
            SoftPrompts.load(lm, tmp_path / "a")
    assert json.loads((tmp_path / "b" / peft_files.CONFIG).read_text())["num_virtual_tokens"] == 4


def test_a_text_that_fits_only_without_the_virtual_tokens_is_refused() -> None:
    lm = tiny.tiny_lm("llama")
    longest = Request((5,) * (tiny.CONTEXT_TOKENS - TOKENS + 1), ((40,),))
    with pytest.raises(UserError, match="has 257 tokens, 1 more than the context"):
        score(lm, [longest], prompts_of(lm))
