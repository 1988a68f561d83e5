"""Bringing a model into the store: all of it or nothing, whatever happens in the middle."""

from __future__ import annotations

import hashlib
import shutil
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from sublet_hub.domain.models import Model
from sublet_hub.models_store.errors import StoreError, full_disk_said
from sublet_hub.models_store.layout import PRIVATE, Store, close_to_writing, discard, sync_folder
from sublet_hub.models_store.sources import Source
from sublet_hub.models_store.transfer import Progress, Silence, Transfer

GIB = 2**30
_OLD = "removed-"


class Adding:
    """Adds one model of the catalogue. `again` fetches it though it is there, and puts it in the old one's place.

    Raises what `Transfer` does, StoreBusyError, or StoreError where there is too little room; nothing is to be seen
    of the model then, and what came so far is kept.
    """

    def __init__(
        self,
        store: Store,
        model: Model,
        source: Source,
        progress: Progress | None = None,
        *,
        again: bool = False,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._store = store
        self._model = model
        self._source = source
        self._progress = Silence() if progress is None else progress
        self._again = again
        self._pause = pause
        # Named for what is wanted: if the catalogue changes in between, nothing old is taken for new.
        wanted = "\n".join(f"{file.path} {file.size} {file.sha256}" for file in model.files)
        digest = hashlib.sha256(wanted.encode()).hexdigest()[:16]
        self._staging = store.incoming / f"{model.name}@{model.revision}@{digest}"

    def run(self) -> bool:
        """Add it; False if it was there already."""
        model = self._model
        if not model.files:
            raise StoreError(f"{model.name} is served only: the catalogue names no files of it.")
        with full_disk_said(self._store.root):
            return self._add()

    def _add(self) -> bool:
        model = self._model
        self._store.prepare([model.name] if model.gated else [])
        with self._store.alone_with(model.name):
            if self._store.has(model) and not self._again:
                return False
            self._clear_others()
            self._fetch()
            self._publish()
        return True

    def _clear_others(self) -> None:
        """Forget what was begun with other files under this name, and what could not be removed once."""
        for folder in self._store.incoming.glob(f"{self._model.name}@*"):
            if folder != self._staging:
                discard(folder)
        for folder in self._store.incoming.glob(f"{_OLD}{self._model.name}@*"):
            discard(folder)

    def _fetch(self) -> None:
        whole, parts = self._staging / "files", self._staging / "parts"
        for folder in (self._staging, whole, parts):
            folder.mkdir(mode=PRIVATE, exist_ok=True)
        self._check_room(whole, parts)
        self._progress.begin(self._model.name, self._model.size_bytes)
        for number, file in enumerate(self._model.files):
            target = whole / file.path
            if target.exists():  # it was whole before it came here
                self._progress.advance(file.size)
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            part = parts / str(number)
            Transfer(self._source, self._model, file, part, self._progress, self._pause).run()
            part.rename(target)
            sync_folder(target.parent)

    def _check_room(self, whole: Path, parts: Path) -> None:
        there = sum(path.stat().st_size for folder in (whole, parts) for path in folder.rglob("*") if path.is_file())
        needed = self._model.size_bytes - there
        free = shutil.disk_usage(self._staging).free
        if needed > free:
            raise StoreError(
                f"{self._model.name} needs {needed / GIB:.2f} GiB more, and there are {free / GIB:.2f} GiB free at"
                f" {self._store.root}.",
                hint="Make room, or put the store elsewhere with the setting models_dir.",
            )

    def _publish(self) -> None:
        made, target = self._staging / "files", self._store.folder_of(self._model)
        close_to_writing(made)
        for folder in (made, *(path for path in made.rglob("*") if path.is_dir())):
            sync_folder(folder)
        target.parent.mkdir(mode=0o755, exist_ok=True)
        target.parent.chmod(0o755)
        old = retire(self._store, target) if target.exists() else None
        made.rename(target)
        sync_folder(target.parent)
        discard(self._staging)
        if old is not None:
            discard(old)


def retire(store: Store, folder: Path) -> Path:
    """Take a model's folder out of sight at once; removing its files may then take its time."""
    parent = folder.parent
    away = store.incoming / f"{_OLD}{parent.name}@{folder.name}@{uuid.uuid4().hex}"
    folder.rename(away)
    sync_folder(parent)
    return away
