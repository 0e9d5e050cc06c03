"""The server answers with the verdicts of the library, refuses what is too large or too fast, and describes itself."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi")

from starlette.testclient import TestClient

from blemish.model import Model
from blemish.serve.app import make_app
from blemish.serve.limits import ServeLimits

IGNORED = ("time", "milliseconds", "path", "overlay", "sorted_to")


@pytest.fixture(scope="module")
def client(model: Model) -> TestClient:
    return TestClient(make_app(model, ServeLimits(max_image_bytes=100_000, max_images=3)))


@pytest.fixture(scope="module")
def parts(product_folder: Path) -> list[Path]:
    return sorted((product_folder / "test").rglob("*.png"))


def decides(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in IGNORED}


def test_the_verdicts_are_those_of_inspect(run: Any, client: TestClient, bundle_path: Path, parts: list[Path]) -> None:
    rows = [json.loads(line) for line in run("inspect", bundle_path, *parts, "--json").stdout.splitlines()]
    verdicts = [row for row in rows if "decision" in row]
    assert len(verdicts) == 12
    for path, row in zip(parts, verdicts, strict=True):
        answer = client.post("/inspect", content=path.read_bytes(), params={"name": str(path), "part_id": "7"})
        assert answer.status_code == 200
        assert decides(answer.json()) == {**decides(row), "part_id": "7"}
        assert answer.json()["path"] == str(path)


def test_many_images_are_answered_in_their_order(client: TestClient, parts: list[Path]) -> None:
    files = [("images", (path.name, path.read_bytes())) for path in parts[:2]]
    files.insert(1, ("images", ("bad.png", b"no image")))
    results = client.post("/inspect/many", files=files).json()["results"]
    assert [row["path"] for row in results] == [parts[0].name, "bad.png", parts[1].name]
    assert "error" in results[1]
    assert [decides(results[place]) for place in (0, 2)] == [
        decides(client.post("/inspect", content=path.read_bytes()).json()) for path in parts[:2]
    ]


@pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\n" + bytes(100)], ids=["empty", "text", "cut"])
def test_what_is_no_image_is_refused_in_one_line(client: TestClient, content: bytes) -> None:
    answer = client.post("/inspect", content=content, params={"name": "part.png"})
    assert answer.status_code == 422
    assert answer.json()["error"].startswith("part.png: ")
    assert "\n" not in answer.json()["error"]


def test_what_is_too_large_is_refused(client: TestClient, parts: list[Path]) -> None:
    answer = client.post("/inspect", content=bytes(100_001))
    assert answer.status_code == 413
    assert "more than 100,000 bytes" in answer.json()["error"]
    good = parts[0].read_bytes()
    one = client.post("/inspect/many", files=[("images", ("a", bytes(100_001))), ("images", ("b", good))])
    assert ["error" in row for row in one.json()["results"]] == [True, False]
    assert client.post("/inspect/many", files=[("images", ("a", good))] * 4).status_code == 413
    assert client.post("/inspect/many", files=[("images", ("a", bytes(200_000)))] * 2).status_code == 413


@pytest.mark.parametrize("content", [b"", b"{}", b"--x\r\nbroken"])
def test_what_is_no_form_is_refused(client: TestClient, content: bytes) -> None:
    answer = client.post("/inspect/many", content=content, headers={"content-type": "multipart/form-data; boundary=x"})
    assert answer.status_code == 422
    assert "called 'images'" in answer.json()["error"]


def test_who_is_too_fast_is_told_when_to_come_again(model: Model, parts: list[Path]) -> None:
    slow = TestClient(make_app(model, ServeLimits(images_per_second=0.01)))
    assert slow.post("/inspect", content=parts[0].read_bytes()).status_code == 200
    answer = slow.post("/inspect", content=parts[0].read_bytes())
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) > 50
    assert slow.get("/health/live").status_code == 200


def test_health_and_facts(client: TestClient, model: Model) -> None:
    assert client.get("/health/live").json() == client.get("/health/ready").json() == {"status": "ok"}
    found = client.get("/bundle").json()
    assert (found["bundle_id"], found["threshold"]) == (model.bundle.bundle_id, model.calibration.image_threshold)


def test_the_page_needs_no_network_and_names_all(client: TestClient) -> None:
    schema = client.get("/openapi.json").json()
    page = client.get("/").text
    assert {"/inspect", "/inspect/many", "/health/live", "/health/ready", "/bundle"} == set(schema["paths"])
    for name in (*schema["paths"], *schema["components"]["schemas"]["VerdictAnswer"]["properties"]):
        assert f"<code>{name}</code>" in page or f"{name}</code>" in page
    assert "<script" not in page
    assert "https://" not in page
    assert client.get("/docs").status_code == client.get("/redoc").status_code == 404


def test_an_answer_has_the_fields_that_are_described(client: TestClient, parts: list[Path]) -> None:
    described = client.get("/openapi.json").json()["components"]["schemas"]
    answer = client.post("/inspect", content=parts[-1].read_bytes()).json()
    assert set(answer) == set(described["VerdictAnswer"]["properties"])
    assert set(answer["regions"][0]) == set(described["RegionAnswer"]["properties"])


@pytest.mark.skipif(os.name == "nt", reason="needs signals")
@pytest.mark.parametrize("workers", [1, 2])
def test_the_command_serves_until_it_is_ended(workers: int, bundle_path: Path, parts: list[Path]) -> None:
    command = [sys.executable, "-m", "blemish.cli.main", "serve", str(bundle_path), "--port", "0", "--json"]
    with subprocess.Popen(
        [*command, "--workers", str(workers)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            address = json.loads(process.stdout.readline())["address"]
            assert address.startswith("http://127.0.0.1:")
            request = urllib.request.Request(f"{address}/inspect", data=parts[0].read_bytes(), method="POST")
            with urllib.request.urlopen(request, timeout=60) as answer:
                assert json.loads(answer.read())["decision"] in ("accept", "review", "reject")
        finally:
            process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=60)
    assert "Traceback" not in told
    assert process.returncode == 0


def test_an_address_that_is_taken_is_one_line(run: Any, bundle_path: Path) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        outcome = run("serve", bundle_path, "--port", taken.getsockname()[1])
    assert outcome.status == 2
    assert "choose another --port" in outcome.stderr
    assert outcome.stderr.count("\n") == 1
