"""The check of the models: what the catalogue names is in the store."""

from __future__ import annotations

from collections.abc import Iterator

from sublet_hub.catalog import load_models
from sublet_hub.cli.doctor.findings import Finding, ok, problem, warning
from sublet_hub.models_store import Store
from sublet_hub.settings import Settings, SettingsError


def models(settings: Settings) -> Iterator[Finding]:
    """The catalogue of models can be read, and all that it has files of is in the store."""
    try:
        catalogue = load_models(settings)
    except SettingsError as error:
        for line in str(error).splitlines():
            yield problem("models", line, f"Mend {settings.models_toml} and start Sublet again.")
        return
    store = Store(settings.models_dir)
    try:
        lacking = [model.name for model in catalogue.models.values() if model.files and not store.has(model)]
    except PermissionError as error:
        yield warning("models", f"You may not look into {error.filename}.", "Run sublet as the user who owns it.")
        return
    for name in lacking:
        yield warning("models", f"The model {name} is not in the store.", f"Fetch it with: sublet models add {name}")
    if not lacking:
        yield ok("models", f"{len(catalogue.models)} models in the catalogue; all of their files are in the store.")
