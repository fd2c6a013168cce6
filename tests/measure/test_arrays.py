"""What a measurement stored, read by its own names: splits, layers, methods and readings apart."""

import numpy as np
import pytest

from adaptlens.measure.arrays import Answers, Costs, Patches, States, SystemAnswers
from adaptlens.metrics import accuracy


def numbered(*names: str) -> dict[str, np.ndarray]:
    """Arrays whose one number is the place of their name."""
    return {name: np.array([[float(place)]]) for place, name in enumerate(names)}


def test_the_test_split_has_no_array_of_the_validation_split() -> None:
    stored = Answers(
        numbered("behavior.exact", "behavior.validation_exact", "cost.query_flops", "hidden.lens")
    )
    assert list(stored) == ["exact"] and list(stored.validation) == ["exact"]
    assert stored.exact == 0 and stored.validation.exact == 1
    assert stored.validation.key("exact") == "behavior.validation_exact"


def test_stored_answers_are_what_accuracy_takes() -> None:
    loglik = np.log([[[0.9, 0.1], [0.2, 0.8]]])
    stored = Answers({"behavior.loglik": loglik, "behavior.gold": np.array([0, 0])})
    assert accuracy.correct(stored).tolist() == [[1.0, 0.0]]


def test_layers_are_in_order_and_the_final_one_is_last() -> None:
    stored = States(numbered("hidden.last.final", "hidden.last.01", "hidden.last.00",
                             "hidden.labels.00", "hidden.readout", "hidden.lens"))  # fmt: skip
    assert stored.layers() == ["00", "01", "final"]
    assert stored.has("last") and not stored.has("labels")
    assert stored.at("01") == 1 and stored.at("00", "labels") == 3
    assert stored.readout("00") == 4 and stored.readout("final") is None
    assert stored.lens == 5


def test_what_lies_between_runs_is_no_method() -> None:
    stored = Patches(numbered("circuits.other.noise-mean", "circuits.other.clean",
                              "circuits.other.corrupt", "circuits.other.floor",
                              "circuits.twin.denoise"))  # fmt: skip
    assert stored.made() == [("other", "noise-mean"), ("twin", "denoise")]
    assert stored.patched("other", "noise-mean") == 0
    assert [stored.clean("other"), stored.corrupt("other"), stored.floor("other")] == [1, 2, 3]


def test_every_variation_and_the_pipeline_are_readings_of_their_own() -> None:
    names = ("systems.correct_exact", "systems.chance", "systems.no-labels.correct_exact",
             "systems.no-labels.floor_exact", "systems.pipeline_correct_exact",
             "systems.pipeline_unparsed")  # fmt: skip
    plain, varied, pipeline = SystemAnswers(numbered(*names)).readings()
    assert (plain.variation, plain.is_pipeline) == ("", False)
    assert (varied.variation, varied.is_pipeline) == ("no-labels", False)
    assert (pipeline.variation, pipeline.is_pipeline) == ("", True)
    assert plain.correct("exact") == 0 and plain.correct("choice") is None and plain.chance == 1
    assert varied.correct("exact") == 2 and varied.floor("exact") == 3
    assert pipeline.correct("exact") == 4 and pipeline.unparsed == 5


def test_what_was_not_measured_is_empty_and_lacks_its_arrays() -> None:
    stored = Costs(numbered("behavior.loglik"))
    assert not stored and "query_flops" not in stored
    with pytest.raises(KeyError, match=r"cost\.query_flops"):
        stored["query_flops"]
