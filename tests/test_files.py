"""Files are whole or not there; the place that cannot be written to is named."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from blemish import files
from blemish.errors import OutputError
from blemish.files import locked, make_folder, replace_file, write_file, write_new_file


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_written_with_its_folders(tmp_path: Path) -> None:
    path = write_file(tmp_path / "a" / "b ä" / "file.txt", b"content")
    assert path.read_bytes() == b"content"
    assert names(path.parent) == ["file.txt"]


def test_a_file_that_is_there_is_replaced(tmp_path: Path) -> None:
    write_file(tmp_path / "file", b"a long first content")
    write_file(tmp_path / "file", b"second")
    assert (tmp_path / "file").read_bytes() == b"second"


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_what_breaks_in_the_middle_leaves_the_old_file(
    error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_file(tmp_path / "file", b"old")

    def fail(self: Path, content: bytes) -> int:
        with self.open("wb") as file:
            file.write(content[:2])
        raise error

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises((OutputError, KeyboardInterrupt)):
        write_file(tmp_path / "file", b"new content")
    assert (tmp_path / "file").read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


def test_a_folder_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "place").mkdir()
    with pytest.raises(OutputError, match="place: cannot be written"):
        write_file(tmp_path / "place", b"content")
    assert names(tmp_path) == ["place"]


def test_a_file_in_the_way_of_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match="cannot be made"):
        make_folder(tmp_path / "file" / "folder")


def test_the_longest_name_can_be_written(tmp_path: Path) -> None:
    name = "n" * (255 if os.name != "nt" else 100)
    assert write_file(tmp_path / name, b"content").read_bytes() == b"content"


def test_a_long_name_of_many_bytes_can_be_written(tmp_path: Path) -> None:
    name = "ä" * 120 + ".png"
    assert write_file(tmp_path / name, b"content").read_bytes() == b"content"
    assert names(tmp_path) == [name]


def test_content_is_on_the_disk_before_its_name_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a power cut a name must not lead to a file whose content was still in memory."""
    steps: list[str] = []
    sync, rename = os.fsync, os.replace

    def note_sync(number: int) -> None:
        steps.append("folder" if os.path.isdir(f"/proc/self/fd/{number}") else "file")
        sync(number)

    def note_rename(source: Path, target: Path) -> None:
        steps.append("rename")
        rename(source, target)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(os, "replace", note_rename)
    write_file(tmp_path / "file", b"content")
    assert steps == ["file", "rename", "folder"]
    steps.clear()
    write_file(tmp_path / "picture", b"content", survives_power_cut=False)
    assert steps == ["rename"]


def test_what_a_killed_writer_left_is_taken_over(tmp_path: Path) -> None:
    code = (
        "import os, signal; from pathlib import Path; from blemish.files import replace_file\n"
        "def write(beside):\n"
        "    beside.write_bytes(b'half of it')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        f"replace_file(Path({str(tmp_path / 'file')!r}), write)"
    )
    write_file(tmp_path / "file", b"old")
    subprocess.run([sys.executable, "-c", code], check=False)
    assert (tmp_path / "file").read_bytes() == b"old"
    assert len(names(tmp_path)) == 2
    write_file(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"new"
    assert names(tmp_path) == ["file"]


def test_many_writers_of_one_file_leave_one_whole_file(tmp_path: Path) -> None:
    contents = [bytes([letter]) * 200_000 for letter in b"abcdefgh"]

    def write(content: bytes) -> None:
        for _ in range(20):
            write_file(tmp_path / "file", content, survives_power_cut=False)
            assert (tmp_path / "file").read_bytes() in contents

    threads = [threading.Thread(target=write, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / "file").read_bytes() in contents
    assert names(tmp_path) == ["file"]


def test_a_writer_killed_when_its_file_had_its_name_already_costs_that_file_nothing(tmp_path: Path) -> None:
    code = (
        "import os, signal; from pathlib import Path; from blemish import files\n"
        "files.take_name = lambda place, path: os.link(place, path) or os.kill(os.getpid(), signal.SIGKILL)\n"
        f"files.write_new_file(Path({str(tmp_path / 'file')!r}), b'first')"
    )
    subprocess.run([sys.executable, "-c", code], check=False)
    assert names(tmp_path) == [".file.part", "file"]
    for _ in range(2):
        assert not write_new_file(tmp_path / "file", b"second")
    assert (tmp_path / "file").read_bytes() == b"first"
    assert names(tmp_path) == ["file"]


def test_a_link_in_place_of_the_file_beside_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "other").write_bytes(b"other")
    (tmp_path / ".file.part").symlink_to(tmp_path / "other")
    write_file(tmp_path / "file", b"content")
    assert (tmp_path / "other").read_bytes() == b"other"
    assert (tmp_path / "file").read_bytes() == b"content"


def test_what_the_writer_raises_comes_through(tmp_path: Path) -> None:
    def write(beside: Path) -> None:
        beside.write_bytes(b"half")
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        replace_file(tmp_path / "file", write)
    assert names(tmp_path) == []


COUNT = (
    "import sys, time; from pathlib import Path; from blemish.files import locked, write_file\n"
    "path = Path(sys.argv[1])\n"
    "for _ in range(25):\n"
    "    with locked(path):\n"
    "        number = int(path.read_bytes()) + 1\n"
    "        time.sleep(0.001)\n"
    "        write_file(path, str(number).encode(), survives_power_cut=False)\n"
)


def test_processes_take_turns(tmp_path: Path) -> None:
    path = write_file(tmp_path / "number", b"0")
    running = [subprocess.Popen([sys.executable, "-c", COUNT, str(path)]) for _ in range(4)]
    assert [process.wait() for process in running] == [0] * 4
    assert path.read_bytes() == b"100"
    assert names(tmp_path) == ["number"]


def test_threads_take_turns_and_the_waiting_one_says_so_once(tmp_path: Path) -> None:
    told: list[str] = []
    inside = threading.Event()

    def hold() -> None:
        with locked(tmp_path / "file"):
            inside.set()
            time.sleep(0.2)

    holder = threading.Thread(target=hold)
    holder.start()
    inside.wait()
    with locked(tmp_path / "file", lambda: told.append("waiting")):
        assert not holder.is_alive() or told
    holder.join()
    assert told == ["waiting"]


def test_patience_ends(tmp_path: Path) -> None:
    outer = locked(tmp_path / "file")
    with (
        outer,
        pytest.raises(OutputError, match="file: another program is using it"),
        locked(tmp_path / "file", patience_seconds=0.1),
    ):
        pass


def test_a_killed_holder_holds_nothing(tmp_path: Path) -> None:
    code = (
        "import os, signal; from pathlib import Path; from blemish.files import locked\n"
        f"with locked(Path({str(tmp_path / 'file')!r})): os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code], check=False)
    with locked(tmp_path / "file", lambda: pytest.fail("nobody holds it")):
        pass
    assert names(tmp_path) == []


def test_a_folder_without_rights_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(OutputError, match="file: cannot be written"), locked(tmp_path / "file"):
        pass


def test_a_folder_that_knows_no_locks_is_written_to_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    with locked(tmp_path / "file"):
        write_file(tmp_path / "file", b"content")
    assert names(tmp_path) == ["file"]


def test_windows_which_refuses_more_is_written_to_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that a reader has open cannot be replaced there at once, and a folder cannot be opened."""
    refusals = iter([True, True])
    rename = os.replace

    def reluctant(source: Path, target: Path) -> None:
        if next(refusals, False):
            raise PermissionError(errno.EACCES, "Access is denied")
        rename(source, target)

    locks = SimpleNamespace(LK_NBLCK=2, locking=lambda number, mode, num_bytes: None)
    monkeypatch.setattr(files, "sys", SimpleNamespace(platform="win32"))
    monkeypatch.setattr(files, "msvcrt", locks, raising=False)
    monkeypatch.setattr(os, "replace", reluctant)
    with locked(tmp_path / "file"):
        write_file(tmp_path / "file", b"content")
    assert (tmp_path / "file").read_bytes() == b"content"
    assert names(tmp_path) == [".file.lock", "file"], "a file that is open cannot be removed there"
