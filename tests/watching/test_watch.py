"""A drift watch in its file: it goes on, is shared, survives kills, and never stops what it watches."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from blemish.decisions.thresholds import calibrate
from blemish.errors import OutputError
from blemish.schema import Calibration, Condition, Verdict
from blemish.watching import watch as watch_module
from blemish.watching import watch_file
from blemish.watching.drift import DriftMonitor
from blemish.watching.watch import Watch


def make_calibration(seed: int = 0, graph: str = "a" * 64) -> Calibration:
    rng = np.random.default_rng(seed)
    conditions = tuple(Condition(name, tuple(sorted(rng.normal(size=30).tolist()))) for name in ("score", "brightness"))
    return calibrate([1.0, 2.0, 3.0], [1.0, 2.0, 3.0], graph_sha256=graph, method="split", conditions=conditions)


CALIBRATION = make_calibration()


def verdict(*values: float) -> Verdict:
    nothing = np.zeros((1, 1), np.float32)
    return Verdict("a.png", "accept", 0.0, 1.0, 0.5, 10.0, (), 1.0, "id", (1, 1), nothing, conditions=values)


def parts(number: int, seed: int = 1) -> list[Verdict]:
    return [verdict(*values) for values in np.random.default_rng(seed).normal(size=(number, 2)).tolist()]


def kept(path: Path) -> dict[str, Any]:
    """The state in the file, which is whole and alone."""
    assert [entry.name for entry in path.parent.iterdir() if entry.name.startswith(f".{path.name}")] == []
    state: dict[str, Any] = json.loads(path.read_bytes())["state"]
    return state


def test_a_watch_goes_on_as_if_it_had_not_stopped(tmp_path: Path) -> None:
    whole = Watch(CALIBRATION, tmp_path / "whole.json")
    for part in parts(60):
        whole.update(part)
    whole.save()
    for begin in range(0, 60, 7):
        watch = Watch(CALIBRATION, tmp_path / "in pieces.json")
        assert watch.report().num_parts == begin
        for part in parts(60)[begin : begin + 7]:
            watch.update(part)
        watch.save()
    assert kept(tmp_path / "whole.json") == kept(tmp_path / "in pieces.json")


def test_a_part_is_kept_before_the_watch_is_saved(tmp_path: Path) -> None:
    """Nothing is called when a run is killed."""
    for round_number in range(3):
        watch = Watch(CALIBRATION, tmp_path / "drift.json")
        assert watch.report().num_parts == 5 * round_number
        for part in parts(5, seed=round_number):
            watch.update(part)
    watch.save()
    assert kept(tmp_path / "drift.json")["num_parts"] == 15


def test_a_long_run_writes_the_state_now_and_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch_module, "JOURNAL_PARTS", 10)
    watch = Watch(CALIBRATION, tmp_path / "drift.json")
    for number, part in enumerate(parts(35), start=1):
        watch.update(part)
        state = json.loads((tmp_path / "drift.json").read_bytes())["state"]
        assert state["num_parts"] == max(1, number // 10 * 10)


def test_runs_at_the_same_time_count_together(tmp_path: Path) -> None:
    one, two = (Watch(CALIBRATION, tmp_path / "drift.json") for _ in range(2))
    for number, (first, second) in enumerate(zip(parts(20), parts(20, seed=2), strict=True)):
        assert one.update(first).num_parts == 2 * number + 1
        assert two.update(second).num_parts == 2 * number + 2
        if number == 9:
            one.save()
    two.save()
    one.save()
    assert kept(tmp_path / "drift.json")["num_parts"] == 40


PROCESS = """
import sys, time
from pathlib import Path
sys.path.insert(0, {tests!r})
import test_watch as shared
watch = shared.Watch(shared.CALIBRATION, Path(sys.argv[1]))
for part in shared.parts(int(sys.argv[2]), seed=int(sys.argv[3])):
    watch.update(part)
    print("kept", flush=True)
watch.save()
"""


def start(path: Path, number: int, seed: int) -> subprocess.Popen[bytes]:
    code = PROCESS.format(tests=str(Path(__file__).parent))
    command = [sys.executable, "-c", code, str(path), str(number), str(seed)]
    return subprocess.Popen(command, stdout=subprocess.PIPE)


def test_processes_at_the_same_time_lose_no_count(tmp_path: Path) -> None:
    running = [start(tmp_path / "drift.json", 50, seed) for seed in range(3)]
    assert [process.communicate() and process.returncode for process in running] == [0, 0, 0]
    assert kept(tmp_path / "drift.json")["num_parts"] == 150


@pytest.mark.parametrize("after", [1, 7, 30])
def test_a_kill_loses_no_part(after: int, tmp_path: Path) -> None:
    process = start(tmp_path / "drift.json", 100_000, seed=0)
    assert process.stdout is not None
    for _ in range(after):
        process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    told = after + len(process.stdout.read().splitlines())
    process.stdout.close()
    process.wait()
    found = Watch(CALIBRATION, tmp_path / "drift.json").report().num_parts
    assert found - told in (0, 1)


OTHERS = {
    "other good images": make_calibration(seed=3),
    "another graph": make_calibration(graph="b" * 64),
    "fewer conditions": dataclasses.replace(CALIBRATION, conditions=CALIBRATION.conditions[:1]),
}


@pytest.mark.parametrize("name", OTHERS)
def test_the_watch_of_another_calibration_is_put_aside_and_named(name: str, tmp_path: Path) -> None:
    old = Watch(OTHERS[name], tmp_path / "drift.json")
    for part in parts(9):
        old.update(dataclasses.replace(part, conditions=part.conditions[: len(OTHERS[name].conditions)]))
    old.save()
    before = (tmp_path / "drift.json").read_bytes()
    told: list[str] = []
    watch = Watch(CALIBRATION, tmp_path / "drift.json", told.append)
    watch.update(parts(1)[0])
    watch.save()
    assert len(told) == 1
    assert told[0].startswith(f"{tmp_path / 'drift.json'}: this drift watch ")
    assert "a new one begins" in told[0]
    assert kept(tmp_path / "drift.json")["num_parts"] == 1
    assert (tmp_path / "drift.json.old").read_bytes() == before


def test_other_thresholds_of_the_same_good_images_go_on(tmp_path: Path) -> None:
    watch = Watch(CALIBRATION, tmp_path / "drift.json")
    watch.update(parts(1)[0])
    watch.save()
    stricter = dataclasses.replace(CALIBRATION, image_threshold=1.5, reason="fewer escapes")
    assert Watch(stricter, tmp_path / "drift.json", pytest.fail).report().num_parts == 1


def test_a_run_whose_file_another_calibration_takes_over_goes_on_alone(tmp_path: Path) -> None:
    told: list[str] = []
    before = Watch(CALIBRATION, tmp_path / "drift.json", told.append)
    before.update(parts(1)[0])
    after = Watch(OTHERS["other good images"], tmp_path / "drift.json")
    for part in parts(4):
        after.update(part)
        before.update(part)
    assert before.report().num_parts == 5
    assert len(told) == 1
    assert "is not kept any longer" in told[0]
    before.save()
    after.save()
    assert kept(tmp_path / "drift.json")["num_parts"] == 4


def make_saved() -> bytes:
    monitor = DriftMonitor(CALIBRATION.conditions)
    for part in parts(12):
        monitor.update(part.conditions)
    return watch_file.SAVED.dump_json(watch_file.SavedWatch(CALIBRATION.graph_sha256, monitor.state))


SAVED = make_saved()
"""A file that is whole."""


def changed(content: bytes, **fields: Any) -> bytes:
    saved = json.loads(content)
    saved["state"].update(fields)
    return json.dumps(saved).encode()


DAMAGED: dict[str, Any] = {
    "empty": lambda content: b"",
    "half": lambda content: content[: len(content) // 2],
    "not JSON": lambda content: b"\x00\xff drift",
    "deep": lambda content: b"[" * 200_000,
    "a list": lambda content: b"[]",
    "no state": lambda content: b'{"graph_sha256": "' + b"a" * 64 + b'"}',
    "counts of another shape": lambda content: changed(content, counts=[[0], [1, 2]]),
    "no counts": lambda content: changed(content, counts=[]),
    "negative counts": lambda content: changed(content, counts=[[-1, 13] + [0] * 29] * 2),
    "counts of more parts": lambda content: changed(content, num_parts=13),
    "huge counts": lambda content: changed(content, num_parts=10**30, counts=[[10**30] + [0] * 30] * 2),
    "capital of another shape": lambda content: changed(content, log_capital=[[0.0]]),
    "infinite capital": lambda content: content.replace(b'"log_capital":[[', b'"log_capital":[[1e999,'),
    "too few recent values": lambda content: changed(content, recent=[[], []]),
    "recent values of another shape": lambda content: changed(content, recent=[[1.0] * 5]),
    "huge seed": lambda content: changed(content, seed=10**400 // 10**100),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_file_stops_nothing_and_is_put_aside(name: str, tmp_path: Path) -> None:
    damaged = DAMAGED[name](SAVED)
    (tmp_path / "drift.json").write_bytes(damaged)
    told: list[str] = []
    watch = Watch(CALIBRATION, tmp_path / "drift.json", told.append)
    for part in parts(3):
        watch.update(part)
    watch.save()
    assert kept(tmp_path / "drift.json")["num_parts"] == 3
    assert len(told) == 1
    assert f"{tmp_path / 'drift.json'}: this drift watch is damaged" in told[0]
    assert (tmp_path / "drift.json.old").read_bytes() == damaged


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(field=st.sampled_from([*watch_file.DriftState.__dataclass_fields__]), value=json_values)
def test_any_field_may_hold_anything(field: str, value: Any, tmp_path: Path) -> None:
    (tmp_path / "drift.json").write_bytes(changed(SAVED, **{field: value}))
    watch = Watch(CALIBRATION, tmp_path / "drift.json")
    for part in parts(2):
        assert watch.update(part).num_parts in (1, 2, 13, 14)
    watch.save()
    assert Watch(CALIBRATION, tmp_path / "drift.json", pytest.fail).report().num_parts in (2, 14)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tail=st.binary(max_size=200), cut=st.integers(0, 300))
def test_a_journal_with_any_end_keeps_the_parts_before_it(tail: bytes, cut: int, tmp_path: Path) -> None:
    path, journal = tmp_path / "drift.json", tmp_path / ".drift.json.journal"
    journal.unlink(missing_ok=True)
    path.unlink(missing_ok=True)
    watch = Watch(CALIBRATION, path)
    for part in parts(8):
        watch.update(part)
    whole = journal.read_bytes()
    journal.write_bytes(whole[: len(whole) - cut] + tail)
    ends = [place for place in range(1, len(whole) + 1) if whole[:place].endswith(b"\n")]
    num_kept = 1 + sum(journal.read_bytes().startswith(whole[:end]) for end in ends)
    again = Watch(CALIBRATION, path)
    assert again.report().num_parts == num_kept
    again.update(parts(1)[0])
    assert Watch(CALIBRATION, path).report().num_parts == num_kept + 1


def test_a_journal_without_its_state_counts_for_nothing(tmp_path: Path) -> None:
    """Its file was removed, to begin anew."""
    watch = Watch(CALIBRATION, tmp_path / "drift.json")
    for part in parts(3):
        watch.update(part)
    (tmp_path / "drift.json").unlink()
    again = Watch(CALIBRATION, tmp_path / "drift.json")
    again.update(parts(1)[0])
    again.save()
    assert kept(tmp_path / "drift.json")["num_parts"] == 1


def test_a_file_removed_in_mid_run_is_made_again(tmp_path: Path) -> None:
    watch = Watch(CALIBRATION, tmp_path / "out" / "drift.json")
    for number, part in enumerate(parts(6)):
        watch.update(part)
        if number == 3:
            (tmp_path / "out").rename(tmp_path / "elsewhere")
    watch.save()
    assert kept(tmp_path / "out" / "drift.json")["num_parts"] == 6


def test_what_cannot_be_written_is_kept_and_written_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch_module, "RETRY_SECONDS", 0.0)
    watch = Watch(CALIBRATION, tmp_path / "drift.json")
    write_really = Path.open

    def full(self: Path, mode: str = "r", *arguments: Any, **more: Any) -> Any:
        if mode != "rb":
            raise OSError(errno.ENOSPC, "No space left on device")
        return write_really(self, mode, *arguments, **more)

    for number, part in enumerate(parts(9)):
        with monkeypatch.context() as patch:
            if number in (2, 3, 7):
                patch.setattr(Path, "open", full)
            assert watch.update(part).num_parts == number + 1
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", full)
        with pytest.raises(OutputError, match=r"drift\.json"):
            watch.save()
    watch.save()
    assert kept(tmp_path / "drift.json")["num_parts"] == 9


@pytest.mark.parametrize("kind", ["folder", "pipe", "below a file"])
def test_a_place_that_is_no_file_stops_nothing_and_is_told_at_the_end(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "drift.json"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        if not hasattr(os, "mkfifo"):
            pytest.skip("no pipes here")
        os.mkfifo(path)
    else:
        path.write_bytes(b"")
        path = path / "drift.json"
    watch = Watch(CALIBRATION, path)
    assert [watch.update(part).num_parts for part in parts(3)] == [1, 2, 3]
    with pytest.raises(OutputError, match=r"drift\.json"):
        watch.save()


def test_a_signal_in_the_middle_of_a_part_costs_that_part_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = Watch(CALIBRATION, tmp_path / "drift.json")
    for part in parts(4):
        watch.update(part)

    def interrupted(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("blemish.watching.drift.step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            watch.update(parts(1)[0])
    watch.save()
    assert Watch(CALIBRATION, tmp_path / "drift.json", pytest.fail).report().num_parts == 4


def test_a_watch_without_a_file_only_counts(tmp_path: Path) -> None:
    watch = Watch(CALIBRATION)
    assert [watch.update(part).num_parts for part in parts(3)] == [1, 2, 3]
    watch.save()
    assert list(tmp_path.iterdir()) == []
