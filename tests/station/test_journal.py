"""The journal: what was durable is there after any kill and any power cut, and nothing else is made up."""

from __future__ import annotations

import errno
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blemish.station.journal import (
    File,
    Journal,
    JournalError,
    Place,
    RealDisk,
    Tail,
    encode,
    scan,
    segment_hash,
    segment_numbers,
    segment_path,
)

FOLDER = Path("journal")


@dataclass
class ForgetfulDisk:
    """A disk in memory. `cut_power` forgets what was not synced, but for a first part of it that got there anyway."""

    does_sync: bool = True
    content: dict[str, bytearray] = field(default_factory=dict)
    durable: dict[str, int] = field(default_factory=dict)
    named: set[str] = field(default_factory=set)
    num_cuts: int = 0

    def names(self, folder: Path) -> list[str]:
        return sorted(self.content)

    def read(self, path: Path, start: int = 0) -> bytes:
        return bytes(self.content[path.name][start:])

    def size(self, path: Path) -> int:
        return len(self.content[path.name])

    def cut(self, path: Path, size: int) -> None:
        del self.content[path.name][size:]
        self.durable[path.name] = min(size, self.durable.get(path.name, 0))

    def append(self, path: Path) -> File:
        self.content.setdefault(path.name, bytearray())
        return ForgetfulFile(self, path.name, self.num_cuts)

    def sync_folder(self, folder: Path) -> None:
        if self.does_sync:
            self.named |= set(self.content)

    def reserve(self, path: Path, size: int) -> bool:
        return bool(size)

    def cut_power(self, kept_anyway: float) -> None:
        self.num_cuts += 1
        for name in list(self.content):
            if name not in self.named:
                del self.content[name]
                continue
            durable = self.durable.get(name, 0)
            del self.content[name][durable + int((len(self.content[name]) - durable) * kept_anyway) :]


@dataclass
class ForgetfulFile:
    disk: ForgetfulDisk
    name: str
    opened_at: int

    def write(self, content: bytes) -> None:
        self.disk.content[self.name] += content

    def sync(self) -> None:
        if self.opened_at != self.disk.num_cuts:
            raise OSError(errno.EIO, "the power was cut")
        if self.disk.does_sync:
            self.disk.durable[self.name] = len(self.disk.content[self.name])

    def close(self) -> None:
        pass


def all_records(disk: ForgetfulDisk) -> list[bytes]:
    return [
        entry.content
        for number in segment_numbers(FOLDER, disk)
        for entry in scan(disk.read(segment_path(FOLDER, number))).entries
        if b'"segment"' not in entry.content
    ]


def run_with_power_cuts(disk: ForgetfulDisk, lives: list[tuple[int, float]]) -> tuple[list[bytes], list[bytes]]:
    """What was told, and what the journal holds at last, when the power went after so many records of each life."""
    told = []
    for life, (num_records, kept_anyway) in enumerate(lives):
        journal = Journal(FOLDER, disk=disk, segment_bytes=200)
        journal.begin({"life": life})
        for number in range(num_records):
            record = f"record {life}.{number}".encode()
            assert journal.wait(journal.append(record), 5.0)
            told.append(record)
            if journal.is_full():
                journal.turn({"life": life})
        journal.append(b"not waited for")
        disk.cut_power(kept_anyway)
    journal = Journal(FOLDER, disk=disk)
    return told, all_records(disk)


LIVES = st.lists(st.tuples(st.integers(0, 12), st.floats(0, 1)), min_size=1, max_size=4)


@settings(max_examples=60, deadline=None)
@given(lives=LIVES)
def test_what_was_told_survives_every_power_cut(lives: list[tuple[int, float]]) -> None:
    told, kept = run_with_power_cuts(ForgetfulDisk(), lives)
    assert [record for record in kept if record != b"not waited for"] == told


def test_without_the_sync_a_power_cut_loses_what_was_told() -> None:
    told, kept = run_with_power_cuts(ForgetfulDisk(does_sync=False), [(5, 0.0)])
    assert told
    assert kept == []


@settings(max_examples=100, deadline=None)
@given(records=st.lists(st.binary(max_size=60), min_size=1, max_size=8), data=st.data())
def test_a_torn_end_is_cut_and_everything_before_it_stays(records: list[bytes], data: st.DataObject) -> None:
    content = b"".join(encode(number, record) for number, record in enumerate(records))
    kept = data.draw(st.integers(0, len(content)))
    found = scan(content[:kept])
    assert [entry.content for entry in found.entries] == records[: len(found.entries)]
    assert not found.gaps
    whole = sum(len(encode(0, record)) <= kept for record in records[:1])
    assert len(found.entries) >= whole


@settings(max_examples=100, deadline=None)
@given(records=st.lists(st.binary(max_size=40), min_size=3, max_size=8), data=st.data())
def test_a_changed_byte_costs_one_record_and_is_found(records: list[bytes], data: st.DataObject) -> None:
    parts = [encode(number, record) for number, record in enumerate(records)]
    damaged = data.draw(st.integers(0, len(parts) - 2))
    place = data.draw(st.integers(0, len(parts[damaged]) - 1))
    content = bytearray(b"".join(parts))
    content[sum(map(len, parts[:damaged])) + place] ^= 0xFF
    found = scan(bytes(content))
    left = [record for number, record in enumerate(records) if number != damaged]
    assert [entry.content for entry in found.entries] == left
    assert len(found.gaps) == 1


def test_each_life_begins_a_segment_that_names_the_hash_of_the_one_before(tmp_path: Path) -> None:
    for life in range(3):
        journal = Journal(tmp_path, reserve_bytes=4096)
        journal.begin({"life": life})
        journal.append(b"something")
        journal.close()
    hashes = [segment_hash(segment_path(tmp_path, number)) for number in segment_numbers(tmp_path)]
    assert [previous for _, previous in hashes] == ["0" * 64, hashes[0][0], hashes[1][0]]


def test_a_journal_is_turned_without_losing_or_doubling_a_record(tmp_path: Path) -> None:
    journal = Journal(tmp_path, segment_bytes=300, reserve_bytes=4096)
    journal.begin({})
    for number in range(50):
        journal.append(f"{number}".encode())
        if journal.is_full():
            journal.turn({})
    journal.close()
    tail = Tail(tmp_path)
    assert [content for content, _, _ in tail.read()] == [f"{number}".encode() for number in range(50)]
    assert len(segment_numbers(tmp_path)) > 3


def test_a_tail_goes_on_where_it_was(tmp_path: Path) -> None:
    journal = Journal(tmp_path, reserve_bytes=4096)
    journal.begin({})
    journal.append(b"one")
    [(content, _, after)] = Tail(tmp_path).read()
    assert content == b"one"
    journal.append(b"two")
    assert [content for content, _, _ in Tail(tmp_path, after).read()] == [b"two"]
    assert [content for content, _, _ in Tail(tmp_path, Place()).read()] == [b"one", b"two"]
    journal.close()


def test_damage_is_told_with_its_file_and_place(tmp_path: Path) -> None:
    journal = Journal(tmp_path, reserve_bytes=4096)
    journal.begin({})
    for name in (b"one", b"two", b"three"):
        journal.append(name)
    journal.close()
    path = segment_path(tmp_path, 1)
    path.write_bytes(path.read_bytes().replace(b"two", b"tvo"))
    tail = Tail(tmp_path)
    assert [content for content, _, _ in tail.read()] == [b"one", b"three"]
    [sentence] = tail.damage
    assert str(path) in sentence


class FullDisk(RealDisk):
    """A disk that has room for so many bytes beside its reserve."""

    def __init__(self, room: int) -> None:
        self.room = room

    def append(self, path: Path) -> File:
        real, disk = super().append(path), self

        class Limited:
            def write(self, content: bytes) -> None:
                if len(content) > disk.room:
                    raise OSError(errno.ENOSPC, "No space left on device")
                disk.room -= len(content)
                real.write(content)

            def sync(self) -> None:
                real.sync()

            def close(self) -> None:
                real.close()

        return Limited()

    def reserve(self, path: Path, size: int) -> bool:
        self.room += 0 if size else 200
        return True


def test_a_full_disk_costs_the_reserve_first_and_then_stops_the_journal(tmp_path: Path) -> None:
    journal = Journal(tmp_path, disk=FullDisk(400))
    journal.begin({})
    written: list[bytes] = []

    def write_on() -> None:
        while True:
            content = f"record {len(written)}".encode()
            journal.wait(journal.append(content), 5.0)
            written.append(content)

    with pytest.raises(JournalError, match=r"no space left on device.*free the disk"):
        write_on()
    assert journal.is_reserve_used
    assert [content for content, _, _ in Tail(tmp_path).read()] == written


def test_a_record_that_waits_for_a_slow_disk_is_not_called_durable(tmp_path: Path) -> None:
    class Slow(RealDisk):
        def append(self, path: Path) -> File:
            file = super().append(path)
            file.sync = lambda: __import__("time").sleep(0.3)  # type: ignore[method-assign]
            return file

    journal = Journal(tmp_path, disk=Slow(), reserve_bytes=4096)
    journal.begin({})
    position = journal.append(b"x")
    assert not journal.wait(position, 0.02)
    assert journal.wait(position, 5.0)
    journal.close()
