"""Costs: hand-worked FLOPs, shared tokens, and a peak that sees what was held."""

import mmap
import time

import pytest
import torch

from adaptlens.adapt.prompting import InContext, ZeroShot
from adaptlens.measure.cost import Cost, PeakMemory, attention_flops, matrix_parameters, query_flops
from tests.measure.test_behavior import CHOICE
from tiny import tiny_lm


def test_matrix_parameters_are_all_matrices_but_the_embeddings():
    # Per layer of the tiny Llama (width 32, 4 heads, 2 key-value heads of 8, inner width 48):
    # q and o 32x32, k and v 32x16, gate, up and down 32x48: 2*1024 + 2*512 + 3*1536 = 7680.
    assert matrix_parameters(tiny_lm("llama")) == 3 * 7680


def test_tables_of_learned_positions_are_looked_up_too():
    lm = tiny_lm("gpt2")
    within = [p.numel() for name, p in lm.model.named_parameters() if ".h." in name and p.ndim == 2]
    assert matrix_parameters(lm) == sum(within) > 0


def test_query_flops_by_hand():
    lm = tiny_lm("llama")
    # 10 prompt and 2 answer tokens, nothing cached: 12 tokens see 1 + 2 + ... + 12 = 78 positions.
    # 2 * 23040 * 12 + 4 * 3 layers * 32 * 78 + 2 * 320 * 32 * 2 answers = 552960 + 29952 + 40960.
    assert query_flops(lm, 10, 0, 2) == 552960 + 29952 + 40960


def test_attention_uses_the_head_width_of_the_config():
    # Qwen3's tiny heads are 16 wide, so 4 heads make 64, not the model's width of 32.
    assert attention_flops(tiny_lm("qwen3"), 1.0) == 4 * 3 * 64


def test_a_cached_prefix_saves_its_own_tokens_only():
    lm = tiny_lm("llama")
    whole = query_flops(lm, 30, 0, 1)
    prefix = query_flops(lm, 20, 0, 1) - 2 * 320 * 32 - (2 * 23040 + 4 * 3 * 32 * 21)
    assert query_flops(lm, 10, 20, 1) == pytest.approx(whole - prefix)


def test_demonstrations_are_cached_and_cost_tokens():
    lm = tiny_lm("llama")
    zero = Cost().measure(lm, CHOICE, ZeroShot().adapt(lm, CHOICE, ())).numbers
    icl = Cost().measure(lm, CHOICE, InContext(3).adapt(lm, CHOICE, (0,))).numbers
    assert icl["query_tokens"] > zero["query_tokens"]
    assert icl["cached_tokens"] > zero["cached_tokens"] > 0
    assert icl["query_tokens"] - icl["cached_tokens"] == pytest.approx(
        zero["query_tokens"] - zero["cached_tokens"]
    )
    assert icl["query_flops_cached"] < icl["query_flops"]
    assert icl["query_seconds"] > 0


def test_peak_memory_sees_what_was_held_only_inside():
    size = 200_000_000
    with PeakMemory(torch.device("cpu")) as before:
        torch.zeros(1)
    # Mapped afresh, so that no freed memory can be taken for it.
    with PeakMemory(torch.device("cpu")) as during, mmap.mmap(-1, size) as held:
        for page in range(0, size, mmap.PAGESIZE):
            held[page] = 1
        time.sleep(0.02)
    assert during.peak_bytes - before.peak_bytes > 0.9 * size
