"""Tiny random models of every supported architecture, and a tokenizer for them; no network."""

from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors

from adaptlens.lm.load import LM, assemble

VOCAB = 320
CONTEXT_TOKENS = 256

_SHARED = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": CONTEXT_TOKENS,
    "initializer_range": 0.3,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
_GROUPED = {**_SHARED, "num_key_value_heads": 2}
_GPT = {
    "vocab_size": VOCAB,
    "n_embd": 32,
    "n_layer": 3,
    "n_head": 4,
    "n_positions": CONTEXT_TOKENS,
    "initializer_range": 0.3,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
_GEMMA = {
    **_GROUPED,
    "head_dim": 16,
    "sliding_window": 8,
    "query_pre_attn_scalar": 16,
    "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
}

# Windows are shorter than the tests' texts, and head_dim * heads differs from the width where
# the family allows it, so that neither can be got wrong unnoticed.
CONFIGS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", _GROUPED),
    "mistral": ("Mistral", {**_GROUPED, "head_dim": 12, "sliding_window": 8}),
    "qwen2": ("Qwen2", _GROUPED),
    "qwen3": ("Qwen3", {**_GROUPED, "head_dim": 16}),
    "gemma2": ("Gemma2", _GEMMA),
    "gemma3": ("Gemma3Text", _GEMMA),
    "gpt2": ("GPT2", _GPT),
    "gpt_neox": ("GPTNeoX", {**_SHARED, "rotary_pct": 0.5}),
    "gptj": ("GPTJ", {**_GPT, "rotary_dim": 4}),
    "opt": (
        "OPT",
        {k: v for k, v in _SHARED.items() if k not in ("intermediate_size", "initializer_range")}
        | {"ffn_dim": 48, "init_std": 0.3, "word_embed_proj_dim": 32},
    ),
    "phi3": ("Phi3", {**_GROUPED, "sliding_window": 12}),
    "olmo2": ("Olmo2", _GROUPED),
}
ARCHITECTURES: tuple[str, ...] = tuple(CONFIGS)


def tiny_config(arch: str, **changes: Any) -> Any:
    name, settings = CONFIGS[arch]
    return getattr(transformers, f"{name}Config")(**{**settings, **changes})


def tiny_model(arch: str, seed: int = 0, **changes: Any) -> Any:
    """Return a random model in float32, evaluation mode, no gradients; `changes` go to its config.

    Every parameter is random, norms and biases too, so that none can be left out unnoticed.
    """
    config = tiny_config(arch, **changes)
    model = transformers.AutoModelForCausalLM.from_config(
        config, attn_implementation="eager" if arch in ("gemma2", "gptj") else "sdpa"
    )
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.ndim > 1:
                scale = 0.5 if "embed" in name or "wte" in name or "wpe" in name else 0.25
                parameter.copy_(scale * noise)
            else:
                parameter.add_(0.1 * noise)
    return model.eval().requires_grad_(False)


# Each merge uses only single bytes and what merges before it made; several cross the places where
# prompts are cut, so that tokens at a seam really can differ.
_MERGES = (
    "Ġ t|Ġt h|Ġth e|t h|th e|i n|e r|o n|a t|i t|i v|e g|o s|u t|p ut|Ġ a|Ġ p|Ġp os|Ġ n|Ġn eg|iv e|"
    "at ive|it ive|I n|In put|O ut|Out put|Ċ Ċ"
)


def tiny_tokenizer(*, bos: bool = True, pad: bool = True, chat: bool = False) -> Any:
    """Return a byte-level BPE tokenizer of at most `VOCAB` entries.

    `bos` adds "<s>" before every text; without `pad` there is no padding token; `chat` gives it a
    chat template that writes "<s>" itself.
    """
    tokens = ["<pad>", "<s>", "</s>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    merges = [tuple(pair.split(" ")) for pair in _MERGES.split("|")]
    tokens += ["".join(pair) for pair in merges]
    tokenizer = Tokenizer(models.BPE({t: i for i, t in enumerate(tokens)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(t, special=True) for t in ("<pad>", "<s>", "</s>")])
    if bos:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)]
        )
    special = {"eos_token": "</s>"} | ({"bos_token": "<s>"} if bos else {})
    special |= {"pad_token": "<pad>"} if pad else {}
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, clean_up_tokenization_spaces=False, **special
    )
    if chat:
        fast.chat_template = (
            "{{ bos_token }}{% for m in messages %}[{{ m['role'] }}] {{ m['content'] }}\n"
            "{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}"
        )
    return fast


def tiny_lm(arch: str, seed: int = 0, **tokenizer_options: bool) -> LM:
    """Return the language model made of `tiny_model` and `tiny_tokenizer`."""
    return assemble(
        tiny_model(arch, seed),
        tiny_tokenizer(**tokenizer_options),
        name=f"tiny-{arch}",
        digest=f"{arch}-{seed}",
        chat=tokenizer_options.get("chat", False),
    )


def tiny_folder(tmp_path: Path, arch: str, seed: int = 0, **tokenizer_options: bool) -> Path:
    """Return a folder holding the tiny model and tokenizer, as `save_pretrained` writes them."""
    folder = tmp_path / f"{arch}-{seed}"
    tiny_model(arch, seed).save_pretrained(folder)
    tiny_tokenizer(**tokenizer_options).save_pretrained(folder)
    return folder


def tiny_adapter(folder: Path, base: Path) -> Path:
    """Write LoRA with random numbers for the model in a folder, as PEFT does, and return where."""
    import peft

    torch.manual_seed(0)
    config = peft.LoraConfig(
        r=2, target_modules=["q_proj"], init_lora_weights=False, task_type="CAUSAL_LM"
    )
    model = transformers.AutoModelForCausalLM.from_pretrained(base)
    peft.get_peft_model(model, config).save_pretrained(str(folder))
    return folder
