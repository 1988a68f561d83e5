"""What the api knows of the store of models: which are there, and the texts of licences."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from sublet_hub.domain.models import Model, ModelCatalogue
from sublet_hub.settings import Settings

LARGEST_TEXT_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class Shelf:
    """`folder` is the store; None where the api doesn't see it, such as on Kubernetes: then what the catalogue has
    files of is taken to be there. `licence_texts` are by the licence's name."""

    folder: Path | None = None
    licence_texts: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, settings: Settings, catalogue: ModelCatalogue) -> Self:
        """The shelf of a platform. A text that can't be read is left out: its address is shown in its place."""
        texts = {}
        for licence in catalogue.licences.values():
            if licence.text_file is not None:
                text = _text(settings.models_toml.parent / licence.text_file)
                if text is not None:
                    texts[licence.name] = text
        return cls(settings.models_dir if settings.models_dir.is_dir() else None, texts)

    def is_on_disk(self, model: Model) -> bool:
        """Whether servers have the model's files."""
        return bool(model.files) and (self.folder is None or (self.folder / model.folder).is_dir())


def _text(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return file.read(LARGEST_TEXT_BYTES).decode("utf-8", errors="replace")
    except OSError:
        return None
