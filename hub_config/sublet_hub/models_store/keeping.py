"""What is done with models that are in the store: checked, removed, and told to users' programs."""

from __future__ import annotations

import json
import os
from pathlib import Path

from sublet_hub.domain.models import Licence, Model, ModelCatalogue, Serving
from sublet_hub.models_store.adding import retire
from sublet_hub.models_store.checking import check_content
from sublet_hub.models_store.errors import WrongContentError
from sublet_hub.models_store.layout import PUBLIC, READ_ONLY, Store, Stored, discard, sync_folder
from sublet_hub.models_store.transfer import Progress, Silence, sha256_of

PUBLIC_FORMAT = 1
"""Raised when a reader of `catalog.json` could misunderstand a new one."""

Json = dict[str, object]


def problems_of(store: Store, model: Model, progress: Progress | None = None) -> list[str]:
    """What is wrong with a model's files, a sentence each; every byte is read."""
    told = Silence() if progress is None else progress
    told.begin(model.name, model.size_bytes)
    folder = store.folder_of(model)
    wanted = {file.path: file for file in model.files}
    there = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()}
    wrong = [f"{name} does not belong to it." for name in sorted(there - wanted.keys())]
    for name, file in wanted.items():
        path = folder / name
        if name not in there:
            wrong.append(f"{name} is missing.")
        elif path.is_symlink():
            wrong.append(f"{name} is a link.")
        elif (size := path.stat().st_size) != file.size:
            wrong.append(f"{name} has {size} bytes; the catalogue says {file.size}.")
        elif (found := sha256_of(path, told)) != file.sha256:
            wrong.append(f"{name} has the SHA-256 {found}; the catalogue says {file.sha256}.")
        else:
            try:
                check_content(path, name)
            except WrongContentError as error:
                wrong.append(str(error))
    return wrong


def remove(store: Store, stored: Stored) -> None:
    """Take a revision of a model away. Who has it open keeps what they have open.

    A gated model's own folder stays: servers that run are shown it, and see what comes into it later.
    """
    with store.alone_with(stored.name):
        away = retire(store, stored.folder)
        parent = stored.folder.parent
        if not stored.gated and not any(parent.iterdir()):
            parent.rmdir()
        discard(away)


def publish(store: Store, catalogue: ModelCatalogue) -> None:
    """Write `open/catalog.json`: what the catalogue says, less what only the platform's own parts need to know.
    Before that, what has come under another kind of licence is moved to where its readers are."""
    with store.alone_with_catalogue():
        store.prepare(catalogue.gated_names)
        _rehouse(store, catalogue)
        document: Json = {
            "format": PUBLIC_FORMAT,
            "models": [_model(store, model) for model in catalogue.models.values()],
            "licences": [_licence(licence) for licence in catalogue.licences.values()],
        }
        _replace(store.public_catalogue, json.dumps(document, indent=1, ensure_ascii=False) + "\n")


def _rehouse(store: Store, catalogue: ModelCatalogue) -> None:
    """Close what is gated now and was open, so that nobody reads on unasked; and the other way round."""
    for each in list(store.stored()):
        model = catalogue.models.get(each.name)
        if model is None or model.gated == each.gated:
            continue
        target = (store.gated if model.gated else store.open) / each.name / each.revision
        target.parent.mkdir(mode=PUBLIC, exist_ok=True)
        target.parent.chmod(PUBLIC)
        if target.exists():
            discard(retire(store, each.folder))
        else:
            each.folder.rename(target)
            sync_folder(target.parent)
        if not each.gated and not any(each.folder.parent.iterdir()):
            each.folder.parent.rmdir()


def _model(store: Store, model: Model) -> Json:
    return {
        "name": model.name,
        "title": model.title,
        "family": model.family,
        "task": model.task,
        "description": model.description,
        "licence": model.licence.name,
        "gated": model.gated,
        "loader": model.loader,
        "repository": model.repository,
        "revision": model.revision,
        "parameters": model.parameters,
        "dtype": model.dtype,
        "memory_bytes": model.memory_bytes,
        "size_bytes": model.size_bytes,
        "folder": model.folder if store.has(model) else None,
        "files": [{"path": file.path, "size": file.size, "sha256": file.sha256} for file in model.files],
        "serving": None if model.serving is None else _serving(model.serving),
        "example": model.example,
    }


def _serving(serving: Serving) -> Json:
    return {
        "context_tokens": serving.context_tokens,
        "output_tokens_max": serving.output_tokens_max,
        "input_microunits_per_million_tokens": serving.input_microunits_per_million_tokens,
        "output_microunits_per_million_tokens": serving.output_microunits_per_million_tokens,
    }


def _licence(licence: Licence) -> Json:
    return {
        "name": licence.name,
        "title": licence.title,
        "version": licence.version,
        "url": licence.url,
        "gated": licence.gated,
    }


def _replace(path: Path, text: str) -> None:
    made = path.with_name(f".{path.name}.new")
    with made.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    made.chmod(READ_ONLY)
    made.replace(path)
    sync_folder(path.parent)
