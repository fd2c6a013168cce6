"""What is told about a reference model: one dictionary, and the page made from it."""

from typing import Any

from adaptlens.zoo.corpora import CORPORA
from adaptlens.zoo.recipes import FAMILIES, LADDER


def card(
    model: Any, state: dict[str, Any], rows: list[dict[str, Any]], queries: int
) -> dict[str, Any]:
    """Return the card of a trained model.

    Args:
        model: the model, for its size and shape.
        state: the training record (settings, step, seconds, seen, curve).
        rows: of the held-out check.
        queries: per task of that check.
    """
    settings = state["settings"]
    recipe, seen = settings["recipe"], state["seen"]
    corpus = CORPORA[recipe["corpus"]]
    about = corpus.about
    parameters = sum(parameter.numel() for parameter in model.parameters())
    family, dtype = recipe.get("family", "llama"), recipe.get("dtype", "float32")
    rung = {}
    if settings["name"] in LADDER:
        size = settings["name"].split("-")[2]
        rung = {"family": family, "size": size, "exposure": recipe["exposure"]}
    return {
        "name": settings["name"],
        "summary": (
            f"{FAMILIES[family]} architecture, {parameters / 1e6:.2f}M parameters, {about.summary}"
        ),
        "licence": "Apache-2.0",
        "parameters": parameters,
        **rung,
        "dtype": dtype,
        "seed": settings["seed"],
        "recipe": recipe,
        "tokens_trained": sum(
            stage["steps"] * stage["rows"] * stage["row_tokens"] for stage in recipe["stages"]
        ),
        "train_seconds": round(state["seconds"]),
        "data": {
            "corpus": f"generated: {about.source}",
            "mixes": {
                mix: shares
                for mix, shares in corpus.mixes.items()
                if not rung or mix.endswith(f"-{recipe['exposure']}")
            },
            "documents": {kind: seen.get(f"documents:{kind}", 0) for kind in corpus.kinds},
            **about.facts,
        },
        "exposures": about.exposures(seen),
        "curve": state["curve"],
        "held_out": {
            "queries": queries,
            "seed": 0,
            "passed": corpus.passed(rows),
            "rows": rows,
        },
        "limits": [
            limit.format(
                longest_row=max(stage["row_tokens"] for stage in recipe["stages"]),
                context_tokens=recipe["context_tokens"],
            )
            for limit in about.limits
        ],
    }


def _table(rows: list[dict[str, Any]]) -> str:
    """Return rows of equal keys as a Markdown table."""
    lines = [" | ".join(rows[0]), " | ".join("---" for _ in rows[0])]
    lines += [" | ".join(str(value) for value in row.values()) for row in rows]
    return "\n".join(f"| {line} |" for line in lines)


def readme(card: dict[str, Any]) -> str:
    """Return the card as a Markdown page."""
    recipe, data = card["recipe"], card["data"]
    about = CORPORA[recipe["corpus"]].about
    kinds = ", ".join(f"{kind} {count:,}" for kind, count in data["documents"].items())
    stages = ", ".join(
        f"{s['steps']} of {s['mix']} ({s['rows']} x {s['row_tokens']})" for s in recipe["stages"]
    )
    limits = "\n".join(f"- {limit}" for limit in card["limits"])
    return f"""---
license: apache-2.0
library_name: transformers
---
# {card["name"]}

{card["summary"]}.

- {recipe["layers"]} layers, width {recipe["width"]}, {recipe["heads"]} heads, MLP width \
{recipe["mlp_width"]}, tied embeddings, {card["dtype"]} weights.
- {card["tokens_trained"] / 1e6:.1f}M tokens in {sum(s["steps"] for s in recipe["stages"])} \
steps: {stages}. AdamW {recipe["rate"]:g}, {recipe["warmup_steps"]} warm-up steps, cosine decay \
from stage {recipe["decay_from"] + 1} on. Answer tokens weigh 1 in the loss, running text \
{recipe["text_weight"]:g}, the rest {recipe["rest_weight"]:g}.
- Seed {card["seed"]}; {card["train_seconds"] / 60:.0f} minutes. Made again by \
`adaptlens zoo train {card["name"]} --seed {card["seed"]}`.

## Data

{about.data.format(kinds=kinds)}

{_table(card["exposures"])}

## Held-out check

`adaptlens zoo check {card["name"]}`: {card["held_out"]["queries"]} queries per task, \
{about.check}: {"yes" if card["held_out"]["passed"] else "no"}.

{_table(card["held_out"]["rows"])}

## Training curve

Mean training loss since the last point, and {about.curve}.

{_table(card["curve"])}

## Known limits

{limits}
"""
