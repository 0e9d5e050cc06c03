"""Archives of images -> tables of verdicts, by Ray Data: piece by piece, each judged and written by one worker.

Through the object store go names and counts; images are read, decoded and judged by the worker that writes their rows.
"""

from __future__ import annotations

import contextlib
import json
import logging
import platform
import warnings
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from pydantic import TypeAdapter

from blemish import __version__
from blemish.boundary import boundary, parse_json
from blemish.bundle.bundle import Bundle
from blemish.cluster.connect import Node, cause_of, first_line
from blemish.cluster.pieces import Part, Piece, keep_one_row_each, plan_pieces
from blemish.cluster.place import Place, StoreError, alone, list_files, make_place, read_bytes, write_bytes
from blemish.cluster.table import error_row, table_bytes, verdict_row
from blemish.datasets.left_out import Tally
from blemish.errors import BlemishError, EngineError, ImageError, OutputError, SettingsError
from blemish.inspection.inspector import Inspector
from blemish.line.events import Item, Judged, Origin, Unreadable
from blemish.line.stream import run
from blemish.runtime.pipeline import map_in_order
from blemish.runtime.threads import at_most
from blemish.schema import AS_THEY_ARE, Progress, ReadSettings, silent

MOST_BEGINNINGS = 12
"""So often a piece is begun whose workers are lost; an image at which two were lost is passed over from then on."""
READERS = 4
"""Threads of a worker that read ahead of the one that judges; see `map_in_order` for how far."""
STORE_FAULTS = 10
"""So many images one after the other that a store does not give are no longer the images' fault."""
FACTS = "_run.json"
"""What the verdicts of a folder have in common; readers of Parquet pass over names that begin with `_`."""
COUNTS = ("accept", "review", "reject", "unreadable")


@dataclass(frozen=True)
class ArchiveOutcome:
    """What was done in one run: images by decision, those that cannot be read, and how many were finished before.

    `left_out` is what could be an image and was not judged, by the name of its source.
    """

    counts: dict[str, int]
    num_finished: int
    left_out: dict[str, Tally]

    @property
    def num_new(self) -> int:
        return sum(self.counts.values())


def inspect_archive(
    bundle: Bundle,
    sources: Sequence[Place],
    output: Place,
    nodes: Sequence[Node],
    *,
    engine: str,
    reading: ReadSettings = AS_THEY_ARE,
    part: Part = "folder",
    progress: Progress = silent,
    tell: Callable[[str], None] = lambda message: None,
) -> ArchiveOutcome:
    """Judges all images in and below the sources that have no row in `output` yet; see `table.SCHEMA` for the rows.

    Where another run writes to `output` (a folder, not an object store), it is waited for, and `tell` is told. Needs a
    connection to Ray (`connected`, whose nodes are given). Raises SettingsError where `output` holds verdicts
    made otherwise, OutputError where it cannot be written to, EngineError where a worker cannot go on.
    """
    make_place(output)
    facts = {"bundle_id": bundle.bundle_id, "blemish": __version__, "engine": engine, "part": part}
    counts: Counter[str] = Counter()
    with alone(output.below(FACTS), lambda: tell(f"another run writes to {output.shown}: waiting for it to end")):
        _check_run(output, {**facts, "page": str(reading.page or "")})
        plan = plan_pieces(sources, output, part)
        if plan.pieces:
            for row in _run(
                bundle, sources, output, plan.pieces, engine, reading, sum(int(node.num_cpus) for node in nodes)
            ):
                if row["fault"]:
                    raise EngineError(row["fault"])
                counts.update({name: row[name] for name in COUNTS})
                progress("inspecting", sum(counts.values()), plan.num_images)
        keep_one_row_each(output, [*plan.repeated, *(piece.file for piece in plan.pieces)])
    return ArchiveOutcome({name: counts[name] for name in COUNTS}, plan.num_finished, plan.left_out)


def judge_piece(
    inspector: Inspector,
    source: Place,
    piece: Piece,
    *,
    fatal: Collection[str] = (),
    at: Callable[[str], None] = lambda name: None,
) -> list[dict[str, Any]]:
    """The rows of a piece, in the order of its names. Raises EngineError where a store has stopped to answer.

    The images `fatal` are passed over with an error; `at` is called with the name of each of the others in turn.
    """
    place = source.below(piece.folder) if piece.folder else source
    rows = []
    for event in run(PieceSource(place, piece.names, fatal, at), inspector, num_threads=1):
        if isinstance(event, Judged):
            rows.append(verdict_row(event.verdict))
        elif isinstance(event, Unreadable):
            rows.append(error_row(event.origin.name, event.bundle_id, str(event.error)))
    return rows


class PieceSource:
    """The images of a piece, read ahead, for `blemish.line.stream.run`."""

    # One at a time: where the worker is lost, the image that was given last is the one it was at.
    is_live = True
    num_missed = 0

    def __init__(self, place: Place, names: Sequence[str], fatal: Collection[str], at: Callable[[str], None]) -> None:
        self.size: int | None = len(names)
        self._place, self._names, self._fatal, self._at = place, names, fatal, at
        self._is_closed = False

    def __iter__(self) -> Iterator[Item]:
        num_faults = 0
        with contextlib.closing(map_in_order(self._read, self._names, min(READERS, len(self._names)))) as files:
            for name, content in files:
                if self._is_closed:
                    return
                num_faults = num_faults + 1 if isinstance(content, StoreError) else 0
                if num_faults == STORE_FAULTS:
                    raise EngineError(
                        f"{self._place.shown}: the store has stopped to answer ({content!s}); "
                        "run again to go on from here"
                    )
                yield self._item(name, content)

    def close(self) -> None:
        self._is_closed = True

    def _read(self, name: str) -> tuple[str, bytes | ImageError | StoreError]:
        try:
            return name, read_bytes(self._place, name)
        except (ImageError, StoreError) as error:
            return name, error
        except MemoryError:
            return name, ImageError(f"{self._place.shown}/{name}: not enough memory for this image, even by itself")

    def _item(self, name: str, content: bytes | ImageError | StoreError) -> Item:
        shown = f"{self._place.shown}/{name}"
        if name in self._fatal:
            return Item(Origin(shown), ImageError(f"{shown}: the worker is lost each time it is at this image"))
        self._at(name)
        if isinstance(content, StoreError):
            return Item(Origin(shown), ImageError(f"{shown}: cannot be read ({content})"))
        return Item(Origin(shown), content)


class Losses:
    """Notes which image a worker was at when it was lost, so that one image does not end all workers; a Ray actor."""

    def __init__(self) -> None:
        self._begun: Counter[str] = Counter()
        self._at: dict[str, str] = {}
        self._lost_at: dict[str, Counter[str]] = {}

    def begin(self, file: str) -> tuple[int, tuple[str, ...]]:
        """How often this piece was begun, and the images at which two workers were lost."""
        self._begun[file] += 1
        lost_at = self._lost_at.setdefault(file, Counter())
        if file in self._at:
            lost_at[self._at.pop(file)] += 1
        return self._begun[file], tuple(name for name, times in lost_at.items() if times > 1)

    def at(self, file: str, name: str) -> None:
        self._at[file] = name


class PieceWorker:
    """What an actor of Ray Data holds: one loaded session. Called with a table of one piece, gives its counts.

    What a person has to mend comes back in the column `fault`: as an error it would be wrapped past recognition.
    """

    def __init__(
        self, bundle: Any, engine: str, reading: ReadSettings, sources: Sequence[Place], output: Place, losses: Any
    ) -> None:
        import ray

        self.sources, self.output, self.losses, self.fault = sources, output, losses, ""
        self._held = contextlib.ExitStack()
        self._held.enter_context(at_most(1))  # each core of the node has a worker of its own
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            try:
                self.inspector = Inspector(ray.get(bundle), engine=engine, threads=1, reading=reading)
            except BlemishError as error:
                self.fault = str(error)
                return
        if self.inspector.session.engine != engine:  # it would give other last digits than the other workers
            self.fault = f"node {platform.node()}: {said[0].message}"

    def __call__(self, batch: pa.Table) -> pa.Table:
        return pa.Table.from_pylist([self._work(Piece(**row)) for row in batch.to_pylist()])

    def _work(self, piece: Piece) -> dict[str, Any]:
        counts = dict.fromkeys(COUNTS, 0)
        try:
            if not self.fault:
                rows = self._judge(piece)
                write_bytes(self.output.below(piece.file), table_bytes(rows))
                counts.update(Counter(row.get("decision", "unreadable") for row in rows))
        except BlemishError as error:
            self.fault = str(error)
        return {**counts, "fault": self.fault}

    def _judge(self, piece: Piece) -> list[dict[str, Any]]:
        import ray

        begun, fatal = ray.get(self.losses.begin.remote(piece.file))
        source = self.sources[piece.source]
        if begun == 1:
            return judge_piece(self.inspector, source, piece)
        if begun > MOST_BEGINNINGS:
            raise EngineError(
                f"{source.shown}: {begun - 1} workers were lost at images of the folder {piece.folder or '.'}; "
                "see Ray's logs for why, then run again to go on from here"
            )

        def at(name: str) -> None:
            ray.get(self.losses.at.remote(piece.file, name))

        return judge_piece(self.inspector, source, piece, fatal=fatal, at=at)


def _run(
    bundle: Bundle,
    sources: Sequence[Place],
    output: Place,
    pieces: Sequence[Piece],
    engine: str,
    reading: ReadSettings,
    num_cpus: int,
) -> Iterator[dict[str, Any]]:
    """The counts of each piece, as they are finished."""
    import ray
    import ray.data

    _set_up()
    losses = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(Losses).remote()
    blocks = [pa.Table.from_pylist([vars(piece)]) for piece in pieces]
    done = ray.data.from_arrow(blocks).map_batches(
        PieceWorker,
        batch_size=None,
        batch_format="pyarrow",
        fn_constructor_args=(ray.put(bundle), engine, reading, list(sources), output, losses),
        compute=ray.data.ActorPoolStrategy(size=max(1, min(num_cpus, len(pieces)))),
        num_cpus=1,
    )
    try:
        yield from done.iter_rows()
    except ray.exceptions.RayError as error:
        fault = cause_of(error)
        if isinstance(fault, ray.exceptions.RayError):
            raise EngineError(f"Ray could not go on: {first_line(fault)}; run again to go on from here") from error
        raise fault from error


def _set_up() -> None:
    """Ray Data's own bars and notes stay out of the way of ours, in its log file; a busy cluster is waited for."""
    import ray.data

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    # A worker that waits for a CPU that others use may be called off and asked for again.
    context.max_consecutive_actor_init_deaths = 1000
    for handler in logging.getLogger("ray.data").handlers:
        if isinstance(handler, logging.StreamHandler):
            handler.setLevel(logging.CRITICAL)


def _check_run(output: Place, facts: dict[str, str]) -> None:
    """Writes what the verdicts have in common, or compares it with what stands there."""
    place = output.below(FACTS)
    if FACTS not in list_files(output, FACTS):
        write_bytes(place, json.dumps(facts, sort_keys=True).encode())
        return
    remedy = "choose another folder for verdicts"
    with boundary(place.shown, OutputError, remedy):
        content = read_bytes(output, FACTS)
        kept = parse_json(content, TypeAdapter(dict[str, str]), place.shown, OutputError, remedy)
        differing = [name for name in facts if kept.get(name, "") != facts[name]]
    if differing:
        name = differing[0]
        there = kept.get(name, "")
        raise SettingsError(
            f"{output.shown} holds verdicts with {name} {there}, this run has {facts[name]}; choose another folder"
        )
