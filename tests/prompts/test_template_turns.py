"""Which templates a draw is tuned on: in turn, equally often, whatever draws there are besides."""

from dataclasses import replace

import numpy as np
import pytest

from adaptlens.errors import UserError
from adaptlens.prompts.template_turns import tuned_on, turn
from adaptlens.tasks.templates import usual
from adaptlens.types import Example, Task

ITEM = Example("1", "x", "a", ("a", "b"))
PLAIN = Task("t", "choice", (ITEM,), (), (ITEM,), choices=("a", "b"))
TASK = replace(PLAIN, templates=usual(PLAIN, chat=False))


@pytest.mark.parametrize("of", [2, 3, 6])
@pytest.mark.parametrize("seed", [0, 1])
def test_no_template_is_taken_more_than_once_oftener_than_another(of, seed):
    for num_templates in range(1, of + 1):
        counts = np.zeros(of, int)
        for draw in range(25):
            taken = turn(draw, num_templates, of, seed)
            assert len(set(taken)) == num_templates and list(taken) == sorted(taken)
            counts[list(taken)] += 1
            assert counts.max() - counts.min() <= 1


def test_two_draws_of_three_in_six_have_all_and_which_go_together_changes():
    sets = [turn(draw, 3, 6, 0) for draw in range(12)]
    for first, second in zip(sets[::2], sets[1::2], strict=True):
        assert sorted(first + second) == list(range(6))
    assert len(set(sets)) > 2
    assert sets != [turn(draw, 3, 6, 1) for draw in range(12)]


def test_all_templates_are_those_of_the_task():
    assert tuned_on(TASK, 3, None, 0) == TASK.templates
    assert set(tuned_on(TASK, 3, 6, 0)) == set(TASK.templates)
    assert tuned_on(PLAIN, 3, None, 0) == (PLAIN.template,) == tuned_on(PLAIN, 3, 1, 0)


def test_more_templates_than_there_are_is_one_line():
    with pytest.raises(UserError) as caught:
        tuned_on(TASK, 0, 7, 0)
    assert str(caught.value) == (
        "tune.num_templates 7: task 't' is read under 6 templates; give at most 6, or leave it out "
        "to tune on all."
    )
