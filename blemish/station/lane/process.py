"""The process of one lane: `python -m blemish.station.lane.process DATA LANE`."""

from __future__ import annotations

import dataclasses
import secrets
import sys
import threading
import time
from pathlib import Path

from blemish.errors import BlemishError, ImageError
from blemish.files import locked
from blemish.inspection.inspector import Inspector
from blemish.line.events import Item, Origin
from blemish.model import load
from blemish.station import wire
from blemish.station.core.lane_file import LaneFile, lane_path, read_lane
from blemish.station.core.parts import Picture
from blemish.station.journal import Journal
from blemish.station.lane.lane import Answer, Lane, Shown, Trigger
from blemish.station.lane.pictures import PictureKeeper
from blemish.station.lane.pictures_in import PictureReader, SeenFiles, open_lane_source
from blemish.station.lane.server import LaneServer
from blemish.station.process import EXIT_AGAIN, Life, machine_boot, now_us, run_child, say

CARE_SECONDS = 0.2
EXIT_AGAIN_LATER = 1


def open_inspector(data: Path, lane: LaneFile, threads: int = 1) -> Inspector | None:
    """The inspector of the recipe in force, None where there is none. Raises BundleError."""
    if lane.recipe is None:
        return None
    model = load(data / "bundles" / f"{lane.recipe.bundle_sha256}.blemish", threads=threads)
    return model.make_inspector()


class LaneProcess:
    """A lane with all that is around it."""

    def __init__(self, data: Path, lane_id: int, life: Life) -> None:
        self._data, self._life = data, life
        self._exit_status = 0
        config = read_lane(data, lane_id)
        folder = data / "journal" / str(lane_id)
        self._journal = Journal(folder, durability=config.durability)
        self._reader: PictureReader | None = None
        self._server: LaneServer | None = None
        inspector, fault = None, ""
        try:
            inspector = open_inspector(data, config)
        except BlemishError as error:
            fault = str(error)
        self.lane = Lane(
            config,
            self._journal,
            inspector,
            boot=secrets.token_hex(8),
            machine_boot=machine_boot(),
            now=now_us,
            take_picture=self._take_picture,
            show=lambda shown: self._server.show(shown) if self._server else None,
            keep=self._keep,
        )
        if fault:
            self.lane.trouble("bundle", fault)
        self._seen = SeenFiles(folder / "seen.jsonl", self.lane.unfinished_names)
        self._keeper = PictureKeeper(
            data / "images",
            rule=config.save,
            form=config.save_format,
            now=now_us,
            tell=self._note_picture,
            trouble=lambda text: self._tell("pictures", text),
        )
        self._server = LaneServer(self.lane, wire.listen(data, f"lane-{lane_id}"))
        self._read_at = _changed_at(data, lane_id)
        self._reader_of_file: threading.Thread | None = None

    def run(self) -> int:
        """Judges parts until it is asked to end."""
        config = self.lane.lane
        if config.source.kind != "upload":
            self._reader = PictureReader(
                lambda: open_lane_source(config.source, self._seen), lambda text: self._tell("source", text)
            )
        if config.source.kind != "upload" and config.source.trigger == "source":
            threading.Thread(target=self._feed, name="source", daemon=True).start()
        self._life.ready()
        say(f"lane {config.id} ({config.name}) is up: {self.lane.why_not_ready or 'ready'}")
        cared = 0.0
        while not self._life.is_ending.is_set() and not self._journal.is_broken:
            self._life.beat()
            self.lane.run_waiting(0.25)
            if time.monotonic() - cared > CARE_SECONDS:
                cared = time.monotonic()
                self.lane.recover()
                self._look_at_file()
        if self._journal.is_broken:
            say(f"ends: {self.lane.fault}")
            return EXIT_AGAIN_LATER
        if self._reader is not None:
            self._reader.close()
        self._keeper.close()
        self._journal.close()
        return self._exit_status

    def _feed(self) -> None:
        """Each picture of the source is a trigger; the next is taken when it was answered."""
        assert self._reader is not None
        is_told = threading.Event()

        def told(answer: Answer) -> str:
            is_told.set()
            return ""

        while not self._life.is_ending.is_set():
            if self.lane.why_not_ready:
                self._life.is_ending.wait(0.2)
                continue
            try:
                item = self._reader.take(3600.0)
            except BlemishError:
                continue
            is_told.clear()
            trigger = Trigger(told, item, part_id=item.origin.part_id, lot_id=item.origin.lot_id)
            while not self.lane.offer(trigger):
                self._life.is_ending.wait(0.05)
            while not is_told.wait(0.5):
                if self._life.is_ending.is_set():
                    return

    def _take_picture(self, seconds: float) -> Item:
        if self._reader is None:
            raise ImageError("this lane has no camera; send a picture with the trigger")
        return self._reader.take(seconds)

    def _keep(self, shown: Shown) -> None:
        view = shown.answer.view
        if self.lane.lane.source.kind == "watch" and view is not None and view.source:
            path = Path(view.source)
            self._seen.add(Item(Origin(str(path), path), path))
        self._keeper.take(shown)

    def _note_picture(self, picture: Picture) -> None:
        self.lane.note(picture)

    def _tell(self, kind: str, text: str) -> None:
        if text:
            self.lane.trouble(kind, text)
        else:
            self.lane.relieve(kind)

    def _look_at_file(self) -> None:
        """Reads the lane's file again when it has changed, beside the parts: a bundle takes a second to load."""
        changed_at = _changed_at(self._data, self.lane.lane.id)
        is_reading = self._reader_of_file is not None and self._reader_of_file.is_alive()
        if changed_at == self._read_at or is_reading:
            return
        self._read_at = changed_at
        self._reader_of_file = threading.Thread(target=self._try_reload, name="lane file", daemon=True)
        self._reader_of_file.start()

    def _try_reload(self) -> None:
        try:
            self._reload()
        except BlemishError as error:
            self.lane.trouble("bundle", str(error))

    def _reload(self) -> None:
        """Takes over the lane's file: another recipe at the next part, anything else by beginning again."""
        config = read_lane(self._data, self.lane.lane.id)
        before = self.lane.lane
        same = dataclasses.replace(config, recipe=before.recipe, is_live=before.is_live, save=before.save)
        if dataclasses.replace(same, save_format=before.save_format) != before:
            self._exit_status = EXIT_AGAIN
            self._life.is_ending.set()
            return
        inspector = self.lane.inspector
        if config.recipe != before.recipe:
            inspector = open_inspector(self._data, config)
        self._keeper.rule, self._keeper.form = config.save, config.save_format
        self.lane.change(config, inspector)
        self.lane.relieve("bundle")


def _changed_at(data: Path, lane_id: int) -> int:
    try:
        return lane_path(data, lane_id).stat().st_mtime_ns
    except OSError:
        return 0


def main() -> int:
    data, lane_id = Path(sys.argv[1]), int(sys.argv[2])
    life = Life()
    with locked(data / "journal" / str(lane_id), patience_seconds=30.0):
        return LaneProcess(data, lane_id, life).run()


if __name__ == "__main__":
    run_child(main)
