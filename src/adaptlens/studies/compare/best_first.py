"""The scores of a comparison in short, best first: texts for whoever called it from Python."""

from typing import TYPE_CHECKING, Any

from adaptlens.formatting import design, estimate, fixed
from adaptlens.report.tables import Tables
from adaptlens.report.theme import METRICS, main_metric, points

if TYPE_CHECKING:
    import pandas as pd


def best_first(tables: Tables) -> "pd.DataFrame":
    """Return one row an arm, and one a baseline, of each task and model, the best score first.

    Scores are in points, with 95% intervals, by the rule that judges the arm; they rest on `size`,
    templates × draws × queries. Task, model and metric have columns where there are several.

    Args:
        tables: of a comparison, with its columns.
    """
    import pandas as pd

    found: list[dict[str, Any]] = []
    accuracy, baselines = tables["accuracy"], tables.get("baselines")
    for (task, model), rows in accuracy.groupby(["task", "model"], sort=False):
        metric = main_metric(rows["metric"])
        about = {"task": task, "model": model, "metric": METRICS.get(metric, metric)}
        own: list[tuple[float, dict[str, Any]]] = []
        for row in rows[rows["metric"] == metric].to_dict("records"):
            value, low, high = (points(metric, row[name]) for name in ("value", "low", "high"))
            said = {
                "arm": row["condition"],
                "score": estimate(value, low, high, digits=1),
                "size": design(row["templates"], row["draws"], row["queries"]),
            }
            own.append((value, {**about, **said}))
        if baselines is not None and len(baselines):
            ours = (baselines["task"] == task) & (baselines["metric"] == metric)
            for row in baselines[ours].to_dict("records"):
                value = points(metric, row["value"])
                said = {"arm": row["name"], "score": fixed(value), "size": ""}
                own.append((value, {**about, **said}))
        own.sort(key=lambda scored: scored[0], reverse=True)
        found += [row for _, row in own]
    columns = ["task", "model", "arm", "score", "metric", "size"]
    table = pd.DataFrame(found, columns=columns)
    constant = [name for name in ("task", "model") if table[name].nunique() <= 1]
    if table["metric"].nunique() == 1:
        table = table.rename(columns={"score": table["metric"].iloc[0]})
        constant.append("metric")
    return table.drop(columns=constant)
