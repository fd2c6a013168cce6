"""Which numbers of examples a learning curve has time for."""

import json

import pytest
from click.testing import CliRunner

from adaptlens.cli.main import main
from adaptlens.errors import UserError
from adaptlens.studies.compare import plan
from adaptlens.studies.compare.config import compare_config
from adaptlens.studies.compare.curve_sizes import curve_sizes

CONFIG = compare_config(
    models=["reference"], tasks=["sentiment-novel"], shots=[0, 4], tuning=["it"], search=False,
    draws=2, queries=20, validation=20,
)  # fmt: skip


def by_examples(study, config):
    """A condition takes a minute for each of its examples, and one more."""
    firsts = dict(zip(study.groups()[::-1], study.cells[::-1], strict=True))
    examples = [
        firsts[g].adaptation.arguments.get("examples", 0) for g in dict.fromkeys(study.groups())
    ]
    return [60.0 * (1 + k) for k in examples]


def test_a_curve_takes_what_all_its_conditions_take():
    found = curve_sizes(CONFIG, 80, plan.plan, by_examples)
    # Zero-shot, then icl and it at every size: 1 + 2 (3 + 5 + 9), 18 + 34 with 16, and so on.
    assert [row["examples"] for row in found.rows[:2]] == [[0, 2, 4, 8], [0, 2, 4, 8, 16]]
    assert [row["seconds"] / 60 for row in found.rows[:3]] == [35, 69, 135]
    assert [row["fits"] for row in found.rows[:3]] == [True, True, False]
    assert found.line() == "--shots 0,2,4,8,16 fits 1.3 h: about 1.1 h; up to 32, 2.2 h"
    assert found.rows[-1]["examples"][-1] == 512


def test_where_none_fits_it_says_what_the_shortest_takes():
    found = curve_sizes(CONFIG, 1, plan.plan, by_examples)
    assert "no curve of 3 numbers of examples fits 1.0 min: the shortest takes" in found.line()
    assert not any(row["fits"] for row in found.rows)


def test_a_curve_ends_where_the_training_file_or_the_context_does(tmp_path):
    rows = "\n".join(f"text number {i}\t{'ab'[i % 2]}" for i in range(40))
    (tmp_path / "few.tsv").write_text(rows + "\n")
    config = compare_config(
        models=["reference"], tasks=[str(tmp_path / "few.tsv")], tuning=["it"], search=False
    )
    found = curve_sizes(config, 1e6, plan.plan, by_examples)
    assert found.rows[-1]["examples"] == [0, 2, 4, 8, 16]
    assert found.line().endswith("the training split of task 'few' has 24 examples")
    long = "\n".join(f"{'word ' * 3000}{i}\t{'ab'[i % 2]}" for i in range(40))
    (tmp_path / "long.tsv").write_text(long + "\n")
    config = compare_config(
        models=["reference"], tasks=[str(tmp_path / "long.tsv")], tuning=["it"], search=False
    )
    with pytest.raises(UserError, match=r"demonstrations of task 'long' fill the context of 'ref"):
        curve_sizes(config, 1e6, plan.plan, by_examples)


def test_plan_shows_the_curve_and_refuses_it_where_there_is_none(monkeypatch):
    monkeypatch.setattr(
        "adaptlens.engines.forecast.forecast",
        lambda study, *_, **__: [
            {"seconds": seconds, "memory_bytes": 1.0, "disk_bytes": 1.0}
            for seconds in by_examples(study, None)
        ],
    )
    given = ("plan", "--model", "reference", "--task", "sentiment-novel", "--tuning", "it",
             "--no-search", "--curve", "80")  # fmt: skip
    assert "--shots 0,2,4,8,16 fits 1.3 h" in CliRunner().invoke(main, given).output
    found = json.loads(CliRunner().invoke(main, [*given, "--json"]).stdout)
    assert found.keys() == {"plan", "curve"}
    assert found["curve"][0] == {"examples": [0, 2, 4, 8], "seconds": 2100.0, "fits": True}
    refused = CliRunner().invoke(main, [*given, "--no-trial"])
    assert refused.exit_code == 2 and "leave out --no-trial" in refused.stderr
    other = CliRunner().invoke(main, ["plan", "--study", "limits", "--quick", "--curve", "3"])
    assert other.exit_code == 2 and "expected it with --study compare" in other.stderr
