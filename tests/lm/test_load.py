"""Loading: what a loaded model says of itself, that its forward is checked, and every refusal."""

import dataclasses
import json
import shutil
import subprocess
import sys

import huggingface_hub
import pytest
import safetensors.torch
import torch
import transformers
from tokenizers import processors

from adaptlens.errors import UserError
from adaptlens.lm import weights as reading
from adaptlens.lm.load import assemble, load
from adaptlens.models import identity
from tiny import ARCHITECTURES, VOCAB, tiny_folder, tiny_lm, tiny_model, tiny_tokenizer

TEXT = "Input: a positive thing\n\nOutput: negative é"


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    """A folder to read, not to write."""
    return tiny_folder(tmp_path_factory.mktemp("models"), "llama")


@pytest.fixture
def copy(llama, tmp_path):
    """A folder of one's own to spoil."""
    return shutil.copytree(llama, tmp_path / "copy")


def edit(path, **changes):
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, **changes}))


def assert_one_line(error, *wanted):
    text = str(error.value)
    assert "\n" not in text
    for part in wanted:
        assert part in text


# Loading


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_a_folder_loads_as_the_model_that_was_saved_and_passes_the_gate(arch, tmp_path):
    lm = load(str(tiny_folder(tmp_path, arch)), device="cpu")
    ids = torch.tensor([lm.encode(TEXT)])
    with torch.no_grad():
        torch.testing.assert_close(lm.model(ids).logits, tiny_model(arch)(ids).logits)
    assert (lm.shares_prefix, lm.notes) == (True, ())
    assert lm.context_tokens == 256
    assert not lm.model.training
    assert not any(parameter.requires_grad for parameter in lm.model.parameters())


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_is_what_it_says_and_passes_the_gate(llama, dtype):
    lm = load(str(llama), dtype=dtype, device="cpu")
    assert lm.model.dtype == getattr(torch, dtype)
    assert (lm.dtype, lm.shares_prefix) == (dtype, True)


@pytest.mark.parametrize(
    ("kind", "says", "dtype"),
    [
        ("cpu", {"_is_avx512_bf16_supported": False, "_is_amx_tile_supported": False}, "float32"),
        ("cpu", {"_is_avx512_bf16_supported": True, "_is_amx_tile_supported": False}, "bfloat16"),
        ("cpu", {"_is_avx512_bf16_supported": False, "_is_amx_tile_supported": True}, "bfloat16"),
        ("cpu", {}, "float32"),
        ("cuda", {"is_bf16_supported": True}, "bfloat16"),
        ("cuda", {"is_bf16_supported": False}, "float32"),
        ("mps", {}, "float32"),
    ],
)
def test_auto_is_bfloat16_where_the_device_says_it_multiplies_it(kind, says, dtype, monkeypatch):
    for flag in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.delattr(torch.cpu, flag, raising=False)
    for flag, there in says.items():
        place = torch.cuda if kind == "cuda" else torch.cpu
        monkeypatch.setattr(place, flag, lambda there=there, **_: there, raising=False)
    assert reading.find_dtype("auto", torch.device(kind)) == dtype
    assert reading.find_dtype("float16", torch.device(kind)) == "float16"


def test_a_model_states_what_auto_picked(llama, monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True, raising=False)
    lm = load(str(llama), dtype="auto", device="cpu")
    assert (lm.dtype, lm.model.dtype) == ("bfloat16", torch.bfloat16)


def test_sharded_weights_load(tmp_path):
    model = tiny_model("llama")
    model.save_pretrained(tmp_path, max_shard_size="40KB")
    tiny_tokenizer().save_pretrained(tmp_path)
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    ids = torch.arange(10, 20)[None]
    assert torch.equal(load(str(tmp_path), device="cpu").model(ids).logits, model(ids).logits)


def test_weights_that_were_stored_but_not_used_are_noted(copy):
    weights = safetensors.torch.load_file(copy / "model.safetensors")
    weights["model.layers.0.spare.weight"] = torch.zeros(2)
    safetensors.torch.save_file(weights, copy / "model.safetensors", {"format": "pt"})
    (note,) = load(str(copy), device="cpu").notes
    assert note == "1 stored weights were not used (model.layers.0.spare.weight, ...)."


def test_the_context_ends_where_longrope_would_turn_all_positions():
    longrope = {
        "rope_type": "longrope",
        "rope_theta": 1e4,
        "original_max_position_embeddings": 64,
        "short_factor": [1.0] * 4,
        "long_factor": [2.0] * 4,
    }
    model = tiny_model("phi3", rope_parameters=longrope, original_max_position_embeddings=64)
    lm = assemble(model, tiny_tokenizer(), name="m", digest="")
    assert lm.context_tokens == 64
    assert "256" in lm.notes[0] and "64" in lm.notes[0]


# The parity gate


def test_positions_that_are_not_heeded_stop_prefix_sharing():
    model = tiny_model("llama")
    rotary = model.model.rotary_emb
    inner = rotary.forward

    def in_row_order(states, position_ids):
        return inner(states, torch.arange(position_ids.shape[1])[None])

    rotary.forward = in_row_order
    lm = assemble(model, tiny_tokenizer(), name="m", digest="")
    assert lm.architecture is not None
    assert not lm.shares_prefix
    assert "packed in a tree" in lm.notes[0]


def test_logits_the_anatomy_does_not_explain_leave_behavior_only():
    class Scaled(transformers.LlamaForCausalLM):
        def forward(self, *arguments, **options):
            output = super().forward(*arguments, **options)
            output.logits = output.logits * 1.001
            return output

    model = Scaled(tiny_model("llama").config)
    lm = assemble(model, tiny_tokenizer(), name="m", digest="")
    assert (lm.architecture, lm.shares_prefix) == (None, False)
    assert "with an explicit mask" in lm.notes[0] and "behavior" in lm.notes[0]


@pytest.mark.parametrize("family", ["Bloom", "Mamba"])
def test_an_unknown_layout_is_used_for_behavior_only_and_says_so(family):
    config = getattr(transformers, f"{family}Config")(
        vocab_size=VOCAB, hidden_size=32, num_hidden_layers=2
    )
    model = transformers.AutoModelForCausalLM.from_config(config)
    lm = assemble(model, tiny_tokenizer(), name="m", digest="")
    assert (lm.architecture, lm.shares_prefix) == (None, False)
    assert f"'{family.lower()}' is not known inside" in lm.notes[0] and "llama" in lm.notes[0]


def test_a_model_that_reads_both_ways_is_refused():
    config = transformers.BertConfig(
        vocab_size=VOCAB,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=48,
        initializer_range=0.3,
    )
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    with pytest.raises(UserError) as error:
        assemble(model, tiny_tokenizer(), name="bert", digest="")
    assert_one_line(error, "'bert'", "causal")


def test_logits_that_are_not_finite_are_refused():
    model = tiny_model("llama")
    model.lm_head.weight[0, 0] = float("inf")
    with pytest.raises(UserError) as error:
        assemble(model, tiny_tokenizer(), name="m", digest="", dtype="float16")
    assert_one_line(error, "not finite in float16", "bfloat16")


# The tokenizer


@pytest.mark.parametrize("bos", [True, False])
def test_encode_is_what_the_tokenizer_does(bos):
    lm = tiny_lm("llama", bos=bos)
    texts = [TEXT, "", "<s>x", " "]
    assert lm.encode_all(texts) == [lm.tokenizer(text).input_ids for text in texts]
    assert lm.prefix_ids == ((1,) if bos else ())


def test_an_end_token_the_tokenizer_would_add_is_left_out():
    tokenizer = tiny_tokenizer()
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    lm = assemble(tiny_model("llama"), tokenizer, name="m", digest="")
    assert lm.tokenizer("a").input_ids[-1] == 2
    assert lm.encode("a") == lm.tokenizer("a").input_ids[:-1]


def test_without_a_padding_token_another_fills_the_rows():
    lm = tiny_lm("llama", pad=False)
    assert lm.tokenizer.pad_token_id is None
    assert (lm.pad_id, lm.eos_ids) == (2, (2,))


def test_end_tokens_of_tokenizer_and_generation_settings_both_end():
    model = tiny_model("llama")
    model.generation_config.eos_token_id = [7, 2]
    assert assemble(model, tiny_tokenizer(), name="m", digest="").eos_ids == (2, 7)


def test_a_rendered_chat_has_bos_once():
    lm = tiny_lm("llama", chat=True)
    messages = [{"role": "user", "content": "the input"}]
    text = lm.render_chat(messages)
    assert text == "<s>[user] the input\n[assistant]"
    wanted = lm.tokenizer.apply_chat_template(messages, add_generation_prompt=True)["input_ids"]
    assert lm.encode(text) == wanted
    assert wanted.count(1) == 1


def test_a_chat_template_that_refuses_its_messages_is_one_line():
    lm = tiny_lm("llama", chat=True)
    lm.tokenizer.chat_template = "{{ raise_exception('System role not supported') }}"
    with pytest.raises(UserError) as error:
        lm.render_chat([{"role": "system", "content": "x"}])
    assert_one_line(error, "roles system", "System role not supported", "--chat")


def test_chat_without_a_template_is_refused(llama):
    with pytest.raises(UserError) as error:
        load(str(llama), device="cpu", chat=True)
    assert_one_line(error, str(llama), "no chat template", "leave out --chat")


def test_a_token_the_model_does_not_have_is_refused():
    model = tiny_model("llama", vocab_size=200, pad_token_id=0)
    lm = assemble(model, tiny_tokenizer(), name="m", digest="")
    with pytest.raises(UserError) as error:
        lm.encode("the the")
    assert_one_line(error, "'m'", "200 tokens", "tokenizer the model was made with")


# Identity


def test_the_digest_depends_on_every_weight_and_the_tokenizer_and_on_nothing_else(llama, tmp_path):
    def changed(name, change):
        folder = shutil.copytree(llama, tmp_path / name)
        change(folder)
        return identity.digest(folder) != identity.digest(llama)

    def one_weight(folder):
        weights = safetensors.torch.load_file(folder / "model.safetensors")
        weights["model.norm.weight"][3] += 1e-3
        safetensors.torch.save_file(weights, folder / "model.safetensors", {"format": "pt"})

    assert changed("weight", one_weight)
    assert changed("token", lambda f: edit(f / "tokenizer.json", version="2.0"))
    assert changed("config", lambda f: edit(f / "config.json", rms_norm_eps=1e-5))
    assert not changed("same", lambda f: None)
    assert not changed("readme", lambda f: (f / "README.md").write_text("about"))


def test_the_digest_is_read_again_after_a_change_in_place(copy):
    before = identity.digest(copy)
    edit(copy / "config.json", rms_norm_eps=1e-5)
    assert identity.digest(copy) != before


def test_identify_agrees_with_load_and_needs_no_torch(llama):
    code = (
        "import json, sys; from adaptlens.models.identity import identify;"
        f"print(json.dumps(identify({str(llama)!r}, dtype='bfloat16').stored()));"
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    lm = load(str(llama), dtype="bfloat16", device="cpu")
    wanted = {"name": str(llama), "digest": lm.digest, "dtype": "bfloat16", "chat": False}
    assert json.loads(run.stdout) == wanted


def test_identify_names_quantization_only_where_asked_for(llama):
    plain = identity.identify(str(llama))
    assert identity.identify(str(llama), quantize="4bit") == dataclasses.replace(
        plain, quantize="4bit"
    )
    assert "quantize" not in plain.stored()


# Prefixes: the same architecture with random weights, and the chat template


def weights_of(lm):
    return dict(lm.model.named_parameters())


@pytest.mark.parametrize("arch", ["llama", "gpt2", "qwen3", "gemma3"])
def test_an_untrained_model_has_the_shape_of_the_named_one_and_other_weights(arch, tmp_path):
    name = str(tiny_folder(tmp_path, arch))
    trained, fresh = load(name, device="cpu"), load(f"untrained:{name}", device="cpu")
    shapes = {key: weight.shape for key, weight in weights_of(trained).items()}
    assert {key: weight.shape for key, weight in weights_of(fresh).items()} == shapes
    embedding = trained.model.get_input_embeddings().weight
    assert not torch.equal(fresh.model.get_input_embeddings().weight, embedding)
    assert (fresh.shares_prefix, fresh.eos_ids) == (True, trained.eos_ids)
    assert fresh.encode(TEXT) == trained.encode(TEXT)


def test_untrained_weights_are_as_wide_as_the_configuration_starts_them(llama):
    fresh = load(f"untrained:{llama}", device="cpu")
    assert fresh.model.config.initializer_range == 0.3
    weight = fresh.model.model.layers[0].mlp.up_proj.weight
    assert weight.std().item() == pytest.approx(0.3, rel=0.1)
    assert torch.equal(fresh.model.model.norm.weight, torch.ones(32))


def test_an_untrained_model_is_the_same_every_time_and_leaves_the_random_state(llama):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = weights_of(load(f"untrained:{llama}", device="cpu"))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)
    second = weights_of(load(f"untrained:{llama}", device="cpu"))
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_an_untrained_model_says_so_and_has_a_digest_of_its_own(llama):
    name = f"untrained:{llama}"
    lm = load(name, dtype="bfloat16", device="cpu")
    assert (lm.name, lm.model.dtype) == (name, torch.bfloat16)
    assert lm.notes == ("Its weights are random (untrained, seed 0); only its shape is as named.",)
    assert lm.digest == identity.identify(name, dtype="bfloat16").digest
    assert lm.digest != identity.digest(llama)


def test_an_untrained_model_needs_no_weights_and_depends_on_none(copy, llama):
    (copy / "model.safetensors").unlink()
    other = identity.identify(f"untrained:{llama}")
    assert identity.identify(f"untrained:{copy}") == dataclasses.replace(
        other, name=f"untrained:{copy}"
    )
    edit(copy / "config.json", initializer_range=0.1)
    assert identity.digest(copy, untrained=True) != identity.digest(llama, untrained=True)
    assert load(f"untrained:{copy}", device="cpu").architecture is not None


def test_end_tokens_of_the_generation_settings_are_kept_untrained(copy):
    edit(copy / "generation_config.json", eos_token_id=[7, 2])
    assert load(f"untrained:{copy}", device="cpu").eos_ids == (2, 7)


@pytest.fixture
def templated(copy):
    tokenizer = transformers.AutoTokenizer.from_pretrained(copy)
    tokenizer.chat_template = tiny_lm("llama", chat=True).tokenizer.chat_template
    tokenizer.save_pretrained(copy)
    return copy


def test_the_chat_prefix_is_chat_for_that_model(templated):
    by_prefix, by_option = (
        load(f"chat:{templated}", device="cpu"),
        load(str(templated), device="cpu", chat=True),
    )
    assert (by_prefix.chat, by_prefix.name) == (True, f"chat:{templated}")
    assert by_prefix.encode("a") == by_option.encode("a")
    asked = identity.identify(f"chat:{templated}")
    assert dataclasses.replace(asked, name="") == dataclasses.replace(
        identity.identify(str(templated), chat=True), name=""
    )


@pytest.mark.parametrize("prefixes", ["untrained:chat:", "chat:untrained:"])
def test_prefixes_stand_together_in_any_order(prefixes, templated):
    lm = load(f"{prefixes}{templated}", device="cpu")
    assert lm.chat
    assert "random" in lm.notes[0]


def test_a_folder_that_looks_prefixed_is_given_as_a_path(llama, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(llama, tmp_path / "chat:tiny")
    assert identity.locate("./chat:tiny").name == "chat:tiny"
    assert not identity.parse("./chat:tiny").chat


PREFIXED = {
    "a prefix twice": ("chat:untrained:chat:reference", "prefix 'chat:' twice", "write it once"),
    "nothing after it": ("untrained:", "names no model", "untrained:reference"),
    "a misspelled prefix": ("untraind:reference", "'untraind'", "did you mean 'untrained'?"),
    "an unknown prefix": ("hf:reference", "model prefix 'hf'", "chat, untrained"),
    "an unknown model": ("untrained:./no/such/folder", "'./no/such/folder'", "existing folder"),
    "no template": ("chat:{llama}", "'chat:{llama}' has no chat template", "expected one"),
}


@pytest.mark.parametrize("case", PREFIXED)
def test_a_prefix_that_cannot_be_used_is_one_line(case, llama):
    name, *wanted = (text.replace("{llama}", str(llama)) for text in PREFIXED[case])
    with pytest.raises(UserError) as error:
        load(name, device="cpu")
    assert_one_line(error, *wanted)


def test_random_weights_are_not_quantized(llama):
    with pytest.raises(UserError) as error:
        load(f"untrained:{llama}", quantize="4bit")
    assert_one_line(error, "untrained:", "4bit", "leave out quantize")


def test_the_weights_of_an_untrained_hub_model_are_not_fetched(llama, monkeypatch):
    asked = []
    monkeypatch.setattr(
        huggingface_hub,
        "snapshot_download",
        lambda name, allow_patterns, ignore_patterns: asked.append(allow_patterns) or str(llama),
    )
    identity.locate("untrained:someone/something")
    identity.locate("someone/something")
    assert ["*.safetensors" in patterns for patterns in asked] == [False, True]


# Refusals: what was given, what was expected, what to do


def remove(name):
    return lambda folder: (folder / name).unlink()


def rename(name, new):
    return lambda folder: (folder / name).rename(folder / new)


def write(name, content):
    return lambda folder: (folder / name).write_bytes(content)


def truncate(folder):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])


def forget_a_weight(folder):
    weights = safetensors.torch.load_file(folder / "model.safetensors")
    del weights["model.norm.weight"]
    safetensors.torch.save_file(weights, folder / "model.safetensors", {"format": "pt"})


def adapter_instead(folder):
    (folder / "config.json").unlink()
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "org/base"}')


def shard_missing(folder):
    (folder / "model.safetensors").unlink()
    index = {"weight_map": {"lm_head.weight": "model-00001-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def own_code(folder):
    edit(folder / "config.json", model_type="newmodel", auto_map={"AutoConfig": "c.NewConfig"})
    (folder / "c.py").write_text("raise SystemExit('this must not run')")


def gguf_instead(folder):
    (folder / "config.json").unlink()
    (folder / "model-q4.gguf").write_bytes(b"GGUF")


SPOILED = {
    "no weights": (remove("model.safetensors"), "has no weights", "expected model.safetensors"),
    "pickled": (
        rename("model.safetensors", "pytorch_model.bin"),
        "pickled weights only (pytorch_model.bin)",
        "save_pretrained",
    ),
    "no config": (remove("config.json"), "no config.json", "not a model folder"),
    "broken config": (write("config.json", b"{"), "config.json cannot be read", "JSON"),
    "config a list": (write("config.json", b"[]"), "JSON list", "expected an object"),
    "no model type": (write("config.json", b"{}"), "names no model_type", "Transformers"),
    "unknown type": (
        lambda f: edit(f / "config.json", model_type="newmodel"),
        "cannot be loaded",
        "newmodel",
    ),
    "own code": (own_code, "cannot be loaded", "its own Python code"),
    "encoder-decoder": (
        lambda f: edit(f / "config.json", model_type="t5", is_encoder_decoder=True),
        "encoder-decoder (t5)",
        "causal",
    ),
    "no tokenizer": (remove("tokenizer.json"), "has no tokenizer", "expected tokenizer.json"),
    "broken tokenizer": (write("tokenizer.json", b'{"version": 1}'), "the tokenizer of", "again"),
    "truncated weights": (truncate, "model.safetensors cannot be read", "download or save"),
    "not safetensors": (write("model.safetensors", b"hello"), "cannot be read", "safetensors"),
    "empty weights": (write("model.safetensors", b""), "cannot be read", "safetensors"),
    "a weight short": (forget_a_weight, "lacks 1 of the weights", "model.norm.weight"),
    "other shapes": (
        lambda f: edit(f / "config.json", intermediate_size=64),
        "layers.0.mlp.down_proj.weight has the shape [32, 48]",
        "calls for [32, 64]",
    ),
    "a shard short": (shard_missing, "model-00001-of-00002.safetensors", "missing"),
    "an adapter": (adapter_instead, "PEFT adapter", "org/base"),
    "a gguf cut off": (gguf_instead, "is cut off after 4 bytes", "download it again"),
}


@pytest.mark.parametrize("case", SPOILED)
def test_a_folder_that_cannot_be_used_is_one_line(case, copy):
    spoil, *wanted = SPOILED[case]
    spoil(copy)
    with pytest.raises(UserError) as error:
        load(str(copy), device="cpu")
    assert_one_line(error, str(copy), *wanted)


ARGUMENTS = {
    "dtype": ({"dtype": "float31"}, "unknown dtype 'float31'", "float32"),
    "device": ({"device": "gpu"}, "unknown device 'gpu'"),
    "quantize": ({"quantize": "5bit"}, "unknown quantization '5bit'", "bit"),
}


@pytest.mark.parametrize("case", ARGUMENTS)
def test_a_wrong_argument_is_one_line(case, llama):
    arguments, *wanted = ARGUMENTS[case]
    with pytest.raises(UserError) as error:
        load(str(llama), **arguments)
    assert_one_line(error, *wanted)


@pytest.mark.parametrize("device", ["cuda", "cuda:3", "mps"])
def test_a_device_that_is_not_there_is_one_line(llama, device, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(UserError) as error:
        load(str(llama), device=device)
    assert_one_line(error, f"device '{device}' is not available", "offer: cpu")


def test_quantization_without_its_package_names_the_command(llama, monkeypatch):
    find = reading.importlib.util.find_spec
    monkeypatch.setattr(
        reading.importlib.util,
        "find_spec",
        lambda name, *rest: None if name == "bitsandbytes" else find(name, *rest),
    )
    with pytest.raises(UserError) as error:
        load(str(llama), quantize="8bit")
    assert_one_line(error, "8bit", "bitsandbytes", "pip install")


def test_a_file_is_not_a_model(llama):
    with pytest.raises(UserError) as error:
        load(str(llama / "model.safetensors"))
    assert_one_line(error, "is a file", "not a GGUF file", f"give the folder, {llama}")


@pytest.mark.parametrize(
    "name", ["./no/such/folder", "a/b/c", "~nobody/model", "a" * 97, "a\0b", ""]
)
def test_a_folder_that_is_not_there_is_one_line(name):
    with pytest.raises(UserError) as error:
        load(name)
    shown = name.replace("\0", "\\x00")
    assert_one_line(error, f"'{shown}'", "expected an existing folder", "Hugging Face id")


def test_a_hub_name_without_network_or_cache_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError) as error:
        load("adaptlens-tests/no-such-model")
    assert_one_line(error, "'adaptlens-tests/no-such-model'", "not in the Hugging Face cache")


def test_a_misspelled_shipped_name_is_pointed_to_the_right_one(monkeypatch):
    from adaptlens.models import shipped

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(shipped, "names", lambda: ["reference"])
    with pytest.raises(UserError) as error:
        load("refrence")
    assert_one_line(error, "no model 'refrence'", "did you mean 'reference'?")


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [
        ("RepositoryNotFoundError", "knows no public model of this name"),
        ("GatedRepoError", "hf auth login"),
        ("HFValidationError", "could not be fetched"),
        ("LocalEntryNotFoundError", "cannot be reached"),
    ],
)
def test_what_the_hub_refuses_is_one_line(kind, wanted, monkeypatch):
    class Refused(getattr(huggingface_hub.errors, kind)):
        def __init__(self):
            Exception.__init__(self, "404\nsecond line")

        __str__ = Exception.__str__

    def refuse(*_arguments, **_options):
        raise Refused

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    with pytest.raises(UserError) as error:
        load("someone/something")
    assert_one_line(error, "'someone/something'", wanted)


def test_a_shipped_name_is_looked_up_before_the_hub(llama, monkeypatch):
    from adaptlens.models import shipped

    monkeypatch.setattr(shipped, "names", lambda: ["reference"])
    monkeypatch.setattr(shipped, "folder", lambda name: llama)
    lm = load("reference", device="cpu")
    assert (lm.name, lm.digest) == ("reference", identity.digest(llama))


def test_a_loaded_model_cannot_be_altered_by_name(llama):
    lm = load(str(llama), device="cpu")
    with pytest.raises(dataclasses.FrozenInstanceError):
        lm.dtype = "bfloat16"
