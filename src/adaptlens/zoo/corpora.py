"""The corpora that reference models are trained on, each with its held-out check."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from adaptlens.errors import UserError
from adaptlens.zoo import check as microworld_check
from adaptlens.zoo import (
    formal_check,
    formal_corpus,
    ladder_check,
    ladder_corpus,
    microworld_corpus,
)
from adaptlens.zoo.about import FORMAL, LADDER, MICROWORLD, About
from adaptlens.zoo.documents import Document


@dataclass(frozen=True)
class Corpus:
    """A corpus and what is checked of a model trained on it.

    Attributes:
        document: (seed, index, tokens, mix) -> document.
        mixes: mix -> share of documents of each kind.
        kinds: of documents.
        curve: (model, tokenizer, queries) -> a point of the training curve.
        rows: (model, tokenizer, queries=...) -> the rows of the held-out check.
        passed: rows -> whether they show what the model is for.
        about: what to say of it.
    """

    document: Callable[[int, int, int, str], Document]
    mixes: Mapping[str, Mapping[str, float]]
    kinds: tuple[str, ...]
    curve: Callable[[Any, Any, int], dict[str, float]]
    rows: Callable[..., list[dict[str, Any]]]
    passed: Callable[[list[dict[str, Any]]], bool]
    about: About


CORPORA = {
    "microworld": Corpus(
        microworld_corpus.document,
        microworld_corpus.MIXES,
        microworld_corpus.KINDS,
        microworld_check.curve,
        microworld_check.rows,
        microworld_check.passed,
        MICROWORLD,
    ),
    "formal": Corpus(
        formal_corpus.document,
        formal_corpus.MIXES,
        formal_corpus.KINDS,
        formal_check.curve,
        formal_check.rows,
        formal_check.passed,
        FORMAL,
    ),
    "ladder": Corpus(
        ladder_corpus.document,
        ladder_corpus.MIXES,
        ladder_corpus.KINDS,
        ladder_check.curve,
        ladder_check.rows,
        ladder_check.passed,
        LADDER,
    ),
}


def check(name: str = "reference", queries: int = 200, seed: int = 0) -> dict[str, Any]:
    """Return the held-out check of a shipped model or of a folder.

    A folder without a card of ours is checked as a model of the microworld.

    Keys: model, queries, seed, rows (see `Corpus.rows`), passed.

    Raises:
        UserError: the name is neither a shipped model nor a folder with one.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from adaptlens.models import identity

    folder = identity.locate(name)
    if folder.is_file():
        raise UserError(
            f"'{name}' is a GGUF file; the held-out check is of models made by `adaptlens zoo "
            "train`: give a shipped name or a folder."
        )
    card = folder / "card.json"
    recipe = json.loads(card.read_text(encoding="utf-8"))["recipe"] if card.exists() else {}
    corpus = CORPORA[recipe.get("corpus", "microworld")]
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    found = corpus.rows(model, AutoTokenizer.from_pretrained(folder), queries=queries, seed=seed)
    return {
        "model": name,
        "queries": queries,
        "seed": seed,
        "rows": found,
        "passed": corpus.passed(found),
    }
