"""From stored conditions to arms: who is judged, by which scoring rule, under which templates.

A condition is what was measured; an arm is what a person could use. A tuned condition is an arm as
it is, whatever the template, and again at the template that the validation split chooses for it, of
those that a draw was tuned on.
Rules and templates are chosen on the first half of the validation split, arms on the second.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from adaptlens.adapt.families import family_of
from adaptlens.conditions import Condition
from adaptlens.measure import axes
from adaptlens.measure.arrays import ElsewhereAnswers
from adaptlens.metrics import accuracy
from adaptlens.metrics.accuracy import RULES, Rule
from adaptlens.report.labels import Shown
from adaptlens.stats.intervals import Scores
from adaptlens.studies.compare.config import CompareConfig
from adaptlens.types import NO_DRAWS, Task

LEAST_CHOOSING = 4
"""With fewer validation items nothing is chosen on them."""


@dataclass(frozen=True, eq=False)
class Arm:
    """One way of adapting, as it is judged.

    Attributes:
        label: what tables call it.
        condition: what was measured.
        scores: by the rule that judges, see `stats.scores.Scores`.
        rules: that rule, or one for each draw; empty for generated text.
        templates: the one template each draw is read under, where one was chosen; empty where the
            arm stands for all of them.
    """

    label: str
    condition: Condition
    scores: Scores
    rules: tuple[Rule, ...] = ()
    templates: tuple[str, ...] = ()

    @property
    def rule(self) -> str:
        """The scoring rule as tables name it: several where draws have their own."""
        return ", ".join(dict.fromkeys(self.rules))

    @property
    def shown(self) -> Shown:
        """What tables and figures show it as."""
        return replace(self.condition.shown, label=self.label, is_chosen=bool(self.templates))

    def under_its_templates(self, values: np.ndarray) -> np.ndarray:
        """Return scores [templates, draws, queries] as `Scores` has them for this arm.

        Each draw's under the template chosen for it; without a templates axis where there is none.
        """
        if self.templates:
            places = [self.condition.templates.index(name) for name in self.templates]
            return values[places, np.arange(len(places))]
        return values if self.condition.templates else values[0]


class Reading:
    """The scores of one condition: by metric, by rule, by template, on both splits.

    Test scores are [templates, repeats, queries]; a condition that chose its own template, or was
    read under the task's alone, has one template. Validation scores are [repeats, queries]: of
    several templates, each draw read each query under one, in turn.
    """

    def __init__(
        self, condition: Condition, task: Task, stored: ElsewhereAnswers | None = None
    ) -> None:
        """Say which condition, of which task; `stored` in place of its own answers."""
        self.condition, self.task = condition, task
        self._stored = stored
        self.is_choice = task.kind == "choice"
        self.num_validation = 0 if condition.is_recorded else len(task.validation)

    def arrays(self, *, validation: bool = False) -> dict[str, np.ndarray]:
        """Return the arrays of the test or the validation split.

        Templates lie in `repeats`, template by template.
        """
        condition = self.condition
        own = condition.behavior.validation if validation else condition.behavior
        stored = own if self._stored is None else self._stored
        arrays = {}
        for name, array in stored.items():
            if condition.templates and axes.by_variant(stored.key(name)):
                array = np.moveaxis(array, 1, 0).reshape(-1, *array.shape[2:])
            arrays[name] = array
        return arrays

    def values(self, metric: str, rule: Rule = "raw", *, validation: bool = False) -> np.ndarray:
        """Return scores from 0 to 1: of choices, whether they are right, or "quadratic" scores."""
        arrays = self.arrays(validation=validation)
        if metric == "quadratic":
            scores = accuracy.quadratic(arrays, rule)
        elif self.is_choice:
            scores = accuracy.correct(arrays, rule)
        else:
            scores = arrays[metric] / (100 if metric == "chrf" else 1)
        if validation:
            return scores
        return scores.reshape(len(self.condition.templates) or 1, -1, scores.shape[-1])

    def template_of(self, draw: int) -> np.ndarray:
        """Return the template [validation queries] under which a draw read each query."""
        return (np.arange(self.num_validation) + draw) % max(1, len(self.condition.templates))

    @property
    def was_tuned_on(self) -> np.ndarray:
        """Whether each draw was tuned on each template [draws, templates]; all where none says."""
        names, own = self.condition.templates, self.condition.tuned_on
        if not own:
            return np.ones((len(self.condition.draws), len(names)), bool)
        return np.array([[name in its for name in names] for its in own])

    def shaped(self, metric: str, rule: Rule = "raw") -> np.ndarray:
        """Return test scores as `Scores` has them: no templates axis where there are none."""
        values = self.values(metric, rule)
        return values if self.condition.templates else values[0]

    def rules(self) -> tuple[Rule, ...]:
        """Return the rules there are; calibration over the queries needs options they share.

        Recorded answers come without their tokens and without a content-free query.
        """
        if "chosen" in self.condition.behavior:
            return ("written",)
        out = () if self.task.choices else ("calibrated",)
        if self.condition.is_recorded:
            out = (*out, "tokens", "corrected")
        return tuple(rule for rule in RULES if rule not in out)

    def chosen_rule(self) -> Rule:
        """Return the rule with the best accuracy on the choosing half; the first of equals."""
        half = self.half
        means = {
            rule: self.values("accuracy", rule, validation=True)[..., :half].mean()
            for rule in self.rules()
        }
        return max(means, key=lambda rule: (round(means[rule], 9), -self.rules().index(rule)))

    @property
    def half(self) -> int:
        """Return how many validation items choose rules and templates."""
        return (self.num_validation + 1) // 2

    @property
    def can_choose(self) -> bool:
        """Whether there are validation items to choose by."""
        return self.num_validation >= LEAST_CHOOSING


def arms(members: Sequence[Condition], task: Task, config: CompareConfig, metric: str) -> list[Arm]:
    """Return every arm of one model on one task.

    Args:
        members: the conditions.
        task: theirs.
        config: the settings of the comparison.
        metric: of generation tasks: "chrf" or "exact".
    """
    made = []
    # A prompt that was searched is prompting at its best template; without one, prompts choose
    # theirs as tuned models do.
    searched = any(condition.adaptation == "best_prompt" for condition in members)
    for condition in members:
        reading = Reading(condition, task)
        made.append(_as_measured(reading, config, metric))
        chooses = not searched or family_of(condition.adaptation) == "tune"
        if (
            chooses
            and not condition.control
            and len(condition.templates) > 1
            and reading.can_choose
        ):
            made.append(_at_best_template(reading, config, metric))
    return made


def _rules(reading: Reading, config: CompareConfig) -> tuple[Rule, ...]:
    """Return the rule that judges each draw: one for all, but that of its prompt if searched."""
    if not reading.is_choice:
        return ()
    draws = range(len(reading.condition.draws))
    asked = config.scoring
    rule: Rule = next((known for known in reading.rules() if known == asked), reading.rules()[0])
    if asked == "validation" and reading.condition.searches:
        return tuple(search["rule"] for search in reading.condition.searches)
    if asked == "validation" and reading.can_choose and not config.true_few_shot:
        rule = reading.chosen_rule()
    return (rule,) * len(draws)


def by_draw(
    reading: Reading, rules: Sequence[Rule], metric: str, *, validation: bool = False
) -> np.ndarray:
    """Return scores of a split, each draw by its own rule."""
    if not rules:
        return reading.values(metric, validation=validation)
    by_rule = {
        rule: reading.values(metric, rule, validation=validation) for rule in dict.fromkeys(rules)
    }
    rows = [by_rule[rule][..., draw, :] for draw, rule in enumerate(rules)]
    return np.stack(rows, axis=-2)


def _as_measured(reading: Reading, config: CompareConfig, metric: str) -> Arm:
    condition = reading.condition
    rules = _rules(reading, config)
    values = by_draw(reading, rules, metric)
    held_out = None
    if reading.num_validation >= LEAST_CHOOSING:
        held_out = by_draw(reading, rules, metric, validation=True)[:, reading.half :]
    scores = _scores(reading, config, values, held_out, condition.templates)
    return Arm(condition.label, condition, scores, rules)


def _at_best_template(reading: Reading, config: CompareConfig, metric: str) -> Arm:
    """Return a tuned condition at the template that does best on the choosing half.

    The same for all draws, since each draw read each validation query under one of them; the first
    of equals. Where draws were tuned on some templates, each is read under the best of its own:
    what is known of a template is then from draws that were tuned on it.
    """
    condition, half = reading.condition, reading.half
    rules = _rules(reading, config)
    held_out = by_draw(reading, rules, metric, validation=True)
    read = np.stack([reading.template_of(draw) for draw in condition.draws])[:, :half]
    own = reading.was_tuned_on
    counts = np.take_along_axis(own, read, axis=1)
    places = range(len(condition.templates))
    parts = [held_out[:, :half][(read == place) & counts] for place in places]
    means = np.array([round(part.mean(), 9) if part.size else -1.0 for part in parts])
    best = np.where(own, means, -np.inf).argmax(axis=1)
    values = by_draw(reading, rules, metric)[best, np.arange(len(best))]
    scores = _scores(reading, config, values[None], held_out[:, half:], ())
    templates = tuple(condition.templates[place] for place in best)
    return Arm(f"best-{condition.label}", condition, scores, rules, templates)


def _scores(
    reading: Reading,
    config: CompareConfig,
    values: np.ndarray,
    held_out: np.ndarray | None,
    named: Sequence[str],
) -> Scores:
    condition, task = reading.condition, reading.task
    retrieved = condition.draws == NO_DRAWS and condition.examples > 0
    return Scores(
        values if named else values[0],
        condition.draws,
        family_of(condition.adaptation),
        held_out,
        templates=tuple(named),
        cost=cost_of(condition),
        floor=floor(reading),
        groups=groups_of(task),
        examples=0 if retrieved else condition.examples,
        pool=None if retrieved or not condition.examples else len(task.train),
    )


def cost_of(condition: Condition) -> float:
    """Return what tells cheap conditions of one model from dear ones: FLOPs of a query, or tokens.

    Tokens where a server has the model: its operations are not known.
    """
    numbers = condition.numbers
    return float(numbers.get("query_flops", numbers.get("query_tokens", 0.0)))


def groups_of(task: Task) -> np.ndarray | None:
    """Return the number of the group [queries] of each test item; None where none are named.

    An item that is in no group is one by itself.
    """
    if not task.clustered_by:
        return None
    own = [example.group or f"\0{example.id}" for example in task.test]
    number = {name: place for place, name in enumerate(dict.fromkeys(own))}
    return np.array([number[name] for name in own])


def floor(reading: Reading) -> float:
    """Return what a draw that fails scores: chance; nothing for generated text."""
    if not reading.is_choice:
        return 0.0
    return float(accuracy.chance(reading.arrays()).mean())
