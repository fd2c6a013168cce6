"""lm-evaluation-harness's tasks by name, against what it makes of them itself."""

import importlib.util
from dataclasses import replace

import numpy as np
import pytest

from adaptlens import tasks
from adaptlens.errors import UserError
from adaptlens.prompts import render

pytest.importorskip("lm_eval")

from lm_eval import simple_evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

import lm_eval_stand_ins
from adaptlens.lm.lm_eval_model import AdaptlensLM
from adaptlens.lm.load import load
from adaptlens.measure.behavior import choices, generation
from adaptlens.metrics import accuracy

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return lm_eval_stand_ins.written(tmp_path_factory.mktemp("lm-eval"))


@pytest.fixture(scope="module")
def manager(folder):
    return TaskManager(include_defaults=False, include_path=str(folder))


@pytest.fixture(scope="module")
def lm():
    return load("reference", device="cpu")


def named(name, folder, **settings):
    return tasks.load(f"lm-eval:local_{name},{folder}", **settings)


def asked_by_lm_eval(manager, name):
    task = manager.load(f"local_{name}")["tasks"][f"local_{name}"]
    task.set_config("num_fewshot", 0)
    task.build_all_requests()
    found = {}
    for one in task.instances:
        texts = one.args[:2] if one.request_type == "loglikelihood" else one.args[:1]
        found.setdefault(one.doc_id, []).append(tuple(texts))
    return {tuple(requests) for requests in found.values()}


def asked_here(task):
    found = set()
    for query in task.test:
        prompt = render.render(task, (), query)
        given = prompt.given or (0,) * len(prompt.answers)
        pairs = zip(prompt.answers, given, strict=True)
        requests = [(prompt.text + answer[:size], answer[size:]) for answer, size in pairs]
        found.add(tuple(requests or [(prompt.text,)]))
    return found


@pytest.mark.parametrize("name", [*lm_eval_stand_ins.FILES])
def test_every_request_is_the_one_that_lm_eval_builds(name, folder, manager):
    task = named(name, folder)
    known, found = asked_by_lm_eval(manager, name), asked_here(task)
    assert len(found) == len(task.test)
    if name.startswith("blimp"):
        # Its one split is cut, so that there is something to learn from.
        assert found < known
    else:
        assert found == known


@pytest.mark.parametrize("name", ["sst2", "arc_easy", "hellaswag", "winogrande", "copa"])
def test_accuracies_are_those_of_the_hf_backend(name, folder, manager, lm):
    task = named(name, folder)
    results = simple_evaluate(
        model=HFLM(pretrained=lm.model, tokenizer=lm.tokenizer, batch_size=8),
        tasks=[f"local_{name}"],
        task_manager=manager,
        num_fewshot=0,
        bootstrap_iters=0,
    )
    samples = results["samples"][f"local_{name}"]
    known = {
        one["arguments"][0][0] + one["arguments"][0][1]: [
            float(r[0]) for r in one["filtered_resps"]
        ]
        for one in samples
    }
    arrays = scored(lm, task)
    for number, query in enumerate(task.test):
        prompt = render.render(task, (), query)
        values = known[prompt.text + prompt.answers[0]]
        np.testing.assert_allclose(arrays["loglik"][0, number, : len(values)], values, atol=1e-4)
    right = accuracy.correct(arrays)
    assert right.mean() == results["results"][f"local_{name}"]["acc,none"]


def scored(lm, task):
    from adaptlens.adapt.prompting import ZeroShot
    from adaptlens.lm.prefix.walk import ForwardStats
    from adaptlens.measure.behavior import as_written

    plain = replace(task, templates=(), validation=())
    adapted = ZeroShot().adapt(lm, plain, (-1,))
    rows = {"": as_written(adapted, plain.test)}
    if task.kind == "choice":
        return choices(lm, plain, adapted, rows, None, ForwardStats())
    return generation(lm, plain, adapted, rows, None, ForwardStats())[0]


@pytest.mark.parametrize(
    ("name", "pipeline"), [("gsm8k", "flexible-extract"), ("triviaqa", "remove_whitespace")]
)
def test_generated_answers_are_judged_as_lm_eval_judges_them(name, pipeline, folder, manager, lm):
    # Both through the model of this project: its texts are those of the hf backend elsewhere.
    results = simple_evaluate(
        model=AdaptlensLM(lm),
        tasks=[f"local_{name}"],
        task_manager=manager,
        num_fewshot=0,
        bootstrap_iters=0,
        gen_kwargs="max_gen_toks=16",
    )
    task = tasks.load(f"lm-eval:local_{name}#{pipeline},{folder}", max_new_tokens=16)
    found = scored(lm, task)["exact"].mean()
    assert found == results["results"][f"local_{name}"][f"exact_match,{pipeline}"]


def test_all_five_of_mmlu_are_shown_and_none_is_taken_for_validation(folder):
    task = named("mmlu_anatomy", folder)
    assert (len(task.train), len(task.validation), len(task.test)) == (5, 8, 20)
    assert task.instruction.startswith("The following are multiple choice questions")


def test_without_a_spare_split_a_fifth_of_the_test_split_is_the_validation_split(folder, tmp_path):
    text = (folder / "mmlu_anatomy.yaml").read_text("utf-8")
    kept = [line for line in text.splitlines() if "validation:" not in line]
    (tmp_path / "mmlu.yaml").write_text("\n".join(kept).replace("local_", "bare_"), "utf-8")
    task = tasks.load(f"lm-eval:bare_mmlu_anatomy,{tmp_path}")
    assert (len(task.train), len(task.validation), len(task.test)) == (5, 4, 16)
    assert any("a fifth of the test split" in note for note in task.notes)


def test_training_splits_are_for_tuning_and_several_answers_are_accepted(folder):
    task = named("triviaqa", folder)
    assert len(task.train) + len(task.validation) == 30
    assert all(len(query.accepted) == 1 for query in task.test)
    assert task.stop == ("\n", ".", ",")


def test_what_stands_before_the_option_is_shared_and_only_its_end_is_scored(folder):
    task = named("winogrande", folder)
    query = task.test[0]
    assert query.input.endswith("because the")
    for option, given in zip(query.choices, query.given, strict=True):
        assert option[given:] == " was too large."
    assert [one.name for one in task.templates] == ["plain"]


def test_groups_and_tags_are_their_tasks(folder, tmp_path):
    for name in ("sst2", "rte"):
        text = (folder / f"{name}.yaml").read_text("utf-8")
        (tmp_path / f"{name}.yaml").write_text(text + "tag: pair\n", "utf-8")
    (tmp_path / "both.yaml").write_text("group: both\ntask: [local_rte, local_sst2]\n", "utf-8")
    (tmp_path / "more.yaml").write_text("group: more\ntask: [both]\n", "utf-8")
    (tmp_path / "own.yaml").write_text(
        "group: own\ntask: [{task: local_rte, doc_to_text: x}]\n", "utf-8"
    )
    asked = [f"lm-eval:local_{name},{tmp_path}" for name in ("rte", "sst2")]
    assert [*tasks.members(f"lm-eval:more,{tmp_path}")] == asked
    assert [*tasks.members(f"lm-eval:pair,{tmp_path}")] == asked
    assert tasks.members("reviews.tsv") == ("reviews.tsv",)
    with pytest.raises(UserError, match="is a group of 2 tasks"):
        tasks.load(f"lm-eval:both,{tmp_path}")
    with pytest.raises(UserError, match="changes the task 'local_rte' itself"):
        tasks.members(f"lm-eval:own,{tmp_path}")


def test_bad_names_and_settings_are_one_line(folder):
    with pytest.raises(UserError, match="no folder 'nowhere'"):
        tasks.load("lm-eval:sst2,nowhere")
    with pytest.raises(UserError, match="choices="):
        named("sst2", folder, choices="a,b")
    with pytest.raises(UserError, match="'local_sst2' has no filter"):
        tasks.load(f"lm-eval:local_sst2#strict,{folder}")
    # Packaged: found by its file, its data nowhere here.
    with pytest.raises(UserError, match="'sst2' cannot be loaded"):
        tasks.load("lm-eval:sst2")


def test_without_the_library_a_name_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"adaptlens\[lm-eval\]"):
        tasks.load("lm-eval:sst2")
