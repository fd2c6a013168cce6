"""Whether answers are right: by the likeliest option, by their letters, and by their meaning.

And how often answers that were given to other items would be right: the floor that a guess of the
right kind reaches.
"""

import importlib.util
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float64

from adaptlens.errors import UserError
from adaptlens.lm.encoder import Similarity, cosine_similarity
from adaptlens.types import Example, Prompt


@dataclass(frozen=True, slots=True)
class Verdicts:
    """What one system did, [repeats][queries] each.

    Attributes:
        sent: prompts; None where there was nothing to send.
        outputs: what was written.
        answers: what was found in it, "" for nothing.
        loglik: of the options; None where there are none or nothing was sent.
    """

    sent: Sequence[Sequence[Prompt | None]]
    outputs: Sequence[Sequence[str]]
    answers: Sequence[Sequence[str]]
    loglik: Sequence[Sequence[Float64[np.ndarray, " _"] | None]]


def judged(
    queries: Sequence[Example], verdicts: Verdicts, similarity: Similarity | None = None
) -> dict[str, np.ndarray]:
    """Return the arrays that `Systems` names, [repeats, queries] each but `loglik` and `chance`."""
    arrays = {
        **_by_likelihood(queries, verdicts.loglik),
        "correct_exact": np.array(
            [
                [float(a == q.target.strip()) for a, q in zip(row, queries, strict=True)]
                for row in verdicts.answers
            ]
        ),
        "unparsed": np.array([[float(not a) for a in row] for row in verdicts.answers]),
        "floor_exact": np.stack([exact_floor(queries, row) for row in verdicts.answers]),
        "chance": np.array([1 / len(q.choices) if q.choices else 0.0 for q in queries]),
    }
    if similarity is not None:
        arrays |= _by_meaning(queries, verdicts.answers, similarity)
    return arrays


def _by_likelihood(
    queries: Sequence[Example], loglik: Sequence[Sequence[Float64[np.ndarray, " _"] | None]]
) -> dict[str, np.ndarray]:
    """Return the log-likelihoods of options, and whether the likeliest is right.

    An item whose options could not be scored is wrong; one without options is neither.
    """
    most = max((len(query.choices) for query in queries), default=0)
    padded = np.full((len(loglik), len(queries), most), np.nan)
    correct = np.full((len(loglik), len(queries)), np.nan)
    for r, row in enumerate(loglik):
        for q, (query, values) in enumerate(zip(queries, row, strict=True)):
            if not query.choices:
                continue
            correct[r, q] = 0.0
            if values is not None:
                padded[r, q, : len(values)] = values
                correct[r, q] = float(query.choices[int(values.argmax())] == query.target)
    return {"loglik": padded, "correct_choice": correct}


def exact_floor(
    queries: Sequence[Example], answers: Sequence[str]
) -> Float64[np.ndarray, " {len(queries)}"]:
    """Return per query the share of the other queries of its task whose answer is its target.

    NaN for a task of one item.
    """
    floor = np.full(len(queries), np.nan)
    for places in _groups(queries):
        given = Counter(answers[i] for i in places)
        for i in places:
            target = queries[i].target.strip()
            if len(places) > 1:
                floor[i] = (given[target] - (answers[i] == target)) / (len(places) - 1)
    return floor


def _groups(queries: Sequence[Example]) -> list[list[int]]:
    """Return the numbers of the queries of each task."""
    places: dict[str, list[int]] = {}
    for i, query in enumerate(queries):
        places.setdefault(query.group, []).append(i)
    return list(places.values())


def _by_meaning(
    queries: Sequence[Example], answers: Sequence[Sequence[str]], similarity: Similarity
) -> dict[str, np.ndarray]:
    """Return whether the option most like each answer is right, and the floor of that.

    As BERTScore accuracy is read in the paper's code: an answer, even an empty one, counts as the
    option it is most like, the first of those that tie.
    """
    shape = (len(answers), len(queries))
    correct, floor = np.full(shape, np.nan), np.full(shape, np.nan)
    options = list(dict.fromkeys(option for query in queries for option in query.choices))
    if not options:
        return {"correct_semantic": correct, "floor_semantic": floor}
    texts = list(dict.fromkeys(answer for row in answers for answer in row))
    likeness = similarity(texts, options)
    text_at = {text: i for i, text in enumerate(texts)}
    option_at = {option: i for i, option in enumerate(options)}
    for places in _groups(queries):
        for q in places:
            query = queries[q]
            if not query.choices:
                continue
            own = likeness[:, [option_at[option] for option in query.choices]]
            right = (own.argmax(1) == query.choices.index(query.target)).astype(float)
            for r, row in enumerate(answers):
                hits = right[[text_at[row[i]] for i in places]]
                correct[r, q] = right[text_at[row[q]]]
                if len(places) > 1:
                    floor[r, q] = (hits.sum() - correct[r, q]) / (len(places) - 1)
    return {"correct_semantic": correct, "floor_semantic": floor}


@lru_cache(maxsize=2)
def similarity_of(encoder: str) -> Similarity:
    """Return the cosines of a sentence encoder, loaded once.

    Raises:
        UserError: the extra is not installed, or there is no such encoder.
    """
    if importlib.util.find_spec("sentence_transformers") is None:
        raise UserError(
            f"a match by meaning with '{encoder}' was asked for, but the package "
            "sentence-transformers is not installed; run pip install 'adaptlens[embeddings]', or "
            "leave out semantic."
        )
    return cosine_similarity(encoder)
