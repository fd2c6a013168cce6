"""Many tasks become one to tune on: rows in proportion to what there is, and gold examples apart.

Of every task's training split one half may become rows, and the other holds the gold examples that
are shown and never trained on; which half an item is in depends on the task and the seed alone, so
that all mixtures of one seed show the same examples.

Source: the mixtures of Bigoulaeva, Tayyar Madabushi and Gurevych 2025 (arXiv 2501.08716) and its
released code; examples-proportional mixing as in Raffel et al. 2020 (arXiv 1910.10683, section
3.5.2), with a cap.
"""

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from adaptlens.errors import UserError, unknown
from adaptlens.types import Example, Task

CAP, SIZE, QUERIES = 3000, 20_000, 100
WORDINGS = 5
"""Of a task's wordings the first this many are drawn from."""
VALIDATION_SHARE = 0.1

ABLATIONS = (
    "default",
    "nlg-only",
    "no-nli-no-nlg",
    "one-task",
    "other-task",
    "no-coreference",
    "coreference-one",
    "coreference-other",
)
"""Selections of clusters, by number: 0 is the default mixture, 1 to 7 the paper's ablations."""


@dataclass(frozen=True, slots=True)
class Roles:
    """Which clusters and tasks stand for those that the ablations speak of.

    Attributes:
        nlg: clusters in which text is written.
        nli: clusters in which two texts are judged.
        coreference: the cluster that is dropped or reduced.
        tasks: the two tasks of which one alone is tuned on (QNLI, MNLI).
        within: the two tasks that the coreference cluster is reduced to (Winogrande, DPR).
        left_out: clusters in no mixture.
    """

    nlg: tuple[str, ...]
    nli: tuple[str, ...]
    coreference: str
    tasks: tuple[str, str]
    within: tuple[str, str]
    left_out: tuple[str, ...] = ()


ROLES = {
    "flan": Roles(
        nlg=("struct_to_text", "translation", "summarization"),
        nli=("nli",),
        coreference="coreference",
        tasks=("qnli", "mnli"),
        within=("winogrande", "dpr"),
        left_out=("misc", "summarization"),
    ),
    "microworld": Roles(
        nlg=("language",),
        nli=("topic",),
        coreference="words",
        tasks=("same-topic", "topic"),
        within=("same-family", "family"),
    ),
}
"""Name -> roles. The microworld's are by analogy: its language is what is written, its topics take
the place of inference, its kinds of words that of coreference."""

_HALVES, _ROWS, _ORDER, _WORDING = 1, 2, 3, 4


def ablation_name(ablation: int | str) -> str:
    """Return the name of an ablation given by number or name.

    Raises:
        UserError: there is no such ablation.
    """
    if isinstance(ablation, int) and 0 <= ablation < len(ABLATIONS):
        return ABLATIONS[ablation]
    if ablation not in ABLATIONS:
        raise unknown("ablation", str(ablation), ABLATIONS)
    return str(ablation)


def clusters_of(members: Sequence[Task]) -> tuple[tuple[str, str], ...]:
    """Return (task, cluster) of every member, as adaptations with other tasks' examples want it."""
    return tuple((task.name, task.cluster) for task in members)


def trained_on(
    members: Sequence[Task], *, ablation: int | str = 0, held_out: Sequence[str] = ()
) -> list[str]:
    """Return the names of the tasks a mixture is made of; the arguments are those of `build`.

    Raises:
        UserError: a name is unknown, the ablation's clusters are not there, or none is left.
    """
    cluster = dict(clusters_of(members))
    known = [*dict.fromkeys(cluster.values()), *cluster]
    for name in held_out:
        if name not in known:
            raise unknown("task or cluster", name, known)
    chosen = usual_roles(members)
    name = ablation_name(ablation)
    asked = _asked_by_name(name, chosen)
    kept = []
    for task, own in cluster.items():
        barred = own in chosen.left_out or not _keeps(name, chosen, task, own)
        barred |= (task in held_out or own in held_out) and task != asked
        if not barred:
            kept.append(task)
    if asked and asked not in kept:
        raise UserError(
            f"ablation '{name}' tunes on task '{asked}', which is not in the mixture's members; "
            "add it."
        )
    if not kept:
        raise UserError(
            f"no task is left to tune on: the members' clusters are "
            f"{', '.join(dict.fromkeys(cluster.values()))}, and ablation '{name}' with what was "
            "held out leaves none; leave out less."
        )
    return kept


def usual_roles(members: Sequence[Task]) -> Roles:
    """Return FLAN's roles where a member is of one of FLAN's clusters, else the microworld's."""
    own = {task.cluster for task in members}
    flan = ROLES["flan"]
    return flan if own & {*flan.nlg, *flan.nli, flan.coreference} else ROLES["microworld"]


def _asked_by_name(name: str, roles: Roles) -> str:
    """Return the task that an ablation cannot do without, "" if there is none."""
    return {
        "one-task": roles.tasks[0],
        "other-task": roles.tasks[1],
        "coreference-one": roles.within[0],
        "coreference-other": roles.within[1],
    }.get(name, "")


def _keeps(name: str, roles: Roles, task: str, cluster: str) -> bool:
    """Whether an ablation trains on a task of a cluster."""
    if name == "nlg-only":
        return cluster in roles.nlg
    if name == "no-nli-no-nlg":
        return cluster not in roles.nli and cluster not in roles.nlg
    if name in ("one-task", "other-task"):
        return task == _asked_by_name(name, roles)
    if name == "no-coreference":
        return cluster != roles.coreference
    if name in ("coreference-one", "coreference-other"):
        return cluster != roles.coreference or task == _asked_by_name(name, roles)
    return True


def task_name(ablation: str) -> str:
    """Return what a mixture is called as a task: "mixture", with the ablation's name behind it."""
    return "mixture" if ablation == ABLATIONS[0] else f"mixture-{ablation}"


def build(
    members: Sequence[Task],
    *,
    ablation: int | str = 0,
    cap: int = CAP,
    size: int = SIZE,
    held_out: Sequence[str] = (),
    queries: int = QUERIES,
    seed: int = 0,
) -> Task:
    """Return the mixture as one task: rows to train on, gold examples, and items to read.

    Every item has its task's name as group, its own options, and as instruction the wording drawn
    for it among its task's first five. The same arguments give the same mixture.

    Args:
        members: the tasks, each with its cluster.
        ablation: one of `ABLATIONS`, by name or number.
        cap: the most rows of a task before they are cut to `size` in proportion.
        size: the most rows in all, a tenth of which is the validation split.
        held_out: tasks or clusters never trained on; a task that the ablation asks for by name is.
        queries: the first this many test items of each task are read.
        seed: of all draws.

    Returns:
        A task of kind "generation". `pool` holds gold examples of every member, `cap` at most.

    Raises:
        UserError: two members have one name; a name is unknown; no task or no row is left.
    """
    names = [task.name for task in members]
    for task in members:
        if names.count(task.name) > 1:
            raise UserError(
                f"two members of the mixture are called '{task.name}'; rename one of them."
            )
    kept = trained_on(members, ablation=ablation, held_out=held_out)
    halves = {task.name: _halves(task, seed) for task in members}
    shares = proportions({n: min(len(halves[n][0]), cap) for n in kept}, size)
    rows: list[Example] = []
    for task in members:
        rows += [_asked(task, e, seed) for e in halves[task.name][0][: shares.get(task.name, 0)]]
    if len(rows) < 2:
        raise UserError(
            f"the mixture of {', '.join(kept)} has {len(rows)} rows; expected at least 2; give the "
            "tasks more training items, or raise size."
        )
    order = np.random.default_rng([seed, _ORDER]).permutation(len(rows))
    rows = [rows[i] for i in order]
    num_validation = max(1, round(VALIDATION_SHARE * len(rows)))
    return Task(
        name=task_name(ablation_name(ablation)),
        kind="generation",
        train=tuple(rows[num_validation:]),
        validation=tuple(rows[:num_validation]),
        test=tuple(_asked(task, e, seed) for task in members for e in task.test[:queries]),
        pool=tuple(_member(t, e) for t in members for e in halves[t.name][1][:cap]),
        description=f"A mixture of {len(kept)} tasks: {', '.join(kept)}.",
        notes=_notes(members, kept, shares, halves, rows, num_validation, cap, size, queries),
    )


def proportions(sizes: Mapping[str, int], size: int) -> dict[str, int]:
    """Return how many rows each task gives: all it has, or its share of `size`, at least one.

    Shares are rounded by largest remainder, ties to the task named first.
    """
    total = sum(sizes.values())
    if total <= size:
        return dict(sizes)
    exact = {name: size * count / total for name, count in sizes.items()}
    rows = {name: int(share) for name, share in exact.items()}
    left = size - sum(rows.values())
    for name in sorted(exact, key=lambda n: rows[n] - exact[n])[:left]:
        rows[name] += 1
    return {name: max(count, min(1, sizes[name])) for name, count in rows.items()}


def _halves(task: Task, seed: int) -> tuple[list[Example], list[Example]]:
    """Return the items that may become rows and those that are only shown, in random order."""
    order = _generator(seed, _HALVES, task.name).permutation(len(task.train))
    items = [task.train[i] for i in order]
    return items[: len(items) // 2], items[len(items) // 2 :]


def _generator(seed: int, stream: int, text: str) -> np.random.Generator:
    return np.random.default_rng([seed, stream, zlib.crc32(text.encode())])


def _member(task: Task, example: Example) -> Example:
    """Return an item as one of the mixture: named, grouped, with its own options."""
    return replace(
        example,
        id=f"{task.name}/{example.id}",
        group=task.name,
        choices=example.choices or task.choices,
        instruction="",
    )


def _asked(task: Task, example: Example, seed: int) -> Example:
    """Return the item of the mixture with the wording drawn for it."""
    item = _member(task, example)
    usual = task.wordings[:WORDINGS] or (_plain_wording(task, example),)
    drawn = int(_generator(seed, _WORDING, item.id).integers(len(usual)))
    return replace(item, instruction=usual[drawn])


def _plain_wording(task: Task, example: Example) -> str:
    """Return the wording of a task that has none: instruction, input, and its own options."""
    told = example.instruction or task.instruction
    # A text that might be taken for Jinja is written as a Jinja text.
    if "{" in told:
        told = "{{ " + json.dumps(told, ensure_ascii=False) + " }}"
    lines = [told, "{{ input }}", "Options: {{ options }}" if example.choices else ""]
    return "\n".join(line for line in lines if line)


def _notes(
    members: Sequence[Task],
    kept: Sequence[str],
    shares: Mapping[str, int],
    halves: Mapping[str, tuple[list[Example], list[Example]]],
    rows: Sequence[Example],
    num_validation: int,
    cap: int,
    size: int,
    queries: int,
) -> tuple[str, ...]:
    listed = _each({n: f"{shares[n]:,} of {len(halves[n][0]):,}" for n in kept}, len(members))
    others = [task.name for task in members if task.name not in kept]
    shown = _each({t.name: f"{min(len(halves[t.name][1]), cap):,}" for t in members}, len(members))
    tested = _each(
        {t.name: f"{min(len(t.test), queries):,} of {len(t.test):,}" for t in members}, len(members)
    )
    notes = [
        f"{len(rows):,} rows (at most {cap:,} a task, {size:,} in all), of which "
        f"{num_validation:,} are the validation split: {listed}.",
        f"Not trained on: {', '.join(others) or 'no member'}.",
        f"Gold examples, from the other half of each training split: {shown}.",
        f"Items read: {tested}.",
    ]
    plain = [task.name for task in members if not task.wordings]
    if plain:
        notes.append(f"Asked by their instruction, having no wordings: {', '.join(plain)}.")
    return tuple(notes)


def _each(counts: Mapping[str, str], num_members: int) -> str:
    """Return counts in words, equal ones said once: "a, b 3 of 9 each; c 4 of 4"."""
    alike: dict[str, list[str]] = {}
    for name, count in counts.items():
        alike.setdefault(count, []).append(name)
    words = []
    for count, names in alike.items():
        if len(names) == num_members:
            words.append(f"each task {count}")
        else:
            words.append(f"{', '.join(names)} {count}{' each' if len(names) > 1 else ''}")
    return "; ".join(words)
