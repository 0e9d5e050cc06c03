"""The file `station.toml`: what an administrator sets. Everything else lives in the database and has pages."""

from __future__ import annotations

import ipaddress
import json
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from blemish.boundary import boundary, read_bytes
from blemish.errors import SettingsError
from blemish.files import write_file
from blemish.station.core.save_rule import SaveRule

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

DEFAULT_LISTEN = "127.0.0.1:8400"
REMEDY = "correct the file"
MAX_BYTES = 1 << 20


def split_address(listen: str) -> tuple[str, int]:
    """Host and port of `host:port`. Raises ValueError.

    >>> split_address("127.0.0.1:8400")
    ('127.0.0.1', 8400)
    """
    host, colon, port = listen.rpartition(":")
    if not (colon and host and port.isdecimal() and 0 <= int(port) <= 65535):
        raise ValueError(f"'{listen}' is no address; give host:port, for example {DEFAULT_LISTEN}")
    return host.strip("[]"), int(port)


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class KeepDays(_Section):
    """For how many days pictures are kept at most."""

    accept: int = Field(default=14, ge=1, le=36_500)
    review: int = Field(default=365, ge=1, le=36_500)
    reject: int = Field(default=3650, ge=1, le=36_500)


class Save(_Section):
    """Which pictures are kept, as what, and how much room they may take."""

    accept: str = "all"
    review: str = "all"
    reject: str = "all"
    format: Literal["png", "jpeg95"] = "png"
    quota_gb: float = Field(default=20.0, gt=0, le=1e6, allow_inf_nan=False)
    keep_days: KeepDays = KeepDays()

    @model_validator(mode="after")
    def _rules_are_rules(self) -> Save:
        self.rule  # noqa: B018 - raises
        return self

    @property
    def rule(self) -> SaveRule:
        return SaveRule(self.accept, self.review, self.reject)


class Tls(_Section):
    """Files of the certificate and its key, PEM."""

    certificate: Path
    key: Path


def _address(text: str) -> str:
    split_address(text)
    return text


class Web(_Section):
    """Where the pages are. `line_page` "open" shows the live page of a lane to whoever can reach it."""

    listen: Annotated[str, AfterValidator(_address)] = DEFAULT_LISTEN
    tls: Tls | None = None
    line_page: Literal["open", "login"] = "open"
    language: Literal["en", "de"] = "en"
    idle_minutes: int = Field(default=30, ge=1, le=1440)

    @model_validator(mode="after")
    def _only_loopback_without_tls(self) -> Web:
        if self.tls is None and not is_loopback(split_address(self.listen)[0]):
            raise ValueError(f"listen {self.listen} is reached from the network, which needs [web.tls]; or 127.0.0.1")
        return self


class Station(_Section):
    """The station itself. `data` is where all of it lies; the password of a database comes from PGPASSWORD."""

    name: str = Field(default="station", min_length=1, max_length=64)
    data: Path = Path("station-data")
    database: str = "sqlite"


class StationFile(_Section):
    """All of `station.toml`."""

    station: Station = Station()
    web: Web = Web()
    save: Save = Save()
    durability: Literal["power", "process"] = "power"
    answer_within_ms: int = Field(default=1000, ge=10, le=60_000)


class Settings(_Section):
    """What the processes of a station work with: the file, with places that hold from anywhere."""

    name: str
    data: Path
    database: str
    web: Web
    save: Save
    durability: Literal["power", "process"]
    answer_within_ms: int
    is_demo: bool = False


def read_settings(path: Path | None, data: Path | None = None, *, listen: str | None = None) -> Settings:
    """The settings in a file, or the usual ones without one. Raises SettingsError that names file, key and remedy."""
    place: str | Path = path or "the command line"
    content: dict[str, Any] = {}
    if path is not None:
        text = read_bytes(path, MAX_BYTES, SettingsError, REMEDY)
        with boundary(path, SettingsError, REMEDY):
            content = tomllib.loads(text.decode("utf-8"))
    if data is not None:
        content.setdefault("station", {})["data"] = data
    if listen is not None:
        content.setdefault("web", {})["listen"] = listen
    try:
        parsed = StationFile.model_validate(content)
    except ValidationError as error:
        raise SettingsError(f"{place}: {sentence_of(error)}") from error
    root = Path.cwd() if path is None or data is not None else path.resolve().parent
    return Settings(
        name=parsed.station.name,
        data=(root / parsed.station.data).resolve(),
        database=parsed.station.database,
        web=parsed.web,
        save=parsed.save,
        durability=parsed.durability,
        answer_within_ms=parsed.answer_within_ms,
    )


def sentence_of(error: ValidationError) -> str:
    """The first fault: which key, what was found there, what is allowed."""
    first = error.errors(include_url=False)[0]
    key = ".".join(str(part) for part in first["loc"]) or "the file"
    found = first.get("input")
    shown = json.dumps(found, default=str, ensure_ascii=False) if not isinstance(found, dict) else "a table"
    if first["type"] == "extra_forbidden":
        allowed = ", ".join(_keys_at(first["loc"][:-1]))
        return f"{key}: there is no such key; allowed here are {allowed}"
    said = str(first.get("ctx", {}).get("error", first["msg"]))
    return f"{key}: found {shown[:80]}; {said[0].lower()}{said[1:]}"


def _keys_at(place: tuple[int | str, ...]) -> list[str]:
    """The keys that a table of the file may hold."""
    model: Any = StationFile
    for part in place:
        annotation = model.model_fields[str(part)].annotation
        model = (
            annotation
            if isinstance(annotation, type)
            else next(each for each in annotation.__args__ if isinstance(each, type) and issubclass(each, BaseModel))
        )
    return list(model.model_fields)


def _settings_path(data: Path) -> Path:
    return data / "run" / "settings.json"


def hand_over(settings: Settings) -> None:
    """Puts the settings where the processes of the station find them."""
    write_file(_settings_path(settings.data), settings.model_dump_json(indent=2).encode(), survives_power_cut=False)


def settings_of(data: Path) -> Settings:
    """The settings that a running station has. Raises SettingsError."""
    path = _settings_path(data)
    remedy = "start `blemish station` once"
    content = read_bytes(path, MAX_BYTES, SettingsError, remedy)
    with boundary(path, SettingsError, remedy):
        return Settings.model_validate_json(content)
