"""The command `blemish`: puts the commands together and turns errors into one line and an exit status."""

from __future__ import annotations

import os
import sys
import warnings
from typing import Annotated, Any

import typer

from blemish import __version__
from blemish.cli import data, decide, facts, judge, learn, sensitivity, serve, speed, station, study, teach, zones
from blemish.cli.arguments import complete
from blemish.cli.console import EXIT_FAULT, EXIT_USER, is_reader_gone, lost_output, own_streams, say
from blemish.errors import BlemishError, EngineWarning, PageWarning

app = typer.Typer(
    name="blemish",
    help="Learns what good parts look like from good images only, then finds what is wrong with the next part.",
    invoke_without_command=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (
    learn.demo,
    learn.train,
    judge.evaluate,
    judge.inspect,
    decide.calibrate,
    teach.teach,
    sensitivity.sensitivity,
    study.compare,
    serve.serve,
    speed.verify,
    speed.bench,
    speed.quantize,
    speed.export,
    facts.info,
    facts.detectors,
):
    app.command()(command)
app.add_typer(facts.backbones_app, name="backbones")
app.add_typer(data.app, name="data")
app.add_typer(zones.app, name="zones")
app.add_typer(station.app, name="station")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"blemish {__version__}")
        raise typer.Exit


@app.callback()
def callback(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and stop.")
    ] = False,
) -> None:
    """Learns what good parts look like from good images only, then finds what is wrong with the next part."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def main() -> None:
    """Runs the command; exit status 0 done, 1 a reject was met, 2 the user must act, 3 a fault of ours."""
    with own_streams():
        status = _run(sys.argv[1:])
        lost = lost_output()
        if lost is not None and not is_reader_gone(lost):
            cause = (lost.strerror or str(lost)).lower()
            say(f"blemish: standard output: cannot be written ({cause}); free the disk or write elsewhere")
            status = EXIT_USER
    sys.exit(status)


def _run(arguments: list[str]) -> int:
    """The exit status of a command, whatever happens in it; faults are told."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always", EngineWarning)
            warnings.simplefilter("default", PageWarning)  # once for the whole run
            warnings.showwarning = _say_warning
            app(complete(arguments, app))
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    except BlemishError as error:
        say(f"blemish: {error}")
        return EXIT_USER
    except Exception as error:
        if os.environ.get("BLEMISH_TRACEBACK"):
            raise
        say(
            f"blemish: a fault in the program: {type(error).__name__}: {error}; "
            "set BLEMISH_TRACEBACK=1 to see where, and please report it"
        )
        return EXIT_FAULT
    return 0


def _say_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    """One line for people, without the place in the source that Python's own form names."""
    say(f"blemish: {message}")


if __name__ == "__main__":
    main()
