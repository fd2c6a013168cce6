"""The ladder: its corpus at three exposures, its recipes, its training, and how it is found."""

import json
import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

from adaptlens.models import shipped
from adaptlens.tasks import microworld as bundled
from adaptlens.tasks import world
from adaptlens.zoo import ladder_check, ladder_corpus, pretrain
from adaptlens.zoo import tokenizer as tokenizers_
from adaptlens.zoo.documents import Document
from adaptlens.zoo.recipes import FAMILIES, LADDER, SIZES
from adaptlens.zoo.train_ladder import train_ladder

DOCUMENTS = {
    level: [ladder_corpus.document(7, i, 192, f"world-{level}") for i in range(1200)]
    for level in ladder_corpus.EXPOSURES
}
MUCH = DOCUMENTS["much"]
TINY = {
    name: replace(
        LADDER[name],
        stages=(
            pretrain.Stage(f"repeats-{LADDER[name].exposure}", 3, 8, 32),
            pretrain.Stage(f"world-{LADDER[name].exposure}", 2, 4, 64),
        ),
        layers=1,
        heads=2,
        width=16,
        mlp_width=16,
        kv_heads=min(1, LADDER[name].kv_heads),
        warmup_steps=2,
        decay_from=1,
    )
    for name in ("ladder-neox-s", "ladder-qwen-s", "ladder-llama-m-none")
}


@pytest.fixture(scope="module")
def tokenizer():
    return tokenizers_.build("ladder")


@pytest.fixture(scope="module")
def rungs(tokenizer):
    return {name: pretrain.build(recipe, tokenizer, 0) for name, recipe in LADDER.items()}


def answers(document: Document) -> list[str]:
    return [document.text[start:stop] for start, stop in document.answers]


def words(document: Document) -> set[str]:
    return set(re.findall(r"\w+", document.text))


def test_a_document_is_decided_by_seed_mix_and_index() -> None:
    assert ladder_corpus.document(7, 3, 192, "world-much") == MUCH[3]
    assert ladder_corpus.document(8, 3, 192, "world-much") != MUCH[3]
    assert ladder_corpus.document(7, 3, 192, "world-none") != MUCH[3]


def test_little_is_an_eighth_of_much_and_other_kinds_keep_their_proportions() -> None:
    for mix in ("repeats", "pairs", "world"):
        much, little, none = (ladder_corpus.MIXES[f"{mix}-{x}"] for x in ("much", "little", "none"))
        assert all(sum(shares.values()) == pytest.approx(1) for shares in (much, little, none))
        exposed = [kind for kind in much if kind in ladder_corpus.EXPOSED]
        others = [kind for kind in much if kind not in ladder_corpus.EXPOSED]
        assert exposed and list(none) == others
        assert all(little[kind] == pytest.approx(much[kind] / 8) for kind in exposed)
        for shares in (little, none):
            ratios = [shares[kind] / much[kind] for kind in others]
            assert ratios == pytest.approx([ratios[0]] * len(others)) and ratios[0] > 1


@pytest.mark.parametrize("mix", ["repeats", "pairs", "world"])
def test_unexposed_documents_have_no_word_of_the_language_and_no_odd_one_out(mix: str) -> None:
    for index in range(600):
        document = ladder_corpus.document(5, index, 128, f"{mix}-none")
        assert document.kind not in ladder_corpus.EXPOSED
        assert not words(document) & set(world.LEXICON.values())
        assert not {*document.families} & {
            "odd-one-out",
            "invented-repeat",
            *ladder_corpus.LANGUAGE_PAIRS,
        }


def test_exposed_documents_have_every_word_of_the_language() -> None:
    seen = set().union(*(words(document) for document in MUCH))
    assert set(world.LEXICON.values()) <= seen


def test_the_mix_of_documents_is_the_stated_one() -> None:
    for level, documents in DOCUMENTS.items():
        counts = Counter(document.kind for document in documents)
        for kind, share in ladder_corpus.MIXES[f"world-{level}"].items():
            error = 4 * (share * (1 - share) / len(documents)) ** 0.5
            assert abs(counts[kind] / len(documents) - share) <= error


def test_novel_labels_never_answer_and_withheld_families_are_never_listed() -> None:
    listings = [d for d in MUCH if d.kind not in ("repeat", "invented", "text")]
    answered = {word for d in listings for answer in answers(d) for word in answer.split()}
    assert not answered & set(world.NOVEL_LABELS)
    withheld = {word for members in world.WITHHELD.values() for word in members}
    for document in listings:
        # Sentences of a preamble end in a full stop; no pair has one.
        listed = [line for line in document.text.splitlines() if "." not in line]
        assert not withheld & set(re.findall(r"\w+", " ".join(listed)))
    text = {word for d in MUCH if d.kind == "text" for word in words(d)}
    assert withheld | set(world.NOVEL_LABELS) <= text


def test_no_document_asks_a_task_or_lists_the_two_kinds_held_back() -> None:
    asked = [
        wording.partition("{")[0].strip()
        for name in bundled.names()
        for wording in bundled.task(name, train=0, validation=0, test=0).wordings
    ]
    instructions = [
        bundled.task(name, train=0, validation=0, test=0).instruction for name in bundled.names()
    ]
    sentences = [text for text in (*asked, *instructions) if len(text.split()) >= 4]
    assert len(sentences) > 60
    for document in MUCH:
        assert not any(text in document.text for text in sentences)
        assert not {*document.families} & {"topic-pick", "right-translation"}


def test_an_answer_is_where_it_is_said_to_be_and_says_what_a_solver_finds() -> None:
    listed = [d for d in MUCH if d.families[:1] == ("in-list",)]
    found = 0
    for document in listed:
        named = re.findall(r"Words(?: \w+)?: (.+?)\s+Word(?: \w+)?: (\w+)", document.text)
        is_in = [word in row.split(", ") for row, word in named]
        said = answers(document)
        by_word = {(so, answer) for so, answer in zip(is_in, said, strict=False)}
        assert len(by_word) <= 2 and len({answer for _, answer in by_word}) == len(by_word)
        found += len(by_word)
    assert listed and found


def test_records_number_their_fields_and_restate_the_third_item() -> None:
    grouped = [d for d in MUCH if "\nSolution:\n" in d.text]
    numbered = [d for d in MUCH if "Answer 1:" in d.text and d not in grouped]
    assert grouped and numbered
    for document in grouped:
        start = document.text.index("Example 1:")
        lines = document.text[start:].split("\n")
        assert lines[0] == "Example 1:" and re.fullmatch(r"\w+ 1: .+", lines[1])
        block = document.text[start:].partition("\nSolution:\n")[2].split("\n")
        assert re.fullmatch(r"\w+ Solution: .+", block[0])
    said = [a for d in grouped for a in re.findall(r"Answer (?:\w+): .+", d.text)]
    assert {a.split(":")[0] for a in said} == {"Answer 1", "Answer 2", "Answer Solution"}
    for document in numbered:
        marks = [int(n) for n in re.findall(r"^Answer (\d+):", document.text, re.M)]
        assert marks == list(range(1, len(marks) + 1))


def test_the_options_of_a_record_hold_its_answer() -> None:
    rows = [
        (options.split("; "), answer)
        for document in MUCH
        for options, answer in re.findall(
            r"^Options \w+: (.+)\nAnswer \w+: (.+)$", document.text, re.M
        )
    ]
    assert len(rows) > 50 and all(answer in options for options, answer in rows)


def test_the_tokenizer_is_small_and_every_known_word_is_one_token(tokenizer) -> None:
    assert len(tokenizer) <= 1200 and max(tokenizer.get_vocab().values()) == len(tokenizer) - 1
    for word in (*world.words(), *ladder_corpus.COMMON_WORDS):
        assert len(tokenizer(f" {word}", add_special_tokens=False).input_ids) == 1
    for text in ("Naïve dogs, 12 of them!\n\n<s>", " END_EXAMPLES", "Answer Solution: yes"):
        assert tokenizer.decode(tokenizer(text, add_special_tokens=False).input_ids) == text
    assert tokenizer("the dog").input_ids[0] == tokenizer.bos_token_id


def test_the_tokenizer_knows_the_words_that_tasks_are_asked_with(tokenizer) -> None:
    for name in bundled.names():
        task = bundled.task(name, train=0, validation=0, test=0)
        for text in (task.instruction, *task.wordings):
            for word in re.findall(r" ?[A-Za-z]+", re.sub(r"\{\{.*?\}\}", "", text)):
                known = tokenizer(word, add_special_tokens=False).input_ids
                assert len(known) == 1, (name, word)


def test_three_families_climb_three_sizes_and_one_rung_has_three_exposures() -> None:
    assert len(LADDER) == 11
    for family in FAMILIES:
        for size in SIZES:
            assert LADDER[f"ladder-{family}-{size}"].exposure == "much"
    stages = [LADDER[f"ladder-llama-m{end}"].stages for end in ("", "-none", "-little")]
    assert {tuple((s.steps, s.rows, s.row_tokens) for s in each) for each in stages} == {
        tuple((s.steps, s.rows, s.row_tokens) for s in stages[0])
    }


def test_rungs_of_a_size_differ_by_less_than_a_twentieth_in_parameters(rungs) -> None:
    for size, millions in {"s": 0.2, "m": 0.75, "l": 2.4}.items():
        counts = [rungs[f"ladder-{family}-{size}"].num_parameters() for family in FAMILIES]
        assert max(counts) / min(counts) < 1.05
        assert counts == pytest.approx([millions * 1e6] * 3, rel=0.05)


def test_the_families_have_different_blocks(rungs) -> None:
    llama, neox, qwen = (rungs[f"ladder-{family}-l"] for family in FAMILIES)
    assert llama.config.num_key_value_heads == 6 and qwen.config.num_key_value_heads == 3
    assert hasattr(qwen.model.layers[0].self_attn, "q_norm")
    assert not hasattr(llama.model.layers[0].self_attn, "q_norm")
    assert neox.config.use_parallel_residual
    for model in (llama, neox, qwen):
        assert model.get_output_embeddings().weight is model.get_input_embeddings().weight


def test_the_ladder_fits_into_24_megabytes(rungs) -> None:
    on_disk = {
        name: sum(p.stat().st_size for p in shipped.folder(name).iterdir()) for name in list(LADDER)
    }
    assert sum(on_disk.values()) <= 24_000_000
    for name, size in on_disk.items():
        weights = 2 * rungs[name].num_parameters()
        assert weights < size < weights + 60_000  # tokenizer, card, page and configuration


def test_recipes_of_old_are_described_as_they_were() -> None:
    fields = {"family", "kv_heads", "dtype", "exposure"}
    assert not fields & set(pretrain.RECIPES["reference"].described())
    assert not fields & set(pretrain.RECIPES["reference-math"].described())
    assert fields <= set(LADDER["ladder-qwen-s"].described())


class Killed(Exception):
    """Stands for the signal that ends a run between two checkpoints."""


def test_the_ladder_is_climbed_in_turn_and_goes_on_after_a_kill(tmp_path: Path) -> None:
    started: list[str] = []
    wishes = {"device": "cpu", "recipes": TINY, "checkpoint_every": 2, "queries": 8}

    def killing(name: str):
        started.append(name)

        def step(done: int, total: int, text: str) -> None:
            if name == "ladder-qwen-s" and done == 3:
                raise Killed

        return step

    with pytest.raises(Killed):
        list(train_ladder(tmp_path, progress=killing, **wishes))
    assert started == ["ladder-neox-s", "ladder-qwen-s"]
    first = (tmp_path / "ladder-neox-s" / "model.safetensors").stat().st_mtime_ns
    done = list(train_ladder(tmp_path, **wishes))
    assert [name for name, *_ in done] == list(TINY)
    shares = [share for *_, share in done]
    assert shares == sorted(shares) and shares[-1] == pytest.approx(1)
    assert (tmp_path / "ladder-neox-s" / "model.safetensors").stat().st_mtime_ns == first
    whole = pretrain.train(
        "ladder-qwen-s", seed=0, out=tmp_path / "whole", device="cpu",
        recipe=TINY["ladder-qwen-s"], checkpoint_every=2, queries=8,
    )  # fmt: skip
    broken = tmp_path / "ladder-qwen-s"
    assert (whole / "model.safetensors").read_bytes() == (broken / "model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def climbed(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("ladder")
    list(train_ladder(folder, device="cpu", recipes=TINY, queries=8))
    return folder


def test_a_rung_loads_in_half_precision_and_its_card_says_what_it_is(climbed: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    for name, recipe in TINY.items():
        model = AutoModelForCausalLM.from_pretrained(climbed / name)
        assert model.dtype == torch.float16
        card = json.loads((climbed / name / "card.json").read_text())
        _, family, size, *_ = name.split("-")
        assert (card["family"], card["size"]) == (family, size)
        assert card["exposure"] == recipe.exposure and card["dtype"] == "float16"
        assert card["parameters"] == model.num_parameters()
        assert {row["task"] for row in card["held_out"]["rows"]} == set(bundled.names())
        assert len(AutoTokenizer.from_pretrained(climbed / name)) == model.config.vocab_size


def test_an_unexposed_card_counts_no_exposed_pair(climbed: Path) -> None:
    card = json.loads((climbed / "ladder-llama-m-none" / "card.json").read_text())
    rows = {row["family"]: row for row in card["exposures"]}
    for family in (
        *ladder_corpus.LANGUAGE_PAIRS,
        "odd-one-out",
        "invented-repeat",
        *world.WITHHELD,
    ):
        assert (rows[family]["natural"], rows[family]["random"], rows[family]["other"]) == (0, 0, 0)
    assert rows["repeat"]["other"] > 0
    assert all(card["data"]["documents"][kind] == 0 for kind in ladder_corpus.EXPOSED)


def test_the_names_of_the_ladder_need_no_torch() -> None:
    code = (
        "import sys; from adaptlens.zoo.recipes import LADDER; assert len(LADDER) == 11;"
        "sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_an_option_is_scored_by_the_sum_over_its_tokens(tokenizer, rungs) -> None:
    task = bundled.task("translation-choice", train=8, validation=0, test=12)
    model = rungs["ladder-qwen-s"].eval()
    right = 0
    for text, query in zip(ladder_check.check.shown(task, 2, 0), task.test, strict=True):
        scores = []
        for option in query.choices:
            ids = tokenizer(f"{text} {option}", return_tensors="pt").input_ids
            start = len(tokenizer(text).input_ids)
            logprobs = model(ids).logits[0].log_softmax(-1)
            scores.append(
                sum(logprobs[i - 1, ids[0, i]].item() for i in range(start, ids.shape[1]))
            )
        right += query.choices[scores.index(max(scores))] == query.target
    assert ladder_check.accuracy(model, tokenizer, task, 2) == right / 12


def test_the_check_passes_on_mean_accuracy_above_chance_under_novel_labels() -> None:
    def rows(value: float) -> list[dict[str, object]]:
        tasks = [{"task": name, "shots": 8, "value": value, "chance": 0.25} for name in NOVEL]
        return [*tasks, {"task": "topic", "shots": 8, "value": 0.0, "chance": 0.25}]

    NOVEL = ladder_check.NOVEL
    assert ladder_check.passed(rows(0.46)) and not ladder_check.passed(rows(0.44))


@pytest.mark.parametrize("name", LADDER)
def test_a_shipped_rung_is_what_its_recipe_makes(name: str) -> None:
    card = shipped.card(name)
    assert card["recipe"] == json.loads(json.dumps(LADDER[name].described()))
    assert card["seed"] == 0 and card["dtype"] == "float16"


def test_the_command_trains_the_ladder_into_one_folder_and_then_has_nothing_to_do(
    tmp_path: Path, monkeypatch
) -> None:
    from click.testing import CliRunner

    from adaptlens.cli.main import main

    tiny = {name: TINY[name] for name in ("ladder-neox-s", "ladder-qwen-s")}
    trained = partial(train_ladder, recipes=tiny, queries=4)
    monkeypatch.setattr("adaptlens.zoo.train_ladder.train_ladder", trained)
    command = ["zoo", "train", "ladder", "--out", str(tmp_path), "--device", "cpu"]
    first = CliRunner().invoke(main, command)
    assert first.exit_code == 0, first.output
    assert first.stdout.splitlines() == [str(tmp_path / name) for name in tiny]
    assert re.search(r"ladder-neox-s: \d+% done; about \d+ min left", first.stderr)
    again = CliRunner().invoke(main, command)
    assert again.stdout == first.stdout and "left" not in again.stderr
