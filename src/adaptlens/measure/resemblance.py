"""How much a query is like the demonstrations of each draw, by several measures."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float64

from adaptlens.errors import unknown
from adaptlens.lm.encoder import DEFAULT_ENCODER, Similarity, cosine_similarity
from adaptlens.lm.load import LM
from adaptlens.measure import Progress
from adaptlens.measure.axes import AXES, Stated
from adaptlens.prompts import selection
from adaptlens.prompts.sizes import PromptSizes
from adaptlens.types import Adapted, CostEstimate, Measured, Task

MEASURES = ("encoder", "embedding", "bm25", "chrf")


@dataclass(frozen=True)
class Resemblance:
    """Likeness of each test query to the examples of each draw: [repeats, queries] a measure.

    The mean over the draw's examples of: encoder, the cosine of sentence embeddings; embedding,
    the cosine of mean token embeddings of the base model, the mean over all texts taken out;
    bm25, the BM25 score; chrf, chrF (0-100) of example against query.

    Attributes:
        measures: which of them.
        encoder: a sentence-transformers model name or folder.
    """

    measures: tuple[str, ...] = MEASURES
    encoder: str = DEFAULT_ENCODER

    name: ClassVar[str] = "resemblance"
    axes: ClassVar[Stated] = AXES["resemblance"]

    def __post_init__(self) -> None:
        """Check the arguments."""
        object.__setattr__(self, "measures", tuple(self.measures))
        for measure in self.measures:
            if measure not in MEASURES:
                raise unknown("measure of resemblance", measure, MEASURES)

    def cost_estimate(self, sizes: PromptSizes) -> CostEstimate:
        """Return the bytes of its numbers; no model reads anything."""
        return CostEstimate(disk_bytes=32.0 * sizes.num_draws * len(sizes.task.test))

    def measure(
        self, lm: LM, task: Task, adapted: Adapted, *, progress: Progress | None = None
    ) -> Measured:
        """Return one array per measure.

        Raises:
            UserError: the sentence encoder is not there.
        """
        texts = list(dict.fromkeys(e.input for own in adapted.examples for e in own))
        place = {text: i for i, text in enumerate(texts)}
        queries = [query.input for query in task.test]
        arrays = {}
        for number, name in enumerate(self.measures):
            scores = self._similarity(lm, name)(queries, texts)
            arrays[name] = np.stack(
                [scores[:, [place[e.input] for e in own]].mean(1) for own in adapted.examples]
            )
            if progress:
                progress(number + 1, len(self.measures))
        return Measured(arrays=arrays)

    def _similarity(self, lm: LM, name: str) -> Similarity:
        if name == "encoder":
            return cosine_similarity(self.encoder)
        if name == "embedding":
            return _embedding_similarity(lm)
        return selection.bm25 if name == "bm25" else chrf


def chrf(
    queries: Sequence[str], texts: Sequence[str]
) -> Float64[np.ndarray, "{len(queries)} {len(texts)}"]:
    """Return chrF (0-100) of every text against every query."""
    from sacrebleu.metrics import CHRF

    metric = CHRF()
    return np.array([[metric.sentence_score(t, [q]).score for t in texts] for q in queries])


def _embedding_similarity(lm: LM) -> Similarity:
    @torch.inference_mode()
    def similarity(
        queries: Sequence[str], texts: Sequence[str]
    ) -> Float64[np.ndarray, "{len(queries)} {len(texts)}"]:
        embed = lm.model.get_input_embeddings()
        means = []
        for ids in lm.encode_all([*queries, *texts]):
            own = torch.tensor(ids[len(lm.prefix_ids) :] or ids, device=lm.device)
            means.append(embed(own).float().mean(0).cpu().numpy())
        vectors = np.stack(means).astype(float)
        vectors -= vectors.mean(0)
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        return vectors[: len(queries)] @ vectors[len(queries) :].T

    return similarity
