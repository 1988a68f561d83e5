"""The store of models as a platform needs it when it starts: its folders, the models that a new platform begins with,
and what programs in users' servers are told."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from sublet_hub.catalog import STARTER_MODELS, load_models, read_models
from sublet_hub.models_store import Store, StoreError
from sublet_hub.models_store.adding import Adding
from sublet_hub.models_store.keeping import publish
from sublet_hub.models_store.sources import FolderSource
from sublet_hub.settings import Settings

READABLE = 0o644


def prepare_models(settings: Settings) -> None:
    """Fill a new store, and tell what is in it. SettingsError where the catalogue is wrong.

    A store that is shared with others may be closed to us; then somebody else keeps it.
    """
    store = Store(settings.models_dir)
    if not store.root.exists():
        store.prepare()
    if not settings.models_toml.exists() and settings.models_file is None and settings.starter_models is not None:
        _fill(store, settings.starter_models)
        _copy(STARTER_MODELS, settings.models_toml)
    catalogue = load_models(settings)
    if os.access(store.open, os.W_OK):
        publish(store, catalogue)


def _fill(store: Store, starter: Path) -> None:
    """Take in what setup has made, before the catalogue is written: if that is interrupted, it is begun again."""
    source = FolderSource(f"{starter}/{{name}}")
    for model in read_models(STARTER_MODELS).models.values():
        try:
            Adding(store, model, source).run()
        except StoreError as error:
            sys.stderr.write(f"The model {model.name} is not there: {error}\n")


def _copy(source: Path, target: Path) -> None:
    made = target.with_name(f".{target.name}.new")
    made.write_bytes(source.read_bytes())
    made.chmod(READABLE)
    made.replace(target)
