"""What several commands share: options that give settings, JSON, errors in one line."""

import sys
from collections.abc import Callable
from functools import wraps
from typing import Any

import click

from adaptlens.errors import RunIncomplete, UserError
from adaptlens.formatting import say
from adaptlens.store.addresses import without_password

Command = Callable[..., None]


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
