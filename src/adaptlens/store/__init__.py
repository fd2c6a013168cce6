"""Runs on disk: a cell is done if and only if its result.json exists.

docs/store-format.md describes every file. Nothing is pickled; a `kill -9` at any moment leaves a
cell either whole or not done.
"""

from adaptlens.store.atomic import make_folder, write_atomically
from adaptlens.store.claim import Claim, ClaimLost
from adaptlens.store.finished import Arrays, Record
from adaptlens.store.problems import Problem
from adaptlens.store.runs import FORMAT, CellStatus, Run, Status, cell_id
from adaptlens.store.sealed import Damaged

__all__ = [
    "FORMAT",
    "Arrays",
    "CellStatus",
    "Claim",
    "ClaimLost",
    "Damaged",
    "Problem",
    "Record",
    "Run",
    "Status",
    "cell_id",
    "make_folder",
    "write_atomically",
]
