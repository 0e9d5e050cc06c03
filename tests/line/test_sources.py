"""Sources: files, arrays, queues, replays and cameras; each can be closed, and none hangs the program."""

from __future__ import annotations

import itertools
import queue
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from blemish.errors import DataError, ImageError, SettingsError
from blemish.line import camera
from blemish.line.camera import CameraSource, VideoSource, shown_address
from blemish.line.events import End, Item, Judged, Origin, Unreadable
from blemish.line.sources import ArraySource, FileSource, QueueSource, ReplaySource
from blemish.line.stream import run
from blemish.model import Model
from blemish.testing.camera import FakeCamera
from blemish.testing.tiny import TinyProduct

GRAY = np.full((32, 48), 128, np.uint8)


def level(number: int) -> np.ndarray:
    return np.full((32, 48, 3), number, np.uint8)


def test_arrays_are_named_by_their_number_and_copied() -> None:
    buffer = GRAY.copy()
    first, second, third = ArraySource([buffer, GRAY.astype(np.uint16) * 257, "no array"], name="frame")
    buffer[:] = 0
    assert [item.origin.name for item in (first, second, third)] == ["frame 0", "frame 1", "frame 2"]
    assert np.array_equal(first.content, GRAY)
    assert second.content.dtype == np.uint16, "what the values mean, the bundle says"
    assert isinstance(third.content, ImageError)
    assert str(third.content).startswith("frame 2: ")


def test_an_array_that_is_no_image_is_unreadable(model: Model) -> None:
    unreadable, _ = run(ArraySource([GRAY.astype(np.int64)], name="frame"), model.inspector)
    assert isinstance(unreadable, Unreadable)
    assert str(unreadable.error).startswith("frame 0: ")


def test_an_origin_needs_a_time_with_a_zone() -> None:
    from datetime import datetime

    with pytest.raises(ValueError, match="no time zone"):
        Origin("a", time=datetime(2026, 11, 26))


def test_a_queue_ends_with_none_or_when_it_is_closed(model: Model, product: TinyProduct) -> None:
    images: queue.Queue[object] = queue.Queue()
    for given in (product.held_out[0], Item(Origin("part 7", part_id="7"), product.held_out[1]), None):
        images.put(given)
    *events, _ = run(QueueSource(images), model.inspector)
    assert [event.origin.part_id for event in events] == ["", "7"]
    source = QueueSource(images)
    events = run(source, model.inspector)
    threading.Timer(0.2, source.close).start()
    assert isinstance(next(events), End)


def test_a_replay_keeps_its_rate(parts: Path) -> None:
    start = time.monotonic()
    times = [time.monotonic() - start for _ in ReplaySource(FileSource([parts]), 40.0)]
    assert len(times) == 12
    assert times[0] < 0.02
    assert times[-1] == pytest.approx(11 / 40, abs=0.1)
    with pytest.raises(SettingsError, match="above 0"):
        ReplaySource(FileSource([parts]), 0)


class TestCamera:
    def test_only_the_newest_picture_is_given_and_each_once(self) -> None:
        fake = FakeCamera([level(number) for number in range(200)], rate=200)
        source = CameraSource(0, open_capture=fake.open)
        seen = []
        for item in source:
            time.sleep(0.05)  # a slow reader: about ten pictures go by meanwhile
            newest = fake.num_read
            seen.append((int(item.content[0, 0, 0]), newest))
            if len(seen) == 8:
                break
        source.close()
        levels = [given for given, _ in seen]
        assert levels == sorted(set(levels)), "in order, each once"
        # A picture was at most one reading old when it was given, just before the slow reader slept.
        assert all(after - before >= 5 for before, after in itertools.pairwise(levels))
        assert source.num_missed >= 7 * 5

    def test_a_picture_that_waited_long_is_not_given(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(camera, "MAX_AGE_SECONDS", 0.2)
        fake = FakeCamera([level(number) for number in range(100)], rate=50)
        source = CameraSource(0, open_capture=fake.open)
        items = iter(source)
        next(items)
        time.sleep(0.1)
        fake.hang()
        time.sleep(0.4)  # the last picture grows old while nobody takes it
        threading.Timer(0.3, fake.go_on).start()
        begun = fake.num_read
        assert int(next(items).content[0, 0, 0]) >= begun, "a new one, not the old one"
        source.close()

    def test_a_read_that_hangs_is_told_once_and_hangs_nothing(self, model: Model, product: TinyProduct) -> None:
        fake = FakeCamera(product.held_out, rate=100)
        source = CameraSource(0, open_capture=fake.open, patience_seconds=0.2)
        events = run(source, model.inspector)
        assert isinstance(next(events), Judged)
        fake.hang()
        for event in events:
            if isinstance(event, Unreadable):
                break
        assert str(event.error).startswith("camera:0: no picture for 0.2 s; check cable")
        threading.Timer(0.5, fake.go_on).start()
        assert isinstance(next(events), Judged), "nothing more is told until it is back"
        fake.hang()
        start = time.monotonic()
        source.close()
        assert isinstance([*events][-1], End)
        assert time.monotonic() - start < 2

    def test_a_camera_that_was_lost_is_opened_anew(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(camera, "REOPEN_SECONDS", 0.05)
        fake = FakeCamera([level(7)], rate=100)
        source = CameraSource("rtsp://admin:secret@10.0.0.7/stream1", open_capture=fake.open, patience_seconds=0.2)
        items = iter(source)
        assert next(items).origin.name.startswith("rtsp://10.0.0.7/stream1/")
        fake.unplug()
        lost = next(item for item in items if isinstance(item.content, ImageError))
        assert "secret" not in str(lost.content)
        fake.plug_in()
        assert not isinstance(next(items).content, ImageError)
        assert fake.num_opened > 2
        source.close()

    def test_one_that_cannot_be_opened_is_an_error(self, model: Model) -> None:
        fake = FakeCamera([level(7)])
        fake.unplug()
        with pytest.raises(DataError, match="camera:3: cannot be opened"):
            next(run(CameraSource(3, open_capture=fake.open), model.inspector))

    def test_colors_are_those_of_the_camera(self) -> None:
        red = np.zeros((32, 48, 3), np.uint8)
        red[..., 0] = 200
        source = CameraSource(0, open_capture=FakeCamera([red]).open)
        assert next(iter(source)).content[0, 0].tolist() == [200, 0, 0]
        source.close()

    def test_a_stream_takes_one_picture_at_a_time(self, model: Model, product: TinyProduct) -> None:
        """None waits behind another one while it grows old."""
        fake = FakeCamera(product.held_out, rate=500)
        events = run(CameraSource(0, open_capture=fake.open), model.inspector)
        for _ in range(5):
            event = next(events)
            time.sleep(0.1)
            assert isinstance(event, Judged)
        events.close()

    @pytest.mark.parametrize(
        ("address", "shown"),
        [
            ("rtsp://admin:secret@10.0.0.7:554/a", "rtsp://10.0.0.7:554/a"),
            ("http://cam/mjpg?user=a&password=b", "http://cam/mjpg"),
            ("/dev/video2", "/dev/video2"),
        ],
    )
    def test_no_password_is_shown(self, address: str, shown: str) -> None:
        assert shown_address(address) == shown


class TestVideo:
    @pytest.fixture
    def clip(self, tmp_path: Path, product: TinyProduct) -> Path:
        writer = cv2.VideoWriter(str(tmp_path / "clip.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 64))
        for image in product.held_out:
            writer.write(image[..., ::-1])
        writer.release()
        return tmp_path / "clip.avi"

    def test_each_picture_is_given_in_order(self, clip: Path, model: Model) -> None:
        *events, _ = run(VideoSource(clip), model.inspector)
        assert [Path(event.origin.name).name for event in events] == [f"{number:06}" for number in range(6)]
        assert all(isinstance(event, Judged) for event in events)

    def test_a_stream_of_a_file_is_read_as_a_camera(self, clip: Path) -> None:
        """The way from OpenCV's own reader to an item, without a network."""
        source = CameraSource(str(clip), name="line 3")
        item = next(iter(source))
        source.close()
        assert item.content.shape == (64, 64, 3)
        assert item.origin.name.startswith("line 3/")

    def test_what_is_no_video_is_an_error(self, tmp_path: Path) -> None:
        (tmp_path / "a.mp4").write_bytes(b"no video")
        with pytest.raises(DataError, match=r"a\.mp4: cannot be opened as a video"):
            VideoSource(tmp_path / "a.mp4")
