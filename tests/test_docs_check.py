"""What is collected from the documentation, and what is done about it."""

from pathlib import Path

import pytest

import check
from published import Code, Command, in_docstrings, in_makefile, in_markdown, published

ROOT = Path(__file__).parents[1]

PAGE = """\
Some prose with `adaptlens status`, a `benchmarks/bank.py`, and `make bench`; `adaptlens compare
--set tune.lora_rank=16` is broken over lines, `adaptlens` alone is a name.

```
adaptlens compare --model reference \\
    --shots 0,4   # a comment
$ python benchmarks/bank.py
adaptlens.metrics.accuracy
  make tea
```

```yaml
# study.yaml; adaptlens compare --config study.yaml
models: [reference]
```

```python
import adaptlens
```

```text
adaptlens nothing of output
```
"""


def test_commands_of_a_page_are_its_shell_lines_inline_code_and_named_files():
    found = list(in_markdown(PAGE, "p.md"))
    assert [one.text for one in found if isinstance(one, Command)] == [
        "adaptlens compare --model reference --shots 0,4",
        "python benchmarks/bank.py",
        "make tea",
        "adaptlens compare --config study.yaml",
        "adaptlens status",
        "benchmarks/bank.py",
        "make bench",
        "adaptlens compare --set tune.lora_rank=16",
    ]
    assert [one.text for one in found if isinstance(one, Code)] == ["import adaptlens"]
    (named,) = (one for one in found if isinstance(one, Command) and one.files)
    assert named.files["study.yaml"].splitlines()[1] == "models: [reference]"
    assert found[-1].where == "p.md:1" and found[0].where == "p.md:4"


def test_commands_of_docstrings_are_indented_or_inline_and_prose_is_not():
    source = '''"""What it does, by `adaptlens check`.

    python benchmarks/bank.py [--quick]
        [--json]

Prose that is broken before
adaptlens and goes on.
"""
TEXT = "adaptlens compare"


def start():
    """Begin.

    Start with: adaptlens compare --shots 0,4
    """
'''
    assert [one.text for one in in_docstrings(source, "x.py")] == [
        "adaptlens check",
        "python benchmarks/bank.py [--quick] [--json]",
        "adaptlens compare --shots 0,4",
    ]


def test_commands_of_recipes_are_those_of_the_package():
    recipe = "demo:\n\t$(BIN)/adaptlens compare \\\n\t\t--draws 10\n\t$(BIN)/ruff check .\n"
    assert [one.text for one in in_makefile(recipe, "Makefile")] == ["adaptlens compare --draws 10"]


def form(text: str) -> str:
    return check.job(Command(text, "here")).form


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("adaptlens compare", "named"),
        ("adaptlens --help", "named"),
        ("adaptlens tasks list", "small"),
        ("adaptlens compare --model reference --task reviews.tsv", "small"),
        ("adaptlens compare --model Qwen/Qwen3-0.6B --task sentiment", "parsed"),
        ("adaptlens plan --model reference --task hf:stanfordnlp/sst2", "parsed"),
        ("adaptlens study limits --models ladder", "planned"),
        ("python benchmarks/shift_rates.py [--runs 200]", "small"),
        ("python benchmarks/recipe.py --model smollm2", "parsed"),
        ("adaptlens compare --task TASK --draws R", "named"),
        ("make demo", "left out"),
        ("make clean", "named"),
    ],
)
def test_each_kind_of_command_has_its_form(text, expected):
    assert form(text) == expected


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("adaptlens compete", "there is no command `adaptlens compete`"),
        ("adaptlens compare --shot 4", "`adaptlens compare` has no option --shot"),
        ("adaptlens plan --model Qwen/Qwen3-0.6B --draws many", "'many' is not a valid integer"),
        ("adaptlens compare --model Qwen/Qwen3-0.6B --set tune.ranks=4", "tune.ranks"),
        ("make tea", "the Makefile has no target 'tea'"),
        ("python benchmarks/nothing.py", "there is no benchmarks/nothing.py"),
        ("python benchmarks/bank.py [--fast]", "benchmarks/bank.py has no option --fast"),
        ("python benchmarks/pipeline_train.py", "has no small form"),
    ],
)
def test_what_does_not_exist_is_one_clear_line(text, problem):
    with pytest.raises(check.Uncovered) as found:
        form(text)
    assert problem in str(found.value) and "\n" not in str(found.value)


def test_small_settings_come_last_and_imagined_files_are_made():
    found = check.job(Command("adaptlens compare --task data/reviews.tsv --draws 10", "here"))
    words = list(found.words)
    assert words[words.index("--task") + 1] == "reviews.tsv"
    assert [words[i + 1] for i, word in enumerate(words) if word == "--draws"] == ["10", "1"]
    lines = found.files["reviews.tsv"].splitlines()
    assert len(lines) == 60 and {line.split("\t")[1] for line in lines} == {"0", "1"}


def test_a_command_about_a_run_is_given_one():
    report = check.job(Command("adaptlens report runs/any --json", "here"))
    assert report.words[-2:] == ("<run of compare>", "--json")
    other = check.job(Command("adaptlens report RUN --set claim.measure=cosine", "here"))
    assert "<run of convergence>" in other.words
    made = check.job(Command("adaptlens compare --out runs/demo", "here"))
    assert "run" in made.words and "<run of compare>" not in made.words
    assert check.job(Command("adaptlens view", "here")).words[-1] == "<run of compare>/.."


def test_nothing_is_run_twice():
    twice = [
        Command("python benchmarks/crash.py", "a"),
        Command("python benchmarks/crash.py [--kills 30]", "b"),
        Command("benchmarks/crash.py", "c"),
    ]
    assert [one.job.form for one in check.planned(twice, [])] == ["small", "covered", "covered"]


def test_what_must_be_fetched_covers_nothing():
    plain = Command("python benchmarks/states.py", "a")
    fetched = Command("python benchmarks/states.py --model smollm2", "b")
    ours = Command("python benchmarks/states.py --model reference", "c")
    assert check.job(plain, [plain, fetched]).form == "small"
    assert check.job(plain, [plain, fetched, ours]).form == "covered"


def test_everything_published_is_covered():
    problems = [f"{one.of.where}: {one.problem}" for one in check.planned(*published(ROOT))]
    assert [line for line in problems if not line.endswith(": ")] == []


def test_a_command_that_fails_is_told_by_its_last_line(tmp_path):
    run = check.Runner(tmp_path, timeout_seconds=60)
    failed = check.Job("small", words=(check.sys.executable, "-c", "raise SystemExit('no such x')"))
    assert run(failed) == "exit code 1: no such x"
    slow = check.Job("small", words=(check.sys.executable, "-c", "import time; time.sleep(9)"))
    assert check.Runner(tmp_path / "slow", 0.1)(slow).startswith("took more than 0.1 s")
