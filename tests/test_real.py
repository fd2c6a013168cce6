"""On a small real model, SmolLM2-135M-Instruct: `make test-real`."""

import copy
import hashlib
import json

import numpy as np
import peft
import pytest
import torch
import transformers
from click.testing import CliRunner

from adaptlens.adapt import loop
from adaptlens.adapt.batches import TokenizedExample
from adaptlens.adapt.optimizer import TrainingConfig
from adaptlens.cli.main import main
from adaptlens.lm.adapters.bank import LoraBank
from adaptlens.lm.load import load
from adaptlens.lm.patching.patch import sweep
from adaptlens.lm.score import Request, score
from adaptlens.lm.states import attention_outputs
from adaptlens.lm.units import Pair, Unit
from adaptlens.models import identity, obtainable
from adaptlens.store import Run
from adaptlens.studies import stored
from naive_patching import naive

NAME = "smollm2"
PATH = obtainable.place(NAME)
pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(
        not PATH.is_file(), reason=f"{NAME} is not here: get it with `adaptlens models get {NAME}`"
    ),
]

PROMPTS = {
    "The capital of France is": (" Paris", " Berlin", " a large city"),
    "Review: a dull and lifeless film\nSentiment:": (" negative", " positive"),
    "Review: warm, funny and moving\nSentiment:": (" negative", " positive"),
    "2, 4, 6, 8,": (" 10", " 11", " 12"),
    "Q: How many legs has a spider?\n\n8 legs.\n\nQ: And an ant?\n\n": ("6 legs.", "4 legs."),
}


@pytest.fixture(scope="module")
def lm():
    return load(NAME, device="cpu")


@pytest.fixture(scope="module")
def plain():
    """The model as transformers alone reads it."""
    return transformers.AutoModelForCausalLM.from_pretrained(
        PATH.parent, gguf_file=PATH.name, dtype=torch.float32
    ).eval()


def test_the_file_is_the_one_that_is_pinned(lm):
    content = PATH.read_bytes()
    model = obtainable.MODELS[NAME]
    assert len(content) == model.size_bytes
    assert hashlib.sha256(content).hexdigest() == model.sha256
    assert lm.digest == identity.digest(PATH) == identity.identify(NAME).digest


def test_what_is_said_of_it_holds(lm):
    assert sum(p.numel() for p in lm.model.parameters()) == obtainable.MODELS[NAME].parameters
    assert (lm.shares_prefix, lm.context_tokens, lm.eos_ids) == (True, 8192, (2,))
    assert "stored quantized (Q4_1, with Q8_0 and F32 for some)" in lm.notes[0]


def test_log_likelihoods_are_those_of_a_plain_forward(lm, plain):
    ids = {
        prompt: [lm.tokenizer(answer).input_ids for answer in answers]
        for prompt, answers in PROMPTS.items()
    }
    asked = [
        Request(tuple(lm.encode(prompt)), tuple(map(tuple, answers)))
        for prompt, answers in ids.items()
    ]
    for (prompt, answers), found in zip(ids.items(), score(lm, asked), strict=True):
        start = lm.tokenizer(prompt).input_ids
        for answer, value in zip(answers, found, strict=True):
            with torch.no_grad():
                logits = plain(torch.tensor([start + answer])).logits[0].log_softmax(-1)
            naive = sum(float(logits[len(start) - 1 + i, t]) for i, t in enumerate(answer))
            assert value == pytest.approx(naive, abs=1e-4)


def test_it_knows_what_a_language_model_knows(lm):
    """Weights in the wrong order would still pass for a model; they would not know this."""
    first = {
        "The capital of France is": " Paris",
        "2, 4, 6, 8,": " ",
        "Once upon a": " time",
    }
    for prompt, wanted in first.items():
        with torch.no_grad():
            best = lm.model(torch.tensor([lm.encode(prompt)])).logits[0, -1].argmax()
        assert lm.tokenizer.decode(best) == wanted


def test_the_chat_template_comes_through():
    lm = load(f"chat:{NAME}", device="cpu")
    assert lm.render_chat([{"role": "user", "content": "Hi"}]) == (
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face"
        "<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    )


def examples(lm):
    made = []
    for review, answer in (("dull and lifeless", " negative"), ("warm and funny", " positive")):
        prompt = lm.encode(f"Review: {review}\nSentiment:")
        made.append(TokenizedExample((*prompt, *lm.tokenizer(answer).input_ids), len(prompt)))
    return made


def test_a_step_of_the_bank_is_a_step_of_peft(lm, plain):
    """The gradient's direction, which the first step of AdamW takes, is the same everywhere."""
    rate, taught = 1e-3, examples(lm)
    bank = LoraBank(lm, num_variants=2, rank=4, alpha=8, seeds=(5, 6))
    start = {name: [w.clone() for w in pair] for name, pair in bank.matrices(1).items()}
    model = peft.get_peft_model(
        copy.deepcopy(plain),
        peft.LoraConfig(
            r=4, lora_alpha=8, target_modules=list(bank.target_modules), task_type="CAUSAL_LM"
        ),
    ).eval()
    sites = {
        name.removeprefix("base_model.model."): [
            m.lora_A["default"].weight,
            m.lora_B["default"].weight,
        ]
        for name, m in model.named_modules()
        if hasattr(m, "lora_A")
    }
    with torch.no_grad():
        for name, pair in start.items():
            for weight, value in zip(sites[name], pair, strict=True):
                weight.copy_(value)
    loop.train(
        lm, bank, [taught, taught], TrainingConfig((rate,) * 2, (1,) * 2, (0, 1), weight_decay=0.0)
    )
    loss = torch.zeros(())
    tokens = sum(len(example.ids) - example.prompt_tokens for example in taught)
    for example in taught:
        ids = torch.tensor([example.ids])
        logits = model(input_ids=ids).logits[0].log_softmax(-1)
        for at in range(example.prompt_tokens, len(example.ids)):
            loss = loss - logits[at - 1, ids[0, at]] / tokens
    weights = [weight for pair in sites.values() for weight in pair]
    loss.backward()
    torch.nn.utils.clip_grad_norm_(weights, 1.0)
    torch.optim.AdamW(weights, lr=rate, weight_decay=0.0).step()
    moved = 0
    for name, pair in bank.matrices(1).items():
        for own, other, before in zip(pair, sites[name], start[name], strict=True):
            firm = (
                other.grad.abs() > 1e-5
            )  # AdamW divides by the gradient: where it is nothing, noise
            moved += int(firm.sum())
            np.testing.assert_allclose(own[firm], other.detach()[firm], atol=1e-5)
            assert not torch.equal(own, before) or not firm.any()
    assert moved > 1000


def test_what_attention_puts_out_is_what_hooks_on_a_plain_model_see(lm, plain):
    """In every layer, after a beginning that three texts share."""
    stem = "Review: warm, funny and moving\nSentiment: positive\n\n" * 4
    ends = ("Review: dull\nSentiment: negative", "Review: a fine, quiet film\nSentiment:", "So")
    texts = [lm.encode(stem + end) for end in ends]
    first = [len(ids) - 2 for ids in texts]
    found = attention_outputs(lm, texts, first)
    for ids, start, own in zip(texts, first, found, strict=True):
        seen: list[torch.Tensor] = []
        hooks = [
            layer.self_attn.register_forward_hook(lambda _, __, out, to=seen: to.append(out[0]))
            for layer in plain.model.layers
        ]
        with torch.no_grad():
            plain(input_ids=torch.tensor([ids]))
        for hook in hooks:
            hook.remove()
        expected = torch.stack([states[0, start:] for states in seen], 1).numpy()
        assert own.shape == (2, 30, 576)
        np.testing.assert_allclose(own, expected, atol=1e-3 * np.abs(expected).max())


WORDS = {
    "positive": ("lovely", "wonderful", "charming", "brilliant", "delightful", "superb"),
    "negative": ("awful", "dreadful", "boring", "terrible", "clumsy", "tedious"),
}


def reviews(num_rows: int) -> str:
    """Return a file of made-up reviews, half of them good."""
    rows = ["text\tlabel"]
    for i in range(num_rows):
        label = ("negative", "positive")[i % 2]
        rows.append(f"number {i} was {WORDS[label][i // 2 % 6]}\t{label}")
    return "\n".join(rows) + "\n"


@pytest.fixture(scope="module")
def reviews_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("task") / "reviews.tsv"
    path.write_text(reviews(40))
    return path


def carried_out(verb, task, folder, *more):
    """Return what a command prints as JSON, run on the model and a file of 40 items."""
    words = [*verb.split(), "--model", NAME, "--task", str(task), "--draws", "1", *more]
    words += ["--device", "cpu", "--set", "tune.max_steps=2", "--out", str(folder), "--json"]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, (result.output, result.exception)
    return json.loads(result.stdout)


def test_a_comparison_runs_end_to_end(reviews_file, tmp_path):
    found = carried_out(
        "compare", reviews_file, tmp_path / "run", "--shots", "0,2", "--tuning", "it",
        "--queries", "10", "--validation", "6",
    )  # fmt: skip
    arms = {row["condition"] for row in found["tables"]["accuracy"]}
    assert {"zero-shot", "icl-2", "it-2"} <= arms
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "stored quantized (Q4_1" in page


def test_a_convergence_study_reads_the_states_of_a_plain_forward(reviews_file, tmp_path, lm, plain):
    found = carried_out(
        "study convergence", reviews_file, tmp_path / "run", "--factors", "pairs,layers",
        "--shots", "2", "--queries", "6", "--no-full",
    )  # fmt: skip
    first = found["claims"][0]
    assert first["state"] == "not decided"
    assert "fewer than 5 draws decide nothing" in first["line"]
    conditions = stored.read(Run.open(tmp_path / "run"), "convergence").found
    anchor = next(one for one in conditions if one.label == "zero-shot")
    prompt = "".join(text for _, text in anchor.prompts[0]["parts"])
    with torch.no_grad():
        states = plain(torch.tensor([lm.encode(prompt)]), output_hidden_states=True).hidden_states
    for layer in ("00", "01", "15", "29"):
        np.testing.assert_allclose(
            anchor.hidden.at(layer)[0, 0], states[int(layer)][0, -1], rtol=1e-4, atol=1e-3
        )
    np.testing.assert_allclose(
        anchor.hidden.at("final")[0, 0], states[-1][0, -1], rtol=1e-4, atol=1e-3
    )


def test_heads_are_patched_as_one_hooked_forward_per_patch_does(lm):
    def ids(review):
        return tuple(lm.encode(f"Review: {review}\nSentiment:"))

    good, bad = (lm.tokenizer(word).input_ids[0] for word in (" positive", " negative"))
    clean, corrupt = ids("warm and funny"), ids("dull and lifeless")
    corrupt = (*corrupt[: len(clean) - 4], *clean[-4:])
    pairs = [Pair(clean, corrupt, good, bad, sites=((len(clean) - 1,),))]
    units = [Unit("head", 3, 0), Unit("head", 17, 4), Unit("head", 29, 8), Unit("mlp", 20)]
    found = sweep(lm, pairs, units=units)
    values, original, changed = naive(lm, pairs, [[unit] for unit in units])
    np.testing.assert_allclose(found.values, values, atol=1e-3)
    np.testing.assert_allclose(found.clean, original, atol=1e-3)
    np.testing.assert_allclose(found.corrupt, changed, atol=1e-3)
    assert np.abs(values[..., 0] - changed[:, None, None, 0]).max() > 1e-2


def test_the_circuits_of_a_task_of_ones_own(reviews_file, tmp_path):
    found = carried_out(
        "study implicit", reviews_file, tmp_path / "run", "--queries", "8", "--tuning", "it",
        "--set", "circuits.shots=2", "--set", "circuits.size=2", "--set", "circuits.items=4",
        "--set", "circuits.corruptions=[other]", "--set", "circuits.methods=[denoise]",
    )  # fmt: skip
    conditions = stored.read(Run.open(tmp_path / "run"), "implicit").found
    anchor = next(one for one in conditions if one.label == "zero-shot" and "units" in one.texts)
    assert len(anchor.texts["units"]) == 30 * (9 + 1)
    assert np.isfinite(anchor.circuits["other.denoise"]).all()
    assert {claim["state"] for claim in found["claims"]} == {"not decided"}
