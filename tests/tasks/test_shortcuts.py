"""Tasks with a hidden shortcut: right labels, no leaks, two kinds that look the same."""

from collections import Counter
from random import Random

import pytest

from adaptlens import tasks
from adaptlens.errors import UserError
from adaptlens.tasks import shortcuts
from adaptlens.tasks.shortcuts import leaks, makers, solvers

FAMILIES = [(d, family) for d, made in makers.DIFFICULTIES.items() for family in made]


def drawn(difficulty: str, family: str, kind: str, count: int) -> list[makers.Item]:
    maker, rng = makers.DIFFICULTIES[difficulty][family], Random(3)
    answers = maker.answers()
    return [makers.drawn(maker, rng, kind, answers[i % len(answers)]) for i in range(count)]


@pytest.mark.parametrize(
    ("task", "text", "answer"),
    [
        ("expression", "(3+4)+(2-9+6)*(-7+2)", "12"),
        ("expression", "(3)+(3-5+2)*(-7+9)", "3"),
        ("code", "def f(x): return (x-1)*3\ndef g(x,y): return y//4\nprint(g(5,f(5)))", "3"),
        ("code", "def f(x): return (x-1)*3\ndef g(x,y): return x-4\nprint(g(5,f(5)))", "1"),
        ("relation", "A>B B>C C>Z", "Yes"),
        ("relation", "A>B C>B C>Z", "No"),
        ("boolean", "((True or False) and False) or True", "True"),
        ("boolean", "(True or False and False) and True", "True"),
        ("algebra", "2a-3b=-5\n1a+1b=5\nb?", "3"),
    ],
)
def test_the_solver_finds_what_is_worked_by_hand(task: str, text: str, answer: str) -> None:
    assert solvers.solved(task, text) == answer


@pytest.mark.parametrize("text", ["2a+3b=5\n4a+6b=10\nb?", "1a+1b=2\n1a+2b=4\n1a+3b=7\nb?"])
def test_the_solver_refuses_equations_without_one_solution(text: str) -> None:
    with pytest.raises((ValueError, StopIteration)):
        solvers.solved("algebra", text)


@pytest.mark.parametrize(("difficulty", "family"), FAMILIES)
@pytest.mark.parametrize("kind", makers.KINDS)
def test_every_label_is_what_the_independent_solver_finds(
    difficulty: str, family: str, kind: str
) -> None:
    for item in drawn(difficulty, family, kind, 300):
        assert solvers.solved(family, item.text) == item.answer


@pytest.mark.parametrize(("difficulty", "family"), FAMILIES)
def test_the_shortcut_holds_in_pattern_items_and_not_in_broken_ones(
    difficulty: str, family: str
) -> None:
    assert all(i.shortcut == i.answer for i in drawn(difficulty, family, "pattern", 200))
    broken = drawn(difficulty, family, "broken", 400)
    share = sum(i.shortcut == i.answer for i in broken) / len(broken)
    two_answers = family in ("relation", "boolean")
    assert share == pytest.approx(0.5 if two_answers else 0.0, abs=0.1 if two_answers else 0)


@pytest.mark.parametrize(("difficulty", "family"), FAMILIES)
def test_the_two_kinds_have_the_same_surface(difficulty: str, family: str) -> None:
    # Words and signs, digits made equal, towns too: no kind has one the other lacks.
    def surface(kind: str) -> set[str]:
        texts = " ".join(i.text for i in drawn(difficulty, family, kind, 400))
        return set(texts.translate(str.maketrans("0123456789", "0" * 10)))

    assert surface("pattern") == surface("broken")


@pytest.mark.parametrize("family", shortcuts.FAMILIES)
def test_answers_are_balanced_in_every_split_and_kind(family: str) -> None:
    task = shortcuts.task(f"{family}-pattern", train=90, validation=36, test=180)
    for split in (task.train, task.validation, task.test):
        for kind in {e.group for e in split}:
            counts = Counter(e.target for e in split if e.group == kind).values()
            assert max(counts) - min(counts) <= 1


@pytest.mark.parametrize("family", shortcuts.FAMILIES)
def test_no_test_item_of_any_seed_is_a_training_item_of_any_seed(family: str) -> None:
    seeds = [
        shortcuts.task(f"{family}-{kind}", seed=seed, train=200)
        for seed in (0, 1) for kind in makers.KINDS
    ]  # fmt: skip
    trained = {e.input for t in seeds for e in t.train}
    chosen = {e.input for t in seeds for e in t.validation}
    tested = {e.input for t in seeds for e in t.test}
    assert not trained & tested and not trained & chosen and not chosen & tested


def test_the_two_tasks_of_a_family_are_read_on_the_same_items() -> None:
    pattern, broken = (shortcuts.task(f"code-{kind}", train=20) for kind in makers.KINDS)
    assert pattern.test == broken.test and pattern.validation == broken.validation
    assert {e.group for e in pattern.train} == {"pattern"}
    assert {e.group for e in broken.train} == {"broken"}


def test_mixed_items_carry_the_instruction_of_their_family() -> None:
    task = shortcuts.task("mixed-pattern", train=50, validation=20, test=100)
    assert Counter(e.group for e in task.test) == {
        f"{f}/{k}": 10 for f in shortcuts.FAMILIES for k in makers.KINDS
    }
    for example in (*task.train, *task.test):
        assert example.instruction == shortcuts.INSTRUCTIONS[example.group.partition("/")[0]]


def test_a_task_may_be_read_on_other_families() -> None:
    task = shortcuts.task("boolean-pattern", train=10, test=20, read=("code", "boolean"))
    assert {e.group.partition("/")[0] for e in task.test} == {"code", "boolean"}
    assert {e.group for e in task.train} == {"boolean/pattern"}


def test_the_same_arguments_give_the_same_task_and_another_seed_another_one() -> None:
    assert shortcuts.task("algebra-broken") == shortcuts.task("algebra-broken")
    assert shortcuts.task("algebra-broken") != shortcuts.task("algebra-broken", seed=1)


def test_words_alone_tell_no_broken_answer_of_expression_relation_or_boolean() -> None:
    rows = {(r["task"], r["kind"]): r for r in leaks.check(3000)}
    assert all(row["wrong"] == 0 for row in rows.values())
    for family in ("expression", "relation", "boolean"):
        row = rows[family, "broken"]
        error = 3 * (row["constant"] * (1 - row["constant"]) / 1500) ** 0.5
        assert abs(row["words"] - row["constant"]) <= error + 0.01
        assert abs(row["mention"] - row["constant"]) <= error + 0.01


def test_a_leak_is_found_where_there_is_one() -> None:
    items = [makers.Item(f"{w} and some more", a, a) for w, a in (("red", "Yes"), ("blue", "No"))]
    found = leaks._guessed(items * 50)
    assert found == {"mention": 1.0, "words": 1.0}


def test_bad_requests_are_refused_in_one_line() -> None:
    with pytest.raises(UserError, match="did you mean 'boolean-broken'"):
        shortcuts.task("boolean-brokn")
    with pytest.raises(UserError, match="even number"):
        shortcuts.task("boolean-broken", test=3)
    with pytest.raises(UserError, match="did you mean 'paper'"):
        tasks.load("code-pattern", difficulty="papr")
    with pytest.raises(UserError, match="only with a bundled task with a shortcut"):
        tasks.load("sentiment", difficulty="paper")
    with pytest.raises(UserError, match="ask for fewer"):
        shortcuts.task("algebra-pattern", train=0, validation=0, test=8_000)
