"""The command that takes an adapter out of a run, and sends it to the hub if that is asked for."""

import json
from pathlib import Path
from typing import Any

import click

from adaptlens.cli.options import json_option, user_errors
from adaptlens.errors import UserError
from adaptlens.formatting import byte_size, say


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--arm", required=True, metavar="ARM", help="Whose adapter: it-16, best-it-16.")
@click.option("--draw", type=click.IntRange(0), help="Which draw's; the first unless given.")
@click.option("--model", default="", help="Whose, where the run has several models.")
@click.option("--task", default="", help="Tuned to which, where the run has several tasks.")
@click.option(
    "--to",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="FOLDER",
    help="Write it there; nothing is replaced.",
)
@click.option(
    "--base-model",
    default="",
    metavar="HUB_ID",
    help="What the base is called on the hub, where the run has it from a folder.",
)
@click.option(
    "--push-to-hub",
    metavar="OWNER/NAME",
    help="Send it to this repository of the Hugging Face hub, which must be new or empty.",
)
@click.option("--public", is_flag=True, help="Let everyone read that repository.")
@click.option("--dry-run", is_flag=True, help="Show what would be written and sent; do neither.")
@json_option("what was written and sent as JSON")
@user_errors
def export(
    run: Path,
    to: Path | None,
    push_to_hub: str | None,
    public: bool,
    dry_run: bool,
    as_json: bool,
    **which: Any,
) -> None:
    """Take an adapter out of a comparison: PEFT's two files, and a model card with its numbers.

    A repository is private unless --public is given. The token is HF_TOKEN or that of
    `hf auth login`, and is neither written nor shown.
    """
    from adaptlens.models import hub_upload
    from adaptlens.store import Run
    from adaptlens.studies.compare.exported_adapter import exported

    if to is None and push_to_hub is None and not dry_run:
        raise UserError("nothing to do: give --to FOLDER, --push-to-hub OWNER/NAME, or --dry-run.")
    if public and push_to_hub is None:
        raise UserError("--public was given without --push-to-hub OWNER/NAME; give both, or none.")
    if push_to_hub is not None:
        hub_upload.check_name(push_to_hub)
    if which["base_model"]:
        hub_upload.check_name(which["base_model"], "--base-model")
    found = exported(Run.open(run), **which, name=push_to_hub or "")
    if to is not None and not dry_run:
        found.write(to)
    address = ""
    if push_to_hub is not None and not dry_run:
        address = hub_upload.push(push_to_hub, found.files, public=public)
    sizes = {name: len(content) for name, content in found.files.items()}
    if as_json:
        told = {"arm": found.arm, "draw": found.draw, "base_model": found.base_model}
        files = [{"file": name, "bytes": size} for name, size in sizes.items()]
        done = {"written_to": str(to) if to and not dry_run else None, "pushed_to": address or None}
        click.echo(json.dumps({**told, "files": files, **done, "card": _card(found)}))
        return
    for name, size in sizes.items():
        say(f"{name} ({byte_size(size)})")
    if dry_run:
        kept = "public" if public else "private"
        whither = f", to {push_to_hub} ({kept})" if push_to_hub else ""
        say(f"would be written{whither}; the card:\n\n{_card(found)}")
    elif to is not None:
        say(f"written to {to}")
    if address:
        say(f"pushed to {address}")


def _card(found: Any) -> str:
    return found.files["README.md"].decode()
