"""Inputs whose answers are not used: those that follow the demonstrations in a draw."""

from typing import Protocol

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


class Learner(Protocol):
    """What learns on such inputs: how many examples it is shown, and how many inputs it wants."""

    @property
    def examples(self) -> int: ...  # noqa: D102
    @property
    def unlabeled(self) -> int: ...  # noqa: D102
    @property
    def selection(self) -> str: ...  # noqa: D102
    @property
    def seed(self) -> int: ...  # noqa: D102
    @property
    def label(self) -> str: ...  # noqa: D102


def inputs_after(how: Learner, task: Task, draw: int) -> tuple[Example, ...]:
    """Return the inputs of a draw; fewer than wanted where the training split ends.

    Raises:
        UserError: the training split has none beyond the demonstrations.
    """
    size = min(len(task.train), how.examples + how.unlabeled)
    if size == how.examples:
        raise UserError(
            f"{how.label} learns on inputs beyond its {how.examples} demonstrations, and the "
            f"training split of task '{task.name}' has {len(task.train)} items; give more, whose "
            "answers are not used, or fewer demonstrations."
        )
    drawn = controls.drawn(task, draw, size, selection=how.selection, seed=how.seed)
    return drawn[how.examples :]
