"""How conditions were tuned: what is the same of all in words, the rest as a table."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from adaptlens.report.tables import Conditions, Entry, Table, number, row_by_row, text

if TYPE_CHECKING:
    import pandas as pd

RECIPE = {
    "trained": "trained",
    "lora_rank": "LoRA rank",
    "lora_alpha": "LoRA alpha",
    "lora_dropout": "LoRA dropout",
    "target_modules": "target modules",
    "optimizer": "optimizer",
    "learning_rates": "learning rates tried",
    "rates_chosen": "learning rate chosen",
    "max_steps": "steps tried",
    "steps_chosen": "steps chosen",
    "layers_chosen": "layers chosen",
    "strengths_chosen": "strengths chosen",
    "num_templates": "templates tuned on",
    "batch_size": "batch size",
    "gradient_accumulation_steps": "accumulation steps",
    "lr_scheduler": "schedule",
    "warmup_steps": "warmup steps",
    "weight_decay": "weight decay",
    "max_grad_norm": "gradient norm at most",
    "seed": "seed",
}
"""What the page calls the columns of the table of recipes."""


def constant_columns(recipes: "pd.DataFrame | None") -> dict[str, str]:
    """Return what is the same of every arm that was tuned, by what the page calls it."""
    if recipes is None or recipes.empty:
        return {}
    return {
        RECIPE[name]: _said(recipes[name].iloc[0]).text
        for name in RECIPE
        if name in recipes
        and recipes[name].nunique(dropna=False) == 1
        and recipes[name].iloc[0] != ""
    }


def table_of(recipes: "pd.DataFrame | None", conditions: Conditions) -> Table | None:
    """Return how each arm was tuned, without what is the same of all; None where all is."""
    if recipes is None or recipes.empty:
        return None
    same = constant_columns(recipes)
    shown = [
        name
        for name in RECIPE
        if name in recipes and RECIPE[name] not in same and (recipes[name] != "").any()
    ]
    if not shown:
        return None

    def entries(row: Mapping[Any, Any]) -> list[Entry]:
        arm = conditions.entry(row["condition"], row["model"], row["task"])
        return [arm, *(_said(row[name]) for name in shown)]

    headings = (("arm", False), *((RECIPE[name], False) for name in shown))
    used = " ".join(["condition", *RECIPE])
    caption = "How each arm was tuned"
    return row_by_row({"recipes": recipes}, "recipes", caption, headings, entries, used)


def _said(value: Any) -> Entry:
    return text(value) if isinstance(value, str) else number(value)
