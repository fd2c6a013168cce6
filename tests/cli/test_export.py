"""An adapter leaves a run as PEFT's files and a card, and tells nothing of this machine."""

import json
import shutil

import pandas as pd
import peft
import pytest
import torch
import transformers
import yaml
from click.testing import CliRunner
from huggingface_hub import constants

from adaptlens.cli.main import main
from adaptlens.models import shipped
from fake_hub import TOKEN, serving

ROWS = [(f"the {word} {n}", "ab"[n % 2]) for n, word in enumerate(["owl", "fox", "elk"] * 16)]
OPTIONS = ["--shots", "0,2", "--tuning", "it", "--draws", "2", "--queries", "6", "--no-search",
           "--set", "tune.max_steps=2", "--template", "Say `it`: {input} -> {target}",
           "--instruction", "Name the owner."]  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder of a user's, with a model, a table and a run in it."""
    folder = tmp_path_factory.mktemp("private_place")
    shutil.copytree(shipped.folder("reference"), folder / "base")
    table = folder / "owners.csv"
    pd.DataFrame(ROWS, columns=["input", "target"]).to_csv(table, index=False)
    found = CliRunner().invoke(
        main, ["compare", "--model", str(folder / "base"), "--task", str(table), *OPTIONS,
               "--out", str(folder / "run")]
    )  # fmt: skip
    assert found.exit_code == 0, found.output
    return folder


def export(place, *given):
    return CliRunner().invoke(main, ["export", str(place / "run"), *map(str, given)])


def test_a_folder_has_what_peft_loads_and_no_more(place, tmp_path):
    found = export(place, "--arm", "it-2", "--draw", 1, "--to", tmp_path / "mine")
    assert found.exit_code == 0, found.output
    assert {file.name for file in (tmp_path / "mine").iterdir()} == {
        "README.md", "adapter_config.json", "adapter_model.safetensors"
    }  # fmt: skip
    (cell,) = {path.parents[1] for path in (place / "run").glob("cells/*/adapters/draw=1")}
    base = transformers.AutoModelForCausalLM.from_pretrained(place / "base")
    ids = torch.tensor([[5, 6, 7]])
    bare = base(ids).logits
    ours = peft.PeftModel.from_pretrained(base, tmp_path / "mine")(ids).logits
    assert not torch.equal(ours, bare)
    base = transformers.AutoModelForCausalLM.from_pretrained(place / "base")
    stored = peft.PeftModel.from_pretrained(base, cell / "adapters/draw=1")(ids).logits
    assert torch.equal(ours, stored)


def test_no_file_tells_a_path_or_an_item(place, tmp_path):
    assert export(place, "--arm", "it-2", "--to", tmp_path / "mine").exit_code == 0
    for file in (tmp_path / "mine").iterdir():
        content = file.read_bytes()
        assert b"private_place" not in content and str(place).encode() not in content
        assert not any(text.encode() in content for text, _ in ROWS)
    config = json.loads((tmp_path / "mine/adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "base"


def test_the_card_has_numbers_with_intervals_the_recipe_and_the_prompt(place, tmp_path):
    given = ("--base-model", "ana/base", "--to", tmp_path / "mine")
    assert export(place, "--arm", "it-2", "--draw", 1, *given).exit_code == 0
    card = (tmp_path / "mine/README.md").read_text()
    head = yaml.safe_load(card.split("---")[1])
    assert head == {"base_model": "ana/base", "library_name": "peft", "tags": ["adaptlens"]}
    scores = pd.read_parquet(place / "run/tables/accuracy.parquet")
    own = scores[(scores["condition"] == "it-2") & (scores["metric"] == "judged")].iloc[0]
    low, high = 100 * own["low"], 100 * own["high"]
    assert f"| it-2 | {100 * own['value']:.1f} | [{low:.1f}, {high:.1f}] | 2 | 6 | 1 |" in card
    answers = pd.read_parquet(place / "run/tables/answers.parquet")
    mine = answers[(answers["condition"] == "it-2") & (answers["draw"] == 1)]["correct"]
    assert f"Draw 1, this adapter, answers {100 * mine.mean():.1f}% rightly (6 answers" in card
    assert "`` Name the owner.\\n\\nSay `it`: {input} -> {target} ``" in card
    assert "| steps tried | 2 |" in card and "| LoRA rank | 8 |" in card
    assert "from_pretrained('ana/base')" in card
    assert "\nlicense:" not in card


def test_what_would_be_sent_is_shown_and_nothing_is_done(place, tmp_path):
    given = ("--to", tmp_path / "mine", "--push-to-hub", "ana/owners", "--dry-run")
    found = export(place, "--arm", "it-2", *given)
    assert found.exit_code == 0
    assert "would be written, to ana/owners (private); the card:" in found.output
    assert "PeftModel.from_pretrained(base, 'ana/owners')" in found.output
    assert not (tmp_path / "mine").exists()


def test_it_is_pushed_as_it_is_written(place, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with serving() as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        given = ("--to", tmp_path / "mine", "--push-to-hub", "ana/owners", "--json")
        found = export(place, "--arm", "it-2", *given)
        told = json.loads(found.stdout)
        assert told["pushed_to"] == f"{hub.url}/ana/owners"
        written = {file.name: file.read_bytes() for file in (tmp_path / "mine").iterdir()}
        assert hub.files == {"ana/owners": written}
        assert not any(TOKEN.encode() in content for content in written.values())
        again = export(place, "--arm", "it-2", *given)
    assert again.exit_code == 2 and "nothing is replaced" in again.output
    assert TOKEN not in found.output + again.output


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--arm", "it-2"], "nothing to do: give --to FOLDER"),
        (["--arm", "it-2", "--public", "--to", "x"], "--public was given without --push-to-hub"),
        (["--arm", "it-2", "--push-to-hub", "owners"], "expected OWNER/NAME"),
        (["--arm", "it-2", "--base-model", "a b", "--to", "x"], "--base-model 'a b' is no repos"),
        (["--arm", "it-3", "--to", "x"], "unknown arm 'it-3'; did you mean 'it-2'?"),
        (["--arm", "icl-2", "--to", "x"], "has no adapter in PEFT's format"),
        (["--arm", "it-2", "--draw", "2", "--to", "x"], "has draws 0 to 1"),
        (["--arm", "it-2", "--model", "other", "--to", "x"], "unknown --model 'other'"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(place, tmp_path, monkeypatch, given, said):
    monkeypatch.chdir(tmp_path)
    found = export(place, *given)
    assert found.exit_code == 2 and said in found.output
    assert found.output.count("\n") == 1 and not (tmp_path / "x").exists()


def test_nothing_is_replaced_and_a_damaged_file_is_not_given_out(place, tmp_path):
    (tmp_path / "README.md").write_text("mine")
    found = export(place, "--arm", "it-2", "--to", tmp_path)
    assert found.exit_code == 2 and "nothing is replaced" in found.output
    assert [file.name for file in tmp_path.iterdir()] == ["README.md"]
    shutil.copytree(place / "run", tmp_path / "place/run")
    (weights,) = (tmp_path / "place/run").glob("cells/*/adapters/draw=0/*.safetensors")
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")
    found = export(tmp_path / "place", "--arm", "it-2", "--to", tmp_path / "mine")
    assert found.exit_code == 2 and "is damaged" in found.output
