"""The page to draw zones on: what it writes, what it refuses, and that nobody else can use it."""

from __future__ import annotations

import http.client
import json
import shutil
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from blemish.decisions.zones import zone_mask
from blemish.editor import server
from blemish.editor.drawing_file import Drawing, read_drawing, write_drawing
from blemish.editor.server import Editor
from blemish.errors import DataError, ImageError, SettingsError
from blemish.testing.tiny import make_tiny_product, write_png
from blemish.workflow.drawn_zones import read_zone

HW = (64, 64)
SQUARE = [[10, 20], [40, 20], [40, 50], [10, 50]]


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return write_png(tmp_path / "parts" / "part ä.png", make_tiny_product(1, 0, 0).good[0])


@pytest.fixture
def editor(image: Path, tmp_path: Path) -> Iterator[Editor]:
    with Editor(image, tmp_path / "zones.json") as running:
        yield running


def post(url: str, value: Any, **headers: str) -> tuple[int, Any]:
    content = value if isinstance(value, bytes) else json.dumps(value).encode()
    request = urllib.request.Request(url, content, headers)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def get(url: str) -> tuple[bytes, Any]:
    with urllib.request.urlopen(url, timeout=20) as answer:
        return answer.read(), answer.headers


def test_the_page_and_the_image_are_served(editor: Editor, image: Path) -> None:
    page, headers = get(editor.url)
    assert b"inspect" in page
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert b"http" not in page.replace(b"http://www.w3.org/2000/svg", b"")  # nothing from elsewhere
    png, _ = get(editor.url + "image.png")
    shown = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    assert shown.shape == (*HW, 3)
    assert json.loads(get(editor.url + "drawing")[0])["name"] == image.name


def test_what_is_saved_is_a_zone_a_mask_and_a_scale(editor: Editor, image: Path, tmp_path: Path) -> None:
    drawing = {"inspect": [SQUARE], "ignore": [[[10, 20], [20, 20], [20, 30]]], "defects": [SQUARE], "mm_per_px": 0.1}
    status, answer = post(editor.url + "save", drawing)
    assert status == 200
    assert answer["written"] == [str(tmp_path / "zones.json"), str(tmp_path / "part ä_mask.png")]
    found = read_zone(tmp_path / "zones.json")
    inside = zone_mask(found.zone, HW)
    assert inside[40, 30]
    assert not inside[5, 5]
    assert not inside[21, 19]
    assert found.mm_per_px == 0.1
    assert found.image is not None
    assert found.image.samefile(image)
    mask = cv2.imread(str(tmp_path / "part ä_mask.png"), cv2.IMREAD_UNCHANGED)
    expected = np.zeros(HW, np.uint8)
    expected[20:50, 10:40] = 255
    assert (mask != expected).mean() < 0.04
    assert mask[35, 25] == 255


def test_a_drawing_goes_on_where_it_was_left(editor: Editor, image: Path, tmp_path: Path) -> None:
    post(editor.url + "save", {"inspect": [SQUARE], "mm_per_px": 0.2})
    with Editor(image, tmp_path / "zones.json") as again:
        state = json.loads(get(again.url + "drawing")[0])
    assert state["inspect"] == [SQUARE]
    assert state["mm_per_px"] == 0.2


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (b"{", "no drawing"),
        ([1], "no drawing"),
        ({"inspect": 5}, "no drawing"),
        ({"inspect": [[[0, 0], [1, 1]]]}, "at least three"),
        ({"ignore": [[[0, 0], [1, 1], [99, 0]]]}, "outside of the image"),
        ({"ignore": [[[0, 0], [1, 1], [1e999, 0]]]}, "outside of the image|no drawing"),
        ({"inspect": [[["a", 0], [1, 1], [2, 0]]]}, "no drawing"),
        ({"mm_per_px": 0}, "scale"),
        ({"mm_per_px": "wide"}, "no drawing"),
        ({"inspect": [[[1, 1]] * 30_000]}, "corners"),
    ],
)
def test_what_is_no_drawing_is_refused(editor: Editor, value: Any, says: str, tmp_path: Path) -> None:
    status, answer = post(editor.url + "save", value)
    assert status == 400
    assert any(one in str(answer) for one in says.split("|"))
    assert not (tmp_path / "zones.json").exists()


def test_other_pages_cannot_send_anything(editor: Editor, tmp_path: Path) -> None:
    """Neither without the secret in the address, nor under a name that was rebound to this machine."""
    base = editor.url.rsplit("/", 2)[0]
    assert post(f"{base}/save", {"inspect": [SQUARE]})[0] == 404
    assert post(f"{base}/wrong/save", {"inspect": [SQUARE]})[0] == 404
    assert post(editor.url + "save", {"inspect": [SQUARE]}, Host="evil.example")[0] == 404
    with pytest.raises(urllib.error.HTTPError):
        get(f"{base}/image.png")
    with pytest.raises(urllib.error.HTTPError):
        get(editor.url + "../../etc/passwd")
    assert not (tmp_path / "zones.json").exists()
    assert editor.url.startswith("http://127.0.0.1:")


@pytest.mark.parametrize("length", ["abc", "-1", "99999999999999", "", "²"])
def test_lengths_that_are_none(editor: Editor, length: str) -> None:
    host, port = editor.hosts[0].split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=20)
    connection.putrequest("POST", editor.url.split(host + ":" + port)[1] + "save")
    connection.putheader("Content-Length", length.encode("utf-8"))
    connection.endheaders()
    assert connection.getresponse().status == 400
    connection.close()


def test_done_ends_it(editor: Editor) -> None:
    assert not editor.wait(0.01)
    assert post(editor.url + "done", {})[0] == 200
    assert editor.wait(5)


def test_files_that_cannot_be_used(image: Path, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="no such file"):
        Editor(tmp_path / "none.png", tmp_path / "zones.json")
    (tmp_path / "damaged.json").write_text("{", encoding="utf-8")
    with pytest.raises(DataError, match=r"damaged\.json"):
        Editor(image, tmp_path / "damaged.json")
    write_drawing(Drawing((10, 20), inspect=(((0, 0), (9, 0), (9, 9)),)), tmp_path / "other.json", image)
    with pytest.raises(DataError, match=r"drawn on an image of 20 x 10 pixels, this one has 64 x 64"):
        read_drawing(tmp_path / "other.json", HW)
    with Editor(image, tmp_path / "zones.json") as first, pytest.raises(SettingsError, match="--port"):
        Editor(image, tmp_path / "zones.json", port=int(first.hosts[0].split(":")[1]))


def test_the_command(image: Path, tmp_path: Path) -> None:
    """It says where the page is, waits, and tells what was written."""
    command = [sys.executable, "-m", "blemish.cli.main", "zones", "edit", str(image), "--no-browser", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8") as ran:
        assert ran.stderr is not None
        assert ran.stdout is not None
        line = ran.stderr.readline()
        url = next(word for word in line.split() if word.startswith("http://127.0.0.1:"))
        assert post(url + "save", {"inspect": [SQUARE]})[0] == 200
        post(url + "done", {})
        found = json.loads(ran.stdout.read())
        assert ran.wait(30) == 0
    assert found["num_inspect"] == 1
    assert found["written"] == [str(image.with_name("part ä.zones.json"))]


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

DRAWN_BY_HAND = """
addEventListener("load", () => setTimeout(async () => {
  const box = document.getElementById("drawn").getBoundingClientRect();
  const click = (x, y) => document.getElementById("drawn").dispatchEvent(new MouseEvent("click",
    { clientX: box.left + x / 64 * box.width, clientY: box.top + y / 64 * box.height, bubbles: true }));
  const choose = (kind) => { const input = document.querySelector(`input[value=${kind}]`);
    input.checked = true; input.dispatchEvent(new Event("change")); };
  for (const [x, y] of [[10, 20], [40, 20], [40, 50], [10, 50], [10, 20]]) click(x, y);
  choose("ignore");
  for (const [x, y] of [[0, 0], [30, 0], [30, 10]]) click(x, y);
  document.body.dispatchEvent(new KeyboardEvent("keydown", { key: "Enter", bubbles: true }));
  choose("scale");
  click(0, 32); click(64, 32);
  document.getElementById("length").value = "32";
  document.getElementById("measured").click();
  document.getElementById("done").click();
}, 700));
"""


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_a_person_draws_in_a_browser(image: Path, tmp_path: Path) -> None:
    page = server._page().replace("</body>", f"<script>{DRAWN_BY_HAND}</script></body>")
    with Editor(image, tmp_path / "zones.json", page=page) as editor:
        assert CHROMIUM is not None
        command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync"]
        command += ["--disable-background-networking", f"--user-data-dir={tmp_path / 'profile'}", editor.url]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as browser:
            try:
                is_done = editor.wait(90)
            finally:
                browser.terminate()
        assert is_done, editor.drawing
    found = read_zone(tmp_path / "zones.json")
    inside = zone_mask(found.zone, HW)
    expected = np.zeros(HW, bool)
    expected[20:50, 10:40] = True
    assert (inside != expected).mean() < 0.05
    assert len(found.zone.ignore) == 1
    assert found.mm_per_px == pytest.approx(0.5, rel=0.02)


def test_two_requests_at_once(editor: Editor) -> None:
    threads = [threading.Thread(target=post, args=(editor.url + "save", {"inspect": [SQUARE]})) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert editor.drawing.inspect == (tuple(map(tuple, SQUARE)),)
