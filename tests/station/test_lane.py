"""The loop of a lane: each trigger is a part, nothing is told that is not written, and late is never an accept."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from blemish.line.events import Item
from blemish.station.core.parts import Answered, Decided, Late, Missed, Record, Ticket, read_record
from blemish.station.journal import File, Journal, JournalError, RealDisk, Tail
from blemish.station.lane.lane import Answer, Lane, Trigger
from blemish.testing.tiny import TinyProduct

from .conftest import MakeLane, broken_item, defective_item, good_item


def records(folder: Path) -> list[Record]:
    return [read_record(content) for content, _, _ in Tail(folder).read()]


def kinds(folder: Path) -> list[str]:
    return [type(record).__name__ for record in records(folder)]


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "journal"


def tell(lane: Lane, counter: int | None = None, item: Item | None = None, within_ms: float | None = None) -> Answer:
    told: list[Answer] = []

    def reply(answer: Answer) -> str:
        told.append(answer)
        return ""

    lane.run_part(Trigger(reply, item, counter, within_ms=within_ms))
    for _ in range(200):
        if told:
            break
        time.sleep(0.005)
    [answer] = told
    return answer


def test_a_good_part_is_accepted_and_a_defective_one_is_not(make_lane: MakeLane, product: TinyProduct) -> None:
    lane = make_lane()
    assert tell(lane, item=good_item(product)).decision == "accept"
    assert tell(lane, item=defective_item(product)).decision == "reject"
    assert lane.memory.counts == {"accept": 1, "reject": 1}


def test_the_ticket_is_written_before_the_verdict_and_the_verdict_before_it_is_told(
    make_lane: MakeLane, journal: Path
) -> None:
    lane = make_lane()
    seen: list[str] = []

    def reply(answer: Answer) -> str:
        seen.extend(kinds(journal))
        return ""

    lane.run_part(Trigger(reply))
    assert seen == ["Begin", "Ticket", "Decided"]
    assert kinds(journal) == ["Begin", "Ticket", "Decided", "Answered"]


def test_a_picture_that_cannot_be_read_is_an_error_of_its_part(make_lane: MakeLane, product: TinyProduct) -> None:
    lane = make_lane()
    answer = tell(lane, item=broken_item())
    assert (answer.decision, "no image" in answer.fault) == ("error", True)
    assert tell(lane, item=good_item(product)).decision == "accept"


def test_a_late_picture_is_told_as_an_error_in_time_whatever_it_shows(
    make_lane: MakeLane, product: TinyProduct, journal: Path
) -> None:
    def slow(seconds: float) -> Item:
        time.sleep(0.4)
        return good_item(product)

    lane = make_lane(pictures=slow)
    start = time.monotonic()
    times: list[float] = []
    told: list[Answer] = []

    def reply(answer: Answer) -> str:
        times.append(time.monotonic() - start)
        told.append(answer)
        return ""

    lane.run_part(Trigger(reply, counter=1, within_ms=100))
    assert [answer.decision for answer in told] == ["error"]
    assert times[0] < 0.3
    late = next(record for record in records(journal) if isinstance(record, Late))
    assert "100 ms" in late.fault


def test_a_verdict_that_is_not_on_the_disk_in_time_is_told_as_an_error(
    make_lane: MakeLane, product: TinyProduct
) -> None:
    class Slow(RealDisk):
        is_slow = False

        def append(self, path: Path) -> File:
            file = super().append(path)
            sync = file.sync

            def slow_sync() -> None:
                time.sleep(0.5 if self.is_slow else 0)
                sync()

            file.sync = slow_sync  # type: ignore[method-assign]
            return file

    disk = Slow()
    lane = make_lane(durability="power", disk=disk)
    assert tell(lane, 1, good_item(product), within_ms=3000).decision == "accept"
    disk.is_slow = True
    assert tell(lane, 2, good_item(product), within_ms=150).decision == "error"


def test_triggers_that_the_plc_counted_meanwhile_are_missed(make_lane: MakeLane, journal: Path) -> None:
    lane = make_lane()
    tell(lane, 7)
    tell(lane, 11)
    [missed] = [record for record in records(journal) if isinstance(record, Missed)]
    assert (missed.first_counter, missed.count) == (8, 3)
    assert lane.memory.counts["missed"] == 3


def test_a_counter_that_comes_again_is_the_same_part(make_lane: MakeLane, journal: Path) -> None:
    lane = make_lane()
    first, again = tell(lane, 7), tell(lane, 7)
    assert first == again
    assert kinds(journal).count("Ticket") == 1


def test_a_plc_that_counts_anew_misses_nothing(make_lane: MakeLane, journal: Path) -> None:
    lane = make_lane()
    tell(lane, 5_000_000)
    tell(lane, 1)
    assert "Missed" not in kinds(journal)


def test_a_lane_that_begins_again_goes_on_with_its_numbers_lot_and_counters(
    make_lane: MakeLane, product: TinyProduct
) -> None:
    lane = make_lane()
    lane.begin_lot("A7")
    tell(lane, 1, good_item(product))
    tell(lane, 2, defective_item(product))
    after = make_lane()
    assert after.memory.lot_id == "A7"
    assert after.memory.counts == {"accept": 1, "reject": 1}
    assert tell(after, 3).seq == 3


def test_the_part_that_a_kill_left_open_is_lost_and_its_counter_is_answered_as_error(
    make_lane: MakeLane, journal: Path
) -> None:
    lane = make_lane()
    tell(lane, 1)
    lane.note(Ticket(2, 2, "", "", 1, 5))
    after = make_lane()
    assert after.memory.counts == {"accept": 1, "lost": 1}
    answer = tell(after, 2)
    assert (answer.seq, answer.decision) == (2, "error")
    assert sum(isinstance(record, Ticket) for record in records(journal)) == 2


def test_a_plc_that_asks_again_after_a_kill_gets_the_verdict_that_was_written(make_lane: MakeLane) -> None:
    lane = make_lane()
    lane.note(Ticket(1, 9, "", "", 1, 5))
    lane.note(Decided(1, "reject", 6))
    assert tell(make_lane(), 9).decision == "reject"


def test_after_a_power_cut_no_number_is_given_again(make_lane: MakeLane) -> None:
    tell(make_lane(machine_boot="one"), 1)
    assert tell(make_lane(machine_boot="two"), 2).seq > 10_000


def test_a_lane_without_a_product_refuses_in_words(make_lane: MakeLane) -> None:
    lane = make_lane()
    lane.change(lane.lane, None)
    answer = tell(lane, 1)
    assert (answer.decision, answer.fault) == ("error", "no product is active")


def test_answers_say_how_long_they_took(make_lane: MakeLane, journal: Path) -> None:
    tell(make_lane(), 1)
    [answered] = [record for record in records(journal) if isinstance(record, Answered)]
    assert 0 < answered.answer_ms < 10_000


def test_a_journal_of_another_version_is_refused_in_words(make_lane: MakeLane, journal: Path) -> None:
    other = Journal(journal, durability="process", reserve_bytes=4096)
    other.begin({"memory": None})
    other.append(b'{"record": "of tomorrow"}')
    other.close()
    with pytest.raises(JournalError, match="another version of blemish"):
        make_lane()
