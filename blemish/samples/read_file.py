"""What both Python programs share: image files by the rules of the package, and one line for each that is refused.

The folder `reading` beside this file holds the package's own readers: what the package refuses is refused here.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from blemish.images.container import ContainerError, Source
from blemish.images.read import MAX_FILE_BYTES, check_content, check_size, decode_container, read_container
from blemish.images.rgb import to_rgb

MAX_PIXELS = 500_000_000
NEEDED = (
    *("graph", "input_height", "input_width", "resize_rule", "image_threshold", "review_threshold", "score_decides"),
    *("tile_px", "overlap_px", "reduction", "bits", "page", "alignment"),
)

Judge = Callable[[Any], tuple[str, float]]
"""A function from an image, uint8 (height, width, 3) RGB, to its decision and score."""


class ProgramError(Exception):
    """What keeps the program from starting; the message says why and what to do."""


def read_facts(folder: Path) -> dict[str, Any]:
    """`model.json` of an exported folder."""
    try:
        facts: dict[str, Any] = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        missing = [name for name in NEEDED if name not in facts]
        if missing:
            raise ValueError(f"it has no {missing[0]}")
    except (OSError, ValueError, TypeError) as error:
        raise ProgramError(f"{folder / 'model.json'}: {error}; give the folder that `blemish export` wrote") from error
    return facts


def read_file(path: Path, facts: dict[str, Any]) -> Any:
    """The image of a file as uint8 (height, width, 3) RGB, upright. Raises ContainerError or OSError."""
    if not path.is_file():
        raise ContainerError("a folder, a pipe or a device, not a file" if path.exists() else "no such file")
    if path.stat().st_size > MAX_FILE_BYTES:
        raise ContainerError("the file is larger than 2 GB")
    data = path.read_bytes()
    if data.startswith(b"P6"):
        return read_ppm(data)
    container = read_container(Source(data), facts["page"])
    check_size(container.oriented_hw, MAX_PIXELS)
    check_content(data, container)
    return to_rgb(decode_container(data, container), facts["bits"])


def read_ppm(data: bytes) -> Any:
    """A binary PPM file of 8 bits, as the images in `check` are."""
    head = re.match(rb"P6\s+(\d{1,9})\s+(\d{1,9})\s+255\s", data)
    if head is None:
        raise ContainerError("not a binary PPM file of 8 bits")
    width, height = int(head[1]), int(head[2])
    check_size((height, width), MAX_PIXELS)
    pixels = data[head.end() : head.end() + height * width * 3]
    if len(pixels) < height * width * 3:
        raise ContainerError("the file is cut off")
    return np.frombuffer(pixels, np.uint8).reshape(height, width, 3)


@contextlib.contextmanager
def decoders_silent() -> Iterator[None]:
    """Libraries write lines of their own about damaged files to standard error; ours say all there is to say."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def run_program(open_judge: Callable[[dict[str, Any], Path], Judge], arguments: Sequence[str]) -> int:
    """Prints decision, score and path of each image; gives the exit status: 0, or 2 where a line on stderr says why."""
    for stream in (sys.stdout, sys.stderr):  # names of files may be no text
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    if not arguments:
        print("give the folder that `blemish export` wrote, then images", file=sys.stderr)
        return 2
    try:
        folder = Path(arguments[0])
        facts = read_facts(folder)
        judge = open_judge(facts, folder)
    except ProgramError as error:
        print(error, file=sys.stderr)
        return 2
    status = 0
    try:
        for name in arguments[1:]:
            try:
                with decoders_silent():
                    image = read_file(Path(name), facts)
                decision, score = judge(image)
            except (ContainerError, OSError, MemoryError) as error:
                print(f"{name}: {error or 'not enough memory'}", file=sys.stderr)
                status = 2
                continue
            print(decision, f"{score:.6g}", name, flush=True)
    except BrokenPipeError:  # nobody reads on
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return status
