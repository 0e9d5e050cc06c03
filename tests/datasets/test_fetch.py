"""Public data sets come whole, checked and only from inside their archive, or not at all.

A small server on this machine stands in for the official one.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Protocol

import numpy as np
import pytest

from blemish.datasets import fetch as module
from blemish.datasets.fetch import PUBLIC_DATASETS, Archive, fetch, is_same_server
from blemish.errors import DataError, OutputError, SettingsError

CONTENT = {
    "bottle/license.txt": b"the licence",
    "bottle/train/good/000.png": np.random.default_rng(0).bytes(200_000),
    "bottle/test/broken/000.png": np.random.default_rng(1).bytes(100_000),
}


def pack(content: dict[str, bytes], *extra: tarfile.TarInfo) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:xz") as tar:
        for name, data in content.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
        for member in extra:
            tar.addfile(member)
    return buffer.getvalue()


class Server(ThreadingHTTPServer):
    """Serves one archive; breaks the connection after `break_after` bytes of each of the first answers."""

    daemon_threads = True
    content = b""
    break_after: list[int]
    takes_ranges = True
    status = 0
    redirects: dict[str, str]
    """Path -> the address it is sent on to."""
    length: str | None = None
    """What is said to be the length, where it is not the true one."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.break_after = []
        self.redirects = {}
        self.asked: list[str] = []


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        wanted = self.headers.get("Range", "")
        self.server.asked.append(f"{self.path} {wanted}".strip())
        content = self.server.content
        if self.server.status:
            self.send_error(self.server.status)
            return
        if self.path in self.server.redirects:
            self.send_response(302)
            self.send_header("Location", self.server.redirects[self.path])
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and self.server.takes_ranges else 0
        if start >= len(content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(content)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        length = str(len(content) - start) if self.server.length is None else self.server.length
        self.send_header("Content-Length", length)
        self.end_headers()
        stop = start + self.server.break_after.pop(0) if self.server.break_after else len(content)
        self.wfile.write(content[start:stop])

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


class Offer(Protocol):
    def __call__(self, content: bytes, hash_value: str = "", max_bytes: int = 10**7) -> str: ...


@pytest.fixture
def offer(server: Server, monkeypatch: pytest.MonkeyPatch) -> Offer:
    """Makes the server offer an archive as the category bottle of mvtec-ad and gives the server's address."""

    def make_offer(content: bytes, hash_value: str = "", max_bytes: int = 10**7) -> str:
        server.content = content
        archive = Archive("1-2/bottle.tar.xz", "md5", hash_value or hashlib.md5(content).hexdigest(), max_bytes)
        nobody_listens = "http://127.0.0.1:9/"
        small = replace(PUBLIC_DATASETS["mvtec-ad"], base_url=nobody_listens, archives={"bottle": archive})
        monkeypatch.setattr(module, "PUBLIC_DATASETS", {"mvtec-ad": small})
        return f"http://127.0.0.1:{server.server_address[1]}/mirror"

    return make_offer


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_category_is_downloaded_checked_and_unpacked(server: Server, offer: Offer, tmp_path: Path) -> None:
    url = offer(pack(CONTENT))
    steps: list[tuple[str, int, int]] = []
    fetched = fetch(
        "mvtec-ad",
        tmp_path / "data",
        "bottle",
        accept_license=True,
        base_url=url,
        progress=lambda *step: steps.append(step),
    )
    assert fetched.path == tmp_path / "data" / "bottle"
    assert files(tmp_path / "data") == CONTENT  # no archive and no unfinished file stays
    assert "CC BY-NC-SA 4.0" in fetched.licence
    assert fetched.checked_by == "md5"
    assert server.asked == ["/mirror/1-2/bottle.tar.xz"]
    assert {task for task, _, _ in steps} == {
        f"{verb} bottle.tar.xz" for verb in ("downloading", "checking", "unpacking")
    }
    assert all(0 < done <= total for _, done, total in steps)


def test_what_is_there_is_not_downloaded_again(server: Server, offer: Offer, tmp_path: Path) -> None:
    url = offer(pack(CONTENT))
    fetch("mvtec-ad", tmp_path, "bottle", accept_license=True, base_url=url)
    again = fetch("mvtec-ad", tmp_path, "bottle", base_url=url)
    assert again.path == tmp_path / "bottle"
    assert again.checked_by == ""
    assert len(server.asked) == 1


def test_nothing_is_downloaded_before_the_licence_is_accepted(server: Server, offer: Offer, tmp_path: Path) -> None:
    url = offer(pack(CONTENT))
    with pytest.raises(SettingsError, match=r"CC BY-NC-SA 4\.0.*--accept-license"):
        fetch("mvtec-ad", tmp_path, "bottle", base_url=url)
    assert server.asked == []
    assert files(tmp_path) == {}


def test_a_broken_download_goes_on_where_it_stopped(server: Server, offer: Offer, tmp_path: Path) -> None:
    url = offer(pack(CONTENT))
    server.break_after = [100_000, 50_000]
    fetch("mvtec-ad", tmp_path, "bottle", accept_license=True, base_url=url)
    assert [line.split(" ")[-1] for line in server.asked[1:]] == ["bytes=100000-", "bytes=150000-"]
    assert files(tmp_path) == CONTENT


def test_a_connection_that_keeps_breaking_leaves_its_part_for_the_next_call(
    server: Server, offer: Offer, tmp_path: Path
) -> None:
    url = offer(pack(CONTENT))
    server.break_after = [1000, 1000, 1000]
    with pytest.raises(DataError, match=r"connection broke.*run the same command again"):
        fetch("mvtec-ad", tmp_path, "bottle", accept_license=True, base_url=url)
    assert (tmp_path / "bottle.tar.xz.part").stat().st_size == 3000
    fetch("mvtec-ad", tmp_path, "bottle", accept_license=True, base_url=url)
    assert server.asked[-1].endswith("bytes=3000-")
    assert files(tmp_path) == CONTENT


def test_a_server_without_ranges_sends_all_again(server: Server, offer: Offer, tmp_path: Path) -> None:
    url = offer(pack(CONTENT))
    server.takes_ranges = False
    server.break_after = [1000]
    fetch("mvtec-ad", tmp_path, "bottle", accept_license=True, base_url=url)
    assert files(tmp_path) == CONTENT


def test_a_part_that_is_complete_already_is_used(server: Server, offer: Offer, tmp_path: Path) -> None:
    archive = pack(CONTENT)
    url = offer(archive)
    (tmp_path / "bottle.tar.xz.part").write_bytes(archive)
    fetch("mvtec-ad", tmp_path, "bottle", accept_license=True, base_url=url)
    assert files(tmp_path) == CONTENT


def test_a_part_longer_than_the_file_is_dropped(server: Server, offer: Offer, tmp_path: Path) -> None:
    archive = pack(CONTENT)
    url = offer(archive)
    (tmp_path / "bottle.tar.xz.part").write_bytes(archive + b"more")
    fetch("mvtec-ad", tmp_path, "bottle", accept_license=True, base_url=url)
    assert files(tmp_path) == CONTENT


def test_a_part_of_another_file_is_found_by_the_hash_and_removed(server: Server, offer: Offer, tmp_path: Path) -> None:
    url = offer(pack(CONTENT))
    (tmp_path / "bottle.tar.xz.part").write_bytes(b"x" * 1000)
    with pytest.raises(DataError, match=r"its md5 is .* expected"):
        fetch("mvtec-ad", tmp_path, "bottle", accept_license=True, base_url=url)
    assert files(tmp_path) == {}


def test_an_archive_with_another_hash_is_not_unpacked(server: Server, offer: Offer, tmp_path: Path) -> None:
    url = offer(pack(CONTENT), hash_value="0" * 32)
    with pytest.raises(
        DataError, match=r"bottle\.tar\.xz: its md5 is .* it has been removed: run the same command again"
    ):
        fetch("mvtec-ad", tmp_path, "bottle", accept_license=True, base_url=url)
    assert files(tmp_path) == {}


def test_an_archive_put_there_by_hand_is_checked_and_used_offline(server: Server, offer: Offer, tmp_path: Path) -> None:
    offer(pack(CONTENT))
    (tmp_path / "bottle.tar.xz").write_bytes(server.content)
    fetch("mvtec-ad", tmp_path, "bottle", accept_license=True)
    assert server.asked == []
    assert files(tmp_path) == {**CONTENT, "bottle.tar.xz": server.content}


def test_a_wrong_archive_put_there_by_hand_stays_for_its_owner(offer: Offer, tmp_path: Path) -> None:
    offer(pack(CONTENT))
    (tmp_path / "bottle.tar.xz").write_bytes(b"a holiday picture")
    with pytest.raises(DataError, match="remove it and run the same command again"):
        fetch("mvtec-ad", tmp_path, "bottle", accept_license=True)
    assert files(tmp_path) == {"bottle.tar.xz": b"a holiday picture"}


def test_offline_one_line_says_what_to_do_by_hand(offer: Offer, tmp_path: Path) -> None:
    offer(pack(CONTENT))  # the official address is a port where nobody listens
    with pytest.raises(DataError) as refusal:
        fetch("mvtec-ad", tmp_path, "bottle", accept_license=True)
    message = str(refusal.value)
    assert "\n" not in message
    for part in ("bottle.tar.xz", "https://www.mvtec.com/company/research/datasets/mvtec-ad", str(tmp_path)):
        assert part in message


@pytest.mark.parametrize("status", [403, 404, 500])
def test_a_moved_archive_says_what_to_do_by_hand(status: int, server: Server, offer: Offer, tmp_path: Path) -> None:
    url = offer(pack(CONTENT))
    server.status = status
    with pytest.raises(DataError, match=f"answers {status} .* by hand from https://www.mvtec.com"):
        fetch("mvtec-ad", tmp_path, "bottle", accept_license=True, base_url=url)
    assert files(tmp_path) == {}


def test_a_redirect_within_the_server_is_followed(server: Server, offer: Offer, tmp_path: Path) -> None:
    url = offer(pack(CONTENT))
    server.redirects = {"/mirror/1-2/bottle.tar.xz": "/new/bottle.tar.xz"}
    server.break_after = [1000]
    fetch("mvtec-ad", tmp_path, "bottle", accept_license=True, base_url=url)
    assert files(tmp_path) == CONTENT
    assert server.asked[-1] == "/new/bottle.tar.xz bytes=1000-"


@pytest.mark.parametrize(
    "elsewhere",
    [
        "http://localhost:{port}/bottle.tar.xz",
        "http://127.0.0.1:{other}/bottle.tar.xz",
        "http://127.0.0.2:{port}/bottle.tar.xz",
        "//127.0.0.2:{port}/bottle.tar.xz",
        "https://example.com/bottle.tar.xz",
        "ftp://127.0.0.1:{port}/bottle.tar.xz",
        "http://user:secret@127.0.0.2/bottle.tar.xz",
    ],
)
def test_a_redirect_to_another_server_is_not_followed(
    elsewhere: str, server: Server, offer: Offer, tmp_path: Path
) -> None:
    url = offer(pack(CONTENT))
    port = server.server_address[1]
    elsewhere = elsewhere.format(port=port, other=port + 1)
    server.redirects = {"/mirror/1-2/bottle.tar.xz": elsewhere}
    with pytest.raises(DataError, match="sends on to another server") as refusal:
        fetch("mvtec-ad", tmp_path, "bottle", accept_license=True, base_url=url)
    assert "by hand" in str(refusal.value)
    assert "secret" not in str(refusal.value)
    assert len(server.asked) == 1
    assert files(tmp_path) == {}


@pytest.mark.parametrize(
    ("asked", "sent_on", "follows"),
    [
        ("https://a.example/x", "https://a.example/y", True),
        ("https://a.example/x", "https://A.example:443/y", True),
        ("http://a.example/x", "https://a.example/y", True),
        ("http://a.example:8080/x", "http://a.example:8080/y", True),
        ("https://a.example/x", "http://a.example/y", False),
        ("https://a.example/x", "http://a.example:443/y", False),
        ("https://a.example/x", "https://b.example/y", False),
        ("https://a.example/x", "https://a.example.b.example/y", False),
        ("https://a.example/x", "https://a.example:8443/y", False),
        ("http://a.example:8080/x", "https://a.example/y", False),
        ("https://a.example/x", "https://a.example@b.example/y", False),
        ("https://a.example/x", "https://a.example:port/y", False),
        ("https://a.example/x", "https://[a/y", False),
    ],
)
def test_a_server_is_the_same_where_host_and_port_are_and_nothing_is_less_secure(
    asked: str, sent_on: str, follows: bool
) -> None:
    assert is_same_server(asked, sent_on) is follows


@pytest.mark.parametrize("length", ["abc", "-5", "1e9", "", "0x10", "9" * 400, "1, 2", "\xb2"])
def test_a_length_that_is_none_is_the_servers_fault(length: str, server: Server, offer: Offer, tmp_path: Path) -> None:
    url = offer(pack(CONTENT))
    server.length = length
    with pytest.raises(DataError, match=r"bottle\.tar\.xz: the server .*length.*by hand") as refusal:
        fetch("mvtec-ad", tmp_path, "bottle", accept_license=True, base_url=url)
    assert len(str(refusal.value)) < 600


@pytest.mark.parametrize(
    "base_url", ["http://[", "http://127.0.0.1:port", "http://a..b", "http://127.0.0.1:9/ä", f"http://{'a' * 300}"]
)
def test_an_address_that_is_none_is_told_in_one_line(base_url: str, offer: Offer, tmp_path: Path) -> None:
    offer(pack(CONTENT))
    with pytest.raises((DataError, SettingsError)) as refusal:
        fetch("mvtec-ad", tmp_path, "bottle", accept_license=True, base_url=base_url)
    assert base_url in str(refusal.value)
    assert "\n" not in str(refusal.value)


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type = kind
    member.linkname = target
    return member


@pytest.mark.parametrize(
    ("content", "extra", "reason"),
    [
        ({"bottle/../../evil.png": b"x"}, (), "outside its folder"),
        ({"/tmp/evil.png": b"x"}, (), "outside its folder"),
        ({"C:\\evil.png": b"x"}, (), "outside its folder"),
        ({"bottle\\..\\evil.png": b"x"}, (), "outside its folder"),
        ({}, (link("bottle/out", "/etc"),), "a link or device"),
        ({}, (link("bottle/out", "../../x", tarfile.LNKTYPE),), "a link or device"),
        ({}, (link("bottle/inside", "license.txt"),), "a link or device"),
        ({}, (link("bottle/fifo", "", tarfile.FIFOTYPE),), "a link or device"),
        ({"bottle/license.txt/x.png": b"x"}, (), "cannot be unpacked"),
        ({"bottle/zeros": bytes(2_000_000)}, (), "far more than expected"),
    ],
)
def test_a_hostile_archive_leaves_nothing_behind(
    content: dict[str, bytes],
    extra: tuple[tarfile.TarInfo, ...],
    reason: str,
    server: Server,
    offer: Offer,
    tmp_path: Path,
) -> None:
    folder = tmp_path / "deep" / "data"
    url = offer(pack({**CONTENT, **content}, *extra), max_bytes=1_000_000)
    with pytest.raises(DataError, match=reason):
        fetch("mvtec-ad", folder, "bottle", accept_license=True, base_url=url)
    assert set(files(tmp_path)) == {"deep/data/bottle.tar.xz"}
    assert [path.name for path in folder.iterdir()] == ["bottle.tar.xz"]


def test_the_same_name_twice_is_refused(server: Server, offer: Offer, tmp_path: Path) -> None:
    member = tarfile.TarInfo("bottle/license.txt")
    url = offer(pack(CONTENT, member))
    with pytest.raises(DataError, match="cannot be unpacked"):
        fetch("mvtec-ad", tmp_path, "bottle", accept_license=True, base_url=url)


@pytest.mark.parametrize("content", [b"not an archive", pack(CONTENT)[:5000]])
def test_what_is_no_archive_is_refused(content: bytes, server: Server, offer: Offer, tmp_path: Path) -> None:
    url = offer(content)
    with pytest.raises(DataError, match="cannot be unpacked"):
        fetch("mvtec-ad", tmp_path, "bottle", accept_license=True, base_url=url)
    assert not (tmp_path / "bottle").exists()


def test_an_endless_answer_is_cut_off(server: Server, offer: Offer, tmp_path: Path) -> None:
    url = offer(pack(CONTENT), max_bytes=1000)
    with pytest.raises(DataError, match="more than expected"):
        fetch("mvtec-ad", tmp_path, "bottle", accept_license=True, base_url=url)
    assert not (tmp_path / "bottle.tar.xz").exists()


def test_a_folder_that_cannot_be_made_is_an_output_error(offer: Offer, tmp_path: Path) -> None:
    url = offer(pack(CONTENT))
    (tmp_path / "data").write_text("a file", encoding="utf-8")
    with pytest.raises(OutputError, match="cannot be written"):
        fetch("mvtec-ad", tmp_path / "data", "bottle", accept_license=True, base_url=url)


def test_unknown_names_are_refused_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="mvtec-ad, mvtec-loco, mvtec-ad-2"):
        fetch("mvtec", tmp_path)
    with pytest.raises(SettingsError, match="bottle, cable, capsule"):
        fetch("mvtec-ad", tmp_path, "glass")
    with pytest.raises(SettingsError, match="leave --category out"):
        fetch("mvtec-loco", tmp_path, "pushpins")
    with pytest.raises(SettingsError, match="http://"):
        fetch("mvtec-ad", tmp_path, "bottle", accept_license=True, base_url="file:///etc")


def test_every_public_dataset_names_its_licence_and_a_hash_for_each_archive() -> None:
    lengths = {"sha256": 64, "md5": 32}
    for dataset in PUBLIC_DATASETS.values():
        assert dataset.licence
        assert dataset.licence_url.startswith("https://")
        assert dataset.base_url.startswith("https://")
        for archive in dataset.archives.values():
            assert len(bytes.fromhex(archive.hash_value)) * 2 == lengths[archive.hash_kind]
    assert len(PUBLIC_DATASETS["mvtec-ad"].archives) == 16
