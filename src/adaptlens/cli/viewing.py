"""The command that shows the runs in a folder, as a file or from this machine alone."""

import functools
import json
from dataclasses import asdict
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import click

from adaptlens.cli.options import json_option, user_errors
from adaptlens.errors import UserError
from adaptlens.formatting import say

HOST = "127.0.0.1"
"""Nothing outside this machine can reach what is served."""


@click.command()
@click.argument("folder", type=click.Path(path_type=Path), default="runs")
@click.option(
    "--serve", is_flag=True, help=f"Also serve it, and every run, on {HOST} until Ctrl-C."
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8000,
    show_default=True,
    help="Where to serve; 0 takes any that is free.",
)
@json_option("what the index has as JSON")
@user_errors
def view(folder: Path, serve: bool, port: int, as_json: bool) -> None:
    """Write a page of all the runs in FOLDER (default: runs), with what each of them found.

    It is FOLDER/index.html: one file that loads nothing. It links to every run's page, filters, and
    sets two runs side by side; the address of a pair can be sent to someone.
    """
    from adaptlens.studies import runs_index

    path = runs_index.write(folder)
    if as_json:
        click.echo(
            json.dumps(
                {"index": str(path), "runs": [asdict(row) for row in runs_index.rows(folder)]}
            )
        )
    else:
        say(f"index: {path}")
    if serve:
        with server(folder, port) as listening:
            say(f"http://{HOST}:{listening.server_address[1]}/ (Ctrl-C ends it)", talk=True)
            try:
                listening.serve_forever()
            except KeyboardInterrupt:
                say("stopped", talk=True)


def server(folder: Path, port: int) -> ThreadingHTTPServer:
    """Return a server of the files in a folder, for this machine alone.

    Raises:
        UserError: the port is taken.
    """
    try:
        return ThreadingHTTPServer((HOST, port), functools.partial(_Files, directory=str(folder)))
    except OSError as error:
        raise UserError(
            f"port {port} of {HOST} cannot be used ({error.strerror}); give another with --port, "
            "or 0 for any that is free."
        ) from None


class _Files(SimpleHTTPRequestHandler):
    """Serves files to those who ask for this machine by its own name, and says nothing."""

    def send_head(self):
        """Refuse a page of another site that had its name point here (DNS rebinding)."""
        host = self.headers.get("Host", "").rpartition(":")[0] or self.headers.get("Host", "")
        if host not in (HOST, "localhost"):
            self.send_error(403, "asked for by another name")
            return None
        return super().send_head()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing of each file."""
