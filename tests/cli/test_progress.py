"""One bar over the whole of a command with the time left; plain lines where no terminal watches."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blemish.cli import progress as module
from blemish.cli.progress import FROZEN, LEARNED, Overall, progress_bars, seconds_left
from blemish.model import train
from blemish.testing.tiny import TINY_HW, TinyProduct

NAMES = [name for name, _ in (*FROZEN, *LEARNED)]


@given(st.lists(st.tuples(st.sampled_from([*NAMES, "something else"]), st.integers(0, 9), st.integers(0, 9))))
def test_the_share_done_never_falls_and_never_passes_one(reports: list[tuple[str, int, int]]) -> None:
    overall = Overall(FROZEN)
    shares = [overall.update(name, min(done, total), total) for name, done, total in reports]
    assert shares == sorted(shares)
    assert all(0 <= share <= 1 for share in shares)


def test_the_end_of_the_last_work_is_the_end_of_all() -> None:
    assert Overall(FROZEN).update("inspecting painted defects", 384, 384) == 1


def test_every_work_of_a_training_is_on_the_plan(product: TinyProduct, backbone_description: str) -> None:
    told: set[str] = set()
    train(
        list(product.good),
        backbone=backbone_description,
        size=TINY_HW,
        with_sensitivity=True,
        progress=lambda task, done, total: told.add(task),
    )
    assert len(told) >= 5
    for task in told:
        assert any(task.startswith(name) for name, _ in FROZEN), task


def test_a_log_gets_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    with progress_bars(("reading", 1), ("painting", 3)) as progress:
        for step in range(1, 101):
            now[0] += 1
            progress("reading features", step, 100)
    lines = capsys.readouterr().err.splitlines()
    assert 5 <= len(lines) <= 12
    assert lines[0].startswith("  1%  reading features (3 of 100)")
    assert "left" in lines[-1]


def test_short_work_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bars() as progress:
        progress("reading features", 1, 2)
    assert capsys.readouterr().err == ""


def test_times_left_are_words() -> None:
    assert [seconds_left(0.5, seconds) for seconds in (5, 300, 20_000)] == [
        "about 5 s left",
        "about 5 min left",
        "about 5.6 h left",
    ]
    assert seconds_left(1.0, 5) == ""


@pytest.mark.skipif(os.name == "nt", reason="needs a terminal")
def test_a_terminal_shows_one_bar(product_folder: Path, tmp_path: Path) -> None:
    import pty

    first, second = pty.openpty()
    command = [sys.executable, "-m", "blemish.cli.main", "train", str(product_folder), "-o", str(tmp_path / "p")]
    command += ["--detector", "template", "--size", "64"]
    with subprocess.Popen(command, stderr=second, stdout=second) as process:
        os.close(second)
        shown = b""
        with contextlib.suppress(OSError):  # the terminal is gone once the process has ended
            while True:
                shown += os.read(first, 65536)
    os.close(first)
    assert process.returncode == 0
    frames = shown.decode().split("\r")
    assert max(frame.count("%") for frame in frames[:-1] if "━" in frame) == 1
