"""Options that several commands share, and how they become the settings of a study."""

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import Any

import click

from adaptlens.errors import RunIncomplete, UserError
from adaptlens.formatting import say
from adaptlens.store.addresses import without_password

Command = Callable[..., None]
Option = Callable[[Command], Command]
Options = tuple[Option, ...]


def json_option(what: str = "as JSON") -> Option:
    """Return the option that prints data for programs."""
    return click.option("--json", "as_json", is_flag=True, help=f"Print {what}.")


def with_options(*groups: Sequence[Option]) -> Option:
    """Return a decorator that adds the options of all groups, in their order in --help."""

    def decorate(command: Command) -> Command:
        for option in reversed([option for group in groups for option in group]):
            command = option(command)
        return command

    return decorate


def _numbers(_: click.Context, option: click.Parameter, value: str | None) -> list[int] | None:
    if value is None:
        return None
    words = [word.strip() for word in value.split(",") if word.strip()]
    try:
        return [int(word) for word in words]
    except ValueError:
        raise click.BadParameter(
            f"'{value}' is not a list of whole numbers; write for example 0,4,16.", param=option
        ) from None


def _words(_: click.Context, __: click.Parameter, value: str | None) -> list[str] | None:
    return None if value is None else [w.strip() for w in value.split(",") if w.strip()]


def _refused(error: OSError) -> str:
    """Return one line about a file that the operating system refuses."""
    name = str(error.filename)
    shown = name if len(name) <= 200 else f"{name[:80]}...{name[-40:]}"
    return (
        f"'{shown}': {(error.strerror or type(error).__name__).lower()}; check that name, its "
        "permissions and the disk it is on, then run the same command again."
    )


def user_errors(command: Callable[..., None]) -> Callable[..., None]:
    """Turn what the user can fix into one line and exit code 2, and Ctrl-C into one line.

    So is a refusal of the operating system that names a file: no disk is as expected everywhere.
    """

    @wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except UserError as error:
            say(f"error: {without_password(str(error))}", talk=True)
            sys.exit(2)
        except OSError as error:
            if error.filename is None:
                raise
            say(f"error: {_refused(error)}", talk=True)
            sys.exit(2)
        except RunIncomplete as error:
            say(f"incomplete: {error}", talk=True)
            sys.exit(1)
        except KeyboardInterrupt:
            click.echo("stopped; the same command continues where it was.", err=True)
            sys.exit(130)

    return wrapped


READING = (
    click.option("--input", metavar="A,B,..", help="Columns with the texts: one, or several."),
    click.option("--target", metavar="COLUMN", help="Column with the answers."),
    click.option("--header/--no-header", default=None,
                 help="Whether the first line of a CSV or TSV holds column names."),
    click.option("--choices", metavar="A,B,..",
                 help="The answers there are, or raw=word pairs: 0=negative,1=positive."),
    click.option("--references", metavar="FILE", help="Line-aligned file of answers to the task."),
    click.option("--instruction", metavar="TEXT", help="Instruction written before the items."),
    click.option("--template", "templates", multiple=True, metavar="TEXT",
                 help="How items are written: 'Review: {input}\\nSentiment: {target}', or a file "
                 "of Jinja. Repeatable; default: several usual ways."),
    click.option("--fields", metavar="A,B", help="What templates call text and answer."),
    click.option("--label-words", metavar="0=bad,1=good", help="Words for the raw answers."),
    click.option("--answers-as", metavar="HOW",
                 help="What numbers among the answers are, where rows bring options: text, from-0 "
                 "or from-1."),
    click.option("--group", metavar="COLUMN",
                 help="Column that says which items belong together (a passage, a user)."),
)  # fmt: skip
"""How a task is read."""

_ENGINE = {"engine": "name", "workers": "workers", "address": "address"}
"""Options of the engine, and its settings that they give."""

_READING = (
    "input", "target", "choices", "references", "instruction", "templates", "fields",
    "label_words", "answers_as", "group", "header",
)  # fmt: skip


def _what(model: str) -> Options:
    """Return the options that say which models and tasks."""
    return (
        click.option("--config", "config_file", type=click.Path(path_type=Path), metavar="FILE",
                     help="YAML or .py file with the settings; options given here override it."),
        click.option("--model", "--models", "models", multiple=True, metavar="NAME",
                     help="Hub id, folder, GGUF file, or a model of `adaptlens models list` "
                     f"(default: {model}); untrained:NAME has random weights, chat:NAME its chat "
                     "template. Repeatable."),
        click.option("--task", "tasks", multiple=True, metavar="TASK",
                     help="Bundled name, file, folder, hf:NAME[:CONFIG], or lm-eval YAML. "
                     "Repeatable."),
        *READING,
    )  # fmt: skip


_SHOTS = click.option(
    "--shots", callback=_numbers, metavar="0,4,16",
    help="Demonstrations for in-context learning; 0 is zero-shot.",
)  # fmt: skip
_ONE_SHOTS = click.option(
    "--shots", callback=_numbers, metavar="N",
    help="Demonstrations, and examples to tune on, of the main conditions (default: 16).",
)  # fmt: skip
_GOLD_SHOTS = click.option(
    "--shots", callback=_numbers, metavar="N", help="Gold examples before an item (default: 2).",
)  # fmt: skip

_COMPARISON = (
    click.option("--tuning", callback=_words, metavar="it,sl,full", help="Ways of tuning."),
    click.option("--sizes", callback=_numbers, metavar="4,16",
                 help="Training examples for tuning (default: the shots)."),
    click.option("--validation", type=int, metavar="N", help="Validation items, which choose."),
    click.option("--scoring", metavar="RULE",
                 help="raw, bytes, tokens, corrected or calibrated (default: validation chooses)."),
    click.option("--search/--no-search", default=None, help="Look for the best prompt, or do not."),
    click.option("--true-few-shot", is_flag=True, default=None,
                 help="Use no validation split: the examples themselves choose prompts and rates."),
)  # fmt: skip

_CONVERGENCE = (
    click.option("--counts", callback=_numbers, metavar="1,2,4",
                 help="Numbers of demonstrations of that factor."),
    click.option("--factors", callback=_words, metavar="A,B,..",
                 help="What is varied (default: everything); pairs, layers, demonstrations, ..."),
    click.option("--full", is_flag=True, default=None, help="Tune all weights, too."),
    click.option("--unrelated", metavar="TASK",
                 help="Task whose examples are the unrelated demonstrations."),
)  # fmt: skip

DIFFICULTY = click.option(
    "--difficulty", metavar="HOW", help="small or paper, of tasks with a shortcut."
)

_IMPLICIT = (
    click.option("--families", callback=_words, metavar="A,B,..",
                 help="expression, code, relation, boolean, algebra (default: all)."),
    DIFFICULTY,
    click.option("--parts", callback=_words, metavar="A,B",
                 help="behaviour, circuits (default: both)."),
)  # fmt: skip

_QUICK = click.option(
    "--quick", is_flag=True, default=None, help="A first look: fewer of everything."
)
_LIMITS = (
    click.option("--mixtures", callback=_words, metavar="A,B,..",
                 help="What is tuned on: default, and ablations (all of them; with tasks of your "
                 "own only what is named)."),
    click.option("--systems", callback=_words, metavar="A,B,..",
                 help="base, gold, regular, samplegen, pipeline (default: all)."),
    click.option("--variations", callback=_words, metavar="A,B,..",
                 help="Variations of the prompts that are read too."),
    click.option("--held-out", "held_out", callback=_words, metavar="A,B,..",
                 help="Tasks or clusters that are never tuned on."),
)  # fmt: skip

_SIZE = (
    click.option("--draws", type=int, metavar="N", help="Draws of demonstrations."),
    click.option("--queries", type=int, metavar="N", help="Test items."),
)

_HOW = (
    click.option("--selection", metavar="HOW", help="random, balanced, similar or embedding."),
    click.option("--on-overflow", metavar="HOW", help="error or drop-demos."),
)

_RUNNING = (
    click.option("--chat", is_flag=True, default=None, help="Use the tokenizer's chat template."),
    click.option("--dtype", metavar="TYPE", help="float32, bfloat16 or float16."),
    click.option("--device", metavar="WHERE", help="auto, cpu, cuda or mps."),
    click.option("--seed", type=int, metavar="N", help="Seed of the whole study."),
    click.option("--set", "overrides", multiple=True, metavar="PATH=VALUE",
                 help="Any other setting, such as tune.rank=16 or tune.steps=60."),
    click.option("--engine", metavar="NAME",
                 help="Who does the cells: in_process (default) or ray."),
    click.option("--workers", type=int, metavar="N",
                 help="Worker processes on this machine, or on the cluster; one per device."),
    click.option("--address", metavar="ADDRESS", help="Address of a Ray cluster."),
    click.option("--out", type=click.Path(path_type=Path), metavar="FOLDER",
                 help="Run folder (default: one named after study, models and tasks in runs/)."),
)  # fmt: skip

COMPARE_OPTIONS: Options = (*_what("reference"), _SHOTS, *_COMPARISON, *_SIZE, *_HOW, *_RUNNING)
CONVERGENCE_OPTIONS: Options = (*_what("reference"), _ONE_SHOTS, *_CONVERGENCE, *_SIZE, *_RUNNING)
IMPLICIT_OPTIONS: Options = (
    *_what("reference-math"), _SHOTS, *_COMPARISON, *_IMPLICIT, _QUICK, *_SIZE, *_RUNNING,
)  # fmt: skip
LIMITS_OPTIONS: Options = (
    *_what("ladder, all of it"),
    _GOLD_SHOTS,
    *_LIMITS,
    _QUICK,
    *_SIZE,
    *_RUNNING,
)
PLAN_OPTIONS: Options = (
    *_what("the study's own"), _SHOTS, *_COMPARISON, *_CONVERGENCE, *_IMPLICIT, *_LIMITS, _QUICK,
    *_SIZE, *_HOW, *_RUNNING,
)  # fmt: skip
"""What any study takes; those that mean nothing to the one planned are refused."""


_ALWAYS = ("config_file", "overrides", "out")


def options_of(schema: Any) -> Options:
    """Return those options that mean something to a study's settings."""
    known = {*schema.known(""), *_ALWAYS}
    known |= {*_READING} if "tasks" in known else set()
    known |= {*_ENGINE} if "engine" in known else set()
    return tuple(option for option in PLAN_OPTIONS if _setting(option) in known)


def _setting(option: Option) -> str:
    """Return the setting that an option gives."""

    @option
    def command() -> None: ...

    parameter: click.Parameter = command.__click_params__[-1]  # type: ignore[attr-defined]
    return str(parameter.name)


_OPTION = {"templates": "template", "label_words": "label-words", "answers_as": "answers-as"}
"""Options that are not called what their setting is."""


def reading(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of the options that say how to read a task that were given."""
    found = {name: given[name] for name in _READING if given.get(name) not in (None, ())}
    if "templates" in found:
        found["templates"] = list(found["templates"])
    if "fields" in found:
        found["fields"] = [word.strip() for word in found["fields"].split(",")]
    return found


def study_config(
    study: str, config_file: Path | None, overrides: tuple[str, ...], **given: Any
) -> Any:
    """Return the settings of a study from the options that were given.

    Raises:
        UserError: a setting is wrong, or an option means nothing to this study.
    """
    from adaptlens import registry
    from adaptlens.config.reading import load_config

    schema = registry.resolve("settings", study)
    about = reading(given)
    settings = {
        name: value
        for name, value in given.items()
        if name not in (*_READING, *_ENGINE) and value not in (None, ())
    }
    scheduled = [
        f"engine.{setting}={given[name]}"
        for name, setting in _ENGINE.items()
        if given.get(name) is not None
    ]
    if about and "tasks" not in settings:
        option = _OPTION.get(first := next(iter(about)), first)
        raise UserError(f"--{option} says how to read a task, but no --task was given; add --task.")
    for name in settings:
        if name not in schema.known(""):
            raise UserError(
                f"--{name} means nothing to the study '{study}'; leave it out, or name another "
                "study with --study."
            )
    if "tasks" in settings:
        named = [_named(name, study) for name in given["tasks"]]
        settings["tasks"] = [{**own, **about} for own in named]
    if "models" in settings:
        settings["models"] = list(settings["models"])
    if "shots" in settings and "shots" not in schema.lists:
        if len(settings["shots"]) != 1:
            written = ",".join(map(str, settings["shots"]))
            others = "; further ones are given as --counts 1,4,16"
            raise UserError(
                f"--shots {written}: the study '{study}' takes one number of demonstrations, for "
                f"example --shots 16{others if 'counts' in schema.known('') else ''}."
            )
        settings["shots"] = settings["shots"][0]
    return load_config(schema, config_file, (*scheduled, *overrides), settings)


def _named(task: str, study: str) -> dict[str, str]:
    """Return where a task is; that of a study of limits has its cluster before it: nli=rte.tsv."""
    cluster, equals, path = task.partition("=")
    if study == "limits" and equals and cluster and path:
        return {"path": path, "cluster": cluster}
    return {"path": task}
