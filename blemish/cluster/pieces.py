"""An archive cut into pieces: images of one folder and one part of the table, judged and written together, once.

What is finished is known from the Parquet files alone: each holds the rows of whole images, and is there whole or not
at all. So a run that was stopped, and a folder that has grown, go on with the images that have no row. Two runs at once
may judge an image twice, where one has seen the folder grow: then the row in the file that comes first is kept.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import timezone
from typing import Any, Literal, TypeAlias

from blemish.cluster.place import Listed, Place, image_folders, list_files, remove_file, write_bytes
from blemish.cluster.table import read_paths, without_paths
from blemish.datasets.left_out import Tally
from blemish.errors import DataError, OutputError, SettingsError

Part: TypeAlias = Literal["folder", "hour"]
PIECE_IMAGES = 1000
"""The most images of a piece: what a lost worker has to do again."""
ENDING = ".parquet"


@dataclass(frozen=True)
class Piece:
    """Images `names` of the folder `folder` (relative) of the source with this number; `file` is where rows go."""

    source: int
    folder: str
    names: tuple[str, ...]
    file: str


@dataclass(frozen=True)
class Plan:
    """What is left to do, how many images are finished, and what was left out of each source, by its name.

    `repeated` are files of verdicts whose images have rows in other files too.
    """

    pieces: tuple[Piece, ...]
    num_finished: int
    left_out: dict[str, Tally]
    repeated: tuple[str, ...] = ()

    @property
    def num_images(self) -> int:
        return sum(len(piece.names) for piece in self.pieces)


def plan_pieces(sources: Sequence[Place], output: Place, part: Part) -> Plan:
    """The pieces without rows in `output`; each folder is listed once. Raises DataError where there is no image."""
    written = _written(output)
    pieces: list[Piece] = []
    repeated: list[str] = []
    num_finished = 0
    left_out: dict[str, Tally] = {}
    _check_apart(sources)
    for number, source in enumerate(sources):
        found = False
        tally = left_out[source.shown] = Tally()
        for folder in image_folders(source):
            tally.add(folder.left_out)
            if not folder.images:
                continue
            found = True
            place = source.below(folder.relative) if folder.relative else source
            mark = _hash(place.shown)
            paths = _written_paths(output, written.get(mark, ()))
            finished = {path.rpartition("/")[2] for path in paths}
            if len(finished) < len(paths):
                repeated.append(written[mark][0])
            num_finished += len(finished.intersection(image.name for image in folder.images))
            images = [image for image in folder.images if image.name not in finished]
            for value, names in _parts(folder.relative, images, part):
                for start in range(0, len(names), PIECE_IMAGES):
                    chosen = tuple(names[start : start + PIECE_IMAGES])
                    file = f"part={value}/{mark}-{_hash(*chosen)}{ENDING}"
                    pieces.append(Piece(number, folder.relative, chosen, file))
        if not found:
            reasons = f" ({'; '.join(tally.notes())})" if tally.counts else ""
            raise DataError(f"{source.shown}: no image there{reasons}; check the path")
    return Plan(tuple(pieces), num_finished, left_out, tuple(repeated))


def keep_one_row_each(output: Place, files: Collection[str]) -> int:
    """Takes rows of images out that have one in another file too; looks where these files belong. Gives their number.

    Of several rows that in the file which comes first stays, so two runs that do this at once do the same.
    """
    written = _written(output)
    num_rows = 0
    for mark in sorted({_mark_of(file) for file in files}):
        seen: set[str] = set()
        for file in written.get(mark, ()):
            place = output.below(file)
            paths = _read(place, read_paths)
            twice = seen.intersection(paths)
            seen.update(paths)
            if twice:
                num_rows += len(twice)
                rest = _read(place, functools.partial(without_paths, names=twice))
                if rest:
                    write_bytes(place, rest)
                else:
                    remove_file(place)
    return num_rows


def _written(output: Place) -> dict[str, list[str]]:
    """The files of verdicts by the mark of the folder of images that each belongs to, in order."""
    written: dict[str, list[str]] = {}
    for file in list_files(output, ENDING):
        written.setdefault(_mark_of(file), []).append(file)
    return written


def _mark_of(file: str) -> str:
    return file.rpartition("/")[2].partition("-")[0]


def _parts(folder: str, images: Sequence[Listed], part: Part) -> Iterator[tuple[str, list[str]]]:
    """The values of the table's column `part`, as folder names, and the images that belong to each."""
    groups: dict[str, list[str]] = {}
    for image in images:
        value = folder or "."
        if part == "hour":
            value = image.changed.astimezone(timezone.utc).strftime("%Y-%m-%dT%H")
        groups.setdefault(value, []).append(image.name)
    for value in sorted(groups):
        yield part_name(value), groups[value]


def part_name(value: str) -> str:
    """A value as part of a folder's name: what some file system or the form `part=VALUE` does not take is escaped.

    >>> part_name("line 3/2026-11-22")
    'line 3%2F2026-11-22'
    """
    escaped = re.sub(r'[/%=\\:*?"<>|\x00-\x1f]', lambda match: f"%{ord(match[0]):02X}", value)
    if len(escaped.encode()) <= 200:  # with `part=` a name that every file system takes
        return escaped
    beginning = escaped.encode()[:180].decode(errors="ignore")
    return f"{re.sub('%.?$', '', beginning)}-{_hash(value)}"


def _check_apart(sources: Sequence[Place]) -> None:
    """An image has one row: no source may hold another one."""
    for number, source in enumerate(sources):
        for other in sources[:number]:
            longer, shorter = sorted((source.shown, other.shown), key=len, reverse=True)
            if longer == shorter or longer.startswith(f"{shorter.rstrip('/')}/"):
                raise SettingsError(f"{longer} lies in {shorter}, which was given too; give each image once")


def _written_paths(output: Place, files: Sequence[str]) -> list[str]:
    return [path for file in files for path in _read(output.below(file), read_paths)]


def _read(place: Place, read: Callable[..., Any]) -> Any:
    """What `read` makes of a file of verdicts. Raises OutputError where it is none."""
    import pyarrow as pa

    try:
        return read(place.path, place.filesystem)
    except (pa.ArrowException, OSError, KeyError) as error:
        raise OutputError(
            f"{place.shown}: not a table of verdicts that can be read; remove it, its images are judged again"
        ) from error


def _hash(*texts: Any) -> str:
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:16]
