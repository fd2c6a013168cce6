"""Arms of a user's own, from the command line to the page."""

import json
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner

import tiny
from adaptlens.cli.main import main
from adaptlens.engines.worker import LOADING_FILE, loading, work
from adaptlens.store import Run
from adaptlens.studies.compare.config import compare_config
from adaptlens.studies.compare.plan import plan
from adaptlens.studies.driver import Silent, write_plan

pytestmark = pytest.mark.filterwarnings("ignore")

SMALL = [
    "--task", "sentiment-novel", "--shots", "0", "--no-search", "--queries", "12",
    "--set", "num_templates=2", "--set", "validation=4",
]  # fmt: skip


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.tiny_folder(tmp_path_factory.mktemp("model"), "llama")


@pytest.fixture(scope="module")
def adapter(llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.tiny_adapter(tmp_path_factory.mktemp("adapter"), llama)


def run(*words: str, code: int = 0) -> str:
    done = CliRunner().invoke(main, list(words))
    assert done.exit_code == code, (done.output, done.exception)
    return done.output


def test_arms_stand_beside_the_study_s_own_with_controls_and_their_names(llama, adapter, tmp_path):
    prompt = tmp_path / "prompt.txt"
    prompt.write_text("Text: {input}\nWhich? {target}")
    out = tmp_path / "run"
    words = [
        "compare",
        "--model",
        str(llama),
        *SMALL,
        "--arm",
        f"mine={adapter}",
        "--arm",
        f"found={prompt}",
        "--arm-controls",
        "--set",
        "draws=2",
        "--out",
        str(out),
    ]
    said = run(*words)
    table = pd.read_parquet(out / "tables" / "accuracy.parquet")
    table = table[table["metric"] == "judged"].set_index("condition")
    controls = ["mine-x0.25", "mine-x0.5", "mine-x0.75", "mine-x1.25", "mine-null"]
    assert [*table.index] == ["zero-shot", "best-zero-shot", "mine", "best-mine", *controls,
                              "found"]  # fmt: skip
    assert table.loc["mine-null", "draws"] == 2 and table.loc["mine", "draws"] == 1
    assert table.loc["mine", "adaptation"] == "mine"
    assert "mine: as it was brought" in said.replace("\n", " ")
    pairs = pd.read_parquet(out / "tables" / "differences.parquet")
    pairs = {*zip(pairs["left"], pairs["right"], strict=True)}
    assert {("mine", one) for one in controls} <= pairs
    assert not any(left in controls for left, _ in pairs)
    page = (out / "report.html").read_text("utf-8")
    assert "mine-null" in page and "Brought, with whatever labels" in page
    # A second time there is nothing to do, and a run knows itself without the command.
    assert "[1/" not in run(*words)
    run("report", str(out))
    run("check", str(out))


def test_a_worker_finds_arms_where_the_command_found_them(llama, adapter, tmp_path):
    config = compare_config(
        models=[str(llama)], tasks=["sentiment-novel"], shots=[0], search=False, queries=6,
        validation=4, num_templates=1, arms={"mine": str(adapter)},
    )  # fmt: skip
    study = plan(config)
    made = Run.open(tmp_path / "run", create=True)
    write_plan(made, study)
    made.write_json(LOADING_FILE, loading(study, config))
    assert not any(
        "source" in spec["adaptation"]["arguments"]
        for spec in made.read_json("study.json")["cells"]
    )
    outcome = work(made.folder, Silent())
    assert not outcome.failed and len(list(made.records())) == 2


def test_a_gate_that_is_not_passed_ends_in_its_own_exit_code(llama, adapter, tmp_path):
    words = ["compare", "--model", str(llama), *SMALL, "--arm", f"mine={adapter}"]
    out, report = ["--out", str(tmp_path / "run")], tmp_path / "gates.xml"
    said = run(*words, "--gate", "mine >= 100", "--junit", str(report), *out, code=3)
    assert "1 gate not passed: 'mine >= 100'" in said
    assert 'failures="1"' in report.read_text()
    # The run is the same, judged by another gate.
    done = run(*words, "--gate", "mine >= 0", "--json", *out)
    (row,) = json.loads(done[done.index("{") :].splitlines()[0])["tables"]["gates"]
    assert row["passed"] and row["gate"] == "mine >= 0"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--arm", "mine"], "expected NAME=PATH"),
        (["--arm", "it-16=x"], "none of the study's own"),
        (["--arm", "base=x"], "none of the study's own"),
        (["--arm", "a=x", "--arm", "a=y"], "given twice"),
        (["--arm", "a=./nothing"], "there is no './nothing'"),
        (["--arm", f"a={Path(__file__).parent}"], "is neither; expected an adapter's folder"),
        (["--gate", "mine >= base"], "unknown arm 'mine'"),
        (["--gate", "zero-shot >> 3"], "expected ARM >= ARM"),
        (["--junit", "x.xml"], "without a --gate"),
    ],
)
def test_arms_and_gates_that_are_none_are_one_line(words, said, tmp_path):
    found = run("compare", "--model", "reference", *SMALL, *words, "--out", str(tmp_path / "r"),
                code=2)  # fmt: skip
    (line,) = found.strip().splitlines()
    assert line.startswith("error: ") and said in line
    assert not (tmp_path / "r").exists()


def test_an_arm_of_weights_is_of_one_model(adapter, tmp_path):
    found = run("compare", "--model", "reference", "--model", "ladder-llama-s", *SMALL, "--arm",
                f"mine={adapter}", "--out", str(tmp_path / "r"), code=2)  # fmt: skip
    assert "changes the weights of one model, and 2 were given" in found


def test_an_adapter_of_another_model_ends_in_one_line(adapter, tmp_path):
    found = run("compare", "--model", "reference", *SMALL, "--arm", f"mine={adapter}", "--out",
                str(tmp_path / "r"), code=2)  # fmt: skip
    line = found.strip().splitlines()[-1]
    assert line.startswith("error: adapter") and "model" in line


def test_answers_that_another_run_wrote_are_an_arm_of_this_one(llama, tmp_path):
    """The same model twice: paired item by item there is no difference at all."""
    first, second = tmp_path / "first", tmp_path / "second"
    small = ["compare", "--model", str(llama), *SMALL, "--scoring", "raw"]
    run(*small, "--out", str(first))
    run("report", str(first), "--lm-eval-out", str(tmp_path / "le"))
    (samples,) = (tmp_path / "le").glob("*__zero-shot/samples_*.jsonl")
    said = run(*small, "--arm", f"before={samples}", "--out", str(second)).replace("\n", " ")
    assert "before: recorded elsewhere" in said and "only prompting was measured" in said
    pairs = pd.read_parquet(second / "tables" / "differences.parquet").set_index(["left", "right"])
    assert pairs.loc[("before", "zero-shot"), "difference"] == 0
    cost = pd.read_parquet(second / "tables" / "cost.parquet")
    assert "before" not in set(cost["condition"])
    # The file is not needed any more.
    samples.unlink()
    assert "before" in run("report", str(second))


def test_recorded_answers_under_another_rule_than_their_own_run_say_so(llama, tmp_path):
    small = ["compare", "--model", str(llama), *SMALL]
    run(*small, "--scoring", "bytes", "--out", str(tmp_path / "first"))
    run("report", str(tmp_path / "first"), "--lm-eval-out", str(tmp_path / "le"))
    (samples,) = (tmp_path / "le").glob("*__zero-shot/samples_*.jsonl")
    again = [*small, "--arm", f"before={samples}"]
    alike = run(*again, "--scoring", "bytes", "--out", str(tmp_path / "alike"))
    assert "a difference from these is one of rules" not in " ".join(alike.split())
    said = run(*again, "--scoring", "tokens", "--out", str(tmp_path / "other"))
    assert (
        "before: judged by the rule raw, as recorded answers have no validation items to choose "
        "one by, but zero-shot by tokens" in " ".join(said.split())
    )


def test_answers_without_a_model_cannot_be_looked_into(llama, tmp_path):
    samples = tmp_path / "samples_a.jsonl"
    samples.write_text("{}\n")
    words = ["study", "convergence", "--model", str(llama), "--task", "sentiment-novel"]
    said = run(*words, "--arm", f"mine={samples}", code=2)
    assert "looks inside the model" in " ".join(said.split())
