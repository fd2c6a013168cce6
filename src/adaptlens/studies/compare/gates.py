"""Gates: what an arm has to be shown to score, for a pipeline that goes on only then.

A gate is passed where the data show it, not where they do not speak against it: with a chance of at
most 5 % a gate is passed that should not be. Several gates have all to be passed, so that nothing
is corrected for their number (intersection-union, Berger 1982).
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

import numpy as np

from adaptlens.errors import UserError, unknown
from adaptlens.formatting import counted, fixed
from adaptlens.stats.intervals import Scores, above

ALPHA = 0.05
BASE = "base"
"""What a gate calls the base model as it is: zero-shot."""

_GATE = re.compile(r"(\S+?)\s*>=\s*([^\s+]+)(?:\s*(?:(\+)|\s(-))\s*(\d+(?:\.\d+)?))?")


@dataclass(frozen=True)
class Gate:
    """One gate.

    Attributes:
        text: as it was given.
        left: the label of the arm.
        right: that of the arm, or baseline, it is held against; or a score in points.
        points: what is added to that.
    """

    text: str
    left: str
    right: str
    points: float

    @property
    def fixed(self) -> float | None:
        """The score in points that stands on the right; None for an arm."""
        try:
            return float(self.right)
        except ValueError:
            return None


def parse(text: str) -> Gate:
    """Return the gate that a text says.

    Raises:
        UserError: it is none.
    """
    found = _GATE.fullmatch(text.strip())
    if not found:
        raise UserError(
            f"gate '{text}': expected ARM >= ARM, a number of points more or less, or ARM >= "
            "SCORE, for example 'mine >= base - 1' or 'mine >= 80'."
        )
    left, right, _, less, number = found.groups()
    points = float(number or 0) * (-1 if less else 1)
    return Gate(text.strip(), left, right, points)


def check(gates: Iterable[Gate], labels: Iterable[str]) -> None:
    """Check that gates name arms that there will be, and scores that there can be.

    Raises:
        UserError: one names another, or no score.
    """
    known = [*labels, BASE, "chance", "majority"]
    for gate in gates:
        if gate.fixed is not None and not 0 <= gate.fixed <= 100:
            raise UserError(
                f"gate '{gate.text}': {gate.fixed:g} is no score; expected 0 to 100 points."
            )
        sides = (gate.left,) if gate.fixed is not None else (gate.left, gate.right)
        for side in sides:
            if side not in known:
                raise _unknown(gate, side, known)


def judged(
    gates: Iterable[Gate],
    arms: Mapping[str, Scores],
    baselines: Mapping[str, np.ndarray],
    *,
    seed: int,
) -> list[dict[str, Any]]:
    """Return for each gate whether it is passed, and the numbers behind that, in points.

    Args:
        gates: to be judged.
        arms: scores by label, all on the same queries.
        baselines: scores [queries] of answering without reading, by name.
        seed: of the random sign flips.

    Raises:
        UserError: an arm is not there: it was not measured, or not chosen.
    """
    rows = []
    for gate in gates:
        names = (gate.left, gate.right)
        left, right = (_scores(gate, name, arms, baselines) for name in names)
        found = above(left, right, gate.points / 100, names=names, seed=seed, alpha=ALPHA)
        passed = found.supports_claims and found.p <= ALPHA
        rows.append(
            {
                "gate": gate.text,
                "passed": passed,
                "difference": 100 * found.difference,
                "least": 100 * found.least,
                "bound": gate.points,
                "p": found.p,
                "reason": "; ".join(found.warnings),
            }
        )
    return rows


def _scores(
    gate: Gate, name: str, arms: Mapping[str, Scores], baselines: Mapping[str, np.ndarray]
) -> Scores:
    if name == gate.right and gate.fixed is not None:
        queries = next(iter(arms.values()))
        level = np.full((1, queries.queries), gate.fixed / 100)
        return Scores(level, groups=queries.groups)
    own = "zero-shot" if name == BASE else name
    if own in arms:
        return arms[own]
    for label, values in baselines.items():
        if label.partition(" ")[0] == name:
            groups = next(iter(arms.values())).groups
            return Scores(np.asarray(values, float)[None], groups=groups)
    raise _unknown(gate, name, arms)


def _unknown(gate: Gate, name: str, known: Iterable[str]) -> UserError:
    return UserError(f"gate '{gate.text}': {unknown('arm', name, known)}")


def line(row: Mapping[str, Any]) -> str:
    """Return what became of a gate as one sentence."""
    said = (
        f"{fixed(row['difference'], sign=True)} points, shown to be at least "
        f"{fixed(row['least'], sign=True)} (p={row['p']:.3g})"
    )
    if row["passed"]:
        return f"passed: {said}"
    return f"not passed: {said}{'; ' + row['reason'] if row['reason'] else ''}"


def junit(rows: Iterable[Mapping[str, Any]]) -> bytes:
    """Return the gates as a JUnit report, which pipelines show test by test."""
    rows = list(rows)
    failures = sum(not row["passed"] for row in rows)
    suite = ElementTree.Element(
        "testsuite", name="adaptlens", tests=str(len(rows)), failures=str(failures), errors="0"
    )
    for row in rows:
        case = ElementTree.SubElement(
            suite, "testcase", classname=f"{row['model']}.{row['task']}", name=row["gate"]
        )
        if row["passed"]:
            ElementTree.SubElement(case, "system-out").text = line(row)
        else:
            ElementTree.SubElement(case, "failure", message=line(row))
    ElementTree.indent(suite)
    return ElementTree.tostring(suite, encoding="utf-8", xml_declaration=True)


def not_passed(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return which gates were not passed, as one sentence; empty where all were."""
    failed = [row for row in rows if not row["passed"]]
    if not failed:
        return ""
    named = "; ".join(f"'{row['gate']}' on {row['model']}, {row['task']}" for row in failed)
    return f"{counted(len(failed), 'gate')} not passed: {named}"
