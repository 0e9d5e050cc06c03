"""The site builds strictly, loads nothing from a network, finds what is searched for, and no link leads nowhere."""

from __future__ import annotations

import html.parser
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import blemish

pytest.importorskip("mkdocs")
pytest.importorskip("mkdocstrings")

ROOT = Path(__file__).resolve().parents[1]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Page(html.parser.HTMLParser):
    """What a page loads, where its links lead, and which places in it can be linked to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.links: list[str] = []
        self.ids: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attributes}
        self.ids |= {found[name] for name in ("id", "name") if name in found}
        if tag in ("script", "img", "iframe", "source") and "src" in found:
            self.loaded.append(found["src"])
        if tag == "link" and found.get("rel") not in ("canonical", "next", "prev"):
            self.loaded.append(found["href"])
        if tag == "a" and "href" in found:
            self.links.append(found["href"])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    return {path: Page(path.read_text(encoding="utf-8")) for path in sorted(site.rglob("*.html"))}


def test_nothing_is_loaded_from_a_network(site: Path, pages: dict[Path, Page]) -> None:
    assert len(pages) > 25
    for path, page in pages.items():
        assert [target for target in page.loaded if urlsplit(target).netloc] == [], path.name
    for path in site.rglob("*.css"):
        assert not re.search(r"url\([\"']?(?:https?:)?//|@import", path.read_text(encoding="utf-8")), path.name


def test_every_link_and_every_picture_leads_somewhere(site: Path, pages: dict[Path, Page]) -> None:
    for path, page in pages.items():
        if path.name == "404.html":
            continue
        for target in [*page.links, *page.loaded]:
            parts = urlsplit(target)
            if parts.scheme or parts.netloc:
                continue
            place = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            assert place.exists(), f"{path.name}: {target}"
            if parts.fragment and place in pages:
                assert unquote(parts.fragment) in pages[place].ids, f"{path.name}: {target}"


def test_every_page_of_the_repository_is_on_the_site(site: Path) -> None:
    for page in (ROOT / "docs").glob("*.md"):
        assert (site / page.name).with_suffix(".html").exists(), page.name


def test_every_public_name_is_in_the_reference(pages: dict[Path, Page]) -> None:
    [api] = [page for path, page in pages.items() if path.name == "api.html"]
    for name in blemish.__all__:
        assert f"{blemish._HOMES[name]}.{name}" in api.ids, name


def test_the_search_knows_the_pages(site: Path) -> None:
    index = json.loads((site / "search" / "search_index.json").read_text(encoding="utf-8"))
    found = {entry["location"].partition("#")[0] for entry in index["docs"] if "exchangeable" in entry["text"]}
    assert "decisions.html" in found


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_the_search_works_in_a_page_opened_from_the_disk(site: Path, tmp_path: Path) -> None:
    ask = (
        "addEventListener('load', () => setTimeout(() => {"
        "const field = document.querySelector('[data-md-component=search-query]'); field.focus();"
        "field.value = 'exchangeable'; field.dispatchEvent(new KeyboardEvent('keyup', {bubbles: true}));"
        "setTimeout(() => { document.title = 'found ' + document.querySelectorAll('.md-search-result__item').length },"
        "3000)}, 1500))"
    )
    page = site / "asked.html"
    page.write_text(
        (site / "index.html").read_text(encoding="utf-8").replace("</head>", f"<script>{ask}</script></head>"),
        encoding="utf-8",
    )
    assert CHROMIUM is not None
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=9000", "--dump-dom"]
    done = subprocess.run(
        [CHROMIUM, *options, f"--user-data-dir={tmp_path / 'profile'}", page.as_uri()],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    page.unlink()
    [count] = re.findall(r"<title>found (\d+)</title>", done.stdout)
    assert int(count) > 0
