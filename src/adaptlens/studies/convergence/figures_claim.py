"""The figure of the convergence study's main claim: every comparison, by every measure."""

from typing import TYPE_CHECKING, Any

from adaptlens.formatting import estimate
from adaptlens.report.charts import INK, MUTED, NARROW, WIDE, finite, groups
from adaptlens.report.forest import forest
from adaptlens.report.theme import SIMILARITIES, Style

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd

STYLES = {
    "judges": Style("judges", "", INK, "#ece8e1", "diamond"),
    "beside": Style("beside", "", MUTED, "#a9a297", "circle"),
}


def excesses(implicit: "pd.DataFrame", *, margin: float, width: int = WIDE) -> "alt.ConcatChart":
    """Return how much more alike ICL and IT are than every other pair they are held against.

    One panel for each measure, the one that judges in front; the line is the margin. Hollow:
    a comparison that the claim does not count.
    """
    dots: list[dict[str, Any]] = []
    several = implicit.groupby(["task", "model"]).ngroups > 1
    for _, title, group in groups(implicit.dropna(subset=["excess"])):
        for row in group.to_dict("records"):
            measure = SIMILARITIES.get(row["measure"], row["measure"])
            dots.append(
                {
                    "panel": f"{title} · {measure}" if several else measure,
                    "row": row["over"],
                    "value": row["excess"],
                    "low": finite(row["low"]),
                    "high": finite(row["high"]),
                    "kind": "judges" if row["judges"] == "yes" else "beside",
                    "hollow": row["counts"] == "no",
                    "label": f"ICL ~ IT less {row['over']}, {measure}: "
                    f"{estimate(row['excess'], row['low'], row['high'], sign=True)}",
                }
            )
    return forest(
        dots,
        width=width,
        columns=1 if width <= NARROW else 2,
        room=176 if width <= NARROW else 190,
        title="similarity of ICL ~ IT less that of the row",
        styles=STYLES,
        reference=margin,
    )
