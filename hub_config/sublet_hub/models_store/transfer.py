"""One file from a source onto disk: taken up where it stopped, and its SHA-256 checked over the whole."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Protocol

from sublet_hub.domain.models import Model, ModelFile
from sublet_hub.models_store.checking import check_content
from sublet_hub.models_store.errors import TransferError, WrongContentError
from sublet_hub.models_store.sources import CHUNK_BYTES, Source

TRIES = 5
"""How often in a row a transfer may break without a byte more; one that goes on is taken up again and again."""

PAUSES_SECONDS = (0.5, 1.0, 2.0, 4.0)


class Progress(Protocol):
    """Whoever is told how far it is."""

    def begin(self, what: str, total: int) -> None:
        """From here on, bytes of this file or model are told; it has `total`."""

    def advance(self, count: int) -> None:
        """So many bytes more are done; fewer, where it is negative."""


class Silence:
    """Nobody is told."""

    def begin(self, what: str, total: int) -> None:
        pass

    def advance(self, count: int) -> None:
        pass


class Transfer:
    """Fetches a file into `part` until it is whole. What came before, also in another process, is not fetched again.

    Raises TransferError, after which what came so far is kept, or WrongContentError, after which nothing is.
    """

    def __init__(
        self,
        source: Source,
        model: Model,
        file: ModelFile,
        part: Path,
        progress: Progress,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._source = source
        self._model = model
        self._file = file
        self._part = part
        self._progress = progress
        self._pause = pause

    def run(self) -> None:
        had = self._part.stat().st_size if self._part.exists() else 0
        try:
            self._fetch()
            self._check()
        except WrongContentError:
            self._forget()
            if had == 0:
                raise
        else:
            return
        # What we had may have been another file's: once more, from the beginning.
        try:
            self._fetch()
            self._check()
        except WrongContentError:
            self._forget()
            raise

    def _fetch(self) -> None:
        """Have the whole file in `part`, of whatever content."""
        with self._part.open("ab") as part:
            had = part.tell()
            if had > self._file.size:
                part.truncate(0)
                had = 0
            self._progress.advance(had)
            tries = 0
            while (before := part.seek(0, os.SEEK_END)) < self._file.size:
                try:
                    self._take(part, before)
                    if part.tell() < self._file.size:
                        raise TransferError(f"The transfer of {self._file.path} ended too early.", again=True)
                except TransferError as error:
                    tries = 1 if part.tell() > before else tries + 1
                    if not error.again or tries >= TRIES:
                        raise
                    self._pause(PAUSES_SECONDS[min(tries, len(PAUSES_SECONDS)) - 1])
            part.flush()
            os.fsync(part.fileno())

    def _take(self, part: BinaryIO, offset: int) -> None:
        """Append what the source gives from `offset` on."""
        with self._source.open(self._model, self._file, offset) as flow:
            if flow.offset != offset:
                self._progress.advance(flow.offset - offset)
                part.truncate(flow.offset)
                part.seek(flow.offset)
            for chunk in flow.chunks:
                if part.tell() + len(chunk) > self._file.size:
                    raise WrongContentError(
                        f"{self._file.path} is larger than the {self._file.size} bytes that the catalogue says."
                    )
                part.write(chunk)
                self._progress.advance(len(chunk))

    def _check(self) -> None:
        found = sha256_of(self._part)
        if found != self._file.sha256:
            raise WrongContentError(
                f"{self._file.path} has the SHA-256 {found}; the catalogue says {self._file.sha256}.",
                hint="Is the revision in the catalogue the one that the source has?",
            )
        check_content(self._part, self._file.path)

    def _forget(self) -> None:
        self._progress.advance(-self._part.stat().st_size)
        self._part.unlink()


def sha256_of(path: Path, progress: Progress | None = None) -> str:
    """SHA-256 of a file, in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
            if progress is not None:
                progress.advance(len(chunk))
    return digest.hexdigest()
