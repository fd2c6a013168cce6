"""Three disjoint splits: duplicates out, leaks out, and the missing splits made reproducibly.

Nothing depends on the order of the rows: items are ordered by a hash of their content and the
seed, so the same rows shuffled give the same task, and the first n of a split are a random sample.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence

from adaptlens.errors import UserError
from adaptlens.tasks.items import Item

SPLITS = ("train", "validation", "test")
SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev", "development"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
_POOL = ("train", "test", "train", "validation", "train")
_POOL_OF_TRAIN = ("train", "train", "validation", "train", "train")
MIN_ITEMS = 5

Splits = dict[str, list[Item]]


def question(item: Item) -> str:
    """Return what makes two items the same question: instruction, input and options.

    Runs of blanks count as one space.
    """
    parts: list[object] = [item.instruction, " ".join(item.input.split()), item.choices]
    parts += [[list(field) for field in item.fields]] if item.fields else []
    return json.dumps(parts, ensure_ascii=False)


def digest(item: Item) -> str:
    """Return the item's id: 12 hex digits of a hash of its question and answer."""
    text = json.dumps([question(item), item.target], ensure_ascii=False)
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()


def ordered(items: Iterable[Item], seed: int) -> list[Item]:
    """Return the items in an order that their content and the seed alone decide."""

    def key(item: Item) -> tuple[bytes, str]:
        text = f"{seed}:{question(item)}"
        return _hash(text), item.target

    return sorted(items, key=key)


def _hash(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def without_duplicates(
    items: Sequence[Item], label: str, *, one_answer: bool
) -> tuple[list[Item], list[str]]:
    """Return the items with every question once, and what was left out.

    Args:
        items: of one split.
        label: what to call the split in the notes.
        one_answer: whether a question with different answers is a contradiction (choice tasks:
            all its rows go) or has several right answers (generation: the first stays, in the
            order of the answers' texts).
    """
    by_question: dict[str, list[Item]] = {}
    for item in items:
        by_question.setdefault(question(item), []).append(item)
    kept: list[Item] = []
    repeated = contradicting = alternatives = 0
    for group in by_question.values():
        answers = {item.target for item in group}
        if len(answers) > 1 and one_answer:
            contradicting += len(group)
            continue
        first = min(answers)
        kept.append(next(item for item in group if item.target == first))
        repeated += len(group) - len(answers)
        alternatives += len(answers) - 1
    notes = []
    if repeated:
        notes.append(f"{label}: {repeated} duplicate rows left out.")
    if contradicting:
        notes.append(
            f"{label}: {contradicting} rows left out whose input occurs with different answers."
        )
    if alternatives:
        notes.append(f"{label}: {alternatives} further answers to an input already there left out.")
    return kept, notes


def without_leaks(splits: Splits) -> tuple[Splits, list[str]]:
    """Return the splits with no question in two of them: the later split (test last) keeps it."""
    seen: dict[str, str] = {}
    clean: Splits = {}
    notes = []
    for name in reversed(SPLITS):
        items = splits.get(name, [])
        leaks = {question(item) for item in items} & seen.keys()
        for later in SPLITS:
            count = sum(seen[key] == later for key in leaks)
            if count:
                notes.append(
                    f"{count} {name} items left out because they are also in the {later} split."
                )
        clean[name] = [item for item in items if question(item) not in leaks]
        seen.update({question(item): name for item in clean[name]})
    return {name: clean[name] for name in SPLITS}, notes


def complete(
    splits: Mapping[str, list[Item]], seed: int, *, stratified: bool, name: str = ""
) -> tuple[Splits, list[str]]:
    """Return train, validation and test, making those that are missing, and how they were made.

    One pool is cut 60/20/20; a training split without a validation split gives 20% of itself;
    where there is no test split the validation split is it. Stratified cuts hold the proportions
    within one item for every answer. Items that belong to groups are cut by whole groups: results
    are about new groups, and none of those that are asked about may be learned from.

    Raises:
        UserError: if there are too few items, or groups, to cut.
    """
    given = {name: ordered(splits[name], seed) for name in SPLITS if splits.get(name)}
    notes = []
    if "test" not in given and {"train", "validation"} <= given.keys():
        given["test"] = given.pop("validation")
        notes.append("There is no test split: the validation split is used as the test split.")
    if len(given) == 1:
        ((source, pool),) = given.items()
        result = _cut(pool, _POOL, stratified, seed)
        made = "/".join(str(len(result[name])) for name in SPLITS)
        one = (
            "The data came in one piece" if source == "train" else f"There is only a {source} split"
        )
        by = "groups" if any(item.group for item in pool) else "content"
        notes.append(f"{one}: cut 60/20/20 by {by} and seed {seed} into {made} items.")
    elif len(given) == 2:
        source = "train" if "train" in given else "validation"
        result = {**_cut(given[source], _POOL_OF_TRAIN, stratified, seed), "test": given["test"]}
        made = " and ".join(f"{len(result[name])} {name}" for name in SPLITS[:2])
        by = "groups" if any(item.group for item in given[source]) else "content"
        notes.append(f"The {source} split was cut 80/20 by {by} and seed {seed} into {made} items.")
    else:
        result = {name: given.get(name, []) for name in SPLITS}
    short = [name for name in SPLITS if not result[name]]
    groups = {item.group for items in given.values() for item in items if item.group}
    if short and groups:
        raise UserError(
            f"'{name}' has too few groups ({len(groups)}) to make the splits, which have no group "
            f"in common; expected at least {MIN_ITEMS} in a file that is to be cut; give more "
            "data, or a file for every split, or leave out --group."
        )
    if short:
        counts = ", ".join(f"{len(result[name])} {name}" for name in SPLITS)
        raise UserError(
            f"'{name}' has too few items to make the splits ({counts}); expected at least "
            f"{MIN_ITEMS} different ones in a file that is to be cut; give more data."
        )
    return {name: ordered(result[name], seed) for name in SPLITS}, [*notes, *_of_groups(result)]


def _of_groups(splits: Splits) -> list[str]:
    """Return what is to be known of groups: that none is in two splits, or that some are."""
    named = {name: {item.group for item in items if item.group} for name, items in splits.items()}
    asked = named["test"]
    shared = asked & (named["train"] | named["validation"])
    if shared:
        return [
            f"{len(shared)} of the {len(asked)} groups of the test split are in the training or "
            "the validation split, too: scores are those of new items of groups that were seen, "
            "not of new groups."
        ]
    return [f"No group of the test split ({len(asked)}) is in another split."] if asked else []


def _cut(pool: Sequence[Item], pattern: Sequence[str], stratified: bool, seed: int) -> Splits:
    """Deal the items out in the pattern's turns, answer after answer where stratified.

    Whole groups where there are any; an item without one is by itself.
    """
    result: Splits = {name: [] for name in SPLITS}
    if any(item.group for item in pool):
        by_group: dict[str, list[Item]] = {}
        for item in pool:
            by_group.setdefault(item.group or f"\0{digest(item)}", []).append(item)
        for turn, name in enumerate(sorted(by_group, key=lambda one: _hash(f"{seed}:{one}"))):
            result[pattern[turn % len(pattern)]] += by_group[name]
        return result
    dealt = sorted(pool, key=lambda item: item.target) if stratified else pool
    for turn, item in enumerate(dealt):
        result[pattern[turn % len(pattern)]].append(item)
    return result
