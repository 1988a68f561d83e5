"""`sublet.models.list`: what there is, as a table."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from sublet import fields
from sublet.asking import TIMEOUT_SECONDS, Surroundings, get, understood
from sublet.showing import Shown


@dataclass(frozen=True, slots=True)
class Model:
    """A model of the catalogue. Prices are in units of `currency` per million tokens; None: it is not served."""

    name: str
    title: str
    family: str
    task: str
    description: str
    parameters: int
    dtype: str
    memory_bytes: int
    size_bytes: int
    on_disk: bool
    served: bool
    input_price: Decimal | None
    output_price: Decimal | None
    currency: str | None
    flavors: tuple[str, ...]
    """Names of the flavors that it fits into."""
    licence: str
    gated: bool
    accepted: bool
    example: str


@dataclass(frozen=True, slots=True, repr=False)
class Models(Shown, Sequence[Model]):
    """What `sublet.models.list()` gives: a sequence that shows itself as a table in a notebook, as text elsewhere."""

    models: tuple[Model, ...]
    document: Sequence[Mapping[str, Any]] = field(compare=False)

    def __getitem__(self, index: Any) -> Any:
        return self.models[index]

    def __len__(self) -> int:
        return len(self.models)

    def __iter__(self) -> Iterator[Model]:
        return iter(self.models)


def list_models(family: str | None = None, *, timeout: float = TIMEOUT_SECONDS) -> Models:
    """The models of the platform: what each is for, its size, licence and price, and whether it is on this server,
    served, or both. `family` narrows it down, such as `"Llama"`."""
    around = Surroundings.of(os.environ)
    answer = get(around, "/models", timeout)
    with understood():
        documents = [each for each in answer if _of_family(each, family)]
        return Models(tuple(map(_model, documents)), documents)


def _of_family(document: Any, family: str | None) -> bool:
    return family is None or str(document["family"]).casefold() == family.casefold()


def _model(document: Any) -> Model:
    served = document["served"]
    return Model(
        name=fields.text(document["name"]),
        title=fields.text(document["title"]),
        family=fields.text(document["family"]),
        task=fields.text(document["task"]),
        description=fields.text(document["description"]),
        parameters=fields.number(document["parameters"]),
        dtype=fields.text(document["dtype"]),
        memory_bytes=fields.number(document["memory_bytes"]),
        size_bytes=fields.number(document["size_bytes"]),
        on_disk=bool(document["on_disk"]),
        served=served is not None,
        input_price=None if served is None else fields.units(served["input_microunits_per_million_tokens"]),
        output_price=None if served is None else fields.units(served["output_microunits_per_million_tokens"]),
        currency=None if served is None else fields.text(served["currency"]),
        flavors=tuple(map(fields.text, document["flavors"])),
        licence=fields.text(document["licence"]["title"]),
        gated=bool(document["licence"]["gated"]),
        accepted=bool(document["licence"]["accepted"]),
        example=fields.text(document["example"]),
    )
