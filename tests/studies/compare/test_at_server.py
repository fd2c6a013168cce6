"""A comparison of a model that a server has, on servers that are computed here."""

import json

import pandas as pd
import pytest

from adaptlens.engines import Silent
from adaptlens.errors import UserError
from adaptlens.models.http_client import KEY_VARIABLE
from adaptlens.store import Run
from adaptlens.studies.compare.config import compare_config
from adaptlens.studies.compare.lm_eval_results import write_lm_eval
from adaptlens.studies.compare.plan import compare, plan, prompt_or_tune
from fake_server import serving

FEW = {
    "tasks": ["sentiment-novel"],
    "shots": [0, 2],
    "tuning": [],
    "draws": 2,
    "queries": 4,
    "validation": 4,
    "num_templates": 1,
    "search": False,
    "server": {"retries": 1, "retry_seconds": 0.001},
}


def config(fake, **changes):
    return compare_config(**{**FEW, "models": [fake.source], **changes})


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """A comparison at a server with log-probabilities, with an arm that it has beside the base."""
    with serving("vllm", key="sk-secret") as fake, pytest.MonkeyPatch.context() as patch:
        patch.setenv(KEY_VARIABLE, "sk-secret")
        fake.names.append("other")
        arms = {"mine": fake.source.replace("#toy", "#other")}
        out = tmp_path_factory.mktemp("runs") / "served"
        return compare(config(fake, arms=arms), out=out, reporter=Silent())


def test_answers_are_those_of_the_same_model_here(found, tmp_path):
    prompt_or_tune(
        "reference", out=tmp_path, quiet=True,
        **{**{k: v for k, v in FEW.items() if k not in ("tasks", "server")},
           "task": "sentiment-novel"},
    )  # fmt: skip
    columns = ["condition", "draw", "query", "answer", "margin"]

    def answers(run):
        table = pd.read_parquet(run / "tables" / "answers.parquet")[columns]
        return table[table["condition"] != "mine"].reset_index(drop=True)

    pd.testing.assert_frame_equal(
        answers(found.run_folder), answers(tmp_path), check_exact=False, atol=2e-4
    )


def test_what_the_server_has_beside_the_base_is_an_arm_that_was_tuned(found):
    scores = found.accuracy.set_index("condition")["value"]
    assert scores["mine"].tolist() == scores["zero-shot"].tolist()
    assert found.report.verdicts[0]["tuned"] == "mine"


def test_what_is_not_known_of_a_served_model_is_empty_and_what_was_used_is_counted(found):
    cost = found.report.tables["cost"].set_index("condition")
    for name in ("query_flops", "query_flops_cached", "peak_bytes", "query_seconds_cached"):
        assert cost[name].isna().all()
    assert (cost["query_tokens"] > 10).all()
    assert (cost["query_seconds"] > 0).all()
    used = found.report.tables["served"].set_index("condition")
    assert (used[["requests", "read_tokens", "written_tokens"]] > 0).all(axis=None)
    assert used["unnamed"].isna().all()
    assert any("its weights cannot be digested" in note for note in found.report.notes)
    assert any("tokens read" in note for note in found.report.notes)


def test_the_key_is_nowhere_in_the_run(found):
    for path in found.run_folder.rglob("*"):
        assert path.is_dir() or b"sk-secret" not in path.read_bytes(), path


def test_a_server_without_log_probabilities_is_scored_by_what_it_writes(tmp_path):
    with serving("chat") as fake:
        found = compare(config(fake, search=True), out=tmp_path, reporter=Silent())
        used = found.report.tables["served"]
    accuracy = found.accuracy
    assert set(accuracy["rule"]) == {"written"}
    assert set(accuracy["condition"]) == {"zero-shot", "icl-2"}
    assert used["scored"].tolist() == ["as written"] * 2
    assert found.report.tables["calibration"].empty
    assert any("prompts are not searched" in note for note in found.report.notes)
    answers = pd.read_parquet(tmp_path / "tables" / "answers.parquet")
    unnamed = answers[answers["answer"] == ""]
    assert not unnamed["correct"].any()
    shares = (answers["answer"] == "").groupby(answers["condition"]).mean()
    assert used.set_index("condition")["unnamed"].to_dict() == shares.to_dict()


def test_what_was_read_from_texts_is_written_as_lm_evaluation_harness_does(tmp_path):
    with serving("chat") as fake:
        compare(config(fake), out=tmp_path / "run", reporter=Silent())
    answers = pd.read_parquet(tmp_path / "run/tables/answers.parquet")
    files = write_lm_eval(Run.open(tmp_path / "run"), tmp_path / "out")
    for file in files:
        results = json.loads(file.read_text("utf-8"))
        (label,) = (results["config"]["model_args"]["arm"],)
        own = answers[answers["condition"] == label]
        found = results["results"]["sentiment-novel"]
        assert found["acc,none"] == pytest.approx(own["correct"].mean())
        assert "acc_norm,none" not in found
        assert results["configs"]["sentiment-novel"]["output_type"] == "generate_until"
        (path,) = file.parent.glob("samples_*")
        for sample in map(json.loads, path.read_text("utf-8").splitlines()):
            named = own[own["query"] == sample["doc"]["id"]]["answer"].tolist()
            assert sample["resps"] == [named]
            assert "until" in sample["arguments"]["gen_args_0"]["arg_1"]
    assert {"", "lantern", "ribbon"} >= {*answers["answer"]}


def test_what_was_read_from_texts_comes_back_as_an_arm_with_the_same_answers(tmp_path):
    with serving("chat") as fake:
        compare(config(fake), out=tmp_path / "run", reporter=Silent())
        files = write_lm_eval(Run.open(tmp_path / "run"), tmp_path / "out")
        paths = {file.parent.name.rpartition("__")[2]: file.parent for file in files}
        arms = {
            f"before-{label}": str(next(folder.glob("samples_*")))
            for label, folder in paths.items()
        }
        found = compare(config(fake, arms=arms), out=tmp_path / "again", reporter=Silent())
    assert {*arms} == {"before-zero-shot", "before-icl-2"}
    answers = pd.read_parquet(tmp_path / "again/tables/answers.parquet")
    assert "" in set(answers["answer"])

    def of(label):
        own = answers[answers["condition"] == label].sort_values(["draw", "query"])
        return own[["query", "answer", "correct"]].to_numpy().tolist()

    assert of("before-zero-shot") == of("zero-shot")
    assert of("before-icl-2") == of("icl-2")
    assert any("those that its texts name" in note for note in found.report.notes)
    assert not any("a difference from these is one of rules" in n for n in found.report.notes)


def test_finished_cells_are_kept_when_a_limit_ends_it(tmp_path):
    with serving("llama.cpp") as fake:
        limited = config(fake, server={"max_requests": 60})
        with pytest.raises(UserError, match=r"limit of 60 requests .*same command goes on"):
            compare(limited, out=tmp_path, reporter=Silent())
        done = [json.loads(p.read_text()) for p in tmp_path.glob("cells/*/result.json")]
        assert len(done) == 1
        before = len(fake.asked)
        found = compare(config(fake), out=tmp_path, reporter=Silent())
        assert found.outcome.found_done == 1
        assert len(fake.asked) > before


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"tuning": ["it"]}, r"it-2: the model 'toy' is served .*only be prompted.*--tuning ''"),
        ({"measurements": ["hidden"]}, r"measuring hidden takes its weights"),
        ({"dtype": "bfloat16"}, r"setting untrained:, dtype or quantize takes its weights"),
    ],
)
def test_what_takes_weights_is_refused_in_a_line(changes, said):
    with serving("chat") as fake, pytest.raises(UserError, match=said):
        plan(config(fake, **changes))


def test_several_processes_are_refused(tmp_path):
    with serving("chat") as fake, pytest.raises(UserError, match="one process sends its requests"):
        compare(config(fake, engine={"workers": 2}), out=tmp_path, reporter=Silent())


def test_a_served_arm_has_no_strength_to_control():
    with serving("vllm") as fake:
        fake.names.append("other")
        arms = {"mine": fake.source.replace("#toy", "#other")}
        with pytest.raises(UserError, match="has no strength to be changed"):
            plan(config(fake, arms=arms, arm_controls=True))


def test_a_served_arm_needs_a_base_of_its_server(tmp_path):
    with serving("vllm") as fake:
        own = config(fake, models=["reference"], arms={"mine": fake.source}, shots=[0])
        with pytest.raises(UserError, match="expected a base model of the same server"):
            compare(own, out=tmp_path, reporter=Silent())
