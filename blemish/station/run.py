"""`blemish station`: makes what is missing, says where the pages are, and runs until it is stopped."""

from __future__ import annotations

import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

from blemish import __version__
from blemish.errors import OutputError, SettingsError
from blemish.files import locked, make_folder, write_file
from blemish.schema import Progress
from blemish.station.demo import prepare_demo
from blemish.station.settings import Settings, hand_over, split_address
from blemish.station.store.audit import Actor
from blemish.station.store.database import StoreError, open_database
from blemish.station.store.people import has_users, invite
from blemish.station.supervise import Supervisor
from blemish.text import json_text

DATA_VERSION = 1
ORPHAN_SECONDS = 5.0
Say = Callable[[str], object]


def prepare(settings: Settings) -> None:
    """The data folder is there, and is one of this version. Raises SettingsError or OutputError."""
    make_folder(settings.data)
    settings.data.chmod(0o700)
    mark = settings.data / "station.json"
    if mark.exists():
        check_data(settings.data)
        return
    if any(path.name not in ("run", "log") and not path.name.startswith(".") for path in settings.data.iterdir()):
        raise SettingsError(f"{settings.data}: holds other things and no station; name an empty or a new folder")
    write_file(mark, json_text({"version": DATA_VERSION, "made_by": __version__}).encode())


def check_data(data: Path) -> None:
    """Raises SettingsError where the folder holds no station, or one of another version."""
    import json

    mark = data / "station.json"
    try:
        version = json.loads(mark.read_text("utf-8"))["version"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SettingsError(f"{mark}: cannot be read; is {data} the data folder of a station?") from error
    if version != DATA_VERSION:
        raise SettingsError(
            f"{mark}: the data folder has version {version}, this program knows {DATA_VERSION}; "
            "install the version of blemish that made it, or name another folder"
        )


def wait_for_address(settings: Settings) -> None:
    """As `check_address`, after a while: the pages of a station that was killed end by themselves within seconds."""
    deadline = time.monotonic() + ORPHAN_SECONDS
    while True:
        try:
            check_address(settings)
        except OutputError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
        else:
            return


def check_address(settings: Settings) -> None:
    """Raises OutputError where another program listens there already."""
    host, port = split_address(settings.web.listen)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise OutputError(
                f"{settings.web.listen}: cannot be listened at ({(error.strerror or str(error)).lower()}); "
                "stop what is there, or give --listen 127.0.0.1:8401"
            ) from error


def page_address(settings: Settings) -> str:
    return f"{'http' if settings.web.tls is None else 'https'}://{settings.web.listen}"


def _offer_first_link(settings: Settings, say: Say) -> None:
    """Says how the first user is made. A database of another machine may be away: the lanes go on without it."""
    try:
        engine = open_database(settings.data, settings.database)
    except StoreError as error:
        if settings.database == "sqlite":
            raise
        say(f"{error}; the lanes go on, and the database is filled when it is back")
        return
    if not has_users(engine):
        token = invite(engine, Actor())
        say(f"make the first user: {page_address(settings)}/first?token={token} (works once, for 30 minutes)")
    engine.dispose()


def run_station(settings: Settings, say: Say, progress: Progress) -> None:
    """Runs the station until a signal ends it."""
    start = time.monotonic()
    prepare(settings)
    with locked(settings.data / "station", patience_seconds=3.0):
        wait_for_address(settings)
        hand_over(settings)
        if settings.is_demo:
            prepare_demo(settings, progress)
        _offer_first_link(settings, say)
        supervisor = Supervisor(settings, say)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: supervisor.stop())

        def tell_when_ready() -> None:
            while not supervisor.is_ready():
                time.sleep(0.05)
            say(f"ready after {time.monotonic() - start:.1f} s: {page_address(settings)}")

        threading.Thread(target=tell_when_ready, daemon=True).start()
        supervisor.run()
        say("stopped")
