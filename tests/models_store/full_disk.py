"""A program: fill a disk while a model is added to a store on it. Run in a mount namespace of its own.

python full_disk.py FOLDER      FOLDER is an empty file system of 8 MiB
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sublet_hub.domain.models import Model, ModelFile
from sublet_hub.models_store import Store, StoreError
from sublet_hub.models_store.adding import Adding
from sublet_hub.models_store.sources import Flow
from tests.fixtures.models import contents, model_of

HALF = 1_000_000


class Filling:
    """A source whose disk somebody else fills in the middle of a file."""

    def __init__(self, held: dict[str, bytes], ballast: Path | None) -> None:
        self._held = held
        self._ballast = ballast
        self.offsets: list[int] = []

    def describe(self, model: Model) -> str:
        return model.name

    @contextmanager
    def open(self, model: Model, file: ModelFile, offset: int) -> Iterator[Flow]:
        self.offsets.append(offset)
        yield Flow(offset, self._chunks(self._held[file.path][offset:]))

    def _chunks(self, body: bytes) -> Iterator[bytes]:
        yield body[:HALF]
        if self._ballast is not None:
            fill(self._ballast)
        yield body[HALF:]


def fill(ballast: Path) -> None:
    try:
        with ballast.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
    except OSError:
        return


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def main(disk: Path) -> None:
    held = contents(weight_bytes=3_000_000)
    model, store, ballast = model_of(held), Store(disk / "models"), disk / "ballast"
    try:
        Adding(store, model, Filling(held, ballast)).run()
    except StoreError as error:
        say(f"refused: {error} {error.hint}")
    say(f"visible: {sorted(path.name for path in store.open.rglob('*'))}")
    ballast.unlink()
    again = Filling(held, None)
    say(f"then: {Adding(store, model, again).run()}, went on at a byte past {min(HALF, again.offsets[0])}")
    say(f"whole: {(store.folder_of(model) / 'model.safetensors').read_bytes() == held['model.safetensors']}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
