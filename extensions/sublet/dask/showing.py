"""Something said beside a cell's own result: HTML in a notebook, a line of stderr elsewhere."""

from __future__ import annotations

import sys
from typing import Any

from sublet import as_html


class Said:
    """What is shown, in both ways."""

    def __init__(self, text: str, html: str | None = None) -> None:
        self._text = text
        self._html = as_html.paragraph(text) if html is None else html

    def __repr__(self) -> str:
        return self._text

    def _repr_html_(self) -> str:
        return self._html


class Board:
    """One place that shows something else after a while."""

    def __init__(self) -> None:
        self._handle: Any = None
        self._shown = ""

    def show(self, said: Said) -> None:
        """In the place of what it showed; the same is not shown twice."""
        if repr(said) == self._shown:
            return
        self._shown = repr(said)
        ipython = sys.modules.get("IPython")
        if ipython is None or ipython.get_ipython() is None:
            sys.stderr.write(f"{said!r}\n")
        elif self._handle is None:
            self._handle = sys.modules["IPython.display"].display(said, display_id=True)
        else:
            self._handle.update(said)


def show(text: str) -> None:
    """A sentence."""
    Board().show(Said(text))
