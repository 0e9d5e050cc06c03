"""A PostgreSQL server for tests, from what the machine has installed: begun for them, and gone after them."""

from __future__ import annotations

import itertools
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_names = itertools.count()


def server_programs() -> Path | None:
    """The folder of `initdb` and `pg_ctl`, None where there is no server."""
    found = shutil.which("pg_ctl")
    places = [Path(found).resolve().parent] if found else []
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((place for place in places if (place / "initdb").exists()), None)


@contextmanager
def running_server(programs: Path) -> Iterator[str]:
    """The address of a server on the loopback device. It refuses to run as root: then it runs as `postgres`."""
    import pwd

    who = pwd.getpwnam("postgres") if os.geteuid() == 0 else None
    as_whom = {} if who is None else {"user": who.pw_uid, "group": who.pw_gid}
    folder = Path(tempfile.mkdtemp(prefix="blemish-pg-"))
    if who is not None:
        os.chown(folder, who.pw_uid, who.pw_gid)

    def call(name: str, *arguments: str) -> None:
        subprocess.run(
            [str(programs / name), "-D", str(folder / "db"), *arguments],
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=folder,
            **as_whom,  # type: ignore[call-overload]
        )

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    try:
        call("initdb", "-A", "trust", "-U", "blemish")
        call(
            "pg_ctl", "-o", f"-k {folder} -h 127.0.0.1 -p {port} -c fsync=off", "-l", str(folder / "log"), "-w", "start"
        )
        yield f"postgresql://blemish@127.0.0.1:{port}"
    finally:
        subprocess.run(
            [str(programs / "pg_ctl"), "-D", str(folder / "db"), "-m", "immediate", "stop"],
            check=False,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=folder,
            **as_whom,  # type: ignore[call-overload]
        )
        shutil.rmtree(folder, ignore_errors=True)


def new_database(server: str) -> str:
    """The address of a new, empty database of a server."""
    import psycopg

    name = f"test{next(_names)}"
    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")  # type: ignore[call-overload]
    return f"{server}/{name}"
