"""The models that lie in this server: what the store's own catalogue says, and where the files are.

Format: docs/models.md, `catalog.json`. Nothing here asks the platform, so that what is on disk can be had while it is
away. Which gated models are there was settled when the server started, by its user's acceptances.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sublet import fields
from sublet.errors import NoSuchModel, NotHere, NotInALease

VARIABLE = "SUBLET_MODELS_DIR"
FORMAT = 1
"""The format of `catalog.json` that is understood here."""


@dataclass(frozen=True, slots=True)
class StoredModel:
    """What the store's catalogue says of a model. `folder` is None where it has no files, or not yet."""

    name: str
    title: str
    loader: str
    repository: str
    revision: str
    dtype: str
    memory_bytes: int
    gated: bool
    licence: str
    folder: Path | None
    served: bool
    files: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Store:
    """The store as this server sees it."""

    root: Path
    models: Mapping[str, StoredModel]

    @classmethod
    def of(cls, env: Mapping[str, str] = os.environ) -> Store:
        """NotInALease where the environment names no store; NotHere where there is nothing in it."""
        if not env.get(VARIABLE):
            raise NotInALease(
                f"This Python is told of no models ({VARIABLE} is not set)."
                " Run it in a server on the platform; if it is one, ask an admin to fill the store of models."
            )
        root = Path(env[VARIABLE])
        try:
            document = json.loads((root / "open" / "catalog.json").read_bytes())
            return cls(root, _models(document, root))
        except FileNotFoundError:
            raise NotHere(f"There are no models in {root} yet. Ask an admin to fill the store.") from None
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise NotHere(f"The catalogue of models in {root} can't be read: {error}") from None

    def model(self, name: str) -> StoredModel:
        """The model of that name; NoSuchModel names those there are."""
        try:
            return self.models[name]
        except KeyError:
            raise NoSuchModel(_unknown(name, self.models)) from None

    def files_of(self, model: StoredModel) -> Path:
        """The folder with a model's files; NotHere says why there is none, as far as can be seen from here."""
        if not model.files:
            raise NotHere(f"{model.name} has no files here: it is served. Call it by its name at OPENAI_BASE_URL.")
        if model.folder is None or (not model.gated and not model.folder.is_dir()):
            raise NotHere(
                f"The files of {model.name} are not in the store yet. An admin adds them: sublet models add."
            )
        return model.folder


def _models(document: Any, root: Path) -> dict[str, StoredModel]:
    if document["format"] != FORMAT:
        raise ValueError(f"its format is {document['format']!r}, of a newer platform; start the server again")
    return {each["name"]: _model(each, root) for each in document["models"]}


def _model(document: Any, root: Path) -> StoredModel:
    folder = fields.text_or_none(document["folder"])
    return StoredModel(
        name=fields.text(document["name"]),
        title=fields.text(document["title"]),
        loader=fields.text(document["loader"]),
        repository=fields.text(document["repository"]),
        revision=fields.text(document["revision"]),
        dtype=fields.text(document["dtype"]),
        memory_bytes=fields.number(document["memory_bytes"]),
        gated=bool(document["gated"]),
        licence=fields.text(document["licence"]),
        folder=None if folder is None else root / folder,
        served=document["serving"] is not None,
        files=tuple(fields.text(each["path"]) for each in document["files"]),
    )


def _unknown(name: str, known: Mapping[str, object]) -> str:
    from difflib import get_close_matches

    near = get_close_matches(name, known, n=3, cutoff=0.4)
    meant = f" Did you mean {' or '.join(near)}?" if near else ""
    return f"There is no model {name!r}.{meant} sublet.models.list() shows them all."
