"""What `blemish inspect --ray` does: an archive of images, judged on a Ray cluster."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from blemish.cli.console import print_json, say, show
from blemish.cli.progress import progress_bars
from blemish.errors import SettingsError
from blemish.schema import ReadSettings


def inspect_on_ray(
    bundle: Path,
    sources: Sequence[str],
    output: str | None,
    address: str,
    *,
    engine: str,
    reading: ReadSettings,
    part: Literal["folder", "hour"],
    json: bool,
) -> Mapping[str, int]:
    """The number of images by decision; prints them. A folder that cannot be listed counts as unreadable."""
    from blemish import model
    from blemish.cluster.connect import connected, need_packages
    from blemish.workflow.engine_choice import resolve_engine

    if output is None:
        raise SettingsError("with --ray give a folder for the table of verdicts: -o verdicts/")
    made = model.load(bundle, engine=engine)
    need_packages()
    from blemish.cluster.archive import inspect_archive
    from blemish.cluster.place import open_place

    places, target = [open_place(source) for source in sources], open_place(output)
    chosen = resolve_engine(made.bundle, engine, threads=1)
    seen = [Path(place.path) for place in places if place.filesystem is None]
    shared = Path(target.path) if target.filesystem is None else None
    with progress_bars() as progress, connected(address, shared=shared, seen=seen) as nodes:
        start = time.perf_counter()
        outcome = inspect_archive(
            made.bundle, places, target, nodes, engine=chosen, reading=reading, part=part, progress=progress, tell=say
        )
        seconds = time.perf_counter() - start
    if json:
        left_out = [{"source": source, **row} for source, tally in outcome.left_out.items() for row in tally.json()]
        print_json(
            {
                **outcome.counts,
                "num_new": outcome.num_new,
                "num_finished": outcome.num_finished,
                "left_out": left_out,
                "output": output,
            }
        )
    else:
        for name, count in outcome.counts.items():
            show(f"{name:10} {count}")
    for source, tally in outcome.left_out.items():
        for note in tally.notes():
            say(f"{source}: {note}")
    before = f"; {outcome.num_finished} were finished before" if outcome.num_finished else ""
    say(f"{outcome.num_new} images, {outcome.num_new / seconds:.1f} a second{before}; verdicts: {target.shown}")
    num_hidden = sum(tally.num_faults for tally in outcome.left_out.values())
    return {**outcome.counts, "unreadable": outcome.counts["unreadable"] + num_hidden}
