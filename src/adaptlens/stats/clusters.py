"""Queries that belong together (to one passage, one user): a cluster counts, not each query."""

import numpy as np
from jaxtyping import Float, Shaped


def by_cluster(
    table: Float[np.ndarray, "*rows queries"], groups: Shaped[np.ndarray, " queries"]
) -> Float[np.ndarray, "*rows clusters"]:
    """Return a table with one column a cluster, whose mean and row means are those of the queries.

    A column is the mean plus what its queries lie above the mean, added up, over the average size
    of a cluster. So its spread between columns gives the cluster-robust variance of the mean over
    queries (with its factor G / (G - 1)), whatever the sizes; of clusters of one size it is the
    cluster's own mean.

    Args:
        table: of numbers.
        groups: the cluster of each query; in the result they are in order of their names.

    Source: Liang and Zeger 1986; Miller 2024 (arXiv 2411.00640) for questions of one passage.
    """
    names, places = np.unique(groups, return_inverse=True)
    if len(names) == len(groups):
        return table
    belongs = (places[:, None] == np.arange(len(names))).astype(float)
    mean = table.mean()
    return mean + (table - mean) @ belongs * (len(names) / len(groups))
