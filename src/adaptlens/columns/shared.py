"""Columns that mean the same in many tables."""

from collections.abc import Mapping

Columns = Mapping[str, str]

PAIR = "~"
"""Stands for columns named after two conditions: "icl ~ it, cosine"."""

MODEL: Columns = {"model": "the model, as tables call it"}
TASK: Columns = {"task": "the task, as tables call it"}
FAMILY: Columns = {"family": "family of tasks with a shortcut, or a task of the user's own"}
CONDITION: Columns = {"condition": "the way of adapting, and its number of examples"}
QUERIES: Columns = {"queries": "test items behind a number"}
DRAWS: Columns = {"draws": "draws of examples behind a number; 1 where nothing is drawn"}
ITEMS: Columns = {"items": "pairs of clean and corrupt prompts behind a number"}
SIDES: Columns = {"left": "the one condition", "right": "the other condition"}


def ends(of: str = "`value`", prefix: str = "") -> Columns:
    """Return the columns of the two ends of an interval."""
    return {
        f"{prefix}low": f"lower end of the 95% interval of {of}",
        f"{prefix}high": f"upper end of the 95% interval of {of}",
    }
