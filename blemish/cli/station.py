"""The command `station`: the application at the line, and what an administrator does with it."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from blemish.cli.console import EXIT_USER, print_json, say, show
from blemish.cli.options import Json
from blemish.cli.progress import progress_bars
from blemish.errors import SettingsError

if TYPE_CHECKING:
    from blemish.station.settings import Settings

app = typer.Typer(help="The station: judges at a line, loses nothing, and shows it live.", invoke_without_command=True)
user_app = typer.Typer(help="Users and keys, from the machine itself.", no_args_is_help=True)
app.add_typer(user_app, name="user")

PACKAGES = ("fastapi", "uvicorn", "websockets", "sqlalchemy", "argon2", "multipart")
SettingsFile = Annotated[
    Path | None,
    typer.Option("--settings", help="The settings file; left out, ./station.toml.", show_default=False),
]
DataOption = Annotated[
    Path | None, typer.Option("--data", help="The data folder (./station-data).", show_default=False)
]
Listen = Annotated[
    str | None, typer.Option("--listen", help="Host and port of the pages (127.0.0.1:8400).", show_default=False)
]


def _settings(settings_file: Path | None, data: Path | None, listen: str | None = None) -> Settings:
    """The settings that a command works with. Raises SettingsError."""
    missing = [package for package in PACKAGES if importlib.util.find_spec(package) is None]
    if missing:
        raise SettingsError(
            f'the station needs the extra `station` (missing: {", ".join(missing)}): pip install "blemish[station]"'
        )
    from blemish.station.settings import read_settings

    usual = Path("station.toml")
    return read_settings(settings_file or (usual if usual.is_file() else None), data, listen=listen)


@app.callback()
def station(
    context: typer.Context,
    demo: Annotated[bool, typer.Option("--demo", help="Show solar cells from a simulated camera and PLC.")] = False,
    settings_file: SettingsFile = None,
    data: DataOption = None,
    listen: Listen = None,
) -> None:
    """Run the station: judges at a line, loses nothing, and shows it live, until Ctrl-C or a request to end."""
    if context.invoked_subcommand is not None:
        return
    if demo and data is None:
        data = Path("station-demo")
    settings = _settings(settings_file, data, listen)
    if demo:
        settings = settings.model_copy(update={"is_demo": True})
    from blemish.station.run import run_station

    with progress_bars() as progress:
        run_station(settings, say, progress)


@app.command()
def check(
    settings_file: SettingsFile = None, data: DataOption = None, listen: Listen = None, json: Json = False
) -> None:
    """Try all that the station needs: settings, folder, disk, address, database, lanes."""
    from blemish.station.check import check_station

    findings = list(check_station(_settings(settings_file, data, listen)))
    if json:
        print_json({finding.name: {"text": finding.text, "is_fault": finding.is_fault} for finding in findings})
    else:
        for finding in findings:
            show(f"{'FAULT' if finding.is_fault else 'ok':5}  {finding.name}: {finding.text}")
    if any(finding.is_fault for finding in findings):
        raise typer.Exit(EXIT_USER)


@app.command()
def verify(
    settings_file: SettingsFile = None,
    data: DataOption = None,
    images: Annotated[bool, typer.Option("--images/--no-images", help="Hash each picture too.")] = True,
    json: Json = False,
) -> None:
    """Find rows, journal segments and pictures that are not as they were written."""
    from blemish.station.run import check_data
    from blemish.station.store.backup import verify as find_faults
    from blemish.station.store.database import open_database

    settings = _settings(settings_file, data)
    check_data(settings.data)
    faults = list(find_faults(open_database(settings.data, settings.database), settings.data, with_images=images))
    if json:
        print_json({"faults": faults})
    else:
        for fault in faults:
            show(fault)
        show(f"{len(faults)} faults found" if faults else "all is as it was written")
    if faults:
        raise typer.Exit(EXIT_USER)


@app.command()
def backup(
    output: Annotated[Path, typer.Argument(help="The zip file to write.", show_default=False)],
    settings_file: SettingsFile = None,
    data: DataOption = None,
    json: Json = False,
) -> None:
    """Write all of a station into one file, also while it runs."""
    from blemish.station.run import check_data
    from blemish.station.store.backup import back_up

    settings = _settings(settings_file, data)
    check_data(settings.data)
    count = back_up(settings, output)
    if json:
        print_json({"path": str(output), "num_files": count})
    else:
        show(f"{output}: {count} files")


@app.command()
def restore(
    archive: Annotated[Path, typer.Argument(help="A file that `blemish station backup` wrote.", show_default=False)],
    settings_file: SettingsFile = None,
    data: DataOption = None,
    json: Json = False,
) -> None:
    """Bring a backup into a new data folder."""
    from blemish.station.run import check_data
    from blemish.station.store.backup import restore as bring_back

    settings = _settings(settings_file, data)
    count = bring_back(archive, settings.data)
    check_data(settings.data)
    if json:
        print_json({"path": str(settings.data), "num_files": count})
    else:
        show(f"{settings.data}: {count} files; now run `blemish station verify`")


@app.command()
def export(
    output: Annotated[Path, typer.Argument(help="The file to write.", show_default=False)],
    lot: Annotated[str | None, typer.Option(help="Parts of this lot only.", show_default=False)] = None,
    form: Annotated[Literal["csv", "jsonl"], typer.Option("--format", help="Form of the file.")] = "csv",
    settings_file: SettingsFile = None,
    data: DataOption = None,
    json: Json = False,
) -> None:
    """Write the verdicts on all parts, or on those of a lot, into a file."""
    from blemish.station.run import check_data
    from blemish.station.store.backup import export_parts
    from blemish.station.store.database import open_database
    from blemish.station.store.queries import PartFilter

    settings = _settings(settings_file, data)
    check_data(settings.data)
    engine = open_database(settings.data, settings.database)
    count = export_parts(engine, output, PartFilter(lot=lot), form)
    if json:
        print_json({"path": str(output), "num_parts": count})
    else:
        show(f"{output}: {count} parts")


@app.command()
def service(settings_file: SettingsFile = None, data: DataOption = None) -> None:
    """Print a systemd unit that runs the station as a user of its own."""
    settings = _settings(settings_file, data)
    program = Path(sys.argv[0]).resolve() if os.path.sep in sys.argv[0] else Path(sys.executable).parent / "blemish"
    options = f" --settings {settings_file.resolve()}" if settings_file is not None else ""
    for line in (
        "[Unit]",
        "Description=blemish station",
        "After=network.target",
        "",
        "[Service]",
        "User=blemish",
        f"ExecStart={program} station{options} --data {settings.data}",
        "Restart=always",
        "RestartSec=1",
        "KillMode=mixed",
        "TimeoutStopSec=60",
        "NoNewPrivileges=yes",
        "ProtectSystem=strict",
        "ProtectHome=yes",
        "PrivateTmp=yes",
        f"ReadWritePaths={settings.data}",
        "",
        "[Install]",
        "WantedBy=multi-user.target",
    ):
        show(line)


@user_app.command("add")
def add_user(
    name: Annotated[str, typer.Argument(help="The user's name.", show_default=False)],
    role: Annotated[
        list[str], typer.Option("--role", help="viewer, operator, quality, engineer or admin; may be given many times.")
    ],
    settings_file: SettingsFile = None,
    data: DataOption = None,
    json: Json = False,
) -> None:
    """Print a one-time link that makes a user, or sets the password of one anew."""
    from blemish.station.run import check_data, page_address
    from blemish.station.store.audit import Actor
    from blemish.station.store.database import open_database
    from blemish.station.store.people import invite

    settings = _settings(settings_file, data)
    check_data(settings.data)
    token = invite(open_database(settings.data, settings.database), Actor(), name, tuple(role))
    link = f"{page_address(settings)}/first?token={token}"
    if json:
        print_json({"name": name, "link": link})
    else:
        show(f"{link} (works once, for 30 minutes)")


@user_app.command("list")
def list_users(settings_file: SettingsFile = None, data: DataOption = None, json: Json = False) -> None:
    """List the users and their roles."""
    from blemish.station.run import check_data
    from blemish.station.store.database import open_database
    from blemish.station.store.people import list_users as find_users

    settings = _settings(settings_file, data)
    check_data(settings.data)
    users = find_users(open_database(settings.data, settings.database))
    if json:
        print_json({"users": [vars(user) for user in users]})
        return
    for user in users:
        show(f"{user.name}: {', '.join(user.roles)}{' (disabled)' if user.is_disabled else ''}")


@user_app.command("disable")
def disable_user(
    name: Annotated[str, typer.Argument(help="The user's name.", show_default=False)],
    settings_file: SettingsFile = None,
    data: DataOption = None,
    json: Json = False,
) -> None:
    """End a user's access at once."""
    from blemish.station.run import check_data
    from blemish.station.store.audit import Actor
    from blemish.station.store.database import open_database
    from blemish.station.store.people import disable_user as end_access

    settings = _settings(settings_file, data)
    check_data(settings.data)
    end_access(open_database(settings.data, settings.database), Actor(), name)
    if json:
        print_json({"name": name, "is_disabled": True})
    else:
        show(f"{name}: disabled")


@user_app.command("key")
def make_key(
    name: Annotated[str, typer.Argument(help="What the key is for.", show_default=False)],
    settings_file: SettingsFile = None,
    data: DataOption = None,
    json: Json = False,
) -> None:
    """Print a new API key that may send images and read verdicts; it is shown this once."""
    from blemish.station.core.rights import Right
    from blemish.station.run import check_data
    from blemish.station.store.audit import Actor
    from blemish.station.store.database import open_database
    from blemish.station.store.people import make_key as make

    settings = _settings(settings_file, data)
    check_data(settings.data)
    engine = open_database(settings.data, settings.database)
    key = make(engine, Actor(), name, (Right.INSPECT, Right.SEE_PARTS, Right.WATCH))
    if json:
        print_json({"name": name, "key": key})
    else:
        show(key)
