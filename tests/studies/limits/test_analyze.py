"""What a study of limits plans: bases, mixtures, seeds and systems."""

import io
import json
from collections import Counter
from dataclasses import replace

import pytest

import limits_samples
from adaptlens import columns
from adaptlens.cli.terminal import show
from adaptlens.errors import UserError
from adaptlens.report.printer import Printer
from adaptlens.studies.limits import page as limits_page
from adaptlens.studies.limits import plan
from adaptlens.studies.limits.analyze import tables_of
from adaptlens.studies.limits.config import limits_config
from adaptlens.studies.limits.correlation import MINIMUM_BASES
from cutting import undrawn

ABLATIONS = {
    "mixture-nlg-only", "mixture-no-nli-no-nlg", "mixture-one-task", "mixture-other-task",
    "mixture-no-coreference", "mixture-coreference-one", "mixture-coreference-other",
}  # fmt: skip


def tuned(**settings) -> Counter[tuple[str, str]]:
    """Tuned models of one base, by system and mixture."""
    config = limits_config(models=["ladder-llama-s"], **settings)
    rows = plan.planned_work(plan.plan(config), None)
    return Counter(
        {(r["condition"], r["task"]): r["tuned_models"] for r in rows if r["tuned_models"]}
    )


def test_ablations_are_tuned_for_regular_prompts_unless_said_otherwise():
    main = Counter({("regular", "mixture"): 2, ("samplegen", "mixture"): 2})
    regular = Counter({("regular", name): 1 for name in ABLATIONS})
    written = Counter({("samplegen", name): 1 for name in ABLATIONS})
    assert tuned() == main + regular
    assert tuned(ablation_systems=["regular", "samplegen"]) == main + regular + written
    assert tuned(ablation_systems="samplegen") == main + written


def test_ablations_for_a_system_that_is_not_read_are_refused():
    with pytest.raises(UserError, match="ablation_systems: given samplegen, and systems gold"):
        limits_config(systems=["gold", "regular"], ablation_systems=["samplegen"])
    with pytest.raises(UserError, match="given an empty list; expected regular or samplegen"):
        limits_config(ablation_systems=[])


def test_tasks_of_ones_own_are_tuned_on_the_default_mixture_unless_ablations_are_named():
    tasks = [{"path": "rte.tsv", "cluster": "nli"}, {"path": "sst2.tsv", "cluster": "sentiment"}]
    assert limits_config(tasks=tasks).mixtures == ("default",)
    assert limits_config(tasks=tasks, quick=True).mixtures == ("default",)
    named = limits_config(tasks=tasks, mixtures=["default", "no-coreference"])
    assert named.mixtures == ("default", "no-coreference")


def test_the_ladder_is_tuned_into_at_least_ninety_models_read_on_four_clusters():
    study = plan.plan(limits_config())
    rows = plan.planned_work(study, None)
    assert len({row["model"] for row in rows}) == 11
    # Each base: 2 seeds for both systems, and 7 ablations for regular prompts.
    assert sum(row["tuned_models"] for row in rows) == 11 * (2 + 2 + 7)
    members = plan.members_of(limits_config())
    assert len(members) >= 12 and len({task.cluster for task in members}) >= 4


def test_a_first_look_has_the_bases_and_readings_that_every_claim_needs():
    config = limits_config(quick=True)
    about = plan.about(config)["models"]
    assert len(about) >= MINIMUM_BASES
    # Of every task, size and each further family are taken out, which leaves two bases free.
    families = {one["family"] for one in about.values()}
    assert len(about) - (1 + 1 + len(families) - 1) >= 2
    assert len({one["exposure"] for one in about.values()} - {""}) > 1
    assert config.variations and {"samplegen", "pipeline"} <= {*config.systems}
    assert len([task for task in plan.members_of(config) if task.name in config.held_out]) >= 3


def test_tasks_that_cannot_be_read_or_shown_are_refused_before_work_begins(tmp_path):
    rows = [{"text": f"row {n}", "label": "ab"[n % 2]} for n in range(12)]
    (tmp_path / "few.json").write_text(json.dumps(rows))
    one = {"path": str(tmp_path / "few.json"), "cluster": "nli"}
    with pytest.raises(UserError, match="has 3 test items to read; reading a task in two halves"):
        plan.plan(limits_config(models=["ladder-llama-s"], tasks=[one]))
    rows = [{"text": f"row {n}", "label": "ab"[n % 2]} for n in range(60)]
    (tmp_path / "few.json").write_text(json.dumps(rows))
    given = {"models": ["ladder-llama-s"], "tasks": [one]}
    with pytest.raises(UserError, match="variation 'irrelevant': there is no other task"):
        plan.plan(limits_config(**given))
    with pytest.raises(UserError, match="50 gold examples are shown before an item"):
        plan.plan(limits_config(**given, variations=[], shots=50))


SYSTEMS = ("base", "gold", "regular", "samplegen", "pipeline")


@pytest.mark.parametrize("read", [("base",), ("gold",), ("gold", "regular"), ("regular",), ()])
def test_whatever_systems_were_read_there_are_tables_and_a_page(read, monkeypatch, tmp_path):
    undrawn(monkeypatch)
    scores = limits_samples.scores_of(tasks=4, sizes=1, mixtures=1, seeds=1)
    scores = scores[scores["system"].isin(read)]
    rows, claims = tables_of(scores, {}, (), 0)
    tables = columns.framed("limits", {"scores": scores, **rows})
    report = replace(limits_samples.sample(), tables=tables, claims=claims, prompts=[])
    stream = io.StringIO()
    show(report.summary(), Printer(file=stream, width=100))
    page = limits_page.write(report, tmp_path / "page.html", formats=())
    assert page.read_text("utf-8").rstrip().endswith("</html>")
    assert ("not decided" in stream.getvalue()) == bool(claims)
