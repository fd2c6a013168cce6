"""Stored cells to conditions: one model, task and way of adapting, all draws."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import numpy as np

from adaptlens.cells import group
from adaptlens.measure import arrays as stored
from adaptlens.measure import axes
from adaptlens.prompts.controls import NONE
from adaptlens.report.labels import Shown
from adaptlens.store import Record, Run
from adaptlens.types import NO_DRAWS

Own = TypeVar("Own")

SHOWN_AS = {"it_trajectory": "it"}
"""The adaptations that tables and figures show as another: tuning stopped on its way is tuning."""

KEPT_BYTES = 2**26
"""Joined arrays up to this size stay in memory once read."""


class Joined(Mapping[str, np.ndarray]):
    """The arrays of a condition by name, joined along `repeats` (see `axes`) when asked for.

    Those of a condition with checkpoints or templates are [repeats, checkpoints or templates, ...].
    """

    def __init__(
        self, rows: Sequence[tuple[Record, int]], inner: int, *, in_turn: bool = False
    ) -> None:
        """Say where each draw is: a record, and the draw's place in it.

        `inner` is the number of checkpoints or templates, 0 for neither; `in_turn` says that these
        are templates, which take turns over the validation split.
        """
        self._rows, self._inner, self._in_turn = rows, inner, in_turn
        self._kept: dict[str, np.ndarray] = {}

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self._kept:
            found = self._joined(name)
            if found.nbytes > KEPT_BYTES:
                return found
            self._kept[name] = found
        return self._kept[name]

    def _joined(self, name: str) -> np.ndarray:
        in_turn = self._in_turn and axes.by_draw(name)
        if axes.is_shared(name):
            return self._rows[0][0].arrays[name]
        loaded = {record.id: record.arrays[name] for record, _ in self._rows}
        if self._inner and not in_turn:
            # Stored checkpoint by checkpoint, the draws of the record repeating.
            loaded = {
                id: array.reshape(
                    self._inner, len(array) // self._inner, *array.shape[1:]
                ).swapaxes(0, 1)
                for id, array in loaded.items()
            }
        return np.stack([loaded[record.id][place] for record, place in self._rows])

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows[0][0].arrays)

    def __contains__(self, name: object) -> bool:
        """Say whether an array is there, without reading it."""
        return name in set(self)

    def __len__(self) -> int:
        return len(self._rows[0][0].arrays)


class _Of(Generic[Own]):
    """What one measurement stored of a condition."""

    def __init__(self, read: Callable[[Mapping[str, np.ndarray]], Own]) -> None:
        self._read = read

    def __get__(self, one: "Condition", owner: type | None = None) -> Own:
        return self._read(one.arrays)


@dataclass(frozen=True)
class Condition:
    """All finished draws of one (model, task, adaptation), in order of the draws.

    `arrays` are the stored ones joined along `repeats`; `numbers` are means over cells weighted
    by their draws, except `peak_bytes` (the maximum); `cells` names the cell of each draw;
    `searches` is what a search found for each draw, `chosen` the candidate (rate and steps) that
    tuning chose for each, empty where there was no choice, and `runs` what each draw's training
    took, empty where nothing was trained; `tuned_on` names the templates that each draw was tuned
    on, empty where all were on all; `texts` are those of the first cell; `versions` are those
    that each cell was made with, `machines` where (empty where a cell did not say);
    `templates` names those it was read under.
    """

    model: str
    task: str
    task_digest: str
    label: str
    adaptation: str
    arguments: Mapping[str, Any]
    draws: tuple[int, ...]
    arrays: Mapping[str, np.ndarray]
    numbers: Mapping[str, float]
    cells: tuple[str, ...]
    outputs: Sequence[Sequence[str]] = ()
    prompts: Sequence[Mapping[str, Any]] = ()
    training: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    texts: Mapping[str, Any] = field(default_factory=dict)
    templates: tuple[str, ...] = ()
    searches: Sequence[Mapping[str, Any]] = ()
    chosen: Sequence[Mapping[str, Any]] = ()
    runs: Sequence[Mapping[str, float]] = ()
    tuned_on: Sequence[Sequence[str]] = ()
    versions: Sequence[Mapping[str, str]] = ()
    machines: Sequence[Mapping[str, Any]] = ()

    @property
    def examples(self) -> int:
        """How many demonstrations or training examples each draw has."""
        return int(self.arguments.get("examples", 0))

    @property
    def control(self) -> str:
        """What was changed of the examples, "" where the condition is no control."""
        control = str(self.arguments.get("control", NONE))
        return "" if control == NONE else control

    @property
    def is_brought(self) -> bool:
        """Whether it is an arm that a user brought, not a control of one."""
        return "arm" in self.arguments and not self.control

    @property
    def is_recorded(self) -> bool:
        """Whether its answers were recorded elsewhere: their cost is not known here."""
        return self.adaptation == "recorded"

    @property
    def wording(self) -> str:
        """The name of the better prompt that zero-shot was asked by, "" for the plain one."""
        return str(self.arguments.get("wording", ""))

    @property
    def restart(self) -> int:
        """Which other seed tuning was started anew from, 0 for the usual one."""
        return int(self.arguments.get("restart", 0))

    @property
    def checkpoint_steps(self) -> tuple[int, ...]:
        """The numbers of steps after which tuning was read on its way, () where it was not."""
        return tuple(self.arguments.get("checkpoint_steps", ()))

    @property
    def shown(self) -> Shown:
        """What tables and figures show it as, by its label."""
        again = "restart" if self.restart else ""
        trajectory = "trajectory" if self.checkpoint_steps else ""
        variant = " ".join(filter(None, [self.control, self.wording, again, trajectory]))
        own = SHOWN_AS.get(self.adaptation, self.adaptation)
        adaptation = str(self.arguments.get("arm", own))
        return Shown(self.label, self.label, adaptation, self.examples, variant.replace("-", " "))

    behavior = _Of(stored.Answers)
    hidden = _Of(stored.States)
    circuits = _Of(stored.Patches)
    ablated = _Of(stored.Ablations)
    heads = _Of(stored.HeadScores)
    edges = _Of(stored.EdgeChanges)
    resemblance = _Of(stored.Likenesses)
    costs = _Of(stored.Costs)
    systems = _Of(stored.SystemAnswers)


def conditions(run: Run, specs: Sequence[Mapping[str, Any]]) -> list[Condition]:
    """Return the conditions that the wanted cells add up to, in the order of the specs.

    Args:
        run: where the finished cells are.
        specs: the wanted cells, each with all its draws; draws that are not done are left out,
            and a condition with none is left out whole.
    """
    finished: dict[str, list[Record]] = {}
    for record in run.records():
        finished.setdefault(group(record.spec), []).append(record)
    wanted: dict[str, tuple[Mapping[str, Any], list[int]]] = {}
    for spec in specs:
        wanted.setdefault(group(spec), (spec, []))[1].extend(spec["draws"])
    return [
        _join(spec, draws, finished[key])
        for key, (spec, draws) in wanted.items()
        if key in finished
    ]


def _join(spec: Mapping[str, Any], draws: Iterable[int], records: Sequence[Record]) -> Condition:
    source: dict[int, tuple[Record, int]] = {}
    for record in sorted(records, key=lambda r: r.id):
        for position, draw in enumerate(record.result["draws"]):
            source.setdefault(draw, (record, position))
    own = set(draws)
    order = sorted(draw for draw in source if draw in own or draw in NO_DRAWS)
    used = list({source[draw][0].id: source[draw][0] for draw in order}.values())
    texts = {record.id: record.texts for record in used}
    checkpoints = len(spec["adaptation"]["arguments"].get("checkpoint_steps", ()))
    read = tuple(used[0].result.get("templates", ()))
    outputs = [
        texts[record.id]["outputs"][place] if "outputs" in texts[record.id] else []
        for record, place in (source[draw] for draw in order)
    ]
    return Condition(
        model=spec["model"]["name"],
        task=spec["task"]["name"],
        task_digest=spec["task"]["digest"],
        label=spec["adaptation"]["label"],
        adaptation=spec["adaptation"]["name"],
        arguments=spec["adaptation"]["arguments"],
        draws=tuple(order),
        arrays=Joined([source[d] for d in order], checkpoints or len(read), in_turn=bool(read)),
        numbers=_numbers(used, [source[d][0].id for d in order]),
        cells=tuple(source[d][0].id for d in order),
        outputs=outputs if any(outputs) else (),
        prompts=texts[used[0].id].get("prompts", ()),
        training=used[0].result.get("training", {}),
        versions=tuple(record.result.get("versions", {}) for record in used),
        machines=tuple(record.result.get("machine", {}) for record in used),
        notes=tuple(dict.fromkeys(note for r in used for note in r.result.get("notes", ()))),
        texts=texts[used[0].id],
        templates=read,
        searches=tuple(
            record.result["training"]["search"][place]
            for record, place in (source[draw] for draw in order)
            if "search" in record.result.get("training", {})
        ),
        chosen=tuple(
            made["candidates"][made["chosen"][place]]
            for made, place in (
                (source[draw][0].result.get("training", {}), source[draw][1]) for draw in order
            )
            if "chosen" in made
        ),
        runs=tuple(
            record.result["training"]["runs"][place]
            for record, place in (source[draw] for draw in order)
            if "runs" in record.result.get("training", {})
        ),
        tuned_on=tuple(
            tuple(record.result["training"]["tuned_on"][place])
            for record, place in (source[draw] for draw in order)
            if "tuned_on" in record.result.get("training", {})
        ),
    )


SUMMED = (
    "dropped_demos", "unshared_sequences", "seams_moved", "served_requests", "served_read_tokens",
    "served_cached_tokens", "served_written_tokens",
)  # fmt: skip
"""Numbers of which a condition has those of all its cells together."""


def _numbers(used: Sequence[Record], cell_of_draw: Sequence[str]) -> dict[str, float]:
    weight = {record.id: cell_of_draw.count(record.id) for record in used}
    total = sum(weight.values())
    found = {}
    for name in used[0].result["numbers"]:
        values = [(r.result["numbers"].get(name, float("nan")), weight[r.id]) for r in used]
        if name in ("peak_bytes", "training_peak_bytes"):
            found[name] = max(value for value, _ in values)
        elif name in SUMMED:
            found[name] = sum(value for value, _ in values)
        else:
            found[name] = sum(value * share for value, share in values) / total
    return found
