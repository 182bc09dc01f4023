"""The command `ollama serve`: a gateway on the store, until it is told to stop.

Rule: settings come from the environment and a file, and are all checked before anything is opened.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

import click
import msgspec

from sagalog_cli.interrupts import Stopped
from sagalog_cli.ollama.gateway_command import extra
from sagalog_cli.session import Session, StoreCommand, pass_session


@click.command("serve", cls=StoreCommand, short_help="Run a gateway in front of Ollama.")
@click.option(
    "--settings",
    "file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    envvar="SAGALOG_OLLAMA_FILE",
    show_envvar=True,
    help="A TOML file with settings; variables SAGALOG_OLLAMA_… win over it.",
)
@click.option("--bind", metavar="HOST:PORT", help="Where it listens.  [default: 127.0.0.1:11435]")
@click.option("--target", metavar="URL", help="The Ollama behind it.  [default: http://127.0.0.1:11434]")
@pass_session
def serve(session: Session, file: Path | None, bind: str | None, target: str | None) -> None:
    """Run a gateway in front of Ollama: it takes requests up as jobs, and drains them by the model that is loaded.

    SIGTERM or Ctrl-C ends it: the job that runs may finish within the grace of the settings, and begins again elsewhere
    or later if it does not. A second signal ends it at once; no job is lost by that.
    """
    with extra():
        from sagalog_ollama.serving import server_of
    from sagalog_http import configure_logs
    from sagalog_ollama import PREFIX, read_settings

    variables = {name: text for name, text in os.environ.items() if name != f"{PREFIX}FILE"}
    given = {name: text for name, text in (("bind", bind), ("target", target)) if text is not None}
    settings = msgspec.structs.replace(read_settings(variables, file), **given)
    with session.open_for(None, lambda _: None) as engine:
        server = server_of(engine, settings)
        configure_logs(session.as_json)
        session.note("serving", f"{server.url} queues for {settings.target}", url=server.url)
        server.run()
    if server.signal == signal.SIGINT:
        raise Stopped(signal.SIGINT)
