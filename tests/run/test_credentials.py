"""The generated passwords and tokens: private from the first moment, and kept."""

from __future__ import annotations

import json
import os
import stat
from dataclasses import astuple, fields
from pathlib import Path

import pytest

from sublet_hub.credentials import (
    Credentials,
    CredentialsError,
    Secrets,
    ensure_credentials,
    ensure_secrets,
    read_credentials,
    read_secrets,
)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_both_files_are_private_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        ensure_credentials(tmp_path, "root")
        ensure_secrets(tmp_path)
    finally:
        os.umask(before)
    assert mode(tmp_path / "credentials") == 0o600
    assert mode(tmp_path / "secrets.json") == 0o600
    assert sorted(each.name for each in tmp_path.iterdir()) == ["credentials", "secrets.json"]


def test_they_are_made_once(tmp_path: Path) -> None:
    assert ensure_credentials(tmp_path, "root") == ensure_credentials(tmp_path, "other") == read_credentials(tmp_path)
    assert ensure_secrets(tmp_path) == ensure_secrets(tmp_path) == read_secrets(tmp_path)


def test_no_two_are_alike(tmp_path: Path) -> None:
    values = [*astuple(Secrets.generate()), *astuple(Secrets.generate()), *astuple(Credentials.generate("a"))]
    assert len(set(values)) == len(values)


def test_the_passwords_are_as_long_as_the_authenticator_asks() -> None:
    credentials = Credentials.generate("admin")
    assert len(credentials.admin_password) >= 32
    assert len(credentials.user_password) >= 8


def test_the_format_is_a_line_each(tmp_path: Path) -> None:
    credentials = ensure_credentials(tmp_path, "root")
    assert (tmp_path / "credentials").read_text() == "".join(
        f"{each.name}={getattr(credentials, each.name)}\n" for each in fields(credentials)
    )


def test_an_edited_password_counts_and_unknown_lines_are_let_be(tmp_path: Path) -> None:
    ensure_credentials(tmp_path, "root")
    text = (tmp_path / "credentials").read_text().splitlines()
    changed = ["user_password=p=with=signs" if line.startswith("user_") else line for line in text]
    (tmp_path / "credentials").write_text("\n".join([*changed, "", "later_field=1"]))
    assert read_credentials(tmp_path).user_password == "p=with=signs"


def test_a_file_that_became_readable_is_made_private_again(tmp_path: Path) -> None:
    ensure_credentials(tmp_path, "root")
    (tmp_path / "credentials").chmod(0o644)
    read_credentials(tmp_path)
    assert mode(tmp_path / "credentials") == 0o600


@pytest.mark.parametrize("text", ["admin_user=a\nadmin_password=b\n", "admin_user=\n", ""])
def test_a_missing_line_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "credentials").write_text(text)
    with pytest.raises(CredentialsError, match=r"lacks (user_password|admin_user)"):
        read_credentials(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", '{"cookie_secret": 5}'])
def test_broken_secrets_are_said_to_be(tmp_path: Path, text: str) -> None:
    (tmp_path / "secrets.json").write_text(text)
    with pytest.raises(CredentialsError, match=r"secrets\.json"):
        read_secrets(tmp_path)


def test_a_platform_of_an_earlier_version_gets_the_secrets_that_it_lacks(tmp_path: Path) -> None:
    """Those it has are kept: a new audit key, say, would make its whole history look forged."""
    before = json.loads(Secrets.generate().to_text())
    del before["gateway_token"]
    (tmp_path / "secrets.json").write_text(json.dumps(before))
    ensured = ensure_secrets(tmp_path)
    assert len(ensured.gateway_token) == 64
    assert {name: getattr(ensured, name) for name in before} == before
    assert ensure_secrets(tmp_path) == ensured
    assert mode(tmp_path / "secrets.json") == 0o600
    del before["audit_key"]
    (tmp_path / "secrets.json").write_text(json.dumps(before))
    with pytest.raises(CredentialsError, match="lacks audit_key"):
        ensure_secrets(tmp_path)


def test_nothing_secret_shows_when_printed() -> None:
    credentials = Credentials.generate("admin")
    assert credentials.admin_password not in repr(credentials)
    assert repr(Secrets.generate()) == "Secrets()"


def test_before_the_first_start_one_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(CredentialsError, match="sublet up"):
        read_secrets(tmp_path)


def test_single_files_give_each_process_its_own_part(tmp_path: Path) -> None:
    (tmp_path / "audit_key").write_text("ab" * 32 + "\n")
    secrets = read_secrets(tmp_path / "unused", tmp_path)
    assert secrets.audit_key == "ab" * 32
    with pytest.raises(CredentialsError, match="was not given the secret session_key"):
        assert secrets.session_key


def test_a_folder_of_secrets_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(CredentialsError, match="no folder"):
        read_credentials(tmp_path, tmp_path / "absent")
