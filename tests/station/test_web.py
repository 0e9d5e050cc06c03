"""The pages and the programming interface, as a person or a program meets them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import cv2
import pytest
import tomllib
from fastapi.testclient import TestClient

from blemish.station import wire
from blemish.station.core.lane_file import LaneSource, read_lane
from blemish.station.core.parts import OUTCOMES
from blemish.station.core.rights import ROLES, Right, rights_of
from blemish.station.lane.lane import Lane
from blemish.station.lane.server import LaneServer
from blemish.station.settings import Settings
from blemish.station.store.audit import Actor
from blemish.station.store.database import Engine
from blemish.station.store.people import invite, make_key
from blemish.station.store.plant import activate, add_lane, add_product, add_recipe, change_lane, list_lanes
from blemish.station.store.writer import LaneWriter
from blemish.station.web import guard
from blemish.station.web.app import make_app
from blemish.station.web.texts import LANGUAGES, texts
from blemish.testing.tiny import TinyProduct

from .conftest import MakeLane

PASSWORD = "correct horse"
ORIGIN = {"Origin": "http://testserver"}


@pytest.fixture
def browser(settings: Settings, engine: Engine) -> Iterator[TestClient]:
    with TestClient(make_app(settings, engine), headers={"Accept-Language": "en"}) as client:
        yield client


def sign_up(browser: TestClient, engine: Engine, name: str, *roles: str) -> str:
    """Signs a new user in by his link; gives the token of forms."""
    token = invite(engine, Actor(), name, roles)
    fields = {"token": token, "name": name, "password": PASSWORD, "again": PASSWORD}
    answer = browser.post("/first", data=fields, follow_redirects=False)
    assert answer.status_code == 303, answer.text
    return form_token(browser)


def form_token(browser: TestClient) -> str:
    found = re.search(r'name="form_token" value="([^"]+)"', browser.get("/").text)
    assert found
    return found[1]


@pytest.fixture
def engineer(browser: TestClient, engine: Engine) -> str:
    return sign_up(browser, engine, "erna", "engineer")


def test_an_empty_plant_says_where_to_begin(browser: TestClient) -> None:
    page = browser.get("/")
    assert page.status_code == 200
    assert "Create a product" in page.text


def test_pages_come_in_the_language_of_the_browser(browser: TestClient) -> None:
    assert "Eine leere Anlage" in browser.get("/", headers={"Accept-Language": "de-DE,de;q=0.9"}).text
    browser.post("/language", data={"language": "de", "next": "/"})
    assert "Eine leere Anlage" in browser.get("/").text


def test_no_text_is_missing_in_any_language() -> None:
    known = {language: texts(language) for language in LANGUAGES}
    assert set(known["en"]) == set(known["de"])
    for name, text in known["en"].items():
        assert set(re.findall(r"{\w*}", text)) == set(re.findall(r"{\w*}", known["de"][name])), name
    package = files("blemish.station")
    folders = (package.joinpath("web"), package.joinpath("web", "routes"), package.joinpath("web", "templates"))
    used = set()
    for folder in folders:
        for path in Path(str(folder)).glob("*.*"):
            content = path.read_text("utf-8")
            used |= set(re.findall(r"""t\(\s*["']([a-z_]+\.[a-z_]+)["']""", content))
            used |= set(re.findall(r'"(error\.[a-z_]+|login\.[a-z_]+|nav\.[a-z_]+)"', content))
    assert used - {"error.html", "login.html"} <= set(known["en"])
    made = {f"decision.{each}" for each in OUTCOMES} | {f"role.{each}" for each in ROLES}
    assert made <= set(known["en"])
    unused = set(known["en"]) - used - made
    assert {name.split(".")[0] for name in unused} <= {"job", "source"}


def test_the_first_user_comes_by_a_link_that_works_once(browser: TestClient, engine: Engine) -> None:
    token = invite(engine, Actor())
    page = browser.get(f"/first?token={token}")
    assert "Choose a password" in page.text
    fields = {"token": token, "name": "anna", "password": PASSWORD, "again": PASSWORD}
    assert browser.post("/first", data={**fields, "again": "another one"}).status_code == 400
    assert browser.post("/first", data={**fields, "password": "short", "again": "short"}).status_code == 400
    assert browser.post("/first", data=fields, follow_redirects=False).status_code == 303
    assert "anna" in browser.get("/").text
    browser.cookies.clear()
    assert browser.post("/first", data={**fields, "name": "eve"}).status_code == 404
    assert browser.get("/first?token=guessed").status_code == 404


def test_signing_in_and_out(browser: TestClient, engine: Engine) -> None:
    sign_up(browser, engine, "anna", "viewer")
    old = browser.cookies.get("blemish")
    browser.post("/logout", data={"form_token": form_token(browser)})
    assert browser.get("/parts", follow_redirects=False).status_code == 303
    browser.cookies.set("blemish", old or "")
    assert browser.get("/parts", follow_redirects=False).status_code == 303, "the session has ended on the server too"
    browser.cookies.clear()
    assert browser.post("/login", data={"name": "anna", "password": "wrong wrong"}).status_code == 401
    answer = browser.post(
        "/login", data={"name": "anna", "password": PASSWORD, "next": "//evil.example"}, follow_redirects=False
    )
    assert answer.headers["location"] == "/"
    assert browser.get("/parts").status_code == 200
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "samesite=strict" in cookie.lower()


def test_a_password_cannot_be_guessed_fast(browser: TestClient, engine: Engine) -> None:
    sign_up(browser, engine, "anna", "viewer")
    browser.cookies.clear()
    statuses = [browser.post("/login", data={"name": "anna", "password": f"guess {n}"}).status_code for n in range(6)]
    assert statuses == [401] * 5 + [429]
    assert browser.post("/login", data={"name": "anna", "password": PASSWORD}).status_code == 429


def test_each_route_is_open_to_those_with_its_right_alone(settings: Settings, engine: Engine) -> None:
    """Every route with every role: who lacks the right is sent away before anything happens."""
    app = make_app(settings, engine)
    tried = 0
    with TestClient(app) as browser:
        for role in (None, *ROLES):
            browser.cookies.clear()
            token = "" if role is None else sign_up(browser, engine, f"user-{role}", role)
            rights = (
                {Right.ANYONE, Right.WATCH} if role is None else rights_of([role]) | {Right.ANYONE, Right.SIGNED_IN}
            )
            for (method, path), right in app.state.rights.items():
                if method == "SOCKET" or right in rights or right is Right.ANYONE:
                    continue
                place = re.sub(r"{\w+}", "1", path)
                answer = browser.request(
                    method, place, data={"form_token": token} if method == "POST" else None, follow_redirects=False
                )
                assert answer.status_code in ((401, 303) if role is None else (403, 422)), (role, method, path)
                if answer.status_code == 422:  # fields are missing: with the right ones it is refused
                    assert method == "POST"
                tried += 1
    assert tried > 50


def test_a_route_without_a_right_does_not_start(settings: Settings, engine: Engine) -> None:
    app = make_app(settings, engine)
    app.add_api_route("/open", lambda: None)
    with pytest.raises(RuntimeError, match="/open declares no right"):
        guard.check_routes(app)


def test_a_form_of_another_site_is_refused(browser: TestClient, engineer: str) -> None:
    fields = {"name": "cap", "form_token": engineer}
    assert browser.post("/products", data=fields, headers={"Origin": "http://evil.example"}).status_code == 403
    assert browser.post("/products", data=fields, headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
    assert browser.post("/products", data={"name": "cap"}).status_code == 403
    assert browser.post("/products", data={**fields, "form_token": "guess"}).status_code == 403
    assert browser.post("/products", data=fields, headers=ORIGIN).status_code == 200


def test_every_answer_carries_the_headers_that_protect_it(browser: TestClient) -> None:
    for place in ("/", "/login", "/static/live.js", "/nowhere", "/api/v1/lanes"):
        headers = browser.get(place).headers
        policy = headers["content-security-policy"]
        assert "script-src 'self'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"


def test_pages_hold_no_script_or_style_of_their_own() -> None:
    for path in Path(str(files("blemish.station").joinpath("web", "templates"))).glob("*.html"):
        content = path.read_text("utf-8")
        assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\bstyle=|\bon\w+=", content), path.name
        assert not re.search(r"""(src|href)=["']?https?:""", content), path.name


def test_a_large_body_of_a_stranger_is_not_read(browser: TestClient) -> None:
    assert browser.post("/login", content=b"x" * 100_000).status_code == 413


@pytest.fixture
def lane(settings: Settings, engine: Engine, make_lane: MakeLane, bundle_path: Path) -> Iterator[Lane]:
    """A live lane that takes uploads, in this process."""
    actor = Actor("test")
    product_id = add_product(engine, actor, "tiny")
    recipe_id = add_recipe(engine, settings.data, actor, product_id, bundle_path)
    lane_id = add_lane(engine, settings, actor, "Lane 1", LaneSource())
    activate(engine, settings, actor, lane_id, recipe_id, "test")
    change_lane(engine, settings, actor, lane_id, is_live=True)
    made = make_lane(folder=settings.data / "journal" / str(lane_id))
    made.change(read_lane(settings.data, lane_id), made.inspector)
    server = LaneServer(made, wire.listen(settings.data, f"lane-{lane_id}"))
    made._show = server.show
    is_over = False

    def run() -> None:
        while not is_over:
            made.run_waiting(0.05)

    import threading

    thread = threading.Thread(target=run)
    thread.start()
    yield made
    is_over = True
    thread.join()


def png(image: object) -> bytes:
    return cv2.imencode(".png", image[..., ::-1])[1].tobytes()  # type: ignore[index]


def test_a_program_sends_an_image_and_gets_the_verdict_and_the_part_is_found(
    browser: TestClient, settings: Settings, engine: Engine, lane: Lane, product: TinyProduct
) -> None:
    key = make_key(engine, Actor(), "robot", (Right.INSPECT, Right.SEE_PARTS))
    headers = {"Authorization": f"Bearer {key}"}
    place = "/api/v1/lanes/1/inspect?part_id=P1&lot_id=A7"
    good = browser.post(place, content=png(product.held_out[0]), headers=headers).json()
    bad = browser.post(
        "/api/v1/lanes/1/inspect?part_id=P2&lot_id=A7", files={"image": png(product.defects[0].image)}, headers=headers
    ).json()
    assert (good["decision"], good["seq"]) == ("accept", 1)
    assert (bad["decision"], bad["seq"]) == ("reject", 2)
    assert bad["regions"]
    LaneWriter(engine, settings.data / "journal" / "1", 1).step(2**62)
    found = browser.get("/api/v1/verdicts?lot=A7", headers=headers).json()
    assert [each["part_id"] for each in found["verdicts"]] == ["P2", "P1"]
    details = browser.get("/api/v1/verdicts/1/2", headers=headers).json()
    assert details["recipe"]["name"] == "tiny"
    assert details["activation"]["reason"] == "test"
    assert details["views"][0]["doc"]["regions"] == bad["regions"]
    browser.headers.pop("authorization", None)
    sign_up(browser, engine, "anna", "viewer")
    page = browser.get("/parts?part=P2").text
    assert "/parts/1/2" in page
    assert "/parts/1/1" not in page
    part = browser.get("/parts/1/2").text
    assert "BAD" in part
    assert "tiny v1" in part
    assert browser.get("/parts/1/2/map.png").headers["content-type"] == "image/png"
    assert browser.get("/parts?decision=reject&lot=A7&since=2020-01-01T00:00").text.count('<a href="/parts/1/') >= 1


def test_what_is_no_image_makes_no_part(browser: TestClient, engine: Engine, lane: Lane) -> None:
    headers = {"Authorization": f"Bearer {make_key(engine, Actor(), 'robot')}"}
    answer = browser.post("/api/v1/lanes/1/inspect", content=b"GIF89a nonsense", headers=headers)
    assert answer.status_code == 400
    assert "Traceback" not in answer.text
    assert browser.post("/api/v1/lanes/1/inspect", headers=headers).status_code == 400
    assert browser.post("/api/v1/lanes/9/inspect", content=b"x", headers=headers).status_code == 404
    assert browser.post("/api/v1/lanes/1/inspect", content=b"x").status_code == 401
    assert lane.memory.next_seq == 1


def test_picture_and_verdict_come_in_one_message(
    browser: TestClient, engine: Engine, lane: Lane, product: TinyProduct
) -> None:
    headers = {"Authorization": f"Bearer {make_key(engine, Actor(), 'robot')}"}
    with browser.websocket_connect("/live?lane=1") as socket:
        fields, _ = wire.unpack(socket.receive_bytes())
        assert fields["kind"] in ("state", "away")
        browser.post("/api/v1/lanes/1/inspect", content=png(product.defects[0].image), headers=headers)
        while fields["kind"] != "part":
            fields, jpeg = wire.unpack(socket.receive_bytes())
        assert (fields["decision"], fields["seq"]) == ("reject", 1)
        assert fields["contours"]
        assert jpeg[:2] == b"\xff\xd8"


def test_the_live_page_can_be_closed_to_strangers(settings: Settings, engine: Engine) -> None:
    closed = settings.model_copy(update={"web": settings.web.model_copy(update={"line_page": "login"})})
    with TestClient(make_app(closed, engine)) as browser:
        assert browser.get("/", follow_redirects=False).headers["location"].startswith("/login")
        assert browser.get("/api/v1/lanes").status_code == 401


def test_from_an_empty_plant_to_a_lane(
    browser: TestClient, settings: Settings, engine: Engine, engineer: str, bundle_path: Path, product: TinyProduct
) -> None:
    token = {"form_token": engineer}
    page = browser.post("/products", data={**token, "name": "Cap 20 mm"})
    assert "Cap 20 mm" in page.text
    sent = [("images", (f"{n}.png", png(image))) for n, image in enumerate(product.good[:3])]
    page = browser.post("/products/1/images", data=token, files=[*sent, ("images", ("bad.png", b"nonsense"))])
    assert "3 images have been uploaded" in page.text
    assert "bad.png" in page.text
    page = browser.post("/products/1/bundle", data=token, files={"bundle": bundle_path.read_bytes()})
    assert "v1" in page.text
    assert browser.post("/products/1/bundle", data=token, files={"bundle": b"no bundle"}).status_code == 400
    page = browser.post("/lanes", data={**token, "name": "Press 4", "kind": "watch", "place": "/no/such"})
    assert "no such folder" in page.text
    incoming = settings.data / "incoming"
    incoming.mkdir()
    page = browser.post("/lanes", data={**token, "name": "Press 4", "kind": "watch", "place": str(incoming)})
    assert "Press 4" in page.text
    assert browser.post("/lanes/1/activate", data={**token, "recipe_id": 1, "reason": " "}).status_code == 400
    assert browser.post("/lanes/1/activate", data={**token, "recipe_id": 1, "reason": "start"}).status_code == 200
    [row] = list_lanes(engine)
    assert (row.is_live, row.recipe and row.recipe.product) == (True, "Cap 20 mm")
    assert read_lane(settings.data, 1).recipe == row.recipe
    assert "activated" in browser.get("/audit").text


def test_the_last_admin_stays(browser: TestClient, engine: Engine) -> None:
    token = sign_up(browser, engine, "anna", "admin")
    page = browser.post("/users", data={"form_token": token, "name": "bob", "roles": ["viewer"]})
    assert "/first?token=" in page.text
    assert "last admin" in browser.post("/users/disable", data={"form_token": token, "name": "anna"}).text


def test_health_and_metrics(browser: TestClient) -> None:
    assert browser.get("/health/live").text == "ok\n"
    assert "blemish_parts" in browser.get("/metrics").text


def test_texts_are_toml() -> None:
    for language in LANGUAGES:
        assert tomllib.loads(files("blemish.station").joinpath("texts", f"{language}.toml").read_text("utf-8"))
