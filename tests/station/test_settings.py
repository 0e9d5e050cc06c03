"""The settings file: each fault is one line with file, key, what was found and what is allowed."""

from __future__ import annotations

from pathlib import Path

import pytest

from blemish.errors import OutputError, SettingsError
from blemish.station.run import check_address, check_data, prepare
from blemish.station.settings import Settings, hand_over, read_settings, settings_of


def settings_in(folder: Path, text: str) -> Settings:
    path = folder / "station.toml"
    path.write_text(text, encoding="utf-8")
    return read_settings(path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[web]\nport = 80", r"web.port: there is no such key; allowed here are listen, tls"),
        ("nonsense = 1", r"nonsense: there is no such key; allowed here are station, web, save"),
        ("[save.keep_days]\nok = 5", r"save.keep_days.ok: there is no such key; allowed here are accept"),
        ('[web]\nlisten = "0.0.0.0:80"', r"web: .*0\.0\.0\.0:80 is reached from the network, which needs \[web.tls\]"),
        ('[web]\nlisten = "here"', r'web.listen: found "here"; .*give host:port'),
        ('[save]\naccept = "some"', r"save: .*accept: 'some' is no rule; allowed are all, none, and 1 in N"),
        ("[save]\nquota_gb = -1", r"save.quota_gb: found -1; .*greater than 0"),
        ("[save]\nquota_gb = nan", r"save.quota_gb: found NaN; "),
        ('durability = "maybe"', r"durability: found \"maybe\"; .*'power' or 'process'"),
        ("answer_within_ms = 1", r"answer_within_ms: found 1; .*greater than or equal to 10"),
        ("[web", r"station.toml: .*correct the file"),
        ("web = 5", r"web: found 5; "),
    ],
)
def test_a_fault_is_named_with_file_key_and_remedy(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said) as found:
        settings_in(tmp_path, text)
    assert str(tmp_path / "station.toml") in str(found.value)
    assert "\n" not in str(found.value)


def test_bytes_that_are_no_text_and_a_missing_file_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "station.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SettingsError, match=r"station\.toml"):
        read_settings(tmp_path / "station.toml")
    with pytest.raises(SettingsError, match="no such file"):
        read_settings(tmp_path / "other.toml")


def test_places_hold_from_the_folder_of_the_file(tmp_path: Path) -> None:
    assert settings_in(tmp_path, '[station]\ndata = "here"').data == tmp_path / "here"


def test_a_running_station_has_the_settings_it_began_with(settings: Settings) -> None:
    hand_over(settings)
    assert settings_of(settings.data) == settings


def test_a_folder_of_other_things_or_another_version_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "holiday.jpg").write_bytes(b"x")
    with pytest.raises(SettingsError, match="holds other things"):
        prepare(read_settings(None, other))
    (tmp_path / "station.json").write_text('{"version": 99}')
    with pytest.raises(SettingsError, match="version 99, this program knows 1"):
        check_data(tmp_path)


def test_an_address_that_is_taken_is_named(settings: Settings) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        busy = settings.model_copy(update={"web": settings.web.model_copy(update={"listen": address})})
        with pytest.raises(OutputError, match=f"{address}: cannot be listened at.*--listen"):
            check_address(busy)
