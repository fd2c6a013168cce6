"""How much work a cell is, before it is done: what adaptation and measurements say they take."""

from dataclasses import replace

from adaptlens.cells import Cell
from adaptlens.prompts.sizes import prompt_sizes
from adaptlens.types import CostEstimate, Task

RECORDED = "recorded"
"""What is adapted to nothing and asked of nobody."""
CELL_BYTES = 8_000
"""Of a cell's spec, log, result and prompts shown, about."""


def of_cell(cell: Cell, task: Task, model: str, *, searched: bool = False) -> CostEstimate:
    """Return the work of a cell, meant to be right to within a third.

    Args:
        cell: the cell.
        task: it is of.
        model: the name that the cell's base model is found by.
        searched: whether a cell before it has searched the templates of this model and task.
    """
    made = cell.adaptation.make("adaptation")
    sizes = prompt_sizes(made, task, model, num_draws=len(cell.draws), templates_known=searched)
    found = made.cost_estimate(sizes)
    found = replace(found, disk_bytes=found.disk_bytes + CELL_BYTES)
    if cell.adaptation.name == RECORDED:
        return found
    checkpoints = len(getattr(made, "checkpoint_steps", (0,)))
    for component in cell.measurements:
        more = component.make("measurement").cost_estimate(sizes)
        found = replace(
            found,
            prompts=found.prompts + checkpoints * more.prompts,
            read_tokens=found.read_tokens + checkpoints * more.read_tokens,
            single_tokens=found.single_tokens + more.single_tokens,
            written_tokens=found.written_tokens + checkpoints * more.written_tokens,
            disk_bytes=found.disk_bytes + checkpoints * more.disk_bytes,
        )
    return found
