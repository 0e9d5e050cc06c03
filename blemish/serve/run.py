"""Runs the web application: one process, or several that share an address."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import uvicorn
from fastapi import FastAPI
from uvicorn.supervisors import Multiprocess

from blemish.errors import SettingsError
from blemish.model import load
from blemish.runtime.threads import budget
from blemish.schema import ReadSettings
from blemish.serve.app import make_app
from blemish.serve.limits import ServeLimits

_HANDED_ON = "BLEMISH_SERVE"
_BACKLOG = 2048
LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class ServeRequest:
    """What is served, where, and by how many processes; `threads` are those of all of them (0: one for each core)."""

    bundle: Path
    host: str = "127.0.0.1"
    port: int = 8000
    workers: int = 1
    engine: str = "onnxruntime"
    threads: int = 0
    limits: ServeLimits = field(default_factory=ServeLimits)
    reading: ReadSettings = field(default_factory=ReadSettings)

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise SettingsError(f"--port {self.port}: give 1 to 65535, or 0 for any that is free")
        if self.workers < 1:
            raise SettingsError(f"--workers {self.workers}: give 1 or more")

    @property
    def at_once(self) -> int:
        """How many images a process judges at a time, a thread for each."""
        return max(1, budget(self.threads) // self.workers)

    def app(self) -> FastAPI:
        """The application of one process."""
        threads = 1 if self.at_once == 1 else self.at_once
        model = load(self.bundle, engine=self.engine, threads=threads, reading=self.reading)
        return make_app(model, self.limits, at_once=self.at_once)


def serve(request: ServeRequest, tell: Callable[[str], None] = lambda address: None) -> None:
    """Serves until the process is asked to end; `tell` is called with the address once it is taken.

    Raises SettingsError where the address cannot be had, and what `load` and an engine raise.
    """
    app = request.app()  # also before several processes begin: what cannot be is told once
    listening = _listen(request.host, request.port)
    with listening:
        host, port = listening.getsockname()[:2]
        tell(f"http://{f'[{host}]' if ':' in host else host}:{port}")
        if request.workers == 1:
            uvicorn.Server(_config(app)).run(sockets=[listening])
            return
        os.environ[_HANDED_ON] = json.dumps({**asdict(request), "bundle": str(request.bundle.resolve())})
        config = _config("blemish.serve.run:handed_on", is_factory=True, workers=request.workers)
        Multiprocess(config, sockets=[listening]).run()


def handed_on() -> FastAPI:
    """The application of a process that another one began."""
    given = json.loads(os.environ[_HANDED_ON])
    limits, reading = ServeLimits(**given.pop("limits")), ReadSettings(**given.pop("reading"))
    return ServeRequest(**{**given, "bundle": Path(given["bundle"])}, limits=limits, reading=reading).app()


def _config(app: FastAPI | str, *, is_factory: bool = False, workers: int = 1) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        factory=is_factory,
        workers=workers,
        log_level="warning",
        access_log=False,
        server_header=False,
        lifespan="off",
    )


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listening = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise SettingsError(f"--host {host}: no such address ({error.strerror or error})") from error
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(_BACKLOG)
        listening.set_inheritable(True)
    except OSError as error:
        listening.close()
        raise SettingsError(
            f"{host}:{port} cannot be had ({(error.strerror or str(error)).lower()}); choose another --port"
        ) from error
    return listening
