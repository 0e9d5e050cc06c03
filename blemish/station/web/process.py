"""The process of the pages: `python -m blemish.station.web.process DATA`."""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path

import uvicorn

from blemish.errors import BlemishError
from blemish.station.process import Life, run_child, say
from blemish.station.settings import Settings, settings_of, split_address
from blemish.station.store.database import Engine, open_database
from blemish.station.store.plant import name_station, write_lane_files
from blemish.station.web.app import make_app

NICE = 5
RETRY_SECONDS = 1.0


def _open(settings: Settings, life: Life) -> Engine | None:
    """The database, as soon as it is there; None where the process should end before."""
    told = ""
    while not life.is_ending.is_set():
        life.beat()
        try:
            engine = open_database(settings.data, settings.database)
            name_station(engine, settings.name)
            write_lane_files(engine, settings)
        except BlemishError as error:
            if str(error) != told:
                told = str(error)
                say(told)
            life.is_ending.wait(RETRY_SECONDS)
        else:
            return engine
    return None


def main() -> int:
    settings = settings_of(Path(sys.argv[1]))
    life = Life()
    if hasattr(os, "nice"):
        os.nice(NICE)  # a page must not slow a lane down
    engine = _open(settings, life)
    if engine is None:
        return 0
    host, port = split_address(settings.web.listen)
    tls = settings.web.tls
    config = uvicorn.Config(
        make_app(settings, engine),
        host=host,
        port=port,
        log_level="warning",
        access_log=False,
        server_header=False,
        ws_max_size=1 << 20,
        ws_ping_interval=10.0,
        ws_ping_timeout=20.0,
        timeout_graceful_shutdown=2,
        ssl_certfile=None if tls is None else str(tls.certificate),
        ssl_keyfile=None if tls is None else str(tls.key),
    )
    server = uvicorn.Server(config)

    def watch() -> None:
        is_told = False
        while not life.is_ending.is_set():
            life.beat()
            if server.started and not is_told:
                is_told = True
                life.ready()
            time.sleep(0.1)
        server.should_exit = True

    threading.Thread(target=watch, daemon=True).start()
    server.run()
    return 0


if __name__ == "__main__":
    run_child(main)
