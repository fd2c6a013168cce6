"""Runs on disk: a cell is done if and only if its result.json exists.

docs/store-format.md describes every file. Nothing is pickled; a `kill -9` at any moment leaves a
cell either whole or not done.
"""

from adaptlens.store.claims import Claim, ClaimLost
from adaptlens.store.files import write_atomically
from adaptlens.store.problems import Problem
from adaptlens.store.records import Arrays, Record
from adaptlens.store.runs import FORMAT, CellStatus, Run, Status, cell_id

__all__ = [
    "FORMAT",
    "Arrays",
    "CellStatus",
    "Claim",
    "ClaimLost",
    "Problem",
    "Record",
    "Run",
    "Status",
    "cell_id",
    "write_atomically",
]
