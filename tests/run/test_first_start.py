"""Tokens of ours that were changed no longer open anything."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from jupyterhub import orm
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from sublet_hub.run.first_start import forget_old_tokens


@pytest.fixture
def hub_database(tmp_path: Path) -> Path:
    """A database as JupyterHub makes it, with a service that has a token from our files and one of its own."""
    path = tmp_path / "jupyterhub.sqlite"
    engine = create_engine(f"sqlite:///{path}")
    orm.Base.metadata.create_all(engine)
    with Session(engine) as session:
        service, user = orm.Service(name="sublet-admin"), orm.User(name="alice")
        session.add_all([service, user, orm.OAuthClient(identifier="jupyterhub")])
        session.commit()
        for note, owner in (("from config", {"service": service}), ("by hand", {"service": service})):
            orm.APIToken.new(note=note, scopes=[], **owner)
        orm.APIToken.new(note="from config", scopes=[], user=user)
    engine.dispose()
    return path


def notes(path: Path) -> list[tuple[str, bool]]:
    database = sqlite3.connect(path)
    rows = database.execute("SELECT note, service_id IS NOT NULL FROM api_tokens ORDER BY 1, 2").fetchall()
    database.close()
    return [(note, bool(of_service)) for note, of_service in rows]


def test_tokens_of_our_files_are_forgotten_and_no_others(hub_database: Path) -> None:
    assert ("from config", True) in notes(hub_database)
    forget_old_tokens(hub_database)
    assert notes(hub_database) == [("by hand", True), ("from config", False)]


def test_before_the_first_start_there_is_nothing_to_forget(tmp_path: Path) -> None:
    forget_old_tokens(tmp_path / "none.sqlite")
    assert not (tmp_path / "none.sqlite").exists()
    (tmp_path / "empty.sqlite").touch()
    forget_old_tokens(tmp_path / "empty.sqlite")
