"""Which platform a command talks to, and as whom."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sublet_hub.cli.exits import NOT_ALLOWED, CommandError, NotAllowed, Unreachable, UsageProblem
from sublet_hub.cli.platform import find_data, find_target, is_running, running_url
from sublet_hub.credentials import read_credentials
from sublet_hub.settings import Settings


def test_beside_a_platform_address_and_token_are_found(beside: Settings) -> None:
    target = find_target(None, {})
    assert target.url == "http://127.0.0.1:18990"
    assert target.token == read_credentials(beside.data).admin_token


def test_below_a_platform_too(beside: Settings, tmp_path: Path) -> None:
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    assert find_data(deep, {}) == beside.data
    assert find_data(beside.data, {}) == beside.data


def test_sublet_data_says_where(beside: Settings) -> None:
    assert find_target(None, {"SUBLET_DATA": str(beside.data)}, Path("/")).url == "http://127.0.0.1:18990"


def test_a_running_platform_says_itself_where_it_is(beside: Settings) -> None:
    lock = beside.data / "up.lock"
    lock.write_text(json.dumps({"pid": 1, "address": "http://127.0.0.1:9999"}))
    assert running_url(beside.data) is None  # a lock that nobody holds is left over
    with lock.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert is_running(beside.data)
        assert find_target(None, {}).url == "http://127.0.0.1:9999"
        lock.write_text("")
        assert find_target(None, {}).url == "http://127.0.0.1:18990"


def test_sublet_token_goes_before_the_admins(beside: Settings) -> None:
    assert find_target(None, {"SUBLET_TOKEN": "mine"}).token == "mine"


def test_the_admins_token_is_never_sent_to_an_address_given_by_hand(beside: Settings) -> None:
    with pytest.raises(NotAllowed, match="SUBLET_TOKEN must hold"):
        find_target("http://127.0.0.1:18990", {})


def test_from_afar() -> None:
    target = find_target("https://hub.example.org/base/", {"SUBLET_TOKEN": "mine"})
    assert (target.url, target.token) == ("https://hub.example.org/base", "mine")
    assert "mine" not in repr(target)


@pytest.mark.parametrize("url", ["hub.example.org", "ftp://hub.example.org", "http://", ""])
def test_an_address_that_is_none(url: str) -> None:
    with pytest.raises(UsageProblem):
        find_target(url, {"SUBLET_TOKEN": "mine"})


def test_no_platform_here() -> None:
    with pytest.raises(Unreachable) as caught:
        find_target(None, {})
    assert caught.value.hint is not None
    assert "--url" in caught.value.hint


def test_settings_that_are_wrong(beside: Settings) -> None:
    beside.toml_file.write_text("prot = 1\n")
    with pytest.raises(UsageProblem, match="Did you mean port"):
        find_target(None, {})


@contextmanager
def as_another_user() -> Iterator[None]:
    """Root may read everything, so it steps down; others are kept out by the modes alone."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("closed", ["credentials", "sublet.toml", "."])
def test_files_of_another_user(beside: Settings, closed: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        data = Path(shutil.copytree(beside.data, Path(folder) / "data"))
        Path(folder).chmod(0o711)
        data.chmod(0o711)
        for file in ("credentials", "sublet.toml"):
            (data / file).chmod(0o644)
        (data / closed).chmod(0)
        with as_another_user(), pytest.raises(CommandError, match="may not read") as caught:
            find_target(None, {"SUBLET_DATA": str(data)})
        assert caught.value.exit_code == NOT_ALLOWED
