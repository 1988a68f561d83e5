"""The command as a program would run it, against the real api; and a platform's data folder on SQLite."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from sublet_hub.catalog import starter_toml
from sublet_hub.cli import main
from sublet_hub.cluster.gpus import simulated
from sublet_hub.credentials import ensure_credentials, ensure_secrets, write_private
from sublet_hub.settings import Settings, load_settings
from sublet_hub.storage import metering, migrate
from sublet_hub.wiring import open_books, seed_default_quota
from tests.fixtures.api_platform import ApiPlatform, api_platform
from tests.fixtures.books import limit


@dataclass(frozen=True)
class Ran:
    """What a command printed, and how it ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Ran]


@pytest.fixture(autouse=True)
def _own_surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No platform of the developer's is found, whatever the environment and the folder."""
    for name in ("SUBLET_DATA", "SUBLET_TOKEN", "SUBLET_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def run() -> Run:
    """Run `sublet` with these words; `token` is put into SUBLET_TOKEN."""

    def sublet(*words: str, token: str | None = None, text: str | None = None) -> Ran:
        env = {"SUBLET_TOKEN": token} if token else {}
        result = CliRunner().invoke(main, list(words), env=env, input=text)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Ran(result.exit_code, result.stdout, result.stderr)

    return sublet


@pytest.fixture(scope="module")
def served() -> Iterator[ApiPlatform]:
    with api_platform() as platform:
        yield platform


@pytest.fixture
def platform(served: ApiPlatform) -> ApiPlatform:
    """The api, with a default quota of ten GPU-hours a week, four GPUs and 50.00 a month."""
    limit(served.books, gpu_seconds=(36000, "week"), gpus=4, leases=8, money_microunits=(50_000_000, "month"))
    return served


@pytest.fixture
def as_admin(platform: ApiPlatform, run: Run) -> Run:
    """Run `sublet` from afar with the token of a quota admin."""

    def sublet(*words: str, token: str = "service-token", text: str | None = None) -> Ran:
        return run(*words, "--url", platform.url, token=token, text=text)

    return sublet


def tamper(settings: Settings, statement: str) -> None:
    """Change the database as somebody could who has it, but not the audit key."""
    with closing(sqlite3.connect(settings.data / "sublet.sqlite")) as database, database:
        guards = database.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for (name,) in guards:
            database.execute(f'DROP TRIGGER "{name}"')
        assert database.execute(statement).rowcount > 0


@pytest.fixture
def beside(tmp_path: Path) -> Settings:
    """A platform's data folder as its first start leaves it, in the folder we are in."""
    settings = load_settings({"SUBLET_DATA": str(tmp_path / ".sublet"), "SUBLET_PORT": "18990"})
    settings.data.mkdir(mode=0o711)
    ensure_secrets(settings.data)
    ensure_credentials(settings.data, "admin")
    write_private(settings.toml_file, "port = 18990\n" + starter_toml(simulated(2)))
    migrate(settings.database_url)
    with open_books(settings) as books:
        seed_default_quota(books, settings)
        metering.beat(books)
    return settings
