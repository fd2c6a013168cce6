"""`adaptlens lm-eval`: the command of lm-evaluation-harness, with `--model adaptlens` to choose."""

import importlib.util
import sys

import click

from adaptlens.cli.options import user_errors
from adaptlens.errors import UserError, first_line

_PASSED_ON = {
    "ignore_unknown_options": True,
    "allow_interspersed_args": False,
    "help_option_names": [],
}


@click.command("lm-eval", context_settings=_PASSED_ON)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[ARGUMENTS]...")
@user_errors
def lm_eval(arguments: tuple[str, ...]) -> None:
    """Run lm-evaluation-harness with adaptlens as its model: lm-eval's own options.

    The model is --model adaptlens unless another is named; prompts that begin alike are read once.
    Needs the extra lm-eval. See lm_eval --help for the options.
    """
    if importlib.util.find_spec("lm_eval") is None:
        raise UserError(
            "`adaptlens lm-eval` needs the package lm-eval, which is not installed; run "
            "pip install 'adaptlens[lm-eval]'."
        )
    from lm_eval.__main__ import cli_evaluate

    import adaptlens.lm.lm_eval_model  # noqa: F401 (which registers the model)

    before, sys.argv = sys.argv, ["lm_eval", *_with_model(arguments)]
    try:
        cli_evaluate()
    except ConnectionError as error:
        raise UserError(
            f"lm-eval could not load a data set: {first_line(error)}; go online, or give tasks "
            "whose data are in the Hugging Face cache."
        ) from error
    finally:
        sys.argv = before


def _with_model(arguments: tuple[str, ...]) -> list[str]:
    """Return the arguments, with `--model adaptlens` where a run names none."""
    runs = len(arguments) > 1 and arguments[0] not in ("ls", "validate")
    named = any(one.split("=")[0] in ("--model", "-M", "--config", "-C") for one in arguments)
    return [*arguments, "--model", "adaptlens"] if runs and not named else [*arguments]
