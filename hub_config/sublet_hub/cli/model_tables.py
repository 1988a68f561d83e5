"""How `sublet models` shows what is in the store."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.table import Table
from rich.text import Text

from sublet_hub.cli import units
from sublet_hub.cli.options import table
from sublet_hub.domain.models import Model, ModelCatalogue
from sublet_hub.models_store import Store
from sublet_hub.models_store.layout import Stored

MIB = 2**20


@dataclass(frozen=True, slots=True)
class Line:
    """A model of the catalogue or of the store, as `sublet models list --json` gives it."""

    name: str
    revision: str
    family: str | None
    size_bytes: int
    licence: str | None
    gated: bool
    stored: bool
    served: bool
    in_catalogue: bool
    folder: str | None


@dataclass(frozen=True, slots=True)
class Verified:
    """What `sublet models verify` found of one model."""

    model: str
    revision: str
    problems: tuple[str, ...]


def lines_of(store: Store, catalogue: ModelCatalogue) -> list[Line]:
    """All models of the catalogue, then what else is in the store."""
    known = {store.folder_of(model) for model in catalogue.models.values()}
    lines = [_line(store, model) for model in catalogue.models.values()]
    return lines + [_stray(each) for each in store.stored() if each.folder not in known]


def _line(store: Store, model: Model) -> Line:
    folder = str(store.folder_of(model)) if model.files and store.has(model) else None
    return Line(
        model.name,
        model.revision,
        model.family,
        model.size_bytes,
        model.licence.name,
        model.gated,
        folder is not None,
        model.serving is not None,
        in_catalogue=True,
        folder=folder,
    )


def _stray(each: Stored) -> Line:
    size = sum(path.stat().st_size for path in each.folder.rglob("*") if path.is_file())
    return Line(
        each.name,
        each.revision,
        None,
        size,
        None,
        each.gated,
        stored=True,
        served=False,
        in_catalogue=False,
        folder=str(each.folder),
    )


def list_table(lines: Sequence[Line], catalogue_file: str) -> Table | Text:
    if not lines:
        return Text(f"There are no models: {catalogue_file} names none.")
    made = table("Model", "Revision", "Family", "Size", "Licence", "In the store", "Served", right=("Size",))
    for line in lines:
        licence = f"{line.licence or '?'}{', to be accepted' if line.gated else ''}"
        size = human_size(line.size_bytes) if line.size_bytes else ""
        made.add_row(
            line.name, line.revision[:12], line.family or "?", size, licence, _where(line),
            "yes" if line.served else "no",
        )  # fmt: skip
    return made


def _where(line: Line) -> str:
    if not line.in_catalogue:
        return "yes, but not in the catalogue"
    return "yes" if line.stored else "no" if line.size_bytes else "served only"


def verified_lines(report: Sequence[Verified]) -> Iterator[Text]:
    if not report:
        yield Text("There are no models in the store.")
    for each in report:
        yield Text(f"{each.model}: {'WRONG' if each.problems else 'as the catalogue says'}")
        yield from (Text(f"  {sentence}") for sentence in each.problems)
        if each.problems:
            yield Text(f"  Fetch it anew with: sublet models add {each.model} --again")


def human_size(size_bytes: int) -> str:
    return units.size(size_bytes) if size_bytes >= MIB else f"{-(-size_bytes // 1024)} KiB"
