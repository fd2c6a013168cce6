"""The parts of every architecture: that they are the parts they are called, by experiment."""

import pytest
import torch
import transformers

from adaptlens.errors import UserError
from adaptlens.lm.architecture import LAYOUTS, architecture, attention_implementation
from tiny import ARCHITECTURES, CONFIGS, VOCAB, tiny_model

SEQ = 20
POST_NORMS = {
    "gemma2": ("post_attention_layernorm", "post_feedforward_layernorm"),
    "gemma3": ("post_attention_layernorm", "post_feedforward_layernorm"),
    "olmo2": ("post_attention_layernorm", "post_feedforward_layernorm"),
}
# As tests/support/tiny.py sets it: width 32, 4 heads, except where the family has its own head_dim.
HEAD_WIDTH = dict.fromkeys(ARCHITECTURES, 8) | {
    "mistral": 12,
    "qwen3": 16,
    "gemma2": 16,
    "gemma3": 16,
}
GROUPED = {"llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3", "phi3", "olmo2"}


def tokens(batch: int = 1, seq: int = SEQ, seed: int = 1) -> torch.Tensor:
    return torch.randint(3, 280, (batch, seq), generator=torch.Generator().manual_seed(seed))


def watch(module, run, *, inputs: bool = False):
    """Return what goes into or comes out of a module while `run` is called."""
    seen = []

    def hook(_module, arguments, output):
        value = arguments[0] if inputs else output
        seen.append(value[0] if isinstance(value, tuple) else value)

    handle = module.register_forward_hook(hook)
    with torch.no_grad():
        run()
    handle.remove()
    assert len(seen) == 1
    return seen[0]


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_sizes_are_those_of_the_configuration(arch):
    parts = architecture(tiny_model(arch))
    assert (parts.num_layers, parts.num_heads, parts.width, parts.vocab) == (3, 4, 32, VOCAB)
    assert parts.num_kv_heads == (2 if arch in GROUPED else 4)
    assert parts.head_width == HEAD_WIDTH[arch]


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_every_layer_has_its_parts_and_heads_fill_the_output_projection(arch):
    model = tiny_model(arch)
    parts = architecture(model)
    ids = tokens()
    for layer in range(parts.num_layers):
        heads = watch(parts.o_proj(layer), lambda: model(ids), inputs=True)
        assert heads.shape == (1, SEQ, parts.num_heads * parts.head_width)
        for module in (parts.attention(layer), parts.mlp(layer), parts.layers[layer]):
            out = watch(module, lambda: model(ids))
            assert out.reshape(1, SEQ, -1).shape == (1, SEQ, parts.width)


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_a_layer_adds_its_attention_and_its_mlp_to_the_stream(arch):
    model = tiny_model(arch)
    parts = architecture(model)
    ids = tokens()
    for index, layer in enumerate(parts.layers):
        before = watch(layer, lambda: model(ids), inputs=True)
        after = watch(layer, lambda: model(ids))
        added = []
        names = POST_NORMS.get(arch, (None, None))
        modules = (parts.attention(index), parts.mlp(index))
        for name, module in zip(names, modules, strict=True):
            out = watch(module, lambda: model(ids)).reshape(1, SEQ, -1)
            added.append(layer.get_submodule(name)(out) if name else out)
        torch.testing.assert_close(before + added[0] + added[1], after, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_parallel_says_whether_the_mlp_misses_its_own_layers_attention(arch):
    model = tiny_model(arch)
    parts = architecture(model)
    ids = tokens()
    with_attention = watch(parts.mlp(0), lambda: model(ids))
    muted = parts.o_proj(0).register_forward_hook(lambda _m, _i, out: torch.zeros_like(out))
    without = watch(parts.mlp(0), lambda: model(ids))
    muted.remove()
    assert torch.equal(with_attention, without) == parts.parallel
    assert parts.parallel == (arch in ("gpt_neox", "gptj"))


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_a_window_is_exactly_how_far_back_attention_reaches(arch):
    model = tiny_model(arch)
    parts = architecture(model)
    ids = tokens()
    for layer in (0, 1):
        # The stream entering the layer is changed at one place; the last query is looked at.
        base = watch(parts.attention(layer), lambda: model(ids))[0, -1]
        reached = []
        for place in range(SEQ - 1):

            def change(_module, arguments, at=place):
                stream = arguments[0].clone()
                stream[:, at] += torch.linspace(-1, 2, stream.shape[-1])
                return (stream, *arguments[1:])

            handle = parts.layers[layer].register_forward_pre_hook(change)
            out = watch(parts.attention(layer), lambda: model(ids))[0, -1]
            handle.remove()
            reached.append(bool((out != base).any()))
        window = parts.window(layer) or SEQ
        assert reached == [SEQ - 1 - place < window for place in range(SEQ - 1)]


def test_the_tiny_models_have_the_windows_of_their_families():
    windows = {arch: architecture(tiny_model(arch)).windows for arch in ARCHITECTURES}
    assert windows["gemma2"] == windows["gemma3"] == (8, None, 8)
    assert windows["mistral"] == (8, 8, 8)
    assert windows["phi3"] == (12, 12, 12)
    for arch in set(ARCHITECTURES) - {"gemma2", "gemma3", "mistral", "phi3"}:
        assert windows[arch] == (None, None, None)


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_the_first_heads_are_those_of_the_first_values(arch):
    """Changing what one key-value head says changes the heads of its group and no other."""
    model = tiny_model(arch)
    parts = architecture(model)
    ids = tokens()
    before = watch(parts.o_proj(0), lambda: model(ids), inputs=True).clone()
    w, heads, kv = parts.head_width, parts.num_heads, parts.num_kv_heads
    first_value = {
        # Where the first value head's outputs lie in the fused projection.
        "c_attn": range(2 * heads * w, 2 * heads * w + w),
        "query_key_value": range(2 * w, 3 * w),
        "qkv_proj": range((heads + kv) * w, (heads + kv) * w + w),
        "v_proj": range(w),
    }
    name = parts.tuning_targets[-1]
    projection = parts.attention(0).get_submodule(name)
    rows = list(first_value[name])
    with torch.no_grad():
        if name == "c_attn":
            projection.weight[:, rows] += 1.0
        else:
            projection.weight[rows] += 1.0
    after = watch(parts.o_proj(0), lambda: model(ids), inputs=True)
    changed = (after != before).reshape(SEQ, heads, w).any(0).any(-1)
    assert changed.tolist() == [head < heads // kv for head in range(heads)]


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_tuning_targets_are_what_peft_would_tune(arch):
    constants = pytest.importorskip("peft.utils.constants")
    known = constants.TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING
    model = tiny_model(arch)
    parts = architecture(model)
    if parts.family in known:
        assert list(parts.tuning_targets) == known[parts.family]
    names = [name.rsplit(".", 1)[-1] for name, _ in model.named_modules()]
    assert [names.count(target) for target in parts.tuning_targets] == [3] * len(
        parts.tuning_targets
    )


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_unrelated_texts_in_one_row_do_not_see_each_other(arch):
    model = tiny_model(arch)
    parts = architecture(model)
    first, second = tokens(seq=17, seed=2), tokens(seq=23, seed=3)
    ids = torch.cat([first, second], 1)
    positions = torch.cat([torch.arange(17), torch.arange(23)])[None]
    own = torch.tensor([0] * 17 + [1] * 23)
    allowed = (own[:, None] == own[None]).tril()[None]
    with torch.no_grad():
        ours = parts.logits(parts.hidden(ids, positions, allowed))
        wanted = torch.cat([model(first).logits, model(second).logits], 1)
    assert (ours - wanted).abs().max() <= 1e-5 * wanted.abs().max()


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_final_norm_and_unembed_lead_from_the_last_layer_to_the_logits(arch):
    model = tiny_model(arch)
    parts = architecture(model)
    ids = tokens()
    stream = watch(parts.layers[-1], lambda: model(ids))
    with torch.no_grad():
        ours, wanted = parts.logits(parts.final_norm(stream)), model(ids).logits
    torch.testing.assert_close(ours, wanted, atol=1e-5, rtol=1e-5)
    assert parts.final_softcap == (30.0 if arch == "gemma2" else None)


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_what_embed_returns_enters_the_first_layer_up_to_positions(arch):
    model = tiny_model(arch)
    parts = architecture(model)
    ids = tokens()
    embedded = watch(parts.embed, lambda: model(ids))
    stream = watch(parts.layers[0], lambda: model(ids), inputs=True)
    learned = {"gpt2": "wpe", "opt": "embed_positions"}.get(arch)
    if learned:
        table = parts.backbone.get_submodule(learned).weight
        offset = 2 if arch == "opt" else 0
        embedded = embedded + table[offset : offset + SEQ]
    torch.testing.assert_close(embedded, stream)


def test_a_gemma3_with_a_vision_tower_is_read_through_its_language_model():
    vision = transformers.SiglipVisionConfig(
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        image_size=28,
        patch_size=14,
    )
    text = transformers.Gemma3TextConfig(**CONFIGS["gemma3"][1])
    config = transformers.Gemma3Config(
        text_config=text, vision_config=vision, mm_tokens_per_image=4
    )
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    parts = architecture(model)
    ids = tokens()
    causal = torch.ones(1, SEQ, SEQ, dtype=torch.bool).tril()
    with torch.no_grad():
        ours = parts.logits(parts.hidden(ids, torch.arange(SEQ)[None], causal))
        torch.testing.assert_close(ours, model(input_ids=ids).logits)
    assert (parts.num_layers, parts.windows) == (3, (8, None, 8))


def test_the_opt_without_a_final_norm_has_none():
    model = tiny_model("opt", do_layer_norm_before=False, word_embed_proj_dim=16)
    assert architecture(model).final_norm is None


def test_a_neox_with_serial_residuals_is_not_parallel():
    assert not architecture(tiny_model("gpt_neox", use_parallel_residual=False)).parallel


def test_an_unknown_architecture_is_refused_with_the_list_of_known_ones():
    config = transformers.BloomConfig(vocab_size=VOCAB, hidden_size=32, n_layer=1, n_head=4)
    model = transformers.AutoModelForCausalLM.from_config(config)
    with pytest.raises(UserError, match=r"'bloom'.*gemma2.*llama.*phi3.*behavior only"):
        architecture(model)


def test_soft_capped_scores_are_computed_by_the_code_that_caps_them():
    chosen = {arch: attention_implementation(tiny_model(arch).config) for arch in ARCHITECTURES}
    assert {arch for arch, code in chosen.items() if code == "eager"} == {"gemma2", "gptj"}
    assert set(chosen.values()) == {"eager", "sdpa"}


def test_all_named_families_have_a_layout():
    assert {tiny_model(arch).config.model_type for arch in ARCHITECTURES} | {"gemma3"} == set(
        LAYOUTS
    )
