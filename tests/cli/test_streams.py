"""Standard streams and names of files: nothing misread, nothing lost, whatever the name, the reader or the disk."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from blemish.model import train
from blemish.testing.tiny import write_png

TINY = ("--detector", "template", "--size", "64")
ODD_NAMES = {
    "latin-1": b"Pr\xfcfling.png",
    "cut character": b"\xe9\x83.png",
    "new line": b"two\nlines.png",
    "escape": b"\x1b[31mred\x1b]0;title\x07.png",
    "turned around": "\u202egnp.reject.png".encode(),
    "line separator": "a\u2028b\u0085c.png".encode(),
    "formula": b"=HYPERLINK(1).png",
    "long": ("部" * 81 + ".png").encode(),
}
needs_posix = pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="file names are text there")


def blemish(*arguments: object, **options: Any) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "blemish.cli.main", *(os.fsencode(str(word)) for word in arguments)]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    return subprocess.run(command, check=False, **options)


def shell(line: str, *arguments: object) -> tuple[int, str]:
    """The exit status of `blemish` in a line of bash, where it is called B, and what came on standard error."""
    program = f'B() {{ "{sys.executable}" -m blemish.cli.main "$@"; }}; {line}; exit ${{PIPESTATUS[0]}}'
    done = subprocess.run(["bash", "-c", program, "bash", *map(str, arguments)], capture_output=True, check=False)
    return done.returncode, done.stderr.decode()


@pytest.fixture(scope="module")
def bundle_file(product_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(product_folder, detector="template", size=64).save(tmp_path_factory.mktemp("streams") / "part.blemish")


@pytest.fixture
def odd_folder(product_folder: Path, tmp_path: Path) -> Path:
    """The tiny product with an odd name in each of its folders, and in an odd folder."""
    root = tmp_path / os.fsdecode(b"Pr\xfcf\x1b[1m\nlinge")
    shutil.copytree(product_folder, root)
    for folder in ("train/good", "test/good", "test/spot"):
        for number, name in enumerate(ODD_NAMES.values()):
            first = sorted((root / folder).iterdir())[0]
            place = root / folder / os.fsdecode(name)
            if number < 3 or folder == "train/good":
                shutil.copy(first, place)
    return root


def is_safe(content: bytes) -> bool:
    """Whether a terminal may be given this: UTF-8 on plain lines."""
    return not any(
        (ord(letter) < 32 and letter != "\n") or 127 <= ord(letter) < 160 for letter in content.decode("utf-8")
    )


@needs_posix
@pytest.mark.parametrize("name", ODD_NAMES)
def test_every_name_is_told_and_written_as_one_line(
    name: str, bundle_file: Path, product_folder: Path, tmp_path: Path
) -> None:
    place = tmp_path / "in" / os.fsdecode(ODD_NAMES[name])
    place.parent.mkdir()
    shutil.copy(product_folder / "test" / "spot" / "000.png", place)
    shown = blemish("inspect", bundle_file, place.parent, "-o", tmp_path / "out")
    assert shown.returncode == 0, shown.stderr
    assert is_safe(shown.stdout)
    assert len(shown.stdout.splitlines()) == 1
    told = blemish("inspect", bundle_file, place.parent, "--json", env={**os.environ, "PYTHONIOENCODING": "cp1252"})
    rows = [json.loads(line) for line in told.stdout.decode("utf-8").splitlines()]
    kept = [json.loads(line) for line in (tmp_path / "out" / "verdicts.jsonl").read_text("utf-8").splitlines()]
    assert len(rows) == len(kept) == 1
    assert rows[0]["path"] == kept[0]["path"]
    if ODD_NAMES[name].isascii() or name == "long":
        assert rows[0]["path"] == str(place)
    with (tmp_path / "out" / "verdicts.csv").open(encoding="utf-8-sig", newline="") as file:
        [row] = csv.DictReader(file)
    assert is_safe(row["path"].encode())
    assert len(list((tmp_path / "out" / "overlays").rglob("*.png"))) == 1


@needs_posix
def test_every_command_takes_names_that_are_no_text(odd_folder: Path, bundle_file: Path, tmp_path: Path) -> None:
    made = tmp_path / "odd.blemish"
    for command in (
        ("train", odd_folder, "-o", made, *TINY),
        ("info", made),
        ("evaluate", bundle_file, odd_folder, "-o", tmp_path / "report"),
        ("evaluate", bundle_file, odd_folder, "--json"),
        ("data", "check", odd_folder),
        ("data", "list", odd_folder, "--json"),
        ("calibrate", bundle_file, odd_folder / "test" / "good", "-o", tmp_path / "new.blemish"),
        ("verify", bundle_file, odd_folder / "test", "--engine", "onnxruntime"),
        ("bench", bundle_file, odd_folder / "test", "--engine", "onnxruntime", "--seconds", "0.1"),
        ("compare", odd_folder, "--detectors", "template", "--size", "64", "-o", tmp_path / "study"),
        ("info", odd_folder / "none.blemish"),
    ):
        done = blemish(*command)
        assert done.returncode in (0, 2), (command, done.stderr)
        assert is_safe(done.stdout + done.stderr), command
        if done.returncode == 2:
            assert command[0] == "data" or b"none.blemish: no such file" in done.stderr, (command, done.stderr)
    for page in (tmp_path / "report" / "index.html", tmp_path / "study" / "index.html"):
        assert "\x1b" not in page.read_text("utf-8")
    assert r"Pr\xfcf" in json.loads((tmp_path / "report" / "evaluation.json").read_text("utf-8"))["data"]["name"]


@pytest.mark.parametrize("name", ["部品", "Ω", "\U0001f600"])
def test_output_in_a_code_page_takes_every_letter(
    name: str, bundle_file: Path, product_folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(product_folder / "test" / "good", tmp_path / name)
    for encoding in ("cp1252", "ascii", "shift-jis"):
        done = blemish("inspect", bundle_file, tmp_path / name, env={**os.environ, "PYTHONIOENCODING": encoding})
        assert done.returncode == 0, done.stderr
        assert name in done.stdout.decode("utf-8")
        assert len(done.stdout.splitlines()) == 6


@pytest.mark.skipif(os.name == "nt", reason="needs bash")
class TestAReaderThatEnds:
    """`| head`: nobody reads on. The status is never 1, which means that a reject was met."""

    def test_it_ends_quietly(self, bundle_file: Path, product_folder: Path) -> None:
        for line in ('B inspect "$1" "$2" | true', 'B inspect "$1" "$2" --json | head -1', 'B info "$1" | head -1'):
            status, messages = shell(line, bundle_file, product_folder / "test")
            assert status in (0, 141)
            assert "rror" not in messages

    def test_nothing_more_is_judged_where_nobody_is_told(
        self, bundle_file: Path, product_folder: Path, tmp_path: Path
    ) -> None:
        for number in range(100):
            shutil.copy(product_folder / "test" / "good" / "000.png", tmp_path / f"{number}.png")
        status, messages = shell('B inspect "$1" "$2" | head -1', bundle_file, tmp_path)
        assert (status, messages) == (141, "")

    def test_what_is_written_to_a_folder_is_complete(
        self, bundle_file: Path, product_folder: Path, tmp_path: Path
    ) -> None:
        status, _ = shell('B inspect "$1" "$2" -o "$3" | true', bundle_file, product_folder / "test", tmp_path / "out")
        assert status == 0
        assert len((tmp_path / "out" / "verdicts.jsonl").read_text("utf-8").splitlines()) == 12

    def test_a_reject_is_still_told_by_the_status(
        self, bundle_file: Path, product_folder: Path, tmp_path: Path
    ) -> None:
        line = 'B inspect "$1" "$2" -o "$3" --fail-on-reject | true'
        assert shell(line, bundle_file, product_folder / "test", tmp_path)[0] == 1

    def test_messages_that_nobody_reads_stop_nothing(
        self, bundle_file: Path, product_folder: Path, tmp_path: Path
    ) -> None:
        line = 'B inspect "$1" "$2" -o "$3" 2>&1 | true'
        assert shell(line, bundle_file, product_folder / "test", tmp_path / "out")[0] == 0
        assert len((tmp_path / "out" / "verdicts.jsonl").read_text("utf-8").splitlines()) == 12


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a disk that is always full")
class TestAFullDisk:
    @pytest.mark.parametrize(
        "command", ['inspect "$1" "$2"', 'inspect "$1" "$2" --json', 'info "$1"', "--help", "detectors"]
    )
    def test_behind_standard_output_is_one_line_and_status_2(
        self, command: str, bundle_file: Path, product_folder: Path
    ) -> None:
        status, messages = shell(f"B {command} > /dev/full", bundle_file, product_folder / "test")
        assert status == 2
        [line] = [line for line in messages.splitlines() if "images per second" not in line]
        assert (
            line
            == "blemish: standard output: cannot be written (no space left on device); free the disk or write elsewhere"
        )

    def test_behind_messages_stops_nothing(self, bundle_file: Path, product_folder: Path) -> None:
        assert shell('B inspect "$1" "$2" 2> /dev/full', bundle_file, product_folder / "test")[0] == 0

    def test_costs_no_verdict_that_goes_to_a_folder(
        self, bundle_file: Path, product_folder: Path, tmp_path: Path
    ) -> None:
        line = 'B inspect "$1" "$2" -o "$3" > /dev/full'
        assert shell(line, bundle_file, product_folder / "test", tmp_path)[0] == 2
        assert len((tmp_path / "verdicts.jsonl").read_text("utf-8").splitlines()) == 12


@pytest.mark.skipif(os.name == "nt", reason="needs bash")
def test_closed_streams_stop_nothing(bundle_file: Path, product_folder: Path, tmp_path: Path) -> None:
    line = 'B inspect "$1" "$2" -o "$3" >&- 2>&-'
    assert shell(line, bundle_file, product_folder / "test", tmp_path)[0] == 0
    assert len((tmp_path / "verdicts.jsonl").read_text("utf-8").splitlines()) == 12


@pytest.mark.parametrize("number", [1, 2])
def test_lines_that_libraries_print_are_caught(number: int, tmp_path: Path) -> None:
    """As ONNX Runtime and libjpeg do: past Python, straight to the file descriptor."""
    program = (
        "import os, sys\n"
        "from blemish import registry; from blemish.cli import main\n"
        "real = registry.load_detector\n"
        "def noisy(name):\n"
        f"    os.write({number}, b'Corrupt JPEG data: premature end\\n')\n"
        "    return real(name)\n"
        "registry.load_detector = noisy\n"
        "sys.argv = ['blemish', 'detectors', '--json']\n"
        "main.main()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert done.stderr == ""
    assert json.loads(done.stdout)["detectors"]


def test_a_crash_in_a_library_is_told() -> None:
    program = (
        "import os, sys\n"
        "from blemish import registry; from blemish.cli import main\n"
        "registry.load_detector = lambda name: os.abort()\n"
        "sys.argv = ['blemish', 'detectors']\n"
        "main.main()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "Aborted" in done.stderr


def test_a_damaged_jpeg_adds_no_line_of_its_own(bundle_file: Path, tmp_path: Path) -> None:
    import cv2
    import numpy as np

    pixels = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    content = cv2.imencode(".jpg", pixels)[1].tobytes()
    middle = len(content) // 2
    (tmp_path / "a.jpg").write_bytes(content[:middle] + b"\xff\xd0\x00\xff\x13" + content[middle + 5 :])
    write_png(tmp_path / "b.png", pixels)
    done = blemish("inspect", bundle_file, tmp_path, "--json")
    assert all(line.startswith((b"blemish: ", b"2 images", b"1 images")) for line in done.stderr.splitlines())
    assert len([json.loads(line) for line in done.stdout.splitlines()]) == 2


@pytest.mark.skipif(os.name == "nt", reason="needs a terminal")
def test_at_a_terminal_json_still_goes_where_it_is_sent(
    bundle_file: Path, product_folder: Path, tmp_path: Path
) -> None:
    """Progress bars on a terminal do not swallow lines for a file."""
    import pty

    own, other = pty.openpty()
    try:
        with (tmp_path / "rows.jsonl").open("wb") as rows:
            arguments = ("inspect", bundle_file, product_folder / "test", "--json")
            done = blemish(*arguments, stdout=rows, stderr=other)
        os.set_blocking(own, False)
        seen = b""
        while True:
            try:
                part = os.read(own, 65536)
            except OSError:  # nothing more is there
                break
            seen += part
    finally:
        os.close(own)
        os.close(other)
    assert done.returncode == 0
    assert len([json.loads(line) for line in (tmp_path / "rows.jsonl").read_bytes().splitlines()]) == 12
    assert b"decision" not in seen
