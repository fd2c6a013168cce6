"""Inputs whose answers are not used: those that follow the demonstrations in a draw."""

from adaptlens.errors import UserError
from adaptlens.prompts import controls
from adaptlens.types import Example, Task


def check_unlabeled(name: str, unlabeled: int) -> None:
    """Check the number of inputs that a way of adapting is to learn on.

    Raises:
        UserError: it is below 1.
    """
    if unlabeled < 1:
        raise UserError(
            f"{name}: unlabeled {unlabeled} was given; it must be at least 1: what is learned is "
            "what the model gives on such inputs."
        )


def inputs_after(
    task: Task, draw: int, examples: int, unlabeled: int, *, selection: str, seed: int, label: str
) -> tuple[Example, ...]:
    """Return the inputs of a draw; fewer than wanted where the training split ends.

    Args:
        task: the task.
        draw: of its training examples.
        examples: of the draw, that are shown.
        unlabeled: inputs that are wanted.
        selection: how the draw's examples are chosen.
        seed: of the draws.
        label: of the condition, for the error.

    Raises:
        UserError: the training split has none beyond the demonstrations.
    """
    size = min(len(task.train), examples + unlabeled)
    if size == examples:
        raise UserError(
            f"{label} learns on inputs beyond its {examples} demonstrations, and the training "
            f"split of task '{task.name}' has {len(task.train)} items; give more, whose answers "
            "are not used, or fewer demonstrations."
        )
    return controls.drawn(task, draw, size, selection=selection, seed=seed)[examples:]
