"""The store's models where tools of the Hugging Face hub look for files, so that they find them without a network.

In the user's own cache (`~/.cache/huggingface/hub`, or what HF_HUB_CACHE or HF_HOME name) each model of the store has

    models--ORG--NAME/snapshots/REVISION -> the model's folder in the store
    models--ORG--NAME/refs/main             the revision, as text

What the user has downloaded is left as it is, and goes first. Format:
https://huggingface.co/docs/huggingface_hub/guides/manage-cache
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from sublet.models.store import Store, StoredModel

REFERENCE = "main"


def cache_folder(env: Mapping[str, str]) -> Path:
    """Where the hub's tools keep files. Source: the hub's page on environment variables."""
    if env.get("HF_HUB_CACHE"):
        return Path(env["HF_HUB_CACHE"])
    if env.get("HF_HOME"):
        return Path(env["HF_HOME"]) / "hub"
    return Path(env.get("XDG_CACHE_HOME") or Path(env.get("HOME") or Path.home()) / ".cache") / "huggingface" / "hub"


def link_models(store: Store, cache: Path) -> int:
    """Link all models whose files are here, and unlink those that are gone; how many are linked. OSError where the
    cache can't be written."""
    linked = 0
    for model in store.models.values():
        if not model.repository:
            continue
        folder = cache / f"models--{model.repository.replace('/', '--')}"
        _unlink_gone(folder, store)
        if model.folder is not None and model.folder.is_dir():
            linked += _link(folder, model, model.folder)
    return linked


def _link(folder: Path, model: StoredModel, files: Path) -> bool:
    """Whether the model is found here by its revision."""
    snapshot = folder / "snapshots" / model.revision
    reference = folder / "refs" / REFERENCE
    if not snapshot.is_symlink() and snapshot.exists():
        return True  # downloaded by the user
    snapshot.parent.mkdir(parents=True, exist_ok=True)
    if snapshot.is_symlink() and snapshot.readlink() != files:
        snapshot.unlink()
    if not snapshot.is_symlink():
        snapshot.symlink_to(files)
    if not _is_own(folder, reference):
        reference.parent.mkdir(parents=True, exist_ok=True)
        reference.write_text(model.revision)
    return True


def _is_own(folder: Path, reference: Path) -> bool:
    """Whether a reference is to something that the user has downloaded."""
    if not reference.is_file():
        return False
    snapshot = folder / "snapshots" / reference.read_text().strip()
    return snapshot.is_dir() and not snapshot.is_symlink()


def _unlink_gone(folder: Path, store: Store) -> None:
    """Remove links into the store whose files are gone."""
    for snapshot in (folder / "snapshots").glob("*"):
        if snapshot.is_symlink() and snapshot.readlink().is_relative_to(store.root) and not snapshot.exists():
            snapshot.unlink()
