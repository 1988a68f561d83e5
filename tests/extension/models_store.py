"""A store of models as the platform makes it, with files of no meaning, for tests of what reads it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from sublet_hub.domain.models import Licence, Loader, Model, ModelCatalogue, ModelFile, Serving, Upstream
from sublet_hub.models_store.keeping import publish
from sublet_hub.models_store.layout import Store

OPEN = Licence("mit", "MIT License", "1", "https://example.org/mit")
GATED = Licence("llama", "Llama Community License", "2024-09-25", "https://example.org/llama", gated=True)
SERVING = Serving((Upstream("http://models:8000/v1", "there"),), 4096, 1024, 100_000, 300_000)


def make_model(
    name: str,
    files: Mapping[str, bytes],
    *,
    loader: Loader = "files",
    licence: Licence = OPEN,
    memory_bytes: int = 0,
    serving: Serving | None = None,
) -> Model:
    listed = tuple(ModelFile(path, len(data), hashlib.sha256(data).hexdigest()) for path, data in files.items())
    return Model(
        name, name.title(), "Test", "text-generation", "", licence, loader,
        files=listed, memory_bytes=memory_bytes, serving=serving,
    )  # fmt: skip


def fill(root: Path, *models: tuple[Model, Mapping[str, bytes]], without: tuple[str, ...] = ()) -> Path:
    """A store with these models, and its catalogue. Of those in `without` there are no files."""
    store = Store(root)
    catalogue = ModelCatalogue(
        {model.name: model for model, _ in models}, {each.name: each for each in (OPEN, GATED)}
    )
    store.prepare(catalogue.gated_names)
    for model, files in models:
        for path, data in files.items() if model.name not in without else ():
            file = store.folder_of(model) / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
    publish(store, catalogue)
    return root
