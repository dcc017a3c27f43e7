"""`stagerun serve`: runs in a browser, from the journal."""

import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import click

from stagerun.commands.help import help_option
from stagerun.commands.options import ENVIRONMENT, journal_option, option
from stagerun.commands.printing import say
from stagerun.commands.surroundings import Surroundings, pass_surroundings
from stagerun.errors import UsageError
from stagerun.machine import ci


PORT: Final = 8421
_EVERYWHERE: Final = ("0.0.0.0", "::")  # noqa: S104 - compared, not bound


@click.command("serve", epilog=ENVIRONMENT)
@option("--host", default="127.0.0.1", show_default=True, metavar="HOST", help="The address to listen on.")
@option("--port", type=click.IntRange(0, 65535), default=PORT, show_default=True, metavar="PORT", help="The port.")
@option("--open", "open_", is_flag=True, help="Open the page in a browser.")
@option("--new-token", is_flag=True, help="Replace the token: browsers that knew the old one have to enter again.")
@journal_option
@help_option
@pass_surroundings
def command(here: Surroundings, *, host: str, port: int, open_: bool, new_token: bool) -> None:
    """Show runs in a browser, live, wherever they were started.

    It reads the journal. What its pages start, cancel or resume are processes of their own, which go on when it ends.
    """
    try:
        from stagerun.web import app, serving, tokens
        from stagerun.web.guard import LOOPBACK, Access
        from stagerun.web.site import Site
    except ModuleNotFoundError as error:
        raise UsageError(
            f"the web page needs {error.name}, which is not installed", "install it: pip install 'stagerun[web]'"
        ) from None
    folder = here.project.root / ".stagerun"
    token = tokens.token(folder, new=new_token)
    listening = serving.listen(host, port)
    port = listening.getsockname()[1]
    local = host in ("127.0.0.1", "localhost", "::1")
    hosts = LOOPBACK if local else LOOPBACK | {_bracketed(host).lower(), *_own_names()}
    access = Access(token=token, port=port, hosts=hosts, any_address=host in _EVERYWHERE)
    if not local:
        say(
            here,
            f"warning: other machines can reach {host} port {port}, and what they send is not encrypted",
            "on this machine alone: leave --host out, and use ssh -L to come from elsewhere",
        )
    shown = f"http://{_bracketed('127.0.0.1' if host in _EVERYWHERE else host)}:{port}/"
    site = Site(here.project.root, here.project.recipes, here.journal)
    serving.serve(app.create(site, access), listening, _greeting(here, shown, token, tokens.place(folder), open_=open_))


def _greeting(here: Surroundings, address: str, token: str, place: Path, *, open_: bool) -> Callable[[], None]:
    """Return what is done when requests are answered: say where, and open a browser."""
    entrance = f"{address}?token={token}"

    def greet() -> None:
        # A log is read by others than a terminal.
        private = sys.stdout.isatty() and here.system is ci.System.NONE
        click.echo(f"stagerun serves {here.project.root.name} on {entrance if private else address}")
        if not private:
            click.echo(f"the token is in {place}")
        click.echo("Ctrl-C ends it")
        sys.stdout.flush()
        if open_:
            _open(entrance, place.with_name("enter.html"))

    return greet


def _open(entrance: str, file: Path) -> None:
    """Open a browser by way of a file that only its owner can read: the command line of a browser is public."""
    import webbrowser

    file.unlink(missing_ok=True)
    text = f'<!doctype html><meta charset="utf-8"><meta http-equiv="refresh" content="0; url={entrance}">'
    with os.fdopen(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as stream:
        stream.write(text)
    webbrowser.open(file.absolute().as_uri())


def _own_names() -> set[str]:
    name = socket.gethostname().lower()
    return {name, socket.getfqdn().lower()} if name else set()


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
