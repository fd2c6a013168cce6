"""Every measurement states the axes of its arrays; draws are joined by these and by no name."""

from typing import ClassVar

import numpy as np
import pytest

from adaptlens import registry
from adaptlens.conditions import conditions
from adaptlens.measure import axes
from adaptlens.store import Run
from tests.test_conditions import spec


def test_every_measurement_states_the_axes_of_its_arrays():
    for name in registry.names("measurement"):
        stated = registry.resolve("measurement", name).axes
        assert stated == axes.AXES[name], name
        assert all(len(set(one)) == len(one) for one in stated.values())


def test_axes_by_hand():
    assert axes.axes_of("behavior.loglik") == ("repeats", "queries", "choices")
    assert axes.axes_of("behavior.validation_chrf") == ("turns", "queries")
    assert axes.axes_of("systems.unified.pipeline_chance") == ("queries",)
    assert axes.axes_of("hidden.last.03") == ("repeats", "queries", "width")
    assert axes.axes_of("circuits.other.noise-mean")[2] == "units"


@pytest.mark.parametrize("name", ["behavior.chance", "hidden.lens2", "circuits.denoise", "cost.a"])
def test_an_array_that_nobody_stated_is_an_error(name):
    with pytest.raises(ValueError, match="does not state the axes of"):
        axes.axes_of(name)


def test_an_array_with_other_axes_than_stated_is_not_stored():
    axes.check("behavior.gold", np.zeros(3))
    with pytest.raises(ValueError, match=r"has the shape \[2, 3\]; expected queries"):
        axes.check("behavior.gold", np.zeros((2, 3)))


class Sizes:
    """A measurement from elsewhere: one array whose name another measurement uses otherwise."""

    name = "sizes"
    axes: ClassVar = {
        "gold": ("repeats",),
        "chance": ("repeats", "queries"),
        "fixed": ("queries",),
    }


def test_a_measurement_from_elsewhere_is_joined_as_it_says(tmp_path, monkeypatch):
    table = {**registry.TABLE["measurement"], "sizes": "tests.measure.test_axes:Sizes"}
    monkeypatch.setitem(registry.TABLE, "measurement", table)
    run = Run.open(tmp_path / "run", create=True)
    for draws in ((0, 1), (2,)):
        with run.claim(spec(draws)) as claim:
            claim.finish(
                {"draws": list(draws), "numbers": {}, "notes": []},
                {
                    "sizes.gold": np.array(draws, float),
                    "sizes.chance": np.array([[d, d] for d in draws], float),
                    "sizes.fixed": np.array([7.0, 8.0]),
                },
                {"prompts": []},
            )
    (found,) = conditions(run, [spec(range(3))])
    assert found.arrays["sizes.gold"].tolist() == [0, 1, 2]
    assert found.arrays["sizes.chance"].tolist() == [[0, 0], [1, 1], [2, 2]]
    assert found.arrays["sizes.fixed"].tolist() == [7, 8]
