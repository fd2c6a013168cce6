"""A comparison in lm-evaluation-harness's files: numbers worked by hand, read by its own tools."""

import json
from dataclasses import replace
from datetime import datetime

import numpy as np
import pytest
from click.testing import CliRunner

from adaptlens.cli.main import main
from adaptlens.studies.compare import lm_eval_results
from adaptlens.studies.compare.arms import Reading
from adaptlens.studies.compare.lm_eval_results import write_lm_eval
from adaptlens.studies.stored import read
from faked import compared

NOW = datetime(2026, 1, 2, 3, 4, 5)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return compared(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def files(run, tmp_path_factory):
    return write_lm_eval(run, tmp_path_factory.mktemp("out"), now=NOW)


def samples_beside(file):
    (path,) = file.parent.glob("samples_*")
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_every_arm_has_results_and_samples_of_every_item(run, files):
    stored = read(run, "compare")
    assert {file.parent.name for file in files} == {
        f"reference__{one.label}" for one in stored.found
    }
    assert {file.name for file in files} == {"results_2026-01-02T03-04-05.json"}
    for file in files:
        results = json.loads(file.read_text("utf-8"))
        samples = samples_beside(file)
        assert results["n-samples"] == {"sentiment-novel": {"original": 6, "effective": 6}}
        assert [one["doc_id"] for one in samples] == [*range(6)]
        for metric in ("acc", "acc_norm", "acc_bytes"):
            mean = results["results"]["sentiment-novel"][f"{metric},none"]
            assert mean == pytest.approx(np.mean([one[metric] for one in samples]))


def test_shots_are_those_of_prompts_alone(files):
    shots = {
        file.parent.name: json.loads(file.read_text("utf-8"))["n-shot"]["sentiment-novel"]
        for file in files
    }
    assert shots["reference__zero-shot"] == 0
    assert shots["reference__icl-2"] == 2
    assert shots["reference__it-2"] == 0


def test_draws_and_templates_are_repeats(run, files):
    (file,) = [one for one in files if one.parent.name == "reference__icl-2"]
    condition = next(one for one in read(run, "compare").found if one.label == "icl-2")
    first = samples_beside(file)[0]
    # Two draws under two templates.
    assert [len(of_option) for of_option in first["resps"]] == [4, 4]
    assert first["filtered_resps"] == [of_option[0] for of_option in first["resps"]]
    given = condition.behavior.loglik[0, 0, 0]
    assert [float(one[0]) for one in first["filtered_resps"]] == [float(v) for v in given]


def test_the_normalized_accuracies_divide_by_the_option_alone(run):
    stored = read(run, "compare")
    condition = stored.found[0]
    task = stored.tasks[condition.task_digest]
    query = replace(task.test[0], target="é")
    task = replace(task, choices=("aaaa", "é"), test=(query,), train=(), validation=())
    reading = Reading(condition, task)
    loglik = np.array([[[-4.0, -1.5]]])
    reading.arrays = lambda: {"loglik": loglik, "gold": np.array([1])}
    scores = lm_eval_results._scores(reading)
    # -4 v -1.5; by characters -4/4 v -1.5/1; by bytes -4/4 v -1.5/2.
    assert {metric: float(v[0, 0]) for metric, v in scores.items()} == {
        "acc": 1.0,
        "acc_norm": 0.0,
        "acc_bytes": 1.0,
    }


def test_the_standard_error_is_that_over_items():
    # Means over two draws: 1, 0.5, 0, 0.5; their standard deviation is 0.408.
    values = np.array([[1.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 1.0]])
    found = dict(lm_eval_results._means({"acc": values}))
    assert found["acc,none"] == 0.5
    assert found["acc_stderr,none"] == pytest.approx(0.2041, abs=1e-4)


def test_lm_evals_own_tools_read_them(files):
    utils = pytest.importorskip("lm_eval.utils")
    paths = [str(path) for file in files for path in file.parent.iterdir()]
    assert {*utils.get_results_filenames(paths)} == {str(file) for file in files}
    (samples,) = utils.get_sample_results_filenames([p for p in paths if "it-2/" in p])
    assert utils.get_file_task_name(samples.rpartition("/")[2]) == "sentiment-novel"
    table = utils.make_table(json.loads(files[0].read_text("utf-8")))
    assert "|sentiment-novel|" in table
    assert "acc_norm" in table


def test_the_report_command_writes_them(run, tmp_path):
    done = CliRunner().invoke(
        main, ["report", str(run.folder), "--lm-eval-out", str(tmp_path / "out")]
    )
    assert done.exit_code == 0, done.output
    assert (tmp_path / "out" / "reference__it-2").is_dir()


def test_generated_texts_are_their_responses(tmp_path):
    run = compared(tmp_path / "run", tasks=["translation"])
    files = write_lm_eval(run, tmp_path / "out", now=NOW)
    first = samples_beside(files[0])[0]
    assert first["metrics"] == ["exact_match", "chrf"]
    assert first["arguments"]["gen_args_0"]["arg_1"]["max_gen_toks"] > 0
    assert first["resps"][0][0] == first["filtered_resps"][0]
