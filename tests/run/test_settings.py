"""Where settings come from, and what is said when one is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from sublet_hub.settings import (
    Settings,
    SettingsError,
    as_environment,
    describe,
    load_settings,
    unknown_environment,
)


def settings_in(folder: Path, toml: str = "", **env: str) -> Settings:
    (folder / "sublet.toml").write_text(toml, encoding="utf-8")
    return load_settings({"SUBLET_DATA": str(folder), **env})


def test_the_environment_wins_over_the_file_and_the_file_over_the_default(tmp_path: Path) -> None:
    toml = 'currency = "EUR"\nslice_seconds = 100\n'
    settings = settings_in(tmp_path, toml, SUBLET_SLICE_SECONDS="50")
    assert (settings.currency, settings.slice_seconds, settings.post_interval_seconds) == ("EUR", 50, 30)


def test_all_ports_follow_the_public_one(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, SUBLET_PORT="9000", SUBLET_HUB_PORT="7000")
    ports = (settings.proxy_api_port, settings.hub_port, settings.api_port, settings.meter_port)
    assert (*ports, settings.gateway_port) == (9001, 7000, 9082, 9083, 9084)


def test_the_database_is_in_the_data_folder_unless_said_otherwise(tmp_path: Path) -> None:
    assert settings_in(tmp_path).database_url == f"sqlite:///{tmp_path}/sublet.sqlite"


@pytest.mark.parametrize("text", ["", "none", "None"])
def test_none_lifts_a_limit(tmp_path: Path, text: str) -> None:
    assert settings_in(tmp_path, SUBLET_DEFAULT_GPUS=text).default_gpus is None


def test_notices_are_sorted_longest_first(tmp_path: Path) -> None:
    assert settings_in(tmp_path, SUBLET_NOTICE_SECONDS="5, 60,5").notice_seconds == (60, 5)


def test_pools_and_flavors_in_the_file_are_no_settings(tmp_path: Path) -> None:
    assert settings_in(tmp_path, '[[pools]]\nname = "a"\n').currency == "USD"


@pytest.mark.parametrize(
    ("toml", "env", "said"),
    [
        ("slice_second = 5", {}, ["slice_second in", "sublet.toml", "Did you mean slice_seconds?"]),
        ("", {"SUBLET_SLICE_SECONDS": "ten"}, ["slice_seconds in the environment (SUBLET_SLICE_SECONDS)", "'ten'"]),
        ("", {"SUBLET_SLICE_SECONDS": "0"}, ["slice_seconds", "greater than or equal to 1"]),
        ("", {"SUBLET_PORT": "70000"}, ["port in the environment", "65535"]),
        ("", {"SUBLET_PORT": "8001", "SUBLET_HUB_PORT": "8001"}, ["must all differ"]),
        ("", {"SUBLET_TIME_ZONE": "Mars/Base"}, ["time_zone", "IANA"]),
        ('currency = "euro"', {}, ["currency in", "'euro'"]),
        ('data = "/tmp"', {}, ["SUBLET_DATA"]),
        ("currency = ", {}, ["not valid TOML"]),
    ],
)
def test_a_wrong_setting_is_named_with_its_place(
    tmp_path: Path, toml: str, env: dict[str, str], said: list[str]
) -> None:
    with pytest.raises(SettingsError) as caught:
        settings_in(tmp_path, toml, **env)
    message = str(caught.value)
    assert [text for text in said if text not in message] == [], message
    assert "default factory" not in message


def test_a_child_reads_the_very_same_settings(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, 'notice_seconds = [30, 3]\ncontact = "a, b = c"', SUBLET_DEFAULT_GPUS="none")
    (tmp_path / "sublet.toml").unlink()
    assert load_settings(as_environment(settings)) == settings


def test_every_setting_has_a_sentence() -> None:
    assert [doc.name for doc in describe() if len(doc.text) < 30] == []


def test_misspelt_variables_are_found_and_those_of_others_let_be() -> None:
    env = {"SUBLET_PORT": "1", "SUBLET_TOKEN": "x", "SUBLET_PROT": "1", "HOME": "/"}
    assert unknown_environment(env) == ("SUBLET_PROT",)
