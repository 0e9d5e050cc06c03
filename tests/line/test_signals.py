"""A run that is asked to end keeps everything: verdicts, tables and the drift watch."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from blemish.testing.tiny import TinyProduct, write_png

pytestmark = pytest.mark.skipif(os.name == "nt", reason="there are no such signals")


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_everything_is_kept_when_a_signal_ends_a_run(
    number: signal.Signals, status: int, bundle_path: Path, product: TinyProduct, tmp_path: Path
) -> None:
    for place in range(400):
        write_png(tmp_path / "in" / f"{place:03}.png", product.held_out[place % 6])
    command = [sys.executable, "-m", "blemish.cli.main", "inspect", str(bundle_path), str(tmp_path / "in"), "--json"]
    command += ["-o", str(tmp_path / "out")]
    # A background job of a shell starts with Ctrl-C ignored.
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        first = process.stdout.readline()
        process.send_signal(number)
        shown = [first, *process.stdout]
        messages = process.stderr.read().decode()
    assert process.returncode == status, messages
    assert "Traceback" not in messages
    rows = [json.loads(line) for line in (tmp_path / "out" / "verdicts.jsonl").read_bytes().splitlines()]
    assert 0 < len(rows) < 400
    assert [row["path"] for row in rows] == [json.loads(line)["path"] for line in shown]
    assert len((tmp_path / "out" / "verdicts.csv").read_text("utf-8").splitlines()) == len(rows) + 1
    assert json.loads((tmp_path / "out" / "drift.json").read_bytes())["state"]["num_parts"] == len(rows)
    assert f"{len(rows)} images" in messages
