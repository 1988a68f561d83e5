"""Where things lie in the store, and who may see them."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sublet_hub.domain.models import Model
from sublet_hub.models_store.errors import StoreBusyError

PUBLIC = 0o755
PRIVATE = 0o700
READ_ONLY = 0o444


@dataclass(frozen=True, slots=True)
class Stored:
    """One revision of a model that is whole and visible."""

    name: str
    revision: str
    gated: bool
    folder: Path


@dataclass(frozen=True, slots=True)
class Store:
    """The store in one folder."""

    root: Path

    @property
    def open(self) -> Path:
        """Models that everybody may read."""
        return self.root / "open"

    @property
    def gated(self) -> Path:
        """Models to be accepted first. Closed to users: a lease is shown single folders of it."""
        return self.root / "gated"

    @property
    def incoming(self) -> Path:
        """What isn't whole yet."""
        return self.root / "incoming"

    @property
    def public_catalogue(self) -> Path:
        return self.open / "catalog.json"

    def readable(self, gated_names: Iterable[str]) -> tuple[Path, ...]:
        """The folders that a lease is shown, whose user (or account) may read these gated models."""
        return (self.open, *(self.gated / name for name in sorted(set(gated_names))))

    def folder_of(self, model: Model) -> Path:
        """Where a model's files lie once they are all there."""
        return self.root / model.folder

    def has(self, model: Model) -> bool:
        return self.folder_of(model).is_dir()

    def prepare(self, gated_names: Iterable[str] = ()) -> None:
        """Make the folders, also that of each gated model: it may then be shown to a lease before it is filled, and
        where the store is mounted read-only nobody else could make it."""
        _folder(self.root, PUBLIC)
        _folder(self.open, PUBLIC)
        _folder(self.gated, PRIVATE)
        _folder(self.incoming, PRIVATE)
        for name in gated_names:
            _folder(self.gated / name, PUBLIC)

    def stored(self) -> Iterator[Stored]:
        """All that is whole and visible, whether the catalogue knows it or not."""
        for kind, gated in ((self.open, False), (self.gated, True)):
            for name in _folders(kind):
                for revision in _folders(name):
                    yield Stored(name.name, revision.name, gated, revision)

    @contextmanager
    def alone_with(self, name: str) -> Iterator[None]:
        """Let one process at a time change a model; StoreBusyError for the second. The lock ends with its process,
        however that ends."""
        with self._lock(f"{name}.lock", wait=False):
            yield

    @contextmanager
    def alone_with_catalogue(self) -> Iterator[None]:
        """Let one process at a time write what is public of the catalogue; the second waits."""
        with self._lock("catalogue.lock", wait=True):
            yield

    @contextmanager
    def _lock(self, name: str, *, wait: bool) -> Iterator[None]:
        locks = self.incoming / "locks"
        _folder(locks, PRIVATE)
        with (locks / name).open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                model = name.removesuffix(".lock")
                raise StoreBusyError(
                    f"The model {model} is being changed by another command.",
                    hint="Wait for it, and look with: sublet models list",
                ) from None
            yield


def sync_folder(folder: Path) -> None:
    """Make what was renamed in a folder last through a power cut."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def close_to_writing(folder: Path) -> None:
    """Give all in a folder the modes that it is shown with."""
    for path in (folder, *folder.rglob("*")):
        path.chmod(PUBLIC if path.is_dir() else READ_ONLY)


def discard(folder: Path) -> None:
    """Remove a folder with all in it, if it is there."""
    shutil.rmtree(folder, ignore_errors=True)


def _folders(parent: Path) -> list[Path]:
    if not parent.is_dir():
        return []
    return sorted(path for path in parent.iterdir() if path.is_dir() and not path.is_symlink())


def _folder(path: Path, mode: int) -> None:
    if not path.is_dir():
        path.mkdir(parents=True, exist_ok=True)
        path.chmod(mode)  # whatever the umask
