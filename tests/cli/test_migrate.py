"""`sublet migrate`: a new database, one that is there, several at once, and one that isn't up yet."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from sublet_hub import storage
from sublet_hub.catalog import starter_toml
from sublet_hub.cli import exits
from sublet_hub.cluster.gpus import simulated
from sublet_hub.domain.accounts import DEFAULT
from sublet_hub.domain.errors import Unavailable
from sublet_hub.run import database
from sublet_hub.settings import Settings, load_settings
from sublet_hub.storage.sql import migrate
from sublet_hub.storage.store import AuditFilter
from sublet_hub.wiring import open_books
from tests.cli.conftest import Run
from tests.fixtures.stores import database_url, postgres_server, postgres_url, sqlite_url

__all__ = ["database_url", "postgres_server", "postgres_url", "sqlite_url"]

AT_ONCE = 3
TIMEOUT_SECONDS = 90


def apart(folder: Path, database_url: str) -> dict[str, str]:
    """Settings as Kubernetes gives them: a file with the catalog, a folder with the one secret that is needed."""
    (folder / "secrets").mkdir()
    (folder / "secrets" / "audit_key").write_text("ab" * 32 + "\n")
    (folder / "config").mkdir()
    (folder / "config" / "sublet.toml").write_text(starter_toml(simulated(2)))
    return {
        "SUBLET_DATA": str(folder),
        "SUBLET_CONFIG_FILE": str(folder / "config" / "sublet.toml"),
        "SUBLET_SECRETS_DIR": str(folder / "secrets"),
        "SUBLET_DATABASE_URL": database_url,
    }


@pytest.fixture
def env(tmp_path: Path, database_url: str) -> dict[str, str]:
    """Of a database that has no tables yet."""
    migrate.downgrade(database_url)
    return apart(tmp_path, database_url)


@pytest.fixture
def settings(env: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    return load_settings()


def recorded(settings: Settings) -> list[str]:
    with open_books(settings) as books, books.store.transaction(write=False) as tx:
        assert tx.quota(DEFAULT) is not None
        records = tx.audit_records(AuditFilter(), after=0, limit=10, newest_first=False)
    return [record.action for record in records]


def test_a_new_database_gets_its_tables_and_the_default_quota_once(run: Run, settings: Settings) -> None:
    first, second = run("migrate"), run("migrate")
    assert (first.code, second.code) == (exits.OK, exits.OK)
    assert "default quota" in first.out
    assert "default quota" not in second.out
    assert recorded(settings) == ["quota.set"]


def test_several_at_once_set_the_quota_once(env: dict[str, str]) -> None:
    command = [sys.executable, "-m", "sublet_hub.cli", "migrate"]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SUBLET_")}
    started = [
        subprocess.Popen(command, env=kept | env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for _ in range(AT_ONCE)
    ]
    outputs = [process.communicate(timeout=TIMEOUT_SECONDS)[0] for process in started]
    assert [process.returncode for process in started] == [0] * AT_ONCE, outputs
    assert sum("default quota" in output for output in outputs) == 1
    assert recorded(load_settings(env)) == ["quota.set"]


@pytest.fixture
def absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Settings that name a PostgreSQL whose socket isn't there yet."""
    socket = tmp_path / "socket"
    for name, value in apart(tmp_path, f"postgresql://sublet:secret@/sublet?host={socket}").items():
        monkeypatch.setenv(name, value)
    return socket


def test_a_database_that_does_not_answer_in_time(run: Run, absent: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "AGAIN_SECONDS", 0.01)
    ran = run("migrate", "--wait", "1")
    assert ran.code == exits.UNREACHABLE
    assert ran.out.count("Waiting up to 1 s for the database") == 1
    assert "SUBLET_DATABASE_URL" in ran.err
    assert "secret" not in ran.out + ran.err


def test_a_database_that_comes_up_while_it_is_waited_for(
    run: Run, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "AGAIN_SECONDS", 0.01)
    really, refused = storage.migrate, iter([True, True])

    def not_yet(url: str) -> None:
        if next(refused, False):
            raise Unavailable("connection refused")
        really(url)

    monkeypatch.setattr(database, "migrate", not_yet)
    ran = run("migrate", "--wait", "60")
    assert (ran.code, ran.out.count("connection refused")) == (exits.OK, 1)
    assert recorded(settings) == ["quota.set"]


def test_what_is_wrong_is_named(
    run: Run, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secrets" / "audit_key").unlink()
    missing = run("migrate")
    assert (missing.code, "audit_key" in missing.err) == (exits.PROBLEM, True)
    monkeypatch.setenv("SUBLET_DATABASE_URL", "not a url with a secret")
    wrong = run("migrate")
    assert (wrong.code, "secret" in wrong.err) == (exits.USAGE, False)
    monkeypatch.setenv("SUBLET_DATABASE_URL", "sqlite:////no/such/folder/sublet.sqlite")
    nowhere = run("migrate")
    assert (nowhere.code, "/no/such/folder" in nowhere.err) == (exits.PROBLEM, True)
    assert settings.config_file is not None
    settings.config_file.write_text("[[flavors]]\nname = 'x'\n")
    catalog = run("migrate")
    assert (catalog.code, "flavors" in catalog.err) == (exits.USAGE, True)
