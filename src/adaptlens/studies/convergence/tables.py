"""The tables of the convergence study's page."""

import math
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from adaptlens.report.tables import (
    Conditions,
    Entry,
    Table,
    Tables,
    at_cell,
    cells_of,
    counts,
    estimated,
    linked,
    number,
    p_entry,
    plain,
    row_by_row,
    text,
    verdict,
)
from adaptlens.report.theme import METRICS, PAIRS, SIMILARITIES
from adaptlens.studies.convergence.columns import similarity_of

if TYPE_CHECKING:
    import pandas as pd

FACTORS = {
    1: "pairs", 2: "layers", 3: "demonstrations", 4: "resemblance", 5: "labels", 6: "task",
    7: "generation", 8: "models", 9: "prompt", 10: "position", 11: "dose",
}  # fmt: skip
"""The factors of the study by their number; each names a section of the page."""

SIMILARITY_OF = {
    similarity_of(*pair, measure): f"{style.label}, {name}"
    for measure, name in SIMILARITIES.items()
    for pair, style in PAIRS.items()
}
"""The columns of similarities of two ways of adapting, and their headings."""

_COUNTS = (("queries", True), ("draws", True))
_SIMILAR = (("similarity", True), ("mismatched queries", True))


IN_BRIEF = (
    "task", "model", "left", "right", "measure", "similarity", "mismatched queries", "noise floor",
    "queries", "draws",
)  # fmt: skip
"""The columns of a table of pairs that a terminal has room for."""


def effect(claim: Mapping[str, Any]) -> Entry:
    """Return the effect of a claim with its interval."""
    return _signed(claim["effect"], claim["low"], claim["high"])


def implicit(tables: Tables) -> Table | None:
    """Return the main claim by every measure: each comparison, and what the claim would be."""
    headings = (
        ("measure", False), ("judges", False), ("verdict by it", False), ("ICL ~ IT", True),
        ("less", False), ("excess", True), ("p (Holm, layers)", True), ("counts", False), *_COUNTS,
    )  # fmt: skip

    def entries(row: Mapping[Any, Any]) -> list[Entry]:
        return [
            _measure(row["measure"]),
            text(row["judges"]),
            verdict(row["state"]),
            estimated(row["icl_it"]),
            text(row["over"]),
            _signed(row["excess"], row["low"], row["high"]),
            p_entry(row["p_holm"]),
            text(row["counts"]),
            *counts(row, "queries draws"),
        ]

    used = "measure judges state icl_it over excess low high p_holm counts queries draws"
    caption = "ICL ~ IT against every other pair in the last layer, by each measure"
    return row_by_row(tables, "implicit", caption, headings, entries, used)


def pairs(rows: "pd.DataFrame", name: str, caption: str, conditions: Conditions) -> Table | None:
    """Return the similarity of pairs with its interval, beside its baseline and its noise floor."""
    headings = (
        ("left", False), ("right", False), ("measure", False), *_SIMILAR,
        ("above mismatched", True), ("noise floor", True), *_COUNTS, ("cells", False),
    )  # fmt: skip

    def entries(row: Mapping[Any, Any]) -> list[Entry]:
        own = cells_of(row.get("cell", ""))
        above = (row.get("above_low", math.nan), row.get("above_high", math.nan))
        return [
            *_sides(row, conditions),
            _measure(row["measure"]),
            at_cell(estimated(row["value"], row["low"], row["high"]), own),
            estimated(row["baseline"]),
            _signed(row["above"], *above),
            estimated(row["floor"]),
            *counts(row, "queries draws"),
            linked(own),
        ]

    used = "position layer is_final left right role cell measure value low high baseline above "
    used += "above_low above_high queries draws floor pair"
    return row_by_row({name: rows}, name, caption, headings, entries, used)


def factor(rows: "pd.DataFrame", name: str, caption: str, conditions: Conditions) -> Table | None:
    """Return the similarity of pairs at every level of a factor."""
    kinds = rows["kind"].nunique() > 1 if len(rows) else False
    agreeing = (("same answer, %", True),) if "agreement" in rows else ()
    headings = (
        *((("by", False),) if kinds else ()), ("level", False), ("left", False), ("right", False),
        ("measure", False), *_SIMILAR, ("noise floor", True), *agreeing, *_COUNTS,
    )  # fmt: skip
    numbered = bool(len(rows)) and rows["x"].notna().all()

    def entries(row: Mapping[Any, Any]) -> list[Entry]:
        level = str(row["level"]).replace("_", " ")
        return [
            *([text(row["kind"])] if kinds else []),
            Entry(level, f"{row['x']:020.6f}" if numbered and row["x"] >= 0 else level),
            *_sides(row, conditions),
            _measure(row["measure"]),
            estimated(row["value"], row["low"], row["high"]),
            estimated(row["baseline"]),
            estimated(row["floor"]),
            *(number(row["agreement"], 100, ".1f") for _ in agreeing),
            *counts(row, "queries draws"),
        ]

    used = "factor kind level left right pair measure layer value low high baseline floor "
    used += "agreement queries draws" + (" x" if not numbered or not kinds else "")
    return row_by_row({name: rows}, name, caption, headings, entries, used)


def u_shape(tables: Tables) -> Table | None:
    """Return, of every pair, how far its lower and upper layers lie above the middle ones."""
    headings = (
        ("pair", False), ("measure", False), ("lower − middle", True), ("upper − middle", True),
        ("upper side, weakest excess", True), ("over", False), ("p", True),
    )  # fmt: skip

    def entries(row: Mapping[Any, Any]) -> list[Entry]:
        sides = ("lower_minus_middle", "upper_minus_middle", "upper_excess")
        return [
            text(row["pair"]),
            _measure(row["measure"]),
            *(_signed(row[s], row.get(f"{s}_low"), row.get(f"{s}_high")) for s in sides[:2]),
            _signed(row[sides[2]], row.get(f"{sides[2]}_low"), row.get(f"{sides[2]}_high")),
            text(row["excess_over"]),
            p_entry(row["p"]),
        ]

    sides = ("lower_minus_middle", "upper_minus_middle", "upper_excess")
    used = " ".join(f"{side}{end}" for side in sides for end in ("", "_low", "_high"))
    caption = (
        "Thirds of the layers without the embedding; the upper side decides about a U, the lower "
        "one is high in any pair, as all prompts end in one token"
    )
    used += " pair measure excess_over p"
    return row_by_row(tables, "u_shape", caption, headings, entries, used)


def regression(tables: Tables) -> Table | None:
    """Return how similarity changes with each likeness, alone and beside the others."""
    headings = (
        ("likeness", False), ("measure", False), ("alone", True), ("p, alone", True),
        ("with all", True), ("p, with all", True), ("partial R²", True),
    )  # fmt: skip

    def entries(row: Mapping[Any, Any]) -> list[Entry]:
        return [
            text(row["predictor"]),
            _measure(row["measure"]),
            *(
                entry
                for way in ("alone", "together")
                for entry in (
                    _signed(row[way], row[f"{way}_low"], row[f"{way}_high"], digits=4),
                    p_entry(row[f"{way}_p"]),
                )
            ),
            number(row["partial_r2"], 1, ".4f"),
        ]

    used = "predictor measure partial_r2 alone alone_low alone_high alone_p "
    used += "together together_low together_high together_p"
    caption = (
        "Regression of ICL ~ IT on likeness of query and demonstrations, per standard deviation"
    )
    return row_by_row(tables, "regression", caption, headings, entries, used)


def behavior(tables: Tables, conditions: Conditions) -> Table | None:
    """Return the score of every condition, in points."""
    headings = (("condition", False), ("metric", False), ("score, points", True), *_COUNTS)

    def entries(row: Mapping[Any, Any]) -> list[Entry]:
        metric = str(row.get("metric", "accuracy"))
        return [
            conditions.entry(row["condition"], row["model"], row["task"]),
            Entry(METRICS.get(metric, metric).partition(",")[0], metric),
            estimated(row["value"], row["low"], row["high"], digits=1),
            *counts(row, "queries draws"),
        ]

    used = "condition metric value low high queries draws"
    return row_by_row(tables, "behavior", "Scores by condition", headings, entries, used)


def pair_behavior(tables: Tables, conditions: Conditions) -> Table | None:
    """Return whether two conditions answer alike beside how alike they are inside."""
    headings = (
        ("left", False), ("right", False), ("same answer, %", True), ("kappa", True),
        ("KL of answers, nats", True), ("raw cosine", True), ("centered cosine", True),
        ("within answers", True), ("answers projected out", True),
    )  # fmt: skip

    inside = ("similarity", "centered", "within", "projected")

    def entries(row: Mapping[Any, Any]) -> list[Entry]:
        return [
            *_sides(row, conditions),
            number(row["agreement"], 100, ".1f"),
            *(estimated(row.get(c, math.nan)) for c in ("kappa", "kl", *inside)),
        ]

    used = f"left right agreement kappa kl {' '.join(inside)}"
    caption = "Agreement of answers beside similarity of states in the last layer"
    return row_by_row(tables, "pair_behavior", caption, headings, entries, used)


def lens(tables: Tables, conditions: Conditions) -> Table | None:
    """Return how far apart the answers are that the model's own head reads in each layer."""
    headings = (("left", False), ("right", False), ("layer", True), ("KL, nats", True))

    def entries(row: Mapping[Any, Any]) -> list[Entry]:
        return [
            *_sides(row, conditions),
            number(row["layer"], 1, ".0f"),
            estimated(row["kl"], row["low"], row["high"]),
        ]

    caption = "Logit lens: divergence of what two conditions would answer, by layer"
    return row_by_row(tables, "lens", caption, headings, entries, "left right layer kl low high")


def models(tables: Tables) -> Table | None:
    """Return the pairs in the last layer of every model, and what becomes of the claim."""
    table = tables.get("models")
    if table is None or table.empty:
        return None
    values = [str(column) for column in table.columns if column in SIMILARITY_OF]
    others = table.drop(columns=["task", "model", "claim", *values], errors="ignore")
    rest = plain(others, "", "")
    rows = tuple(
        (
            text(row["task"]),
            text(row["model"]),
            verdict(row.get("claim")),
            *(estimated(row[column]) for column in values),
            *more,
        )
        for row, more in zip(table.to_dict("records"), rest.rows, strict=True)
    )
    headings = (
        ("task", False),
        ("model", False),
        ("ICL is implicit IT", False),
        *((SIMILARITY_OF[column], True) for column in values),
        *rest.headings,
    )
    return Table("models", "Models: pairs in the last layer", headings, rows)


def everything(rows: "pd.DataFrame") -> "pd.DataFrame":
    """Return the rows of all pairs, layers and measures as the page's browsable table has them."""
    import numpy as np

    after = rows["is_final"].astype(bool)
    shown = rows.assign(
        state=np.where(after, "after the final norm", "residual stream"),
        measure=[SIMILARITIES.get(name, name) for name in rows["measure"]],
    )
    order = "task model left right role measure layer state value low high baseline above "
    order += "above_low above_high floor queries draws"
    kept = [c for c in order.split() if c in shown]
    more = [c for c in shown if c not in kept and c not in ("is_final", "cell")]
    return shown[[*kept, *more]]


def _sides(row: Mapping[Any, Any], conditions: Conditions) -> list[Entry]:
    """Return the two conditions of a pair."""
    return [conditions.entry(row[side], row["model"], row["task"]) for side in ("left", "right")]


def _measure(name: Any) -> Entry:
    return Entry(SIMILARITIES.get(name, str(name)), str(name))


_signed = partial(estimated, sign=True)
