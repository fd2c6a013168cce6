"""A GGUF file is a model like any other: same numbers, own identity, and every refusal one line."""

import dataclasses
import importlib
import importlib.util
import json
import shutil
import subprocess
import sys

import gguf
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from adaptlens.engines.throughput import shape
from adaptlens.errors import UserError
from adaptlens.lm.adapters.full_weights import trainable_parameters
from adaptlens.lm.load import load
from adaptlens.models import gguf_file, identity
from adaptlens.models import shape as modelshape
from adaptlens.studies.wanted import shown_names
from tiny import tiny_folder, tiny_tokenizer
from tiny_gguf import TYPES, dequantized, llama, tiny_gguf

TEXT = "Input: a positive thing\n\nOutput: negative é"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A file to read, not to write."""
    return tiny_gguf(tmp_path_factory.mktemp("gguf") / "tiny.gguf", chat=True)


@pytest.fixture
def copy(tiny, tmp_path):
    """A file of one's own to spoil, alone in its folder."""
    return shutil.copy(tiny, tmp_path / "copy.gguf")


def assert_one_line(error, *wanted):
    text = str(error.value)
    assert "\n" not in text
    for part in wanted:
        assert part in text


# Reading


def test_a_file_reads_as_the_model_and_tokenizer_it_was_made_from(tiny):
    lm = load(str(tiny), device="cpu")
    assert lm.encode(TEXT) == tiny_tokenizer()(TEXT).input_ids
    ids = torch.tensor([lm.encode(TEXT)])
    with torch.no_grad():
        torch.testing.assert_close(lm.model(ids).logits, llama()(ids).logits)
    assert (lm.shares_prefix, lm.notes, lm.context_tokens) == (True, (), 256)
    assert (lm.prefix_ids, lm.eos_ids, lm.pad_id) == ((1,), (2,), 0)


@pytest.mark.parametrize("kind", [TYPES.Q8_0, TYPES.Q4_1, TYPES.F16])
def test_quantized_weights_are_what_the_format_says_and_a_note_says_so(kind, tmp_path):
    lm = load(str(tiny_gguf(tmp_path / "m.gguf", kind=kind)), device="cpu")
    own = llama().model.layers[1].mlp.down_proj.weight
    found = lm.model.model.layers[1].mlp.down_proj.weight
    assert not torch.equal(found, own)
    np.testing.assert_array_equal(found.numpy(), dequantized(own, kind))
    if kind == TYPES.F16:
        assert lm.notes == ()
    else:
        assert f"stored quantized ({kind.name}, with F32 for some)" in lm.notes[0]
        assert "dequantized, in float32" in lm.notes[0]


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_is_the_dequantized_weight_rounded(dtype, tmp_path):
    path = tiny_gguf(tmp_path / "m.gguf", kind=TYPES.Q8_0)
    whole, half = load(str(path), device="cpu"), load(str(path), dtype=dtype, device="cpu")
    assert half.model.dtype == getattr(torch, dtype)
    for own, rounded in zip(whole.model.parameters(), half.model.parameters(), strict=True):
        assert torch.equal(own.to(rounded.dtype), rounded)


def test_dequantized_weights_can_be_tuned_and_saved(tmp_path):
    lm = load(str(tiny_gguf(tmp_path / "m.gguf", kind=TYPES.Q8_0)), device="cpu")
    numbers = sum(weight.numel() for weight in trainable_parameters(lm))
    assert numbers == sum(weight.numel() for weight in llama().parameters())
    lm.model.save_pretrained(tmp_path / "saved")
    lm.tokenizer.save_pretrained(tmp_path / "saved")
    again = load(str(tmp_path / "saved"), device="cpu")
    for own, other in zip(lm.model.parameters(), again.model.parameters(), strict=True):
        assert torch.equal(own, other)


def test_files_beside_have_no_say(copy, tiny):
    tiny_tokenizer(bos=False).save_pretrained(copy.parent)
    (copy.parent / "chat_template.jinja").write_text("{{ 1 / 0 }}")
    assert load(str(copy), device="cpu").encode(TEXT) == load(str(tiny), device="cpu").encode(TEXT)
    assert identity.digest(copy) == identity.digest(tiny)


def test_numbers_are_cut_into_digits_where_the_models_own_tokenizer_does(tmp_path):
    """Cut off first, a digit leaves two line breaks together, which are one token here."""
    lines = {}
    for pre in ("smollm", "gpt-2"):
        lm = load(str(tiny_gguf(tmp_path / f"{pre}.gguf", pre=pre)), device="cpu")
        lines[pre] = lm.tokenizer.tokenize("\n\n4")
        assert lm.notes == ()
    assert lines == {"smollm": ["ĊĊ", "4"], "gpt-2": ["Ċ", "Ċ", "4"]}


def test_a_tokenizer_that_is_read_as_another_is_noted(tmp_path):
    lm = load(str(tiny_gguf(tmp_path / "m.gguf", pre="viking")), device="cpu")
    assert "(viking) is not known" in lm.notes[0]


def test_scaled_positions_that_are_left_out_are_noted(tmp_path):
    path = tiny_gguf(tmp_path / "m.gguf", llama__rope__scaling__type="yarn")
    assert "(llama.rope.scaling.type)" in load(str(path), device="cpu").notes[0]


# Names and identity


def test_identify_agrees_with_load_and_needs_no_torch(tiny):
    code = (
        "import json, sys; from adaptlens.models.identity import identify;"
        f"print(json.dumps(identify({str(tiny)!r}).stored()));"
        "assert not {'torch', 'transformers', 'accelerate'} & set(sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(run.stdout)["digest"] == load(str(tiny), device="cpu").digest


def test_the_digest_covers_every_byte_and_not_the_name(copy, tiny, tmp_path):
    before = identity.digest(tiny)
    assert identity.digest(copy.rename(tmp_path / "other.gguf")) == before
    content = bytearray(tiny.read_bytes())
    content[-1] ^= 1
    (tmp_path / "changed.gguf").write_bytes(content)
    assert identity.digest(tmp_path / "changed.gguf") != before


def test_prefixes_mean_what_they_mean_of_a_folder(tiny):
    lm = load(f"untrained:chat:{tiny}", device="cpu")
    assert (lm.chat, lm.prefix_ids) == (True, ())
    assert lm.notes[0].startswith("Its weights are random")
    assert lm.render_chat([{"role": "user", "content": "a"}]) == "<s>[user] a\n[assistant]"
    assert lm.digest == identity.identify(f"untrained:{tiny}").digest != digest_of(tiny)


def digest_of(path):
    return identity.identify(str(path)).digest


def test_an_untrained_model_depends_on_no_weight(tiny, tmp_path):
    other = tiny_gguf(tmp_path / "other.gguf", chat=True, seed=1)
    assert digest_of(other) != digest_of(tiny)
    assert digest_of(f"untrained:{other}") == digest_of(f"untrained:{tiny}")


def test_without_a_chat_template_chat_is_refused(tmp_path):
    path = tiny_gguf(tmp_path / "base.gguf")
    with pytest.raises(UserError) as error:
        load(f"chat:{path}", device="cpu")
    assert_one_line(error, "has no chat template")


def test_the_one_file_of_a_folder_is_read_with_a_note(copy):
    lm = load(str(copy.parent), device="cpu")
    assert lm.digest == identity.digest(copy)
    assert lm.notes == (
        "Its folder holds no config.json; the one GGUF file in it is read, copy.gguf.",
    )


def test_a_file_is_known_by_its_first_bytes_too(copy):
    blob = copy.rename(copy.with_name("sha256-5f3a"))
    assert identity.locate(f"chat:{blob}") == blob


def test_safetensors_are_read_before_a_gguf_file_beside(tmp_path, tiny):
    folder = tiny_folder(tmp_path, "llama")
    shutil.copy(tiny, folder / "tiny.gguf")
    assert identity.locate(str(folder)) == folder


def test_a_path_is_shown_by_its_last_part_and_handed_on_absolute(copy, monkeypatch):
    monkeypatch.chdir(copy.parent)
    names = ["copy.gguf", "chat:copy.gguf", "./copy.gguf", "reference", "smollm2", "org/name"]
    assert list(shown_names(names[1:2]).values()) == ["chat:copy"]
    assert identity.absolute("chat:copy.gguf") == f"chat:{copy}"
    assert [identity.absolute(name) for name in names[3:]] == names[3:]
    assert shown_names(names)["copy.gguf"] == "copy.gguf"  # two are alike
    assert shown_names(["reference", "org/name"]) == {
        "reference": "reference",
        "org/name": "org/name",
    }


# Planning


def test_what_is_planned_with_is_in_the_header(tiny):
    name = str(tiny)
    assert modelshape.context_tokens(name) == 256
    assert (modelshape.num_layers(name), modelshape.num_heads(name)) == (3, 4)
    assert modelshape.state_numbers(name) == (3 + 2) * 32
    assert modelshape.described(name) == {
        "family": "llama",
        "parameters": sum(weight.numel() for weight in llama().parameters()),
        "exposure": "",
    }
    words = ["Input: the positive", "at 42\n\n", ""]
    assert modelshape.token_counts(name, words) == [
        len(tiny_tokenizer(bos=False)(word).input_ids) for word in words
    ]


def test_two_files_have_one_shape_where_only_weights_differ(tiny, tmp_path):
    alike = tiny_gguf(tmp_path / "alike.gguf", seed=1, kind=TYPES.Q8_0)
    other = tiny_gguf(tmp_path / "other.gguf", llama__context_length=128)
    assert shape(str(alike)) == shape(str(tiny)) != shape(str(other))


# Refusals


@given(st.data())
def test_a_file_that_is_cut_off_anywhere_is_refused_in_one_line(tiny, tmp_path_factory, data):
    content = tiny.read_bytes()
    path = tmp_path_factory.mktemp("cut") / "cut.gguf"
    path.write_bytes(content[: data.draw(st.integers(4, len(content) - 1))])
    with pytest.raises(UserError) as error:
        gguf_file.read(path)
    assert_one_line(error, str(path), "cut off after", "download it again")


def replaced(old, new):
    def spoil(path):
        content = path.read_bytes()
        assert old in content
        path.write_bytes(content.replace(old, new, 1))

    return spoil


def made(**metadata):
    return lambda path: tiny_gguf(path, **metadata)


SPOILED = {
    "another format": (replaced(b"GGUF", b"PK\3\4"), "is not a GGUF file", "begins with b'PK"),
    "an old version": (replaced(b"GGUF\3", b"GGUF\1"), "of version 1", "version 2 or 3"),
    "no architecture": (replaced(b"general.architecture", b"general.architectura"), "names no"),
    "no text": (replaced(b"context_length", b"context_\xff\xfength"), "not text"),
    "a part": (made(split__count=3), "one of 3 parts", "llama-gguf-split --merge"),
    "an adapter": (made(general__type="adapter"), "its type is 'adapter'"),
    "another family": (made(arch="whisperish"), "cannot be loaded", "whisperish"),
}


@pytest.mark.parametrize("case", SPOILED)
def test_a_file_that_cannot_be_used_is_one_line(case, copy):
    spoil, *wanted = SPOILED[case]
    spoil(copy)
    with pytest.raises(UserError) as error:
        load(str(copy), device="cpu")
    assert_one_line(error, str(copy), *wanted)


def test_a_tensor_type_nobody_knows_is_one_line(copy):
    reader = gguf.GGUFReader(copy)
    place = int(reader.tensors[0].field.parts[4].ctypes.data - reader.data.ctypes.data)
    content = bytearray(copy.read_bytes())
    content[place : place + 4] = (250).to_bytes(4, "little")
    copy.write_bytes(content)
    with pytest.raises(UserError) as error:
        gguf_file.read(copy)
    assert_one_line(error, "of the type 250", "pip install --upgrade gguf")


def test_several_files_in_a_folder_are_named(copy):
    shutil.copy(copy, copy.with_name("b.gguf"))
    with pytest.raises(UserError) as error:
        load(str(copy.parent))
    assert_one_line(
        error, "2 GGUF files (b.gguf, copy.gguf)", f"give the file, for example {copy.parent}"
    )


def test_a_configuration_without_weights_points_to_the_file(tmp_path, tiny):
    folder = tiny_folder(tmp_path, "llama")
    (folder / "model.safetensors").unlink()
    shutil.copy(tiny, folder / "tiny.gguf")
    with pytest.raises(UserError) as error:
        load(str(folder))
    assert_one_line(error, "no *.safetensors", f"give the file, {folder / 'tiny.gguf'}")


def test_a_gguf_file_is_not_quantized_again(tiny):
    for ask in (
        lambda: load(str(tiny), quantize="4bit"),
        lambda: identity.identify(str(tiny), quantize="4bit"),
    ):
        with pytest.raises(UserError) as error:
            ask()
        assert_one_line(error, "4bit", "GGUF file", "leave out quantize")


@pytest.mark.parametrize("absent", gguf_file.PACKAGES)
def test_without_a_package_the_command_is_named(absent, tiny, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *rest: None if name == absent else find(name, *rest),
    )
    with pytest.raises(UserError) as error:
        load(str(tiny), device="cpu")
    assert_one_line(error, absent, "pip install 'adaptlens[gguf]'")


def test_transformers_is_as_it_was_after_loading(tiny):
    module = importlib.import_module("transformers.modeling_gguf_pytorch_utils")
    before = (module.tqdm, gguf.GGUFReader, gguf.get_tensor_name_map)
    load(str(tiny), device="cpu")
    assert (module.tqdm, gguf.GGUFReader, gguf.get_tensor_name_map) == before


def test_a_header_says_nothing_it_could_take_back(tiny):
    with pytest.raises(dataclasses.FrozenInstanceError):
        gguf_file.read(tiny).data_start = 0
