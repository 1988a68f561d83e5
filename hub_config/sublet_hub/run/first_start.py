"""What a data folder needs before the platform can start on it. Each step does nothing where it was done
before."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from sublet_hub.catalog import starter_toml
from sublet_hub.cluster.gpus import discover, simulated
from sublet_hub.credentials import Credentials, Secrets, ensure_credentials, ensure_secrets, write_private
from sublet_hub.hub.sign_in_options import load_sign_in
from sublet_hub.run.database import bring_up_to_date
from sublet_hub.run.models import prepare_models
from sublet_hub.settings import Settings

TRAVERSABLE = 0o711
"""Users' servers may run as other users: they must get through to their homes, and may list nothing on the
way."""

HUB_DATABASE_SECONDS = 10.0
"""How long JupyterHub's database may be locked; before the hub is started it should not be at all."""


def make_folders(settings: Settings) -> None:
    """The data folder and those in it."""
    for folder in (settings.data, settings.homes_dir):
        _make(folder, TRAVERSABLE)
    _make(settings.logs_dir, 0o700)


def prepare(settings: Settings) -> tuple[Secrets, Credentials]:
    """Secrets, pools and flavors, and the database in its present form. SettingsError where the file is
    wrong."""
    secrets = ensure_secrets(settings.data)
    credentials = ensure_credentials(settings.data, settings.admin_users[0])
    forget_old_tokens(settings.data / "jupyterhub.sqlite")
    if not settings.toml_file.exists():
        devices = discover() or simulated(settings.simulated_gpus)
        write_private(settings.toml_file, starter_toml(devices))
    prepare_models(settings)
    load_sign_in(settings)
    bring_up_to_date(settings)
    return secrets, credentials


def forget_old_tokens(hub_database: Path) -> None:
    """Take out of JupyterHub's database the service tokens that it read from our files at earlier starts.

    It reads those of now by itself, but keeps the others: a token that was changed because it had leaked would
    work on. "from config" is JupyterHub's own note on such tokens (jupyterhub.app, _add_tokens).
    """
    if not hub_database.exists():
        return
    with closing(sqlite3.connect(hub_database, timeout=HUB_DATABASE_SECONDS)) as database, database:
        if database.execute("SELECT 1 FROM sqlite_master WHERE name = 'api_tokens'").fetchone():
            database.execute("DELETE FROM api_tokens WHERE service_id IS NOT NULL AND note = 'from config'")


def _make(folder: Path, mode: int) -> None:
    if not folder.exists():
        folder.mkdir(parents=True)
        folder.chmod(mode)  # whatever the umask
