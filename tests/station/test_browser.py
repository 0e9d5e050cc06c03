"""The line page in a real browser: what a person at three metres sees, and that it is of the part in front of him."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from blemish.testing.station import CountingPlc, RunningStation

from .browser import PROGRAM, Browser, open_browser

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(PROGRAM is None, reason="needs Chromium: apt-get install chromium"),
]

CONTRAST = """
(() => {
  const light = (text) => {
    const shares = text.match(/[\\d.]+/g).slice(0, 3).map((each) => each / 255)
      .map((each) => (each <= 0.03928 ? each / 12.92 : ((each + 0.055) / 1.055) ** 2.4));
    return 0.2126 * shares[0] + 0.7152 * shares[1] + 0.0722 * shares[2];
  };
  const style = getComputedStyle(document.getElementById("decision"));
  const [a, b] = [light(style.color), light(style.backgroundColor)];
  return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
})()
"""


@pytest.fixture(scope="module")
def station(
    tmp_path_factory: pytest.TempPathFactory, bundle_path: Path, product_folder: Path
) -> Iterator[RunningStation]:
    made = RunningStation(tmp_path_factory.mktemp("station"), bundle_path, product_folder / "test")
    try:
        made.start()
        plc = CountingPlc(made.data, rate=5)
        plc.start()
        yield made
    finally:
        made.end()


@pytest.fixture(scope="module")
def page(station: RunningStation) -> Iterator[Browser]:
    with open_browser() as browser:
        browser.open(station.address)
        browser.wait("document.getElementById('line').dataset.seq")
        yield browser


def height(page: Browser, place: str) -> float:
    return float(page.run(f"document.querySelector({place!r}).getBoundingClientRect().height"))


def test_the_verdict_is_read_from_three_metres_and_nothing_scrolls(page: Browser) -> None:
    assert page.run("[document.documentElement.scrollHeight, document.documentElement.scrollWidth]") == [1080, 1920]
    assert height(page, "#decision") >= 0.25 * 1080
    size = page.run("parseFloat(getComputedStyle(document.getElementById('count-accept')).fontSize)")
    assert size >= 64
    assert page.run("parseFloat(getComputedStyle(document.getElementById('score')).fontSize)") >= 55


@pytest.mark.parametrize("decision", ["accept", "reject"])
def test_colour_sign_and_word_say_the_same(page: Browser, decision: str) -> None:
    page.wait(f"document.getElementById('line').dataset.decision === {decision!r}")
    shown = page.run(
        "[document.getElementById('decision').className, document.getElementById('sign').textContent,"
        " document.getElementById('word').textContent]"
    )
    words = {"accept": ["decision accept", "✓", "GOOD"], "reject": ["decision reject", "✗", "BAD"]}
    assert shown == words[decision] or page.run("document.getElementById('line').dataset.decision") != decision
    assert page.run(CONTRAST) >= 7


def test_picture_and_verdict_are_of_the_same_part(page: Browser) -> None:
    for _ in range(50):
        shown = page.run("[line.dataset.seq, document.getElementById('picture').dataset.seq]")
        assert shown[0] == shown[1]
        time.sleep(0.03)


def test_nothing_outside_of_the_machine_is_asked_for(page: Browser, station: RunningStation) -> None:
    allowed = (station.address, station.address.replace("http", "ws"), "data:", "blob:", "about:")
    assert [address for address in page.asked if not address.startswith(allowed)] == []


def test_the_page_says_so_when_the_station_is_away_and_comes_back_by_itself(
    page: Browser, station: RunningStation
) -> None:
    assert station.kill("web")
    page.wait("document.getElementById('line').dataset.state === 'stopped'")
    assert "no connection" in page.run("document.getElementById('why').textContent")
    page.wait("document.getElementById('line').dataset.state === 'live'")


def test_a_phone_shows_the_verdict_without_scrolling_sideways(station: RunningStation) -> None:
    with open_browser() as browser:
        browser.open(station.address, width=390, height=844)
        browser.wait("document.getElementById('line').dataset.seq")
        assert browser.run("document.documentElement.scrollWidth") == 390
        assert browser.run("document.getElementById('decision').getBoundingClientRect().bottom") < 844
