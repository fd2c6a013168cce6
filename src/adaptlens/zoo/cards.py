"""What is told about a reference model: one dictionary, and the page made from it."""

from typing import Any

from adaptlens.tasks import world
from adaptlens.zoo import check, microworld

LIMITS = (
    "It knows the microworld's few hundred words. Other English text is read through sub-word "
    "pieces it hardly met: expect accuracy near chance on real data.",
    "It was trained on documents of at most {longest_row} tokens. Longer prompts run, up to the "
    "{context_tokens} positions of its configuration, but how well is untested.",
    "It never saw an instruction followed by an answer; instructions do not steer it untuned.",
    "Its invented language is in its weights: demonstrations only show that a translation is "
    "wanted, they do not teach the language.",
    "Before any demonstration it may prefer one novel label for one family by the accident of how "
    "their words came to lie: zero-shot accuracy of one labelling can be far from chance, to "
    "either side (the withheld tasks of the check). Only the mean over labellings is chance.",
    "It is a laboratory animal of about a million parameters: figures found on it say how the "
    "tool behaves, not how larger models do.",
)


def exposures(seen: dict[str, int]) -> list[dict[str, Any]]:
    """Return one row per family of inputs: how many pairs of it pretraining showed, by label.

    Keys: family, natural (pairs under its natural label), random (pairs under a label drawn for
    the document), other (translations, echoed sentences, look-ups, repeated words). Withheld
    families are listed with zeros.
    """
    families = [
        "positive",
        "negative",
        *world.TOPICS,
        *world.FAMILIES,
        *world.WITHHELD,
    ]
    rows: list[dict[str, Any]] = [
        {
            "family": family,
            "natural": seen.get(f"fixed:{family}", 0),
            "random": seen.get(f"random:{family}", 0),
            "other": 0,
        }
        for family in families
    ]
    for family in ("translation", "echo", "lookup", "repeat"):
        pairs = seen.get(f"{family}:{family}", 0)
        rows.append({"family": family, "natural": 0, "random": 0, "other": pairs})
    return rows


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
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return {
        "name": settings["name"],
        "summary": (
            f"Llama architecture, {parameters / 1e6:.2f}M parameters, pretrained from scratch on "
            "the microworld; learns in context"
        ),
        "licence": "Apache-2.0",
        "parameters": parameters,
        "dtype": "float32",
        "seed": settings["seed"],
        "recipe": recipe,
        "tokens_trained": sum(
            stage["steps"] * stage["rows"] * stage["row_tokens"] for stage in recipe["stages"]
        ),
        "train_seconds": round(state["seconds"]),
        "data": {
            "corpus": "generated: adaptlens.zoo.microworld.document(seed, index, tokens)",
            "mixes": microworld.MIXES,
            "world_words": len(world.words()),
            "documents": {kind: seen.get(f"documents:{kind}", 0) for kind in microworld.KINDS},
            "withheld_families": list(world.WITHHELD),
            "novel_labels": list(world.NOVEL_LABELS),
        },
        "exposures": exposures(seen),
        "curve": state["curve"],
        "held_out": {
            "queries": queries,
            "seed": 0,
            "passed": check.passed(rows),
            "rows": rows,
        },
        "limits": [
            limit.format(
                longest_row=max(stage["row_tokens"] for stage in recipe["stages"]),
                context_tokens=recipe["context_tokens"],
            )
            for limit in LIMITS
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
over the world stages. Answer tokens weigh 1 in the loss, running text {recipe["text_weight"]:g}, \
the rest {recipe["rest_weight"]:g}.
- Seed {card["seed"]}; {card["train_seconds"] / 60:.0f} minutes. Made again by \
`adaptlens zoo train {card["name"]} --seed {card["seed"]}`.

## Data

Generated documents in plain English words ({data["world_words"]} words, each one token), of these \
kinds: {kinds}.
None of them is an instruction with its answer. These words were never the answer to an input: \
{", ".join(data["novel_labels"])}. These families were never the input of a pair: \
{", ".join(data["withheld_families"])}. Both were met in running text and in repeated runs of words.

Pairs of input and answer that pretraining showed, by family of the input, under the family's
natural label, under a label drawn at random for the document, or otherwise:

{_table(card["exposures"])}

## Held-out check

`adaptlens zoo check {card["name"]}`: {card["held_out"]["queries"]} queries per task, labels never \
paired in pretraining, demonstrations drawn per query. Passed (at least three tasks near chance \
at 0 shots and at {check.EIGHT_SHOT_ACCURACY:.2f} or more at 8, a withheld one at \
{check.EIGHT_SHOT_ACCURACY:.2f} or more at 8, and translation): \
{"yes" if card["held_out"]["passed"] else "no"}.

{_table(card["held_out"]["rows"])}

## Training curve

Mean training loss since the last point, and 8-shot accuracy on the check's tasks.

{_table(card["curve"])}

## Known limits

{limits}
"""
