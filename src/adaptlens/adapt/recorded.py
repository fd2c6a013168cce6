"""An arm that was read elsewhere: its answers to the test items come from a file, none is asked."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from adaptlens.adapt import samples_file
from adaptlens.adapt.samples_file import Sample, Samples
from adaptlens.errors import UserError, listed
from adaptlens.formatting import counted
from adaptlens.prompts.parsing import option_in
from adaptlens.stats.scores import Family
from adaptlens.types import NO_DRAWS, Adapted, CostEstimate, Measured, Prompt, Task

if TYPE_CHECKING:
    from adaptlens.adapt import Progress
    from adaptlens.lm.load import LM
    from adaptlens.prompts.sizes import PromptSizes

FIRST_DRAW = 1000
"""Draws of another run are no draws of this one, whatever their numbers there."""

SHOWN_PROMPTS = 3


@dataclass(frozen=True)
class RecordedAnswers:
    """Samples of lm-evaluation-harness as an arm: paired with the others, item by item.

    What reading it cost is not known, and it has no validation items: nothing is chosen for it, and
    it is no side of the verdict.

    Attributes:
        arm: what the user calls it.
        digest: of the file.
        source: where it is; decides nothing.
    """

    arm: str
    digest: str
    source: str = field(default="", compare=False)

    name: ClassVar[str] = "recorded"
    family: ClassVar[Family] = "none"
    draws_per_cell: ClassVar[int | None] = None

    @property
    def label(self) -> str:
        """The condition's name in tables."""
        return self.arm

    def cost_estimate(self, sizes: "PromptSizes") -> CostEstimate:
        """Return no work: nothing is read."""
        return CostEstimate()

    def adapt(
        self,
        lm: "LM",
        task: Task,
        draws: Sequence[int],
        *,
        progress: "Progress | None" = None,
    ) -> Adapted:
        """Return what was recorded, which measurements take in place of asking the model.

        Raises:
            UserError: the file is gone or another than the run was planned with, or does not answer
                the task's items.
        """
        samples = samples_file.read(self.arm, self.source)
        if samples.digest != self.digest:
            raise UserError(
                f"arm '{self.arm}' is not what the run was planned with: '{self.source}' has "
                "changed; run the command again."
            )
        rows, notes = samples.of(task)
        measured, more = _measured(samples, rows, task)
        about = (
            f"recorded elsewhere ({', '.join(filter(None, [samples.about, samples.path.name]))})"
        )
        return Adapted(
            self.label,
            draws_of(samples) * max(1, len(samples.templates)),
            _not_written,
            templates=samples.templates,
            notes=tuple(f"{self.arm}: {note}" for note in (about, *notes, *more)),
            recorded=measured,
        )


def _not_written(variant: int, query: object) -> Prompt:
    raise UserError("answers that were recorded elsewhere can be compared, and nothing asked.")


def draws_of(samples: Samples) -> tuple[int, ...]:
    """Return the draws behind answers, as this project numbers them."""
    return tuple(FIRST_DRAW + draw for draw in samples.draws if draw >= 0) or NO_DRAWS


def find(arm: str, source: str, task: Task) -> tuple[str, tuple[int, ...]]:
    """Return the digest of a file of samples, and the draws in it.

    Raises:
        UserError: it cannot be read, or does not answer the task's items.
    """
    samples = samples_file.read(arm, str(Path(source)))
    rows, _ = samples.of(task)
    _measured(samples, rows, task)
    return samples.digest, draws_of(samples)


def _measured(
    samples: Samples, rows: Sequence[Sample], task: Task
) -> tuple[Measured, tuple[str, ...]]:
    """Return what was recorded of a task's items, and what a reader must know of it."""
    if task.kind == "choice":
        return _choices(samples, rows, task)
    return _texts(samples, rows, task), ()


def _choices(
    samples: Samples, rows: Sequence[Sample], task: Task
) -> tuple[Measured, tuple[str, ...]]:
    """Return the log-likelihoods of a choice task's answers, in the task's order of them."""
    repeats = _repeats(samples)
    options = [item.choices or task.choices for item in task.test]
    if not any(text for row in rows for _, text in samples_file.requests(row)):
        return _named(samples, rows, task, options)
    shape = (repeats, len(rows), max(map(len, options)))
    loglik, size = np.full(shape, np.nan), np.zeros(shape, np.int64)
    for q, (row, own) in enumerate(zip(rows, options, strict=True)):
        sent = [text for _, text in samples_file.requests(row)]
        places = [_place(samples, option, sent) for option in own]
        for c, place in enumerate(places):
            loglik[:, q, c] = [_number(samples, one) for one in row["resps"][place][:repeats]]
            size[:, q, c] = len(sent[place].encode())
    gold = np.array([own.index(i.target) for own, i in zip(options, task.test, strict=True)])
    found = (np.where(np.isnan(loglik), -np.inf, loglik).argmax(-1) == gold).mean(0)
    arrays = {"loglik": loglik, "answer_bytes": size, "gold": gold}
    said = [float(row.get("acc", right)) for row, right in zip(rows, found, strict=True)]
    other = int((np.abs(found - np.array(said)) > 1e-6).sum())
    note = f"in {counted(other, 'item')} its own acc is not that of its log-likelihoods"
    return Measured({}, arrays, {"prompts": _shown(rows, task)}), (note,) if other else ()


def _named(
    samples: Samples, rows: Sequence[Sample], task: Task, options: Sequence[Sequence[str]]
) -> tuple[Measured, tuple[str, ...]]:
    """Return the options that texts name, where choices were not scored but written."""
    texts = _written(samples, rows, task)
    chosen = [
        [option_in(text, own) for text, own in zip(row, options, strict=True)] for row in texts
    ]
    arrays = {
        "chosen": np.array(chosen),
        "gold": np.array([o.index(i.target) for o, i in zip(options, task.test, strict=True)]),
        "num_choices": np.array([len(own) for own in options]),
    }
    note = "its options are those that its texts name, as no log-likelihood of them was recorded"
    return Measured({}, arrays, {"prompts": _shown(rows, task)}), (note,)


def _written(samples: Samples, rows: Sequence[Sample], task: Task) -> list[list[str]]:
    """Return the recorded texts [repeats][queries]; without repeats, those after the filter."""
    repeats = _repeats(samples)
    outputs: list[list[str]] = [[] for _ in range(repeats)]
    for row in rows:
        given = row["resps"][0] if repeats > 1 else row.get("filtered_resps") or row["resps"][0]
        for own, text in zip(outputs, given, strict=False):
            if not isinstance(text, str):
                raise UserError(
                    f"arm '{samples.arm}': '{samples.path.name}' holds no generated texts, as task "
                    f"'{task.name}' asks for; give the samples of such a task."
                )
            own.append(text.strip())
    return outputs


def _texts(samples: Samples, rows: Sequence[Sample], task: Task) -> Measured:
    """Return recorded texts, and whether they are right where their exact_match says so."""
    outputs = _written(samples, rows, task)
    arrays = {}
    if len(outputs) == 1 and all("exact_match" in row for row in rows):
        arrays["exact"] = np.array([[float(row["exact_match"]) for row in rows]])
    return Measured({}, arrays, {"outputs": outputs, "prompts": _shown(rows, task)})


def _repeats(samples: Samples) -> int:
    return len(samples.draws) * max(1, len(samples.templates)) or 1


def _place(samples: Samples, option: str, sent: Sequence[str]) -> int:
    """Return the first request that scores an option."""
    for place, text in enumerate(sent):
        if text.strip() == option.strip():
            return place
    raise UserError(
        f"arm '{samples.arm}': '{samples.path.name}' scores {listed(map(repr, sent[:6]))}, not the "
        f"answer '{option}'; expected the task's own answers, scored by log-likelihood "
        "(--choices names them)."
    )


def _number(samples: Samples, response: Any) -> float:
    try:
        return float(response[0])
    except (TypeError, ValueError, IndexError) as error:
        raise UserError(
            f"arm '{samples.arm}': '{samples.path.name}' holds {response!r} where a "
            "log-likelihood is expected; give the samples of a multiple-choice task."
        ) from error


def _shown(rows: Sequence[Sample], task: Task) -> list[dict[str, object]]:
    """Return the first prompts as they were sent."""
    return [
        {
            "query_id": item.id,
            "gold": item.target,
            "parts": [["query", samples_file.requests(row)[0][0]]],
            "answers": [text for _, text in samples_file.requests(row) if text],
        }
        for row, item in zip(rows[:SHOWN_PROMPTS], task.test, strict=False)
    ]
