"""What several commands share: options that give settings, JSON, errors in one line."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import click

from adaptlens.errors import RunIncomplete, UserError
from adaptlens.formatting import say
from adaptlens.store.addresses import without_password

Command = Callable[..., None]


class OneLine(click.ClickException):
    """What is wrong with a command line, in the form of every other error."""

    exit_code = 2

    def show(self, file: Any = None) -> None:
        """Print it."""
        say(f"error: {self.message}", talk=True)


class Commands(click.Group):
    """Commands with whole summaries in their list, whose errors of use are one line."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the names of all commands, each with its summary, however many lines it takes."""
        listed = ((name, self.get_command(ctx, name)) for name in self.list_commands(ctx))
        rows = [(name, one.get_short_help_str(limit=500)) for name, one in listed if one]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def make_context(self, *given: Any, **named: Any) -> click.Context:
        """Return the context of these arguments."""
        with _in_one_line():
            return super().make_context(*given, **named)

    def invoke(self, ctx: click.Context) -> Any:
        """Carry the command out."""
        with _in_one_line():
            return super().invoke(ctx)


@contextmanager
def _in_one_line() -> Iterator[None]:
    try:
        yield
    except click.exceptions.NoArgsIsHelpError:
        raise
    except click.UsageError as error:
        said = " ".join(error.format_message().split())
        said = f"{said[:1].lower()}{said[1:]}{'' if said.endswith(('.', '?')) else '.'}"
        help_of = f" See `{error.ctx.command_path} --help`." if error.ctx else ""
        raise OneLine(f"{said}{help_of}") from error


class SettingsCommand(click.Command):
    """A command with options that give settings; they are made when it is used.

    Attributes:
        study: the study whose settings they give; "" for those of any study, None for how a task
            is read.
    """

    def __init__(self, *given: Any, study: str | None, **named: Any) -> None:
        super().__init__(*given, **named)
        self.study = study
        self._made: list[click.Option] | None = None

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return the options that give settings, then the command's own."""
        if self._made is None:
            # No other command waits for the settings of all studies to be imported.
            from adaptlens.cli import settings_options

            self._made = settings_options.options(self.study)
        return [*self._made, *super().get_params(ctx)]


def json_option(what: str = "as JSON") -> Callable[[Command], Command]:
    """Return the option that prints data for programs."""
    return click.option("--json", "as_json", is_flag=True, help=f"Print {what}.")


def track_option(command: Command) -> Command:
    """Add the option that tells a tracker what was found."""
    return click.option(
        "--track",
        type=click.Choice(["wandb", "mlflow", "trackio"]),
        help="Also put settings, verdicts, scores and the page into this tracker, on this machine "
        "unless its own settings say otherwise.",
    )(command)


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
