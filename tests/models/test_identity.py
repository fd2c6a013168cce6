"""A model's identity covers each file that decides a number, and no other."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import safetensors.torch
import torch

import tiny
from adaptlens.errors import UserError
from adaptlens.lm.generate import generate
from adaptlens.lm.load import LM, assemble, load
from adaptlens.lm.score import encode, score
from adaptlens.models import identity
from adaptlens.types import Part, Prompt

pytestmark = pytest.mark.filterwarnings("ignore")
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def edited(path: Path, **changes: Any) -> None:
    held = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**held, **changes}))


def reweighted(path: Path) -> None:
    weights = safetensors.torch.load_file(path)
    name = sorted(weights)[0]
    safetensors.torch.save_file({**weights, name: weights[name] * 1.5}, path, {"format": "pt"})


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model's folder with all that may lie in one: adapters, spare weights, code, old files."""
    folder = tiny.tiny_folder(tmp_path_factory.mktemp("models"), "llama")
    (folder / "chat_template.jinja").write_text(CHATML)
    model = peft.get_peft_model(
        tiny.tiny_model("llama"), peft.LoraConfig(r=2, init_lora_weights=False)
    )
    model.save_pretrained(str(folder))
    shutil.copy(folder / "model.safetensors", folder / "consolidated.safetensors")
    torch.save({}, folder / "pytorch_model.bin")
    (folder / "additional_chat_templates").mkdir()
    (folder / "additional_chat_templates" / "tool_use.jinja").write_text("tools")
    for name in ("processor_config", "preprocessor_config", "trainer_state", "tekken"):
        (folder / f"{name}.json").write_text("{}")
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {}}')
    (folder / "modeling_own.py").write_text("raise SystemExit")
    (folder / "README.md").write_text("about")
    for name in ("vocab.json", "special_tokens_map.json", "added_tokens.json"):
        (folder / name).write_text("{}")
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return folder


def numbers(folder: Path) -> tuple[Any, ...]:
    """Return scores and texts of plain and chat prompts, to six digits."""
    lm = load(str(folder), device="cpu", chat=True)
    asked = lm.render_chat([{"role": "user", "content": "the zq thing"}])
    prompts = [
        Prompt((Part("query", text),), (" positive", " negative"))
        for text in (asked, "Input: a positive zq\n\nOutput:")
    ]
    requests = encode(lm, prompts)
    scores = np.concatenate(score(lm, requests)).round(4).tolist()
    return tuple(scores), tuple(generate(lm, requests, 6)), lm.eos_ids


CHANGES = {
    "config.json": lambda f: edited(f / "config.json", rms_norm_eps=0.5),
    "generation_config.json, the end": lambda f: edited(
        f / "generation_config.json", eos_token_id=[2, 7]
    ),
    "generation_config.json, a penalty": lambda f: edited(
        f / "generation_config.json", repetition_penalty=9.0, temperature=0.1
    ),
    "model.safetensors": lambda f: reweighted(f / "model.safetensors"),
    "tokenizer.json": lambda f: edited(f / "tokenizer.json", normalizer={"type": "Lowercase"}),
    "tokenizer_config.json": lambda f: edited(f / "tokenizer_config.json", eos_token="<pad>"),
    "chat_template.jinja": lambda f: (f / "chat_template.jinja").write_text("x" + CHATML),
    "special_tokens_map.json": lambda f: edited(f / "special_tokens_map.json", eos_token="<pad>"),
    "added_tokens.json": lambda f: edited(f / "added_tokens.json", zq=319),
    "adapter_config.json": lambda f: edited(f / "adapter_config.json", lora_alpha=99),
    "no adapter_config.json": lambda f: (f / "adapter_config.json").unlink(),
    "adapter_model.safetensors": lambda f: reweighted(f / "adapter_model.safetensors"),
    "consolidated.safetensors": lambda f: reweighted(f / "consolidated.safetensors"),
    "pytorch_model.bin": lambda f: (f / "pytorch_model.bin").write_bytes(b"x"),
    "additional template": lambda f: (f / "additional_chat_templates" / "default.jinja").write_text(
        "other"
    ),
    "processor_config.json": lambda f: edited(f / "processor_config.json", chat_template="x"),
    "preprocessor_config.json": lambda f: edited(f / "preprocessor_config.json", size=3),
    "tekken.json": lambda f: edited(f / "tekken.json", vocab=[]),
    "chat_template.json": lambda f: edited(f / "chat_template.json", chat_template="x"),
    "index": lambda f: edited(f / "model.safetensors.index.json", weight_map={"a": "b"}),
    "code": lambda f: (f / "modeling_own.py").write_text("1"),
    "README.md": lambda f: (f / "README.md").write_text("other"),
    "vocab.json": lambda f: edited(f / "vocab.json", a=3),
    "merges.txt": lambda f: (f / "merges.txt").write_text("a b\n"),
}


@pytest.fixture(scope="module")
def before(crowded: Path) -> tuple[Any, ...]:
    return numbers(crowded)


@pytest.mark.parametrize("change", CHANGES)
def test_the_identity_changes_if_and_only_if_a_number_does(
    change: str, crowded: Path, before: tuple[Any, ...], tmp_path: Path
) -> None:
    folder = shutil.copytree(crowded, tmp_path / "other name")
    CHANGES[change](folder)
    moved = identity.digest(folder) != identity.digest(crowded)
    assert moved == (numbers(folder) != before)


def test_lists_of_added_tokens_have_no_say_where_the_settings_hold_them(
    crowded: Path, tmp_path: Path
) -> None:
    folders = [shutil.copytree(crowded, tmp_path / name) for name in "ab"]
    for folder in folders:
        edited(folder / "tokenizer_config.json", added_tokens_decoder={})
    edited(folders[1] / "added_tokens.json", zq=319)
    edited(folders[1] / "special_tokens_map.json", eos_token="<pad>")
    assert identity.digest(folders[0]) == identity.digest(folders[1])
    assert numbers(folders[0]) == numbers(folders[1])


def test_an_adapter_beside_the_model_is_left_out_and_said(crowded: Path) -> None:
    lm = load(str(crowded), device="cpu")
    assert not [name for name, _ in lm.model.named_parameters() if "lora" in name]
    assert any("adapter_config.json), which is left out" in note for note in lm.notes)
    ids = torch.tensor([[5, 6, 7]])
    with torch.no_grad():
        own = tiny.tiny_model("llama")(ids).logits
        torch.testing.assert_close(lm.model(ids).logits, own)


def test_the_same_files_elsewhere_are_the_same_model(crowded: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(crowded, tmp_path / "deepseek-ai" / "another")
    assert identity.digest(folder) == identity.digest(crowded)


def test_shards_are_named_by_the_index_and_all_read(tmp_path: Path) -> None:
    tiny.tiny_model("llama").save_pretrained(tmp_path, max_shard_size="20KB")
    tiny.tiny_tokenizer().save_pretrained(tmp_path)
    assert (tmp_path / identity.INDEX).is_file()
    with torch.no_grad():
        ids = torch.tensor([[5, 6, 7]])
        found = load(str(tmp_path), device="cpu").model(ids).logits
        torch.testing.assert_close(found, tiny.tiny_model("llama")(ids).logits)


@pytest.mark.parametrize("name", ["../other.safetensors", "/x.safetensors", 3, None, "a/b"])
def test_an_index_that_points_elsewhere_is_one_line(name: Any, crowded: Path, tmp_path: Path):
    folder = shutil.copytree(crowded, tmp_path / "copy")
    (folder / "model.safetensors").unlink()
    (folder / identity.INDEX).write_text(json.dumps({"weight_map": {"a": name}}))
    with pytest.raises(UserError, match=r"names the weights file .*; expected") as caught:
        identity.identify(str(folder))
    assert "\n" not in str(caught.value)


# The clock and chance in chat templates


def chatting(template: str, *, chat: bool = True) -> LM:
    tokenizer = tiny.tiny_tokenizer(chat=True)
    tokenizer.chat_template = template
    return assemble(tiny.tiny_model("llama"), tokenizer, name="m", digest="", chat=chat)


@pytest.mark.parametrize(
    "clock", ["{{ strftime_now('%d %B %Y %H:%M:%S') }}", "{% set f = strftime_now %}{{ f('%c') }}"]
)
def test_a_template_that_reads_the_clock_is_told_one_time(clock: str) -> None:
    lm = chatting(clock + CHATML)
    text = lm.render_chat([{"role": "user", "content": "x"}])
    assert text.startswith(("01 January 2025 12:00:00<", "Wed Jan  1 12:00:00 2025<"))
    assert any(identity.CLOCK in note for note in lm.notes)


def test_the_clock_is_part_of_the_identity_where_it_is_read(crowded: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(crowded, tmp_path / "copy")
    assert "clock" not in identity.identify(str(folder)).stored()
    (folder / "chat_template.jinja").write_text("{{ strftime_now('%Y') }}" + CHATML)
    assert identity.identify(str(folder)).clock == identity.CLOCK
    (folder / "chat_template.jinja").unlink()
    template = [{"name": "default", "template": "{{ strftime_now('%Y') }}" + CHATML}]
    edited(folder / "tokenizer_config.json", chat_template=template)
    assert identity.identify(str(folder)).clock == identity.CLOCK


@pytest.mark.parametrize(
    ("drawn", "said"),
    [("{{ [1, 2, 3] | random }}", "the filter random"), ("{{ lipsum(1) }}", r"lipsum\(\)")],
)
def test_a_template_that_draws_at_random_is_refused(drawn: str, said: str) -> None:
    lm = chatting(drawn + CHATML)
    with pytest.raises(UserError, match=f"writes other text each time .{said}") as caught:
        lm.render_chat([{"role": "user", "content": "x"}])
    assert "\n" not in str(caught.value)


def test_the_word_random_is_no_draw() -> None:
    text = chatting("A random lipsum." + CHATML).render_chat([{"role": "user", "content": "x"}])
    assert text.startswith("A random lipsum.<|im_start|>user\nx")


def test_what_messages_begin_with_is_not_cut_at_a_word_of_the_template() -> None:
    lm = chatting("content of use: " + CHATML, chat=False)
    assert lm.chat_start == "content of use: <|im_start|>user\n"


def test_weights_that_the_configuration_names_itself_are_refused(
    crowded: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(crowded, tmp_path / "copy")
    edited(folder / "config.json", transformers_weights="consolidated.safetensors")
    with pytest.raises(UserError, match=r"names its own file of weights .*consolidated"):
        identity.identify(str(folder))


def test_code_that_comes_with_a_model_is_never_run(crowded: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(crowded, tmp_path / "copy")
    own = {"AutoConfig": "modeling_own.Config", "AutoModelForCausalLM": "modeling_own.Model"}
    edited(folder / "config.json", model_type="own", auto_map=own)
    with pytest.raises(UserError, match="its own Python code, which is never run") as caught:
        load(str(folder), device="cpu")
    assert "\n" not in str(caught.value)
