"""Bringing the database to the form that this version needs, before anything else opens it."""

from __future__ import annotations

import time
from collections.abc import Callable

from sublet_hub.catalog import load_catalog
from sublet_hub.domain.errors import Unavailable
from sublet_hub.settings import Settings
from sublet_hub.storage import migrate
from sublet_hub.wiring import open_books, seed_default_quota

AGAIN_SECONDS = 1.0


def bring_up_to_date(settings: Settings) -> bool:
    """The tables of this version, and on a new platform the default quota; says whether it was set.

    Does nothing where it was done before, and may be done by several processes at once: migrations wait for each
    other, and one of them sets the quota. SettingsError where the catalog is wrong, CredentialsError without the
    audit key, Unavailable where the database doesn't answer, OSError where SQLite's file can't be made.
    """
    load_catalog(settings)
    migrate(settings.database_url)
    with open_books(settings) as books:
        return seed_default_quota(books, settings)


def wait_and_bring_up_to_date(settings: Settings, wait_seconds: float, announce: Callable[[str], None]) -> bool:
    """The same, trying again for so long while the database doesn't answer; why it doesn't is announced when it
    changes."""
    deadline = time.monotonic() + wait_seconds
    announced = ""
    while True:
        try:
            return bring_up_to_date(settings)
        except Unavailable as error:
            if time.monotonic() >= deadline:
                raise
            if str(error) != announced:
                announced = str(error)
                announce(announced)
        time.sleep(AGAIN_SECONDS)
