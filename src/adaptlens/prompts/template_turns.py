"""Which of a task's templates each draw is tuned on, where it is tuned on some of them."""

from math import gcd

import numpy as np

from adaptlens.errors import UserError
from adaptlens.types import Task, Template


def check_number(task: Task, num_templates: int | None) -> None:
    """Check that a task has so many templates to be tuned on.

    Raises:
        UserError: it has fewer.
    """
    there = len(task.templates) or 1
    if num_templates is not None and num_templates > there:
        raise UserError(
            f"tune.num_templates {num_templates}: task '{task.name}' is read under {there} "
            f"template{'s' * (there != 1)}; give at most {there}, or leave it out to tune on all."
        )


def turn(draw: int, num_templates: int, of: int, seed: int) -> tuple[int, ...]:
    """Return the places of the templates that a draw is tuned on, in order.

    Draws take the next `num_templates` in turn, round and round, until all have been taken equally
    often; then they go on in another order. So among the first draws, however many, no template is
    taken more than once oftener than another, and which go together changes.

    Args:
        draw: its number.
        num_templates: how many it is tuned on.
        of: how many there are.
        seed: of the orders.
    """
    draws_a_round = of // gcd(of, num_templates)
    number, place = divmod(draw, draws_a_round)
    order = np.random.default_rng([seed, number]).permutation(of)
    taken = (place * num_templates + np.arange(num_templates)) % of
    return tuple(sorted(order[taken].tolist()))


def tuned_on(task: Task, draw: int, num_templates: int | None, seed: int) -> tuple[Template, ...]:
    """Return the templates that a draw is tuned on; all for None.

    Raises:
        UserError: the task has fewer.
    """
    check_number(task, num_templates)
    ways = task.templates or (task.template,)
    if num_templates is None:
        return ways
    return tuple(ways[place] for place in turn(draw, num_templates, len(ways), seed))
