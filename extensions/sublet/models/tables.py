"""The models as a table: text for terminals and `print`, HTML for a notebook."""

from __future__ import annotations

from decimal import Decimal

from sublet import as_html, as_text, showing, wording
from sublet.models.listing import Model, Models

HEADINGS = ("Model", "For", "Size", "Memory", "Here", "Price per million tokens", "Licence")
EMPTY = "There are no models here yet. An admin adds them: sublet models add."
HOW = "sublet.models.load(name) loads one that is on disk; OPENAI_BASE_URL answers for one that is served."


@showing.as_text.register
def models_text(models: Models) -> str:
    if not models:
        return EMPTY
    return "\n".join([*as_text.table(HEADINGS, [_row(each) for each in models]), "", HOW])


@showing.as_html.register
def models_html(models: Models) -> str:
    if not models:
        return as_html.paragraph(EMPTY)
    return as_html.plain_table(HEADINGS, [_row(each) for each in models]) + as_html.paragraph(HOW)


def _row(model: Model) -> tuple[str, ...]:
    return (
        model.name,
        f"{model.family}: {model.task}",
        f"{_count(model.parameters)} {model.dtype}".strip(),
        _bytes(model.memory_bytes) + ("" if model.flavors else ", fits no flavor"),
        " and ".join(word for word, holds in (("on disk", model.on_disk), ("served", model.served)) if holds)
        or "not yet",
        _price(model),
        model.licence + (", to be accepted" if model.gated and not model.accepted else ""),
    )


def _price(model: Model) -> str:
    """`$0.10 in, $0.30 out`."""
    if model.input_price is None or model.output_price is None or model.currency is None:
        return ""
    if model.input_price == model.output_price == 0:
        return "free"
    given, made = (wording.exact_money(price, model.currency) for price in (model.input_price, model.output_price))
    return f"{given} in, {made} out"


def _count(parameters: int) -> str:
    """`1.2B`, `8.2M`; nothing where it isn't told."""
    for unit, letter in ((10**9, "B"), (10**6, "M"), (10**3, "k")):
        if parameters >= unit:
            return wording.number(Decimal(parameters) / unit, 1) + letter
    return str(parameters or "")


def _bytes(size: int) -> str:
    """`2.5 GiB`."""
    for unit, name in ((2**30, "GiB"), (2**20, "MiB")):
        if size >= unit:
            return f"{wording.number(Decimal(size) / unit, 1)} {name}"
    return f"{-(-size // 1024)} KiB" if size else ""
