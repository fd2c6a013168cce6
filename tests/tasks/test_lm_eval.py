"""Task YAML of lm-evaluation-harness gives the harness's own prompts, options and answers."""

import json
from pathlib import Path

import datasets
import pytest
import yaml

from adaptlens import tasks
from adaptlens.errors import UserError
from adaptlens.sandbox import render

NAMES = ["ann", "bob", "cid", "dan", "eve", "fay", "gus", "hal", "ida", "jim"]

SENTIMENT = {
    "doc_to_text": "{{sentence}}\nQuestion: positive or negative?\nAnswer:",
    "doc_to_target": "label",
    "doc_to_choice": ["negative", "positive"],
    "output_type": "multiple_choice",
}
SCIENCE = {
    "doc_to_text": "Question: {{question|trim|regex_replace('  +', ' ')}}\nAnswer:",
    "doc_to_target": "{{choices.label.index(answerKey)}}",
    "doc_to_choice": "{{choices.text}}",
    "output_type": "multiple_choice",
    "description": "Answer the questions about {{'people'}}.\n\n",
    "target_delimiter": " -> ",
    "fewshot_delimiter": "\n\n",
}
GOALS = {
    "doc_to_text": "{% if goal|length > 4 %}Goal: {{goal}}{% else %}{{goal}}{% endif %}\n",
    "doc_to_target": "{{gold}}",
    "doc_to_choice": "{{[sol1, sol2]}}",
    "output_type": "multiple_choice",
    "target_delimiter": "",
}
YES_NO = {
    "doc_to_text": "passage",
    "doc_to_target": "label",
    "doc_to_choice": {"n": " no", "y": " yes"},
    "output_type": "generate_until",
    "target_delimiter": "",
    "gen_prefix": "Verdict:",
    "generation_kwargs": {"until": ["\n", "."], "do_sample": False, "max_gen_toks": 7},
}
TRANSLATION = {
    "doc_to_text": 'English: {{translation["en"]}}\nCzech:',
    "doc_to_target": "{{translation.cs}}",
    "output_type": "generate_until",
    "generation_kwargs": {"until": "\n"},
    "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
}


def sentiment(i, name):
    return {"sentence": f"{name} likes it {i}", "label": i % 2}


def science(i, name):
    options = {"text": [f"{name}", f"not {name}", "neither"][: 2 + i % 2], "label": list("ABC")}
    return {"question": f" who is  {name} {i} ", "choices": options, "answerKey": "AB"[i % 2]}


def goals(i, name):
    return {
        "goal": name * (1 + i % 2) + str(i),
        "sol1": f"ask {name}",
        "sol2": "wait",
        "gold": i % 2,
    }


def verdicts(i, name):
    return {"passage": f"{name} came {i}", "label": i % 2}


def translation(i, name):
    return {"translation": {"en": f"{name} is {i}", "cs": f"{name} je {i}"}}


CASES = {
    "sentiment": (SENTIMENT, sentiment),
    "science": (SCIENCE, science),
    "goals": (GOALS, goals),
    "yes_no": (YES_NO, verdicts),
    "translation": (TRANSLATION, translation),
}


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def task_file(folder: Path, keys: dict, row, number: int = 10) -> Path:
    """Write data and a YAML that reads them; return the YAML's path."""
    files = {}
    for start, split in enumerate(("train", "test")):
        rows = [row(i + 100 * start, NAMES[i % 10]) for i in range(number)]
        path = folder / f"{split}.jsonl"
        path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
        files[split] = str(path)
    config = {
        "task": "mine",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": files},
        "training_split": "train",
        "test_split": "test",
        **keys,
    }
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    return path


@pytest.mark.parametrize("case", CASES)
def test_prompts_options_and_answers_are_the_harnesss_own(tmp_path, case):
    harness = pytest.importorskip("lm_eval.api.task")
    path = task_file(tmp_path, *CASES[case])
    ours = tasks.load(str(path))
    config = yaml.safe_load(path.read_text())
    peer = harness.ConfigurableTask(config={**config, "num_fewshot": 0})
    by_id = {(e.input, e.target): e for e in (*ours.train, *ours.validation, *ours.test)}
    seen = 0
    for doc in [*peer.training_docs(), *peer.test_docs()]:
        options = peer.doc_to_choice(doc) if peer.config.doc_to_choice else None
        gold = peer.doc_to_target(doc)
        answer = options[gold] if options and isinstance(gold, int) else gold
        prompt = peer.fewshot_context(doc, 0, gen_prefix=peer.doc_to_prefix(doc))
        lead = ours.instruction + ours.template.between if ours.instruction else ""
        assert prompt.startswith(lead)
        mine = by_id[prompt.removeprefix(lead), answer]
        seen += 1
        if ours.kind == "choice":
            requests = peer.construct_requests(doc, prompt)
            told = [request.arguments for request in requests]
            chosen = mine.choices or ours.choices
            assert told == [(prompt, ours.template.target_prefix + c) for c in chosen]
        else:
            (_, generation) = peer.construct_requests(doc, prompt).arguments
            until = generation["until"]
            assert list(ours.stop) == ([until] if isinstance(until, str) else until)
    assert seen == len(by_id) == 20


def test_a_template_task_by_hand(tmp_path):
    """Worked by hand from the harness's documentation, where the harness is not installed."""
    task = tasks.load(str(task_file(tmp_path, *CASES["science"])))
    asked = {e.input: e for e in task.test}["Question: who is bob 101\nAnswer:"]
    assert asked.target == "not bob" and asked.choices == ("bob", "not bob", "neither")
    assert task.instruction == "Answer the questions about people."
    assert (task.template.between, task.template.target_prefix) == ("\n\n", " -> ")
    assert (task.template.before_input, task.template.before_target) == ("", "")


def test_a_shot_written_with_the_template_is_the_harnesss_few_shot_prompt(tmp_path):
    harness = pytest.importorskip("lm_eval.api.task")
    path = task_file(tmp_path, *CASES["science"], number=3)
    ours = tasks.load(str(path))
    config = yaml.safe_load(path.read_text())
    peer = harness.ConfigurableTask(config={**config, "fewshot_split": "train", "num_fewshot": 1})
    peer.set_fewshot_seed(0)
    prompt = peer.fewshot_context(peer.test_docs()[0], 1)
    t = ours.template
    query = next(e for e in ours.test if prompt.endswith(e.input))
    written = [
        ours.instruction
        + t.between
        + d.input
        + t.target_prefix
        + d.target
        + t.between
        + query.input
        for d in (*ours.train, *ours.validation)
    ]
    assert prompt in written


def test_a_packaged_task_is_read_through_include(tmp_path):
    lm_eval = pytest.importorskip("lm_eval")
    packaged = Path(lm_eval.__file__).parent / "tasks/arc/arc_easy.yaml"
    path = task_file(tmp_path, {}, science)
    keys = yaml.safe_load(path.read_text())
    own = {k: keys[k] for k in ("dataset_path", "dataset_kwargs")}
    extra = {"include": str(packaged), "dataset_name": None, "validation_split": None}
    path.write_text(yaml.safe_dump({**extra, **own}))
    task = tasks.load(str(path))
    assert task.name == "arc_easy" and len(task.test) == 10
    assert all(
        e.input.startswith("Question: ") and e.input.endswith("\nAnswer:") for e in task.test
    )


def test_few_shot_samples_in_the_file_are_the_training_items(tmp_path):
    rows = [{"sentence": f"sample {i}", "label": i % 2} for i in range(6)]
    keys = {
        **SENTIMENT,
        "training_split": None,
        "fewshot_config": {"sampler": "first_n", "samples": rows},
    }
    task = tasks.load(str(task_file(tmp_path, keys, sentiment)))
    shown = {e.input.split("\n")[0] for e in (*task.train, *task.validation)}
    assert shown == {f"sample {i}" for i in range(6)} and len(task.test) == 10


def test_code_is_refused_by_name_and_never_run(tmp_path):
    (tmp_path / "utils.py").write_text("raise SystemExit('ran')")
    path = task_file(tmp_path, SENTIMENT, sentiment)
    path.write_text(path.read_text() + "process_docs: !function utils.process_docs\n")
    with pytest.raises(UserError, match=r"process_docs asks for '!function utils.process_docs'"):
        tasks.load(str(path))


def test_generation_ends_where_the_yaml_says(tmp_path):
    from adaptlens.prompts.render import stops

    task = tasks.load(str(task_file(tmp_path, *CASES["yes_no"])))
    assert stops(task) == ("\n", ".") and task.max_new_tokens == 7


ESCAPES = [
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
    "{{ self.__init__.__globals__ }}",
    "{{ sentence.format.__self__.__class__ }}",
    "{{ '{0.__class__}'.format(sentence) }}",
    "{{ (sentence|attr('__class__')) }}",
    "{{ [].append(1) }}",
    "{{ 'a' * 1000000000 }}",
    "{{ 9 ** 999999 }}",
    "{{ '%999999999d' % 1 }}",
    "{% for i in range(1000000000) %}x{% endfor %}",
    "{% include '/etc/passwd' %}",
    "{% import 'os' as os %}{{ os }}",
]


@pytest.mark.parametrize("template", ESCAPES)
def test_a_template_that_reaches_out_of_its_sandbox_is_refused(template):
    with pytest.raises(UserError, match="row 3, doc_to_text: ") as raised:
        render(template, {"sentence": "hello"}, "row 3, doc_to_text")
    assert "\n" not in str(raised.value)
