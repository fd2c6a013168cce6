"""The command that lists the settings of a study: what each is, and what may be given."""

import json
from typing import TYPE_CHECKING

import click

from adaptlens.cli.options import json_option, user_errors

if TYPE_CHECKING:
    from adaptlens.report.printer import Printer

TABLE_WIDTH = 120
"""Of a terminal, for a table of five columns of which two are prose."""


@click.command()
@click.argument("study", default="compare")
@click.option("--schema", is_flag=True, help="Print a JSON Schema, for editors and validators.")
@json_option("the list as JSON")
@user_errors
def settings(study: str, schema: bool, as_json: bool) -> None:
    """List the settings of STUDY (compare, unless given) with defaults, meaning and examples."""
    from adaptlens import registry
    from adaptlens.config import listing
    from adaptlens.errors import unknown
    from adaptlens.report.printer import out
    from adaptlens.report.tables import Entry, Table

    if study not in registry.names("study"):
        raise unknown("study", study, registry.names("study"))
    found = registry.resolve("settings", study)
    if schema:
        click.echo(json.dumps(listing.json_schema(found), indent=2, ensure_ascii=False))
    elif as_json:
        click.echo(json.dumps(listing.rows(found)))
    elif (console := out()).width < TABLE_WIDTH:
        for row in listing.rows(found):
            _in_lines(console, *listing.cells(row))
    else:
        headings = tuple((heading, False) for heading in listing.HEADINGS)
        rows = tuple(tuple(map(Entry, listing.cells(row))) for row in listing.rows(found))
        console.table(Table("settings", f"settings of {study}", headings, rows))


def _in_lines(
    console: "Printer", name: str, expected: str, default: str, what: str, example: str
) -> None:
    """Print a setting for a terminal that is too narrow for a table of five columns."""
    from rich.padding import Padding

    console.print(f"{name} = {default}" if default else name, style="bold")
    for line in (what, f"Expected {expected}, such as {example}"):
        console.print(Padding(line, (0, 0, 0, 4)))
