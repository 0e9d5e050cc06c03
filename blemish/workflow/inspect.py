"""Image files -> verdicts in order; one unreadable image does not stop the rest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from blemish.data.decode import IMAGE_SUFFIXES, read_image
from blemish.errors import DataError, ImageError
from blemish.inspection.inspector import Inspector
from blemish.outputs.overlay import map_scale
from blemish.outputs.sinks import CsvSink, JsonLinesSink, OverlaySink, Sink
from blemish.schema import Calibration, Progress, Verdict, silent


def collect_images(places: Sequence[Path]) -> list[Path]:
    """The image files named, and all those in and below the folders named. Raises DataError where there is none."""
    paths: list[Path] = []
    for place in places:
        if place.is_dir():
            found = sorted(path for path in place.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
            if not found:
                raise DataError(f"{place}: no image in this folder; images end in {', '.join(sorted(IMAGE_SUFFIXES))}")
            paths.extend(found)
        elif place.exists():
            paths.append(place)
        else:
            raise DataError(f"{place}: no such file or folder; check the path")
    return paths


def inspect_files(
    inspector: Inspector, paths: Sequence[Path], sinks: Sequence[Sink] = (), progress: Progress = silent
) -> Iterator[tuple[Path, Verdict | ImageError]]:
    """The verdict on each file, or the error of one that cannot be read, in the order given."""
    for number, path in enumerate(paths, start=1):
        try:
            image = read_image(path)
            verdict = inspector.inspect_image(image, str(path))
        except ImageError as error:
            yield path, error
            continue
        for sink in sinks:
            sink.write(verdict, image)
        yield path, verdict
        progress("inspecting", number, len(paths))


def open_sinks(folder: Path, calibration: Calibration, stack: ExitStack) -> tuple[Sink, ...]:
    """The places that verdicts of a folder run are written to; `stack` closes them."""
    return (
        stack.enter_context(JsonLinesSink(folder / "verdicts.jsonl")),
        stack.enter_context(CsvSink(folder / "verdicts.csv")),
        stack.enter_context(OverlaySink(folder / "overlays", map_scale(calibration))),
    )
