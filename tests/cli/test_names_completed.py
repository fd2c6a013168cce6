"""Names that an option takes: shown by help, completed by a shell, refused with the nearest."""

import json
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner

from adaptlens.cli.main import main


def completed(*words: str) -> list[str]:
    """What a shell is offered for the last of these words."""
    shell = ShellComplete(main, {}, "adaptlens", "_ADAPTLENS_COMPLETE")
    return [one.value for one in shell.get_completions([*words[:-1]], words[-1])]


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("compare", "--dtype", "b"), ["bfloat16"]),
        (("compare", "--scoring", "c"), ["corrected", "calibrated"]),
        (("compare", "--tuning", "it,f"), ["it,full"]),
        (("compare", "--tuning", "it,i"), ["it,ia2", "it,ia2-it"]),
        (("compare", "--tuning", "it,x"), []),
        (("study", "implicit", "--parts", ""), ["behavior", "circuits"]),
        (("plan", "--study", "l"), ["limits"]),
        (("report", "x", "--track", "m"), ["mlflow"]),
    ],
)
def test_a_shell_completes_the_names_there_are(words, offered):
    assert completed(*words) == offered


def test_a_name_that_is_none_is_refused_with_the_nearest():
    done = CliRunner().invoke(main, ["compare", "--dtype", "bfloat"])
    assert done.exit_code == 2
    assert done.output.startswith("error: ") and "bfloat16" in done.output


def as_json(*words: str):
    done = CliRunner().invoke(main, [*words, "--json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_a_task_is_data_for_programs(tmp_path: Path):
    table = tmp_path / "films.tsv"
    rows = [f"film {n}\t{('bad', 'good')[n % 2]}" for n in range(20)]
    table.write_text("\n".join(rows) + "\n")
    found = as_json("tasks", "show", str(table))
    assert found["name"] == "films" and sorted(found["choices"]) == ["bad", "good"]
    assert sum(split["items"] for split in found["splits"].values()) == 20
    assert found["splits"]["test"]["first"][0]["input"].startswith("film ")


def test_shipped_models_are_data_for_programs():
    assert {"name", "summary"} == {*as_json("zoo", "list")[0]}


def test_every_verb_that_prints_data_has_json():
    """`lm-eval` hands its options on; `zoo train` prints where it is at work."""
    without = []

    def walk(command, name):
        if hasattr(command, "commands"):
            for own, inner in command.commands.items():
                walk(inner, f"{name} {own}".strip())
        elif "--json" not in [o for p in command.get_params(main.context_class(command))
                              for o in p.opts]:  # fmt: skip
            without.append(name)

    walk(main, "")
    assert sorted(without) == ["lm-eval", "zoo train"]
