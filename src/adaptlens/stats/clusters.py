"""Queries that belong together (to one passage, one user): a cluster counts, not each query."""

import numpy as np
from jaxtyping import Float, Shaped


def by_cluster(
    table: Float[np.ndarray, "*rows queries"], groups: Shaped[np.ndarray, " queries"]
) -> Float[np.ndarray, "*rows clusters"]:
    """Return a table with one column a cluster, whose row means are those of the queries.

    Of clusters of one size a column is the cluster's own mean. Of others it is the mean of the row
    plus what the cluster's queries lie above that, added up, over the average size of a cluster,
    and stretched by (1 - 1 / G) / (1 - w), w the share of the queries that are in the cluster. So
    the spread between columns gives the variance of the mean over queries as a jackknife that
    leaves out one cluster at a time does. Without the stretch, a cluster with much of the queries
    pulls the mean to itself, and seems to lie close to it.

    Args:
        table: of numbers.
        groups: the cluster of each query; in the result they are in order of their names.

    Source: Liang and Zeger 1986 (sums over clusters); MacKinnon, Nielsen and Webb 2023 (the
    jackknife, CR3, where clusters differ in size); Miller 2024 (arXiv 2411.00640) for questions of
    one passage.
    """
    names, places, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    if len(names) == len(groups):
        return table
    belongs = (places[:, None] == np.arange(len(names))).astype(float)
    mean = table.mean(-1, keepdims=True)
    apart = (table - mean) @ belongs * _stretch(sizes)
    return mean + (apart - apart.mean(-1, keepdims=True)) * (len(names) / len(groups))


def effective_clusters(groups: Shaped[np.ndarray, " queries"]) -> float:
    """Return how many clusters of one size tell as much about the error of a mean.

    One more than the degrees of freedom of the jackknife's variance where clusters differ, and
    queries within them do not: (tr A)^2 / tr A^2, A being the matrix of the variance as a quadratic
    form in the effects of clusters. Of clusters of one size it is their number; where one has most
    of the queries, about two.

    Source: Bell and McCaffrey 2002; Carter, Schnepel and Steigerwald 2017.
    """
    _, sizes = np.unique(groups, return_counts=True)
    if np.all(sizes == sizes[0]):
        return float(len(sizes))
    shares = sizes / sizes.sum()
    squared = np.square(_stretch(sizes) * shares)
    together = float(np.square(shares).sum())
    trace = float((squared * (1 - 2 * shares + together)).sum())
    own = np.square(1 - 2 * shares + together) - np.square(together - 2 * shares)
    moments = [float((squared * shares**power).sum()) for power in range(3)]
    pairs = (together * moments[0]) ** 2 + 2 * moments[2] * moments[0] + 2 * moments[1] ** 2
    pairs -= 4 * together * moments[1] * moments[0]
    return 1 + trace**2 / (float((np.square(squared) * own).sum()) + pairs)


def _stretch(sizes: np.ndarray) -> np.ndarray:
    """Return by what each cluster's sum is stretched; 1 where all are of one size."""
    if len(sizes) == 1:
        return np.ones(1)
    return (1 - 1 / len(sizes)) / (1 - sizes / sizes.sum())
