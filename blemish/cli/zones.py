"""The commands `zones`: where to look, drawn in the browser."""

from __future__ import annotations

import sys
import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from blemish.cli.console import print_json, say
from blemish.cli.options import Bits, Json, MaxPixels, Page, read_settings

app = typer.Typer(help="Zones: where to look and where not.", no_args_is_help=True)


@app.command()
def edit(
    image: Annotated[Path, typer.Argument(help="An image of the part to draw on.", show_default=False)],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="File to write; by default IMAGE.zones.json beside the image."),
    ] = None,
    port: Annotated[int, typer.Option(help="Port on this machine; 0: any that is free.", min=0, max=65535)] = 0,
    open_browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open the page in the browser, or only say where it is.")
    ] = True,
    bits: Bits = None,
    page: Page = None,
    max_pixels: MaxPixels = None,
    json: Json = False,
) -> None:
    """Draw inspect and ignore zones, defects and the scale in the browser, and write them to files.

    The page is served on this machine alone and needs no network. Give the file to `train` or `calibrate` with --zone.
    """
    from blemish.editor.server import Editor

    path = output or image.with_name(f"{image.stem}.zones.json")
    reading = read_settings(bits=bits, page=page, max_pixels=max_pixels)
    with Editor(image, path, port=port, reading=reading) as editor:
        say(f"draw at {editor.url} ; 'Save and close' there, or Ctrl-C here, ends it")
        sys.stderr.flush()
        if open_browser:
            webbrowser.open(editor.url)
        while not editor.wait(0.5):
            pass
    if json:
        drawing = editor.drawing
        print_json(
            {
                "written": [str(written) for written in editor.written],
                "num_inspect": len(drawing.inspect),
                "num_ignore": len(drawing.ignore),
                "num_defects": len(drawing.defects),
                "mm_per_px": drawing.mm_per_px,
            }
        )
        return
    for written in editor.written:
        say(f"written: {written}")
    if editor.drawing.inspect or editor.drawing.ignore:
        say(f"next: blemish train DATA -o part.blemish --zone {path}")
