"""A language model whose circuit is known: two layers of attention that do induction, by hand.

Every token and every place has a code of signs, distinct ones differing in at least one of its
numbers. The residual stream holds, side by side and each with its negative beside it (so that its
mean is zero whatever the token):

    token | place | place before | token before | answer

Embeddings fill the first three. The previous-token head (layer 0) looks from each place for the
one whose code it holds as "place before", and writes the token found there as "token before". The
induction head (layer 1) looks from each place for the one whose "token before" is its own token,
and writes that place's token as the answer, which the unembedding reads: after "A B ... A" it says
B. The first place, having none before it, is given its own token as the one before: let it be a
token that is nowhere else, such as the tokenizer's BOS.

As the numbers in the stream are all +1, -1 or 0 and as many in every place, layer norms divide by
a constant, which their weights undo: each is the identity, up to how sharp attention is.
"""

import math

import torch
import transformers

import tiny
from adaptlens.lm.load import LM, assemble
from adaptlens.lm.units import Unit

TOKEN_BITS, PLACE_BITS = 9, 8
HEADS, HEAD_WIDTH = 4, 24
WIDTH = HEADS * HEAD_WIDTH
SIZES = {
    "token": TOKEN_BITS,
    "place": PLACE_BITS,
    "place_before": PLACE_BITS,
    "token_before": TOKEN_BITS,
    "answer": TOKEN_BITS,
}
SHARPNESS = 20.0
LOGIT_SCALE = 4.0


def planted_lm() -> tuple[LM, dict[str, Unit]]:
    """Return the model and where its two working heads are: "previous" and "induction".

    It has `tiny.VOCAB` tokens and reads `tiny.CONTEXT_TOKENS` of them; its tokenizer is
    `tiny.tiny_tokenizer`. All other heads put out nothing and look at all places alike; its
    feed-forward parts put out nothing.
    """
    planted = {"previous": Unit("head", 0, 1), "induction": Unit("head", 1, 2)}
    config = transformers.GPT2Config(
        vocab_size=tiny.VOCAB,
        n_embd=WIDTH,
        n_layer=2,
        n_head=HEADS,
        n_positions=tiny.CONTEXT_TOKENS,
        tie_word_embeddings=False,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="sdpa")
    slots, low = {}, 0
    for name, size in SIZES.items():
        slots[name] = range(low, low + size)
        low += 2 * size
    tokens, places = codes(tiny.VOCAB, TOKEN_BITS), codes(tiny.CONTEXT_TOKENS, PLACE_BITS)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        inside = model.transformer
        _write(inside.wte.weight, slots["token"], tokens)
        _write(inside.wpe.weight, slots["place"], places)
        _write(inside.wpe.weight, slots["place_before"], places[[0, *range(len(places) - 1)]])
        _head(inside.h[0], planted["previous"], slots, "place_before", "place", "token_before")
        _head(inside.h[1], planted["induction"], slots, "token", "token_before", "answer")
        filled = sum(2 * SIZES[name] for name in ("token", "place", "place_before"))
        norms = [inside.h[0].ln_1, inside.h[0].ln_2, inside.h[1].ln_1, inside.h[1].ln_2]
        later = filled + 2 * TOKEN_BITS
        for norm, ones in zip((*norms, inside.ln_f), (filled, *[later] * 3, later), strict=True):
            norm.weight.fill_(math.sqrt(ones / WIDTH + config.layer_norm_epsilon))
        model.lm_head.weight[:, slots["answer"]] = LOGIT_SCALE * tokens
    lm = assemble(model, tiny.tiny_tokenizer(), name="planted", digest="planted")
    return lm, planted


def codes(count: int, bits: int) -> torch.Tensor:
    """Return [count, bits], every row another row of signs."""
    numbers = torch.arange(count)[:, None] >> torch.arange(bits)
    return (numbers & 1).float() * 2 - 1


def _write(table: torch.Tensor, slot: range, rows: torch.Tensor) -> None:
    table[:, slot] = rows
    table[:, [place + len(slot) for place in slot]] = -rows


def _head(block, unit: Unit, slots: dict[str, range], asks: str, offers: str, writes: str) -> None:
    """Let a head attend from where `asks` equals the `offers` there, and copy the token it finds.

    Equal codes of n signs score n * SHARPNESS, others at most (n - 2) * SHARPNESS.
    """
    low = unit.index * HEAD_WIDTH
    queries, keys, values = (low + part * WIDTH for part in range(3))
    scale = math.sqrt(HEAD_WIDTH)
    for n, (asked, offered) in enumerate(zip(slots[asks], slots[offers], strict=True)):
        block.attn.c_attn.weight[asked, queries + n] = SHARPNESS * scale
        block.attn.c_attn.weight[offered, keys + n] = 1.0
    for n, (token, written) in enumerate(zip(slots["token"], slots[writes], strict=True)):
        block.attn.c_attn.weight[token, values + n] = 1.0
        block.attn.c_proj.weight[low + n, written] = 1.0
        block.attn.c_proj.weight[low + n, written + TOKEN_BITS] = -1.0
