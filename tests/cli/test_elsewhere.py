"""What tuning changes elsewhere, from the command line to the page."""

import csv

import pandas as pd
import pytest
from click.testing import CliRunner

import tiny
from adaptlens import tasks
from adaptlens.cli.main import main

pytestmark = pytest.mark.filterwarnings("ignore")


def run(*words: str, code: int = 0) -> str:
    done = CliRunner().invoke(main, list(words))
    assert done.exit_code == code, (done.output, done.exception)
    return done.output


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("elsewhere")
    model = tiny.tiny_folder(folder, "llama")
    with (folder / "far.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("text", "label"))
        rows.writerows((f"far: {e.input}", e.target) for e in tasks.load("sentiment-novel").test)
    (folder / "plain.txt").write_text("the end of it\nput a book there\nof the old man\n")
    return [
        "compare", "--model", str(model), "--task", "sentiment-novel", "--shots", "0,2",
        "--tuning", "it", "--no-search", "--queries", "8", "--validation", "4", "--draws", "2",
        "--set", "num_templates=2", "--also", "topic-novel", "--also", str(folder / "plain.txt"),
        "--ood", f"far={folder / 'far.csv'}",
    ]  # fmt: skip


def test_what_changes_elsewhere_is_in_tables_on_the_page_and_below_the_verdict(words, tmp_path):
    out = tmp_path / "run"
    said = run(*words, "--set", "tune.max_steps=[3]", "--out", str(out))
    found = pd.read_parquet(out / "tables" / "side_effects.parquet")
    stated = found[found["role"] == "confidence"]
    assert set(stated["metric"]) == {"quadratic"} and stated["left"].nunique() == 1
    found = found[found["role"] != "confidence"]
    arms = found.groupby("set")["left"].agg(set).to_dict()
    assert arms["topic-novel"] == arms["plain"] == {"it-2"}
    assert {"icl-2", "it-2", "best-it-2"} <= arms["far"]
    assert set(found["metric"]) == {"judged", "likelihood"}
    assert found.groupby("set")["queries"].first().to_dict() == {
        "far": 8, "plain": 3, "topic-novel": 8,
    }  # fmt: skip
    assert ((found["p_holm"] >= found["p"]) & (found["value"] > 0)).all()
    assert "sentiment-novel, side effects: " in said
    page = (out / "report.html").read_text()
    assert 'id="effects"' in page and "plain text" in page
    assert (out / "figures" / "side-effects.svg").exists()
    changed = pd.read_parquet(out / "tables" / "changed.parquet").set_index("condition")
    accuracy = pd.read_parquet(out / "tables" / "accuracy.parquet")
    judged = accuracy[accuracy["metric"] == "judged"].set_index("condition")["value"]
    for arm in ("icl-2", "it-2"):
        net = changed.loc[arm, "gained"] - changed.loc[arm, "lost"]
        assert net == pytest.approx(judged[arm] - judged["zero-shot"])


def test_a_model_that_tuning_hardly_moves_changes_nothing_elsewhere(words, tmp_path):
    out = tmp_path / "run"
    still = ["--set", "tune.max_steps=[1]", "--set", "tune.learning_rate=[1e-12]"]
    run(*words, *still, "--out", str(out))
    found = pd.read_parquet(out / "tables" / "side_effects.parquet")
    of_weights = found[found["role"].isin(["also", "text"])]
    assert len(of_weights) == 2
    assert of_weights["difference"].abs().max() < 1e-6
    assert (of_weights["p_holm"] == 1).all()


def test_draws_tuned_on_some_templates_tell_what_that_costs_in_wording(words, tmp_path):
    out = tmp_path / "run"
    own = ["--set", "num_templates=3", "--set", "tune.num_templates=2", "--draws", "5"]
    plain = words[: words.index("--also")]
    said = run(*plain, *own, "--set", "tune.max_steps=[3]", "--out", str(out))
    found = pd.read_parquet(out / "tables" / "side_effects.parquet").set_index("role")
    row = found.loc["wording"]
    assert (row["left"], row["right"], row["set"]) == ("it-2", "it-2", "templates not tuned on")
    assert row["difference"] == pytest.approx(row["value"] - row["value_right"])
    assert row["supports_claims"] and row["p"] <= row["p_holm"]
    assert row["correction"] == "Holm over 3 tests, those of confidence counting as one"
    recipes = pd.read_parquet(out / "tables" / "recipes.parquet")
    assert set(recipes["num_templates"]) == {"2"}
    page = (out / "report.html").read_text()
    assert "templates not tuned on, wording" in page
    assert "under 2 templates a draw, in turn" in page
    assert "side effects: " in said
    message = run(*plain, "--set", "tune.num_templates=3", "--out", str(tmp_path / "b"), code=2)
    assert "tune.num_templates 3: task 'sentiment-novel' is read under 2 templates;" in message


def test_what_is_wrong_with_a_set_is_one_line(words, tmp_path):
    for given, message in (
        (["--ood", "far.csv"], "--ood far.csv: expected NAME=PATH, for example tweets=tweets.tsv"),
        (["--also", "gone.csv"], "there is no file 'gone.csv'"),
        (["--ood", "b=topic-novel"], "--ood b: its answers are"),
        (["--shots", "2"], "shots 2: what changes elsewhere (--also, --ood) is held against"),
    ):
        said = run(*words, *given, "--out", str(tmp_path / "run"), code=2)
        assert message in said and said.count("\n") == 1
    assert not (tmp_path / "run").exists()
