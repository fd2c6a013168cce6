"""A study's cells: identity, what is still missing, and the order they run in."""

import json
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from adaptlens.cells import Cell, Component, Study, by_model, cut, group, missing, task_digest
from adaptlens.store import cell_id
from adaptlens.types import Example, ModelSpec, Task, TaskSpec


def cell(
    name: str = "icl", draws: tuple[int, ...] = (0, 1, 2), model: str = "m", **arguments
) -> Cell:
    return Cell(
        model=ModelSpec(model, model * 8),
        task=TaskSpec("t", "d", "choice", 5, 0),
        adaptation=Component(name, {"examples": 4, **arguments}),
        label=f"{name}-4",
        measurements=(Component("behavior", {}),),
        draws=draws,
        seed=0,
    )


def test_every_argument_changes_the_cell():
    ids = {
        cell_id(one.spec())
        for one in (cell(), cell(seed=1), cell(name="it"), cell(model="n"), cell(draws=(0, 1)))
    }
    assert len(ids) == 5


def test_cells_that_differ_only_in_draws_are_one_group():
    assert group(cell(draws=(0,)).spec()) == group(cell(draws=(1, 2)).spec())
    assert group(cell().spec()) != group(cell(seed=1).spec())


@given(st.sets(st.integers(0, 20)), st.sets(st.integers(0, 20), min_size=1))
def test_missing_is_wanted_without_done(done, wanted):
    specs = [cell(draws=tuple(sorted(done))).spec()] if done else []
    left = missing([cell(draws=tuple(sorted(wanted)))], specs)
    assert [d for one in left for d in one.draws] == sorted(wanted - done)


def test_a_finished_cell_of_another_group_covers_nothing():
    assert missing([cell()], [cell(seed=1).spec()]) == [cell()]


@given(st.integers(1, 12), st.integers(1, 5))
def test_cut_keeps_every_draw_in_order(num_draws, at_most):
    pieces = cut(cell(draws=tuple(range(num_draws))), at_most)
    assert [d for piece in pieces for d in piece.draws] == list(range(num_draws))
    assert max(len(piece.draws) for piece in pieces) <= at_most


def test_each_model_is_drained_before_the_next_and_full_tuning_comes_last():
    cells = [cell("full"), cell("icl", model="n"), cell("zero_shot", (-1,)), cell("it")]
    groups = by_model(cells)
    assert [[c.adaptation.name for c in g] for g in groups] == [
        ["zero_shot", "it", "full"],
        ["icl"],
    ]


def test_a_tasks_digest_follows_its_content_and_not_its_description():
    task = Task("t", "choice", (Example("a", "x", "A"),), (), (), choices=("A", "B"))
    assert task_digest(task) == task_digest(replace(task, description="other", notes=("n",)))
    assert task_digest(task) != task_digest(replace(task, instruction="Say it."))
    assert task_digest(task) != task_digest(replace(task, choices=("B", "A")))


def test_a_cell_read_back_from_json_is_the_cell():
    lists = replace(
        cell(learning_rate=(0.1, 0.2)), model=ModelSpec("m", "d", "bfloat16", True, "4bit")
    )
    for one in (cell(), lists):
        spec = json.loads(json.dumps(one.spec()))
        assert Cell.of(spec) == one
        assert cell_id(Cell.of(spec).spec()) == cell_id(one.spec())


def test_where_a_model_was_found_is_no_part_of_its_cells():
    found = replace(cell(), model=ModelSpec("m", "d", source="folder/m"))
    assert "source" not in found.model.stored()
    assert found == replace(cell(), model=ModelSpec("m", "d"))
    assert Study("s", {}, (found,), {}).sources == {"m": "folder/m"}


def test_what_a_model_has_not_is_not_in_its_cells_name():
    plain = {"name": "m", "digest": "d", "dtype": "float32", "chat": False}
    assert ModelSpec("m", "d").stored() == plain
    assert ModelSpec("m", "d", clock="2000-01-01").stored() == {**plain, "clock": "2000-01-01"}
