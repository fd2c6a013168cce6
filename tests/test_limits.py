"""What a study of limits plans: bases, mixtures, seeds and systems."""

from collections import Counter

import pytest

from adaptlens.config import limits_config
from adaptlens.errors import UserError
from adaptlens.studies import limits

ABLATIONS = {
    "mixture-nlg-only", "mixture-no-nli-no-nlg", "mixture-one-task", "mixture-other-task",
    "mixture-no-coreference", "mixture-coreference-one", "mixture-coreference-other",
}  # fmt: skip


def tuned(**settings) -> Counter[tuple[str, str]]:
    """Tuned models of one base, by system and mixture."""
    config = limits_config(models=["ladder-llama-s"], **settings)
    rows = limits.planned_work(limits.plan(config), None)
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
    with pytest.raises(UserError, match="given an empty list; expected regular, samplegen or both"):
        limits_config(ablation_systems=[])


def test_tasks_of_ones_own_are_tuned_on_the_default_mixture_unless_ablations_are_named():
    tasks = [{"path": "rte.tsv", "cluster": "nli"}, {"path": "sst2.tsv", "cluster": "sentiment"}]
    assert limits_config(tasks=tasks).mixtures == ("default",)
    assert limits_config(tasks=tasks, quick=True).mixtures == ("default",)
    named = limits_config(tasks=tasks, mixtures=["default", "no-coreference"])
    assert named.mixtures == ("default", "no-coreference")


def test_the_ladder_is_tuned_into_at_least_ninety_models_read_on_four_clusters():
    study = limits.plan(limits_config())
    rows = limits.planned_work(study, None)
    assert len({row["model"] for row in rows}) == 11
    # Each base: 2 seeds for both systems, and 7 ablations for regular prompts.
    assert sum(row["tuned_models"] for row in rows) == 11 * (2 + 2 + 7)
    members = limits.members_of(limits_config())
    assert len(members) >= 12 and len({task.cluster for task in members}) >= 4
