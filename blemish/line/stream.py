"""Image files -> verdicts in order, on all cores; what fails for one image or one place does not stop the rest."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from blemish.datasets.listing import OVERLAYS, VERDICTS
from blemish.errors import ImageError, OutputError
from blemish.images.decode import LARGE_PIXELS, read_image, read_image_hw
from blemish.inspection.inspector import Inspector
from blemish.inspection.overlay import map_scale
from blemish.line.sinks import CsvSink, JsonLinesSink, OverlaySink, Sink
from blemish.runtime.memory import is_out_of_memory
from blemish.runtime.pipeline import map_in_order, usable_cores
from blemish.schema import Calibration, Image, Progress, Verdict, silent

Tell = Callable[[str], None]
Inspected = tuple[Path, Verdict | ImageError]
"""An image file, and the verdict on it or why it cannot be read."""


class VerdictFolder:
    """The folder that verdicts of a run are written to: `verdicts.jsonl`, `verdicts.csv` and overlay pictures.

    Raises OutputError where it cannot be begun. What cannot be written later is told once for each place and kept in
    `faults`; the run goes on, so that no verdict is lost that can still be told elsewhere.
    """

    def __init__(self, folder: Path, calibration: Calibration, tell: Tell = lambda message: None) -> None:
        self.faults: list[OutputError] = []
        self._tell = tell
        self._tables: tuple[Sink, ...] = (JsonLinesSink(folder / VERDICTS), CsvSink(folder / "verdicts.csv"))
        self._overlays = OverlaySink(folder / OVERLAYS, map_scale(calibration))
        self._told: set[Sink] = set()
        self._lock = threading.Lock()

    def __enter__(self) -> VerdictFolder:
        with ExitStack() as opened:
            for sink in (*self._tables, self._overlays):
                opened.enter_context(sink)
            self._opened = opened.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        try:
            self._opened.close()
        except OutputError as fault:  # what was held back could not be written at the end either
            self._keep(self._tables[0], fault)

    def expect(self, path: Path) -> None:
        """Settles the overlay's name; called in the order of the images, so that names do not depend on threads."""
        self._overlays.path_of(str(path))

    def draw(self, verdict: Verdict, image: Image) -> None:
        """Writes the overlay; safe to call from several threads."""
        try:
            self._overlays.write(verdict, image)
        except OutputError as fault:
            self._keep(self._overlays, fault)

    def write(self, verdict: Verdict) -> None:
        """Appends the verdict to the tables; called in the order of the images."""
        for table in self._tables:
            try:
                table.write(verdict)
            except OutputError as fault:
                self._keep(table, fault)

    def _keep(self, sink: Sink, fault: OutputError) -> None:
        with self._lock:
            self.faults.append(fault)
            if sink not in self._told:
                self._told.add(sink)
                self._tell(f"{fault}; verdicts go on")


def inspect_files(
    inspector: Inspector,
    paths: Sequence[Path],
    output: VerdictFolder | None = None,
    *,
    num_threads: int = 0,
    progress: Progress = silent,
    tell: Tell = lambda message: None,
) -> Iterator[Inspected]:
    """Each file with its verdict, or with the error of one that cannot be read, in the order given.

    One image is decoded, inspected and drawn by one of `num_threads` threads (0: as many as there are cores): give an
    inspector of one thread. Images of more than `LARGE_PIXELS` take turns. `tell` is called with what a person should
    know.
    """
    large = threading.Lock()

    def names() -> Iterator[Path]:
        for path in paths:
            if output is not None:
                output.expect(path)
            yield path

    def inspect(path: Path) -> Inspected:
        try:
            height, width = read_image_hw(path)
            with large if height * width > LARGE_PIXELS else contextlib.nullcontext():
                image = read_image(path)
                verdict = inspector.inspect_image(image, str(path))
                if output is not None:
                    output.draw(verdict, image)
        except ImageError as error:
            if is_out_of_memory(error):
                raise
            return path, error
        return path, verdict

    def inspect_alone(path: Path) -> Inspected:
        try:
            return inspect(path)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            return path, ImageError(f"{path}: not enough memory for this image, even by itself; free some, or scale it")

    def fewer(num_threads: int) -> None:
        tell(f"memory ran out: going on with {num_threads} image{'s' if num_threads > 1 else ''} at a time")

    num_threads = max(1, min(num_threads or usable_cores(), len(paths)))
    if inspector.tiling is not None:  # its tiles take all cores already: one image is read and drawn meanwhile
        num_threads = min(num_threads, 2)
    outcomes = map_in_order(inspect, names(), num_threads, alone=inspect_alone, on_fewer=fewer)
    for number, (path, outcome) in enumerate(outcomes, start=1):
        if output is not None and isinstance(outcome, Verdict):
            output.write(outcome)
        yield path, outcome
        progress("inspecting", number, len(paths))
