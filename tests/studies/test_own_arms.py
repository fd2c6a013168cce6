"""Arms of a user's own in the studies of states and of circuits."""

import pytest

import tiny
from adaptlens.errors import UserError
from adaptlens.store import Run
from adaptlens.studies.convergence.analyze import analyze
from adaptlens.studies.convergence.config import convergence_config
from adaptlens.studies.convergence.plan import plan
from adaptlens.studies.driver import Silent, execute, write_plan
from adaptlens.studies.implicit.config import implicit_config
from adaptlens.studies.implicit.plan import plan as plan_circuits

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return tiny.tiny_folder(tmp_path_factory.mktemp("model"), "llama")


@pytest.fixture(scope="module")
def adapter(llama, tmp_path_factory):
    return tiny.tiny_adapter(tmp_path_factory.mktemp("adapter"), llama)


def test_an_arm_is_compared_with_the_anchor_icl_and_it(llama, adapter, tmp_path):
    config = convergence_config(
        models=[str(llama)], shots=2, draws=2, queries=6, factor_draws=2, factors=["pairs"],
        untrained=False, full=False, tune={"max_steps": [3]}, arms={"mine": str(adapter)},
    )  # fmt: skip
    study = plan(config)
    run = Run.open(tmp_path / "run", create=True)
    write_plan(run, study)
    assert not execute(study, run, config, Silent()).failed
    pairs = analyze(run).tables["pairs"]
    found = set(pairs[pairs["right"] == "mine"]["left"])
    assert found == {"zero-shot", "icl-2", "it-2"}


def test_ways_in_between_are_held_against_the_prompt_and_tuning(llama, tmp_path):
    config = convergence_config(
        models=[str(llama)], shots=2, draws=2, queries=6, factor_draws=2, factors=["pairs"],
        untrained=False, full=False, tune={"max_steps": [3]}, validation=4,
        further=["distil", "ia2", "soft-prompt", "vector"],
    )  # fmt: skip
    study = plan(config)
    run = Run.open(tmp_path / "run", create=True)
    write_plan(run, study)
    assert not execute(study, run, config, Silent()).failed
    found = analyze(run)
    pairs = found.tables["pairs"]
    own = pairs[(pairs["right"] == "distil-2") & (pairs["measure"] == "within")]
    assert set(own["left"]) == {"zero-shot", "icl-2", "it-2"}
    claim, more = (one for one in found.claims if "distilled" in one["claim"])
    assert "aligned with it than like what was distilled" in more["claim"]
    other = pairs[(pairs["left"] == "icl-2") & (pairs["right"] == "it-2")
                  & (pairs["measure"] == "within")]  # fmt: skip
    by = {side: row[~row["is_final"]].iloc[-1]["value"] for side, row in
          (("distil", own[own["left"] == "icl-2"]), ("it", other))}  # fmt: skip
    assert claim["effect"] == pytest.approx(by["distil"] - by["it"], abs=1e-6)
    assert len([one for one in found.claims if "aligned with it than like IT" in one["claim"]]) == 1
    for way in ("ia2-2", "soft-prompt-2", "vector-2"):
        assert set(pairs[pairs["right"] == way]["left"]) == {"zero-shot", "icl-2", "it-2"}
    assert len([one for one in found.claims if "with its vector" in one["claim"]]) == 1


def test_a_vector_without_items_to_choose_its_layer_by_is_refused_by_the_plan(llama):
    with pytest.raises(UserError, match="add --set validation=64"):
        plan(convergence_config(models=[str(llama)], further=["vector"]))


def test_an_arm_s_circuit_is_studied_on_a_task_of_one_s_own(llama, adapter):
    given = {"models": [str(llama)], "arms": {"mine": str(adapter)}}
    study = plan_circuits(implicit_config(**given, parts=["circuits"], tasks=["sentiment-novel"]))
    (cell,) = [cell for cell in study.cells if cell.label == "mine"]
    assert {one.name for one in cell.measurements} == {"circuits", "heads"}
    with pytest.raises(UserError, match="add --task FILE"):
        plan_circuits(implicit_config(**given, families=["boolean"]))
