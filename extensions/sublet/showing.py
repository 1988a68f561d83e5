"""How what Sublet gives shows itself: as a table in a notebook, as text elsewhere.

`as_text` and `as_html` (and `models.tables`) register how, so that what is shown need not know them.
"""

from __future__ import annotations

from functools import singledispatch


class Shown:
    """Something that shows itself. TypeError where nobody has registered how."""

    __slots__ = ()

    def __repr__(self) -> str:
        return as_text(self)

    def _repr_html_(self) -> str:
        return as_html(self)


@singledispatch
def as_text(shown: object) -> str:
    raise TypeError(f"{type(shown).__qualname__} has no text to show")


@singledispatch
def as_html(shown: object) -> str:
    raise TypeError(f"{type(shown).__qualname__} has no table to show")
