"""The command that answers other programs over HTTP: serve."""

from __future__ import annotations

from typing import Annotated

import typer

from blemish.cli.console import print_json, say, stopped_by_signals
from blemish.cli.options import (
    BundleFile,
    ConfigFile,
    EngineName,
    Json,
    MaxPixels,
    Page,
    Threads,
    read_settings,
)
from blemish.errors import SettingsError


def serve(
    bundle: BundleFile,
    host: Annotated[
        str, typer.Option(help="Address to listen at; by default only programs on this machine reach it.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen at; 0: any that is free.")] = 8000,
    workers: Annotated[int, typer.Option(help="Processes that share the address; they share the threads too.")] = 1,
    max_mb: Annotated[float, typer.Option(help="Largest image file that is taken, in megabytes.")] = 50.0,
    max_images: Annotated[int, typer.Option(help="Most images of one request.")] = 64,
    rate: Annotated[
        float, typer.Option(help="Most images a second of one client, for each process; 0: no limit.")
    ] = 0.0,
    engine: EngineName = "onnxruntime",
    threads: Threads = 0,
    page: Page = None,
    max_pixels: MaxPixels = None,
    config: ConfigFile = None,
    json: Json = False,
) -> None:
    """Answer over HTTP with verdicts, for other programs (extra `serve`); Ctrl-C ends it."""
    try:
        from blemish.serve.limits import ServeLimits
        from blemish.serve.run import LOOPBACK, ServeRequest
        from blemish.serve.run import serve as serve_bundle
    except ModuleNotFoundError as error:
        raise SettingsError(
            f'the server needs the extra `serve` (missing: {error.name}): pip install "blemish[serve]"'
        ) from None

    def tell(address: str) -> None:
        if json:
            print_json({"address": address, "workers": workers, "bundle": str(bundle)})
        say(f"{bundle} is served at {address} (the page there describes it); Ctrl-C ends it")
        if host not in LOOPBACK:
            say("anyone who reaches this address can use it: put it behind a proxy that asks who they are")

    request = ServeRequest(
        bundle,
        host,
        port,
        workers,
        engine,
        threads,
        ServeLimits(round(max_mb * 1e6), max_images, rate),
        read_settings(page=page, max_pixels=max_pixels),
    )
    with stopped_by_signals(lambda: None):  # the server has its own way to end well, and hands the signal on
        serve_bundle(request, tell)
