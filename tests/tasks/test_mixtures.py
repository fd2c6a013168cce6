"""Mixtures: how many rows of which task, which halves, which wordings; and the catalog."""

import json
from collections import Counter
from dataclasses import replace

import datasets
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptlens import tasks
from adaptlens.errors import UserError
from adaptlens.studies.limits.config import limits_config
from adaptlens.studies.limits.plan import members_of
from adaptlens.tasks import flan, microworld, mixtures
from adaptlens.types import Example, Task


def task(name, cluster, train=40, test=6, **changes):
    def items(split, count):
        return tuple(
            Example(f"{split}-{i}", f"{name} {split} {i}", ("yes", "no")[i % 2])
            for i in range(count)
        )

    made = Task(
        name,
        "choice",
        items("train", train),
        items("validation", 2),
        items("test", test),
        choices=("yes", "no"),
        instruction=f"Judge {name}.",
        cluster=cluster,
        wordings=tuple(f"W{i} {{{{ input }}}} {{{{ options }}}}" for i in range(7)),
    )
    return replace(made, **changes)


FLAN = [
    task("qnli", "nli"), task("mnli", "nli"), task("sst2", "sentiment"),
    task("winogrande", "coreference"), task("dpr", "coreference"), task("e2e", "struct_to_text"),
    task("wmt16_de_en", "translation"), task("xsum", "summarization"), task("cola", "misc"),
]  # fmt: skip


def groups(mixture):
    return Counter(row.group for row in (*mixture.train, *mixture.validation))


def test_rows_are_in_proportion_to_what_there_is_with_a_cap():
    members = [task("a", "x", train=200), task("b", "x", train=80), task("c", "y", train=40)]
    # Half of each split may become rows: 100, 40, 20; the cap makes that 60, 40, 20; of 60 rows in
    # all they give half each.
    mixture = mixtures.build(members, cap=60, size=60)
    assert groups(mixture) == {"a": 30, "b": 20, "c": 10}
    assert len(mixture.validation) == 6
    assert groups(mixtures.build(members, cap=60)) == {"a": 60, "b": 40, "c": 20}


def test_shares_are_rounded_to_the_largest_remainder():
    # 10 of 3 + 3 + 4: 10 * 7/20 = 3.5, 3.5 and 3.0.
    assert mixtures.proportions({"a": 7, "b": 7, "c": 6}, 10) == {"a": 4, "b": 3, "c": 3}
    assert mixtures.proportions({"a": 2, "b": 3}, 10) == {"a": 2, "b": 3}


@given(
    st.dictionaries(st.sampled_from("abcdefg"), st.integers(1, 500), min_size=1),
    st.integers(7, 900),
)
def test_no_task_gives_more_than_it_has_and_the_rows_add_up(sizes, size):
    rows = mixtures.proportions(sizes, size)
    assert all(1 <= rows[name] <= sizes[name] for name in sizes)
    assert abs(sum(rows.values()) - min(size, sum(sizes.values()))) < len(sizes)


def test_gold_examples_are_never_rows_and_the_same_in_every_mixture():
    default, ablated = mixtures.build(FLAN), mixtures.build(FLAN, ablation=3, size=10)
    assert default.pool == ablated.pool
    assert Counter(e.group for e in default.pool) == {member.name: 20 for member in FLAN}
    rows = {row.id for row in (*default.train, *default.validation, *default.test)}
    assert not rows & {e.id for e in default.pool}
    assert len(rows) == len(default.train) + len(default.validation) + len(default.test)


def test_items_are_named_by_their_task_and_bring_its_options_and_a_wording():
    mixture = mixtures.build(FLAN, queries=3)
    assert [q.id for q in mixture.test[:4]] == [
        "qnli/test-0", "qnli/test-1", "qnli/test-2", "mnli/test-0",
    ]  # fmt: skip
    assert {q.choices for q in mixture.test} == {("yes", "no")}
    wordings = {row.instruction for row in mixture.train}
    assert wordings == {f"W{i} {{{{ input }}}} {{{{ options }}}}" for i in range(5)}


def test_the_same_arguments_give_the_same_mixture_and_another_seed_another():
    one, same, other = (mixtures.build(FLAN, seed=seed) for seed in (1, 1, 2))
    assert one == same
    assert {e.id for e in one.pool} != {e.id for e in other.pool}


@pytest.mark.parametrize(
    ("number", "name", "kept"),
    [
        (0, "default", "qnli mnli sst2 winogrande dpr e2e wmt16_de_en"),
        (1, "nlg-only", "e2e wmt16_de_en"),
        (2, "no-nli-no-nlg", "sst2 winogrande dpr"),
        (3, "one-task", "qnli"),
        (4, "other-task", "mnli"),
        (5, "no-coreference", "qnli mnli sst2 e2e wmt16_de_en"),
        (6, "coreference-one", "qnli mnli sst2 winogrande e2e wmt16_de_en"),
        (7, "coreference-other", "qnli mnli sst2 dpr e2e wmt16_de_en"),
    ],
)
def test_the_seven_ablations_choose_the_clusters_of_the_paper(number, name, kept):
    assert mixtures.trained_on(FLAN, ablation=number) == kept.split()
    assert mixtures.trained_on(FLAN, ablation=name) == kept.split()
    mixture = mixtures.build(FLAN, ablation=number)
    assert set(groups(mixture)) == set(kept.split())
    assert {q.group for q in mixture.test} == {member.name for member in FLAN}


@pytest.mark.parametrize(
    ("number", "without"),
    [
        (1, "sentiment topic words lists"), (2, "topic language"), (5, "words"),
    ],
)  # fmt: skip
def test_the_microworld_has_the_ablations_by_analogy(number, without):
    members = [microworld.task(name, train=4, test=1) for name in microworld.names()]
    kept = set(mixtures.trained_on(members, ablation=number))
    dropped = without.split()
    assert kept == {member.name for member in members if member.cluster not in dropped}


def test_a_held_out_task_is_trained_on_where_an_ablation_asks_for_it_by_name():
    held_out = ("qnli", "winogrande")
    assert mixtures.trained_on(FLAN, held_out=held_out, ablation=3) == ["qnli"]
    assert "winogrande" in mixtures.trained_on(FLAN, held_out=held_out, ablation=6)
    assert not {*held_out} & {*mixtures.trained_on(FLAN, held_out=held_out)}


def test_clusters_and_tasks_can_be_held_out():
    assert mixtures.trained_on(FLAN, held_out=("nli", "dpr", "translation")) == [
        "sst2", "winogrande", "e2e",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"held_out": ("nil",)}, "did you mean 'nli'"),
        ({"ablation": "nlg"}, "nlg-only"),
        ({"ablation": 8}, "'8'"),
        ({"held_out": tuple(member.name for member in FLAN)}, "no task is left to tune on"),
    ],
)
def test_what_cannot_be_built_is_refused(arguments, said):
    with pytest.raises(UserError, match=said):
        mixtures.build(FLAN, **arguments)


def test_an_ablation_without_the_task_it_asks_for_is_refused():
    with pytest.raises(UserError, match="tunes on task 'qnli', which is not"):
        mixtures.build(FLAN[1:], ablation=3)


def test_two_members_of_one_name_are_refused():
    with pytest.raises(UserError, match="two members of the mixture are called 'a'"):
        mixtures.build([task("a", "x"), task("a", "y")])


def test_notes_say_what_became_of_every_member():
    notes = " ".join(mixtures.build(FLAN, held_out=("dpr",), queries=2).notes)
    assert "qnli, mnli, sst2, winogrande, e2e, wmt16_de_en 20 of 20 each." in notes
    assert "Not trained on: dpr, xsum, cola." in notes
    assert "training split: each task 20." in notes and "Items read: each task 2 of 6." in notes


def test_counts_that_differ_are_said_with_their_tasks():
    members = [task("a", "x", 20), task("b", "y", 20), task("c", "z", 8)]
    notes = " ".join(mixtures.build(members).notes)
    assert "training split: a, b 10 each; c 4." in notes


def test_a_task_without_wordings_is_asked_by_its_instruction_as_it_stands():
    plain = task("p", "x", wordings=(), instruction="Mark {{ x }} well.")
    mixture = mixtures.build([plain])
    from adaptlens.prompts.system_prompts import wording

    row = mixture.test[0]
    assert wording(row) == f"Mark {{{{ x }}}} well.\n{row.input}"
    own = replace(plain.test[0], choices=("yes", "no", "both"))
    mixture = mixtures.build([replace(plain, test=(own,), instruction="Judge.")])
    assert wording(mixture.test[0]) == "Judge.\np test 0\nOptions: yes; no; both"


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)


def nli_rows(count, names):
    features = datasets.Features(
        sentence1=datasets.Value("string"),
        sentence2=datasets.Value("string"),
        label=datasets.ClassLabel(names=names),
    )
    rows = {
        "sentence1": [f"premise {i}" for i in range(count)],
        "sentence2": [f"claim {i}" for i in range(count)],
        "label": [i % 2 if i else -1 for i in range(count)],
    }
    return datasets.Dataset.from_dict(rows, features=features)


def test_a_catalogued_dataset_has_fields_words_for_its_labels_and_wordings(tmp_path, own_cache):
    names = ["entailment", "not_entailment"]
    datasets.DatasetDict(train=nli_rows(41, names), validation=nli_rows(11, names)).save_to_disk(
        tmp_path / "rte"
    )
    (rte,) = flan.catalog().load(["rte"], folder=tmp_path)
    assert (rte.name, rte.cluster, rte.choices) == ("rte", "nli", ("yes", "no"))
    assert len(rte.test) == 10
    assert "test: 1 rows without one of the answers left out." in rte.notes
    item = next(e for e in rte.test if e.input.startswith("Premise: premise 3\n"))
    assert item.fields == (("premise", "premise 3"), ("hypothesis", "claim 3"))
    assert item.input == "Premise: premise 3\nHypothesis: claim 3"
    assert item.target == "no"
    assert len(rte.wordings) >= 2
    assert {e.fields for e in rte.train}.isdisjoint({e.fields for e in rte.test})


def test_a_task_of_flan_goes_by_its_name_in_every_study(tmp_path, own_cache):
    names = ["entailment", "not_entailment"]
    datasets.DatasetDict(train=nli_rows(41, names), validation=nli_rows(11, names)).save_to_disk(
        tmp_path / "rte"
    )
    path = f"flan:rte,{tmp_path}"
    rte = tasks.load(path, limit_train=20, instruction="Judge.")
    assert (rte.name, rte.cluster, len(rte.train), rte.instruction) == ("rte", "nli", 20, "Judge.")
    config = limits_config(tasks=[path, {"path": path, "cluster": "other"}])
    found = members_of(config)
    assert [task.cluster for task in found] == ["nli", "other"]
    assert found[0].wordings == flan.catalog().tasks["rte"].wordings
    with pytest.raises(UserError, match="input='text' was given for the task 'flan:rte"):
        tasks.load(path, input="text")


def test_flan_and_a_cluster_of_it_stand_for_their_tasks():
    assert flan.named("flan:rte") == ("flan:rte",)
    assert {"flan:rte,here", "flan:cb,here"} < {*flan.named("flan:nli,here")}
    assert len(flan.named("flan")) == len(flan.catalog().tasks)
    assert limits_config(tasks=["flan"]).held_out == flan.catalog().held_out
    assert limits_config(tasks=["flan:nli"]).held_out == ()
    with pytest.raises(UserError, match="did you mean 'rte'"):
        tasks.load("flan:rtee")
    with pytest.raises(UserError, match="'flan:nli' is 9 tasks"):
        tasks.load("flan:nli")


def test_a_catalogued_dataset_with_options_of_its_own(tmp_path, own_cache):
    rows = [
        {
            "question": f"question {i}",
            "choices": {"text": [f"right {i}", f"wrong {i}"], "label": ["A", "B"]},
            "answerKey": "A",
        }
        for i in range(30)
    ]
    (tmp_path / "arc_easy.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (arc,) = flan.catalog().load(["arc_easy"], folder=tmp_path)
    item = arc.test[0]
    number = item.input.split()[1]
    assert item.choices == (f"right {number}", f"wrong {number}")
    assert item.target == f"right {number}"
    assert item.fields == (("question", item.input),)


def test_a_dataset_that_needs_code_is_read_from_its_export_in_parquet(tmp_path, own_cache):
    for split, count in {"train": 40, "validation": 8, "test": 9, "test_of_something": 5}.items():
        place = tmp_path / "rows" / "en" / split
        place.mkdir(parents=True)
        rows = {"facts": [f"{split} {i}" for i in range(count)], "said": ["so"] * count}
        datasets.Dataset.from_dict(rows).to_parquet(place / "0000.parquet")
    (tmp_path / "own.yaml").write_text(
        "tasks:\n"
        f"  say: {{cluster: data, source: {tmp_path}/rows, export: en, fields: {{facts: facts}},\n"
        "    answer: said, wordings: ['Say: {{ facts }}']}\n"
    )
    (say,) = flan.catalog(tmp_path / "own.yaml").load()
    assert {len(say.train), len(say.validation), len(say.test)} == {40, 8, 9}
    assert {e.input.split()[0] for e in say.test} == {"test"}


def test_every_wording_of_the_catalog_can_be_filled_in():
    from adaptlens.prompts.system_prompts import wording

    for entry in flan.catalog().tasks.values():
        fields = tuple((name, f"<{name}>") for name in entry.fields)
        for text in entry.wordings:
            item = Example("1", "<in>", "a", ("a", "b"), text, entry.name, fields)
            asked = wording(item)
            shown = [f"<{name}>" in asked for name in entry.fields]
            assert all(shown) or "<in>" in asked, (entry.name, text)


def test_the_catalog_has_its_ablations_and_what_it_holds_out():
    found = flan.catalog()
    members = [task(name, entry.cluster) for name, entry in found.tasks.items()]
    for number in range(8):
        kept = mixtures.trained_on(members, ablation=number, held_out=found.held_out)
        assert kept
    assert len(found.tasks) >= 20
    assert len(found.clusters()) >= 8


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("tasks: [", "not valid YAML"),
        ("{}", "expected a mapping with the key tasks"),
        ("tasks: {a: {clutser: x}}", "did you mean 'cluster'"),
        ("tasks: {a: {cluster: x, source: s, fields: {f: c}, wordings: [w]}}", "'answer' is miss"),
        (
            "tasks: {a: {cluster: x, source: s, fields: {f: c}, answer: l, words: {a: yes}, "
            "wordings: [w]}}",
            "in quotes",
        ),
        ("held_out: [b]\ntasks: {a: {cluster: x, source: s, fields: {f: c}, answer: l, "
         "wordings: [w]}}", "held-out task"),
    ],
)  # fmt: skip
def test_a_catalog_that_is_not_one_is_refused(tmp_path, text, said):
    (tmp_path / "own.yaml").write_text(text)
    with pytest.raises(UserError, match=said):
        flan.catalog(tmp_path / "own.yaml")
