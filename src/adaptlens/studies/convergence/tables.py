"""The tables of the convergence study's page."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from adaptlens.report.entries import (
    SIGNS,
    Cells,
    Entry,
    Grid,
    Tables,
    cells_of,
    linked,
    number,
    plain,
    row_by_row,
    tone,
)
from adaptlens.report.theme import METRICS, SHORT, SIMILARITIES, adaptation_of, p_value, similarity

if TYPE_CHECKING:
    import pandas as pd

FACTORS = {
    1: "pairs", 2: "layers", 3: "demonstrations", 4: "resemblance", 5: "labels", 6: "task",
    7: "generation", 8: "models", 9: "prompt", 10: "position", 11: "dose",
}  # fmt: skip
"""The factors of the study by their number; each names a section of the page."""

_COUNTS = (("queries", True), ("draws", True))
_SIMILAR = (("similarity", True), ("mismatched queries", True))


def claims(rows: Sequence[Mapping[str, Any]]) -> Grid | None:
    """Return one row per claim: verdict, effect with interval, p-values and the test."""
    if not rows:
        return None
    headings = (
        ("verdict", False), ("claim", False), ("effect", True), ("p (Holm)", True),
        ("task", False), ("model", False), *_COUNTS, ("p", True), ("test", False),
        ("factor", False),
    )  # fmt: skip

    def entries(row: Mapping[str, Any]) -> tuple[Entry, ...]:
        name = f"{row['factor']} {FACTORS.get(row['factor'], '')}".strip()
        return (
            _verdict(row["state"]),
            Entry(row["claim"], row["claim"], tone="words"),
            _effect(row["effect"], row["low"], row["high"]),
            Entry(p_value(row["p_holm"]), _sortable(row["p_holm"])),
            *(Entry(str(row[c]), str(row[c])) for c in ("task", "model")),
            *_counts(row),
            Entry(p_value(row["p"]), _sortable(row["p"])),
            Entry(row["test"], row["test"]),
            Entry(name, name),
        )

    ordered = sorted(rows, key=lambda row: row["factor"])
    return Grid("claims", "All claims", headings, tuple(map(entries, ordered)))


def implicit(tables: Tables) -> Grid | None:
    """Return the main claim by every measure: each comparison, and what the claim would be."""
    headings = (
        ("measure", False), ("judges", False), ("verdict by it", False), ("ICL ~ IT", True),
        ("less", False), ("excess", True), ("p (Holm, layers)", True), ("counts", False), *_COUNTS,
    )  # fmt: skip

    def entries(row: Mapping[Any, Any]) -> list[Entry]:
        return [
            _measure(row["measure"]),
            Entry(row["judges"], row["judges"]),
            _verdict(row["state"]),
            _plain(row["icl_it"]),
            Entry(row["over"], row["over"]),
            _effect(row["excess"], row["low"], row["high"]),
            Entry(p_value(row["p_holm"]), _sortable(row["p_holm"])),
            Entry(row["counts"], row["counts"]),
            *_counts(row),
        ]

    used = "measure judges state icl_it over excess low high p_holm counts queries draws"
    caption = "ICL ~ IT against every other pair in the last layer, by each measure"
    return row_by_row(tables, "implicit", caption, headings, entries, used)


def pairs(rows: "pd.DataFrame", name: str, caption: str, cells: Cells) -> Grid | None:
    """Return the similarity of pairs with its interval, beside its baseline and its noise floor."""
    headings = (
        ("left", False), ("right", False), ("measure", False), *_SIMILAR,
        ("above mismatched", True), ("noise floor", True), *_COUNTS, ("cells", False),
    )  # fmt: skip

    def entries(row: Mapping[Any, Any]) -> list[Entry]:
        own = cells_of(row.get("cell", ""))
        value = similarity(row["value"], row["low"], row["high"])
        above = (row.get("above_low", math.nan), row.get("above_high", math.nan))
        return [
            *(_condition(row, row[side], cells) for side in ("left", "right")),
            _measure(row["measure"]),
            Entry(value, _sortable(row["value"]), ((value, own[0]),) if own else ()),
            _plain(row["baseline"]),
            _effect(row["above"], *above),
            _plain(row["floor"]),
            *_counts(row),
            linked(own),
        ]

    used = "position layer is_final left right role cell measure value low high baseline above "
    used += "above_low above_high queries draws floor pair"
    return row_by_row({name: rows}, name, caption, headings, entries, used)


def factor(rows: "pd.DataFrame", name: str, caption: str, cells: Cells) -> Grid | None:
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
            *([Entry(row["kind"], row["kind"])] if kinds else []),
            Entry(level, f"{row['x']:020.6f}" if numbered and row["x"] >= 0 else level),
            *(_condition(row, row[side], cells) for side in ("left", "right")),
            _measure(row["measure"]),
            Entry(similarity(row["value"], row["low"], row["high"]), _sortable(row["value"])),
            _plain(row["baseline"]),
            _plain(row["floor"]),
            *(number(row["agreement"], 100, ".1f") for _ in agreeing),
            *_counts(row),
        ]

    if len(rows) and "left" not in rows:
        sides = rows["pair"].str.split(" ~ ", expand=True)
        rows = rows.assign(left=sides[0], right=sides[1])
    used = "factor kind level left right pair measure layer value low high baseline floor "
    used += "agreement queries draws" + (" x" if not numbered or not kinds else "")
    return row_by_row({name: rows}, name, caption, headings, entries, used)


def u_shape(tables: Tables) -> Grid | None:
    """Return, of every pair, how far its lower and upper layers lie above the middle ones."""
    headings = (
        ("pair", False), ("measure", False), ("lower − middle", True), ("upper − middle", True),
        ("upper side, weakest excess", True), ("over", False), ("p", True),
    )  # fmt: skip

    def entries(row: Mapping[Any, Any]) -> list[Entry]:
        sides = ("lower_minus_middle", "upper_minus_middle", "upper_excess")
        return [
            Entry(row["pair"], row["pair"]),
            _measure(row["measure"]),
            *(_effect(row[s], row.get(f"{s}_low"), row.get(f"{s}_high")) for s in sides[:2]),
            _effect(row[sides[2]], row.get(f"{sides[2]}_low"), row.get(f"{sides[2]}_high")),
            Entry(row["excess_over"], row["excess_over"]),
            Entry(p_value(row["p"]), _sortable(row["p"])),
        ]

    sides = ("lower_minus_middle", "upper_minus_middle", "upper_excess")
    used = " ".join(f"{side}{end}" for side in sides for end in ("", "_low", "_high"))
    caption = (
        "Thirds of the layers without the embedding; the upper side decides about a U, the lower "
        "one is high in any pair, as all prompts end in one token"
    )
    used += " pair measure excess_over p"
    return row_by_row(tables, "u_shape", caption, headings, entries, used)


def regression(tables: Tables) -> Grid | None:
    """Return how similarity changes with each likeness, alone and beside the others."""
    headings = (
        ("likeness", False), ("measure", False), ("alone", True), ("p, alone", True),
        ("with all", True), ("p, with all", True), ("partial R²", True),
    )  # fmt: skip

    def entries(row: Mapping[Any, Any]) -> list[Entry]:
        return [
            Entry(row["predictor"], row["predictor"]),
            _measure(row["measure"]),
            *(
                entry
                for way in ("alone", "together")
                for entry in (
                    _effect(row[way], row[f"{way}_low"], row[f"{way}_high"], digits=4),
                    Entry(p_value(row[f"{way}_p"]), _sortable(row[f"{way}_p"])),
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


def behaviour(tables: Tables, cells: Cells) -> Grid | None:
    """Return the score of every condition, in points."""
    headings = (("condition", False), ("metric", False), ("score, points", True), *_COUNTS)

    def entries(row: Mapping[Any, Any]) -> list[Entry]:
        metric = str(row.get("metric", "accuracy"))
        said = similarity(row["value"], row["low"], row["high"], digits=1)
        return [
            _condition(row, row["condition"], cells),
            Entry(METRICS.get(metric, metric).partition(",")[0], metric),
            Entry(said, _sortable(row["value"])),
            *_counts(row),
        ]

    used = "condition metric value low high queries draws"
    return row_by_row(tables, "behaviour", "Scores by condition", headings, entries, used)


def pair_behaviour(tables: Tables, cells: Cells) -> Grid | None:
    """Return whether two conditions answer alike beside how alike they are inside."""
    headings = (
        ("left", False), ("right", False), ("same answer, %", True), ("kappa", True),
        ("KL of answers, nats", True), ("raw cosine", True), ("centred cosine", True),
        ("within answers", True), ("answers projected out", True),
    )  # fmt: skip

    inside = ("similarity", "centred", "within", "projected")

    def entries(row: Mapping[Any, Any]) -> list[Entry]:
        return [
            *(_condition(row, row[side], cells) for side in ("left", "right")),
            number(row["agreement"], 100, ".1f"),
            *(_plain(row.get(c, math.nan)) for c in ("kappa", "kl", *inside)),
        ]

    used = f"left right agreement kappa kl {' '.join(inside)}"
    caption = "Agreement of answers beside similarity of states in the last layer"
    return row_by_row(tables, "pair_behaviour", caption, headings, entries, used)


def lens(tables: Tables, cells: Cells) -> Grid | None:
    """Return how far apart the answers are that the model's own head reads in each layer."""
    headings = (("left", False), ("right", False), ("layer", True), ("KL, nats", True))

    def entries(row: Mapping[Any, Any]) -> list[Entry]:
        return [
            *(_condition(row, row[side], cells) for side in ("left", "right")),
            number(row["layer"], 1, ".0f"),
            Entry(similarity(row["kl"], row["low"], row["high"]), _sortable(row["kl"])),
        ]

    caption = "Logit lens: divergence of what two conditions would answer, by layer"
    return row_by_row(tables, "lens", caption, headings, entries, "left right layer kl low high")


def models(tables: Tables) -> Grid | None:
    """Return the pairs in the last layer of every model, and what becomes of the claim."""
    table = tables.get("models")
    if table is None or table.empty:
        return None
    values = [str(column) for column in table.columns if " ~ " in str(column)]
    others = table.drop(columns=["task", "model", "claim", *values], errors="ignore")
    rest = plain(others, "", "")
    rows = tuple(
        (
            Entry(str(row["task"]), str(row["task"])),
            Entry(str(row["model"]), str(row["model"])),
            _verdict(row.get("claim")),
            *(_plain(row[column]) for column in values),
            *more,
        )
        for row, more in zip(table.to_dict("records"), rest.rows, strict=True)
    )
    headings = (
        ("task", False),
        ("model", False),
        ("ICL is implicit IT", False),
        *((_paired_heading(column), True) for column in values),
        *rest.headings,
    )
    return Grid("models", "Models: pairs in the last layer", headings, rows)


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


def _paired_heading(column: str) -> str:
    """Return "anchor ~ ICL, raw cosine" for "zero ~ icl, cosine"."""
    pair, _, measure = column.partition(", ")
    names = [SHORT.get({"zero": "zero_shot"}.get(n, n), n) for n in pair.split(" ~ ")]
    return ", ".join(filter(None, [" ~ ".join(names), SIMILARITIES.get(measure, measure)]))


def _condition(row: Mapping[Any, Any], label: str, cells: Cells) -> Entry:
    """Return a condition with its mark, linked to its cell."""
    measured = str(label).partition(" ")[0].partition("@")[0]
    found = cells.get((row["task"], row["model"], measured), ())
    return Entry(label, label, ((label, found[0]),) if found else (), adaptation_of(measured))


def _verdict(state: Any) -> Entry:
    """Return a verdict with its sign; "–" where nothing was judged."""
    return (
        Entry(f"{SIGNS[state]} {state}", state, tone=tone(state)) if state in SIGNS else Entry("–")
    )


def _measure(name: Any) -> Entry:
    return Entry(SIMILARITIES.get(name, str(name)), str(name))


def _effect(value: Any, low: Any = math.nan, high: Any = math.nan, digits: int = 3) -> Entry:
    low, high = (math.nan if end is None else end for end in (low, high))
    return Entry(similarity(value, low, high, sign=True, digits=digits), _sortable(value))


def _plain(value: Any) -> Entry:
    return Entry(similarity(float(value)), _sortable(value))


def _counts(row: Mapping[Any, Any]) -> list[Entry]:
    return [number(row[c], 1, ",.0f") for c in ("queries", "draws")]


def _sortable(value: Any) -> float | str:
    return "" if value is None or math.isnan(value) else float(value)
